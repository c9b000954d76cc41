"""Finds every problem of a configuration, one after the other: what is wrong is noted, taken out, and the rest read again.

Then what the configuration names: plugins, transports (made, and closed again), the spool's place, and the spool; and what is
no mistake but lets no mail go.  Changes nothing, sends nothing.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import msgspec
import trio

from ..config import Config, load_config
from ..errors import ConfigError, PluginError, PostroadError, SpoolInUse
from ..plugins import Plugins
from ..transport import TransportFactory, TransportSettings
from .checking_place import place_of, place_problems
from .where import DEFAULT_FILE, Where

__all__ = ["Finding", "check_everything"]

_MOST = 100  # problems looked for in one file
_MOST_OF_TRANSPORT = 20  # problems looked for in one transport
_TRANSPORT_SECONDS = 10.0  # to make one
_TAKEN_OUT = "taken out"  # stands where something wrong was
_STEP = re.compile(r"([^.\[\]]+)|\[(\d+)\]")


class Finding(msgspec.Struct, frozen=True):
    """One problem, or a warning.  part: "configuration", "plugin", "transport" or "spool"; where: the key, or the file."""

    part: str
    where: str
    problem: str
    is_warning: bool = False


def check_everything(where: Where, *, reads_spool: bool) -> list[Finding]:
    findings = list(_config_problems(where.file))
    if any(finding.part == "configuration" for finding in findings):
        return findings
    config = where.config()
    plugins = Plugins()
    findings += _plugin_problems(config, plugins)
    findings += trio.run(_transport_problems, config, plugins)
    findings += _place_problems(config)
    if reads_spool:
        findings += _spool_problems(config)
    return [*findings, *_warnings(config)]


# --- the configuration ---


def _config_problems(file: str | None) -> Iterator[Finding]:
    """Every problem of the file: one at a time is found, noted and taken out."""
    try:
        raw = _read(file)
    except ConfigError as error:
        yield Finding("configuration", error.key, error.problem)
        return
    yield from _odd_transports(raw)
    noted: set[Finding] = set()
    for _ in range(_MOST):
        found = _first_error(raw)
        if found is None:
            return
        finding = Finding("configuration", found.key, found.problem)
        if finding not in noted:
            yield finding
        noted.add(finding)
        _take_out(raw, _steps(finding.where))


def _read(file: str | None) -> dict[str, Any]:
    if file is None:
        raise ConfigError("config", f"there is no ./{DEFAULT_FILE}; name a file with --config or POSTROAD_CONFIG")
    try:
        return tomllib.loads(Path(file).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(file, f"cannot be read: {error}") from None


def _odd_transports(raw: dict[str, Any]) -> Iterator[Finding]:
    """Transports that are no tables: the reader would say "some transport"."""
    transports = raw.get("transports")
    if not isinstance(transports, dict):
        return
    for name, settings in cast("dict[str, object]", transports).items():
        if not isinstance(settings, dict):
            yield Finding("configuration", f"transports.{name}", f"must be a table, [transports.{name}]")
            transports[name] = {"plugin": _TAKEN_OUT}


def _first_error(raw: dict[str, Any]) -> ConfigError | None:
    try:
        load_config(raw)
    except ConfigError as error:
        return error
    return None


def _steps(key: str) -> list[str | int]:
    """The way to a key: names, and numbers in lists."""
    return [name or int(number) for name, number in _STEP.findall(key)]


def _take_out(raw: dict[str, Any], steps: list[str | int]) -> None:
    """Make what is wrong harmless, or remove it or what is around it, so that the rest can be read."""
    match steps:
        case ["routes", int(), "transport"]:
            raw.setdefault("transports", {})[_TAKEN_OUT] = {"plugin": _TAKEN_OUT}
            harmless: str = _TAKEN_OUT
        case ["routes", int(number), "name"]:
            harmless = f"taken_out_{number}"
        case ["transports", str(), "plugin"]:
            harmless = _TAKEN_OUT
        case [*_, int()]:
            harmless = ""  # removing it would give the others behind it new numbers
        case _:
            _remove(raw, steps)
            return
    if not _replace(raw, steps, harmless):
        _remove(raw, steps)


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


# --- what it names ---


def _plugin_problems(config: Config, plugins: Plugins) -> Iterator[Finding]:
    for name in config.plugins:
        try:
            plugins.load(name)
        except PluginError as error:
            yield Finding("plugin", name, str(error))
    for name, settings in config.transports.items():
        kind = str(settings["plugin"])
        if kind not in plugins.transports:
            yield from _load_kind(plugins, config, name)


def _load_kind(plugins: Plugins, config: Config, transport: str) -> Iterator[Finding]:
    alone = msgspec.structs.replace(config, plugins=(), routes=(), transports={transport: config.transports[transport]})
    try:
        plugins.load_for(alone)
    except ConfigError as error:
        yield Finding("plugin", error.key, error.problem)


async def _transport_problems(config: Config, plugins: Plugins) -> list[Finding]:
    findings: list[Finding] = []
    for name, settings in config.transports.items():
        if str(settings["plugin"]) not in plugins.transports:
            continue  # its plugin was named already
        findings += [
            Finding("transport", f"transports.{name}{key}", problem)
            for key, problem in await _try_transport(plugins, dict(settings), config.resolved(""))
        ]
    return findings


async def _try_transport(plugins: Plugins, settings: dict[str, Any], base: Path) -> list[tuple[str, str]]:
    """What is wrong with a transport: the key behind its name, and the problem.

    A key that is wrong is taken out, and the rest tried again; what is wrong only for want of that key is not told.
    """
    factory = plugins.transports[str(settings.pop("plugin"))]
    found: list[tuple[str, str]] = []
    taken_out: list[str] = []
    for _ in range(_MOST_OF_TRANSPORT):
        problem = await _first_of_transport(factory, TransportSettings(settings, base=base))
        if problem is None or any(key in problem.key or key in problem.problem for key in taken_out):
            break
        found.append((f".{problem.key}" if problem.key else "", problem.problem))
        key = str(next(iter(_steps(problem.key)), ""))  # the transport's own, also for what is wrong inside it
        if key not in settings:
            break
        taken_out.append(key)
        del settings[key]
    return found


async def _first_of_transport(factory: TransportFactory, settings: TransportSettings) -> ConfigError | None:
    try:
        with trio.fail_after(_TRANSPORT_SECONDS):
            async with factory(settings):
                pass
    except ConfigError as error:
        return error
    except Exception as error:  # a plugin may raise anything: that is the finding
        return ConfigError("", f"cannot be made: {error!r}")
    return None


def _place_problems(config: Config) -> Iterator[Finding]:
    for file, problem in place_problems(config):
        yield Finding("spool", file, problem) if file else Finding("configuration", "spool.url", problem)


def _warnings(config: Config) -> Iterator[Finding]:
    """What an engine starts with, although no mail, or little, will go."""
    if not config.routes:
        problem = "there are none: all mail will be held until there is one for it"
        yield Finding("configuration", "routes", problem, is_warning=True)
    if not config.senders.authorized:
        who = "only the administrators may send" if config.senders.admins else "nobody may send"
        yield Finding("configuration", "senders.authorized", f"there are none: {who}", is_warning=True)


def _spool_problems(config: Config) -> Iterator[Finding]:
    """What reading everything shows.  Raises SpoolInUse while an engine runs: it would be in each other's way."""
    from ..offline import open_offline

    place = place_of(config)
    if place is None or place.path is None:
        return
    if not place.path.exists():
        yield Finding("spool", str(place.path), "there is no spool yet; the first engine or message makes it")
        return
    try:
        with open_offline(place, config) as spool:
            problems = spool.check()
    except SpoolInUse:
        raise
    except PostroadError as error:
        problems = [str(error)]
    for problem in problems:
        yield Finding("spool", str(place.path), problem)
