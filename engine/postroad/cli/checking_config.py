"""Reads a configuration with mistakes: what is wrong is noted, taken out, and the rest read again.

For `postroad check`, which goes on with what is left.  Changes no file.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, cast

from ..config import Config, load_config
from ..contradictions import TAKEN_OUT
from ..errors import ConfigError
from .where import DEFAULT_FILE

__all__ = ["TAKEN_OUT", "Reading", "read_all", "steps_of"]

_MOST = 100  # problems looked for in one file
_STEP = re.compile(r"([^.\[\]]+)|\[(\d+)\]")


class Reading(NamedTuple):
    """config: what is left of the file, or None where nothing can be read.  problems: what was taken out, and why."""

    config: Config | None
    problems: list[ConfigError]

    def is_whole(self, section: str) -> bool:
        """Whether nothing of this section was taken out."""
        return all(steps_of(problem.key)[:1] != [section] for problem in self.problems)


def read_all(file: str | None) -> Reading:
    """Read a file, and tell every problem of it."""
    try:
        raw = _read(file)
    except ConfigError as error:
        return Reading(None, [error])
    assert file is not None, "it was read"
    problems = {str(problem): problem for problem in _odd_transports(raw)}
    whole = {"folder": str(Path(file).resolve().parent), **raw}
    for _ in range(_MOST):
        found = _try(whole)
        if isinstance(found, Config):
            return Reading(found, list(problems.values()))
        problems.setdefault(str(found), found)
        _take_out(whole, steps_of(found.key))
    return Reading(None, list(problems.values()))


def _read(file: str | None) -> dict[str, Any]:
    if file is None:
        raise ConfigError("config", f"there is no ./{DEFAULT_FILE}; name a file with --config or POSTROAD_CONFIG")
    try:
        return tomllib.loads(Path(file).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(file, f"cannot be read: {error}") from None


def _odd_transports(raw: dict[str, Any]) -> Iterator[ConfigError]:
    """Transports that are no tables: the reader would say "some transport"."""
    transports = raw.get("transports")
    if not isinstance(transports, dict):
        return
    for name, settings in cast("dict[str, object]", transports).items():
        if not isinstance(settings, dict):
            yield ConfigError(f"transports.{name}", f"must be a table, [transports.{name}]")
            transports[name] = {"plugin": TAKEN_OUT}


def _try(raw: dict[str, Any]) -> Config | ConfigError:
    try:
        return load_config(raw)
    except ConfigError as error:
        return error


def steps_of(key: str) -> list[str | int]:
    """The way to a key: names, and numbers in lists."""
    return [name or int(number) for name, number in _STEP.findall(key)]


def _take_out(raw: dict[str, Any], steps: list[str | int]) -> None:
    """Make what is wrong harmless, or remove it or what is around it, so that the rest can be read."""
    harmless: str
    match steps:
        case ["routes", int(route), "transport"]:
            harmless = _stand_in(raw, f"{TAKEN_OUT} {route}")
        case ["routes", int(route), "fail_over", int(number)]:
            harmless = _stand_in(raw, f"{TAKEN_OUT} {route}.{number}")
        case ["routes", int(number), "name"]:
            harmless = f"taken_out_{number}"
        case ["transports", str(), "plugin"]:
            harmless = TAKEN_OUT
        case ["senders", str(), int()]:
            harmless = "taken.out@invalid"  # "" would be the next problem
        case [*_, int()]:
            harmless = ""  # removing it would give the others behind it new numbers
        case _:
            _remove(raw, steps)
            return
    if not _replace(raw, steps, harmless):
        _remove(raw, steps)


def _stand_in(raw: dict[str, Any], name: str) -> str:
    """A transport for a place that names one which is not there; of its own, since a route names none twice."""
    raw.setdefault("transports", {})[name] = {"plugin": TAKEN_OUT}
    return name


def _replace(raw: Any, steps: list[str | int], harmless: str) -> bool:
    try:
        for step in steps[:-1]:
            raw = raw[step]
        was = raw[steps[-1]] if isinstance(steps[-1], int) else raw.get(steps[-1])
        raw[steps[-1]] = harmless
    except (AttributeError, KeyError, IndexError, TypeError):
        return False
    return bool(was != harmless)


def _remove(raw: dict[str, Any], steps: list[str | int]) -> None:
    """Remove the innermost part of the way that is there."""
    for length in range(len(steps), 0, -1):
        holder: Any = raw
        with suppress(KeyError, IndexError, TypeError):
            for step in steps[: length - 1]:
                holder = holder[step]
            del holder[steps[length - 1]]
            return
