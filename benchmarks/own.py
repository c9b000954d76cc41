"""A transport of a plug-in author's own: read from its file, and looked at before anything is measured."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["OwnTransport", "Unfit", "read_own"]

_PLACEHOLDER = re.compile(r"\{(\w+)\}")
_SINKS = {"port": ("smtp", "http"), "folder": ("file",)}  # what can fill a placeholder in


class Unfit(Exception):
    """It cannot play; the text says why."""


@dataclass(frozen=True)
class OwnTransport:
    """table: its settings.  plugins: to load for it.  left: placeholders that nothing fills in."""

    name: str
    table: Mapping[str, Any]
    plugins: list[str]
    left: list[str]

    def told(self) -> dict[str, Any]:
        """For `Postroad(own=...)`."""
        return {"name": self.name, "table": self.table, "plugins": self.plugins}


def read_own(name: str, path: Path, sink: str, systems: Collection[str]) -> OwnTransport:
    """systems: names that are taken.  Raises Unfit."""
    if name in systems:
        raise Unfit(f"--transport: {name} is the name of a system; choose another")
    try:
        told = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise Unfit(f"--config: {path}: {error.strerror}") from error
    except ValueError as error:  # of its octets or its syntax
        raise Unfit(f"--config: {path} is no TOML: {error}") from error
    tables = told.get("transports")
    if not isinstance(tables, dict) or name not in tables:
        raise Unfit(f"--config: {path} has no [transports.{name}]")
    found = sorted(set(_placeholders(tables[name])))
    for one in found:
        if one in _SINKS and sink not in _SINKS[one]:
            raise Unfit(f"--config: {{{one}}} needs --sink {' or '.join(_SINKS[one])}")
    return OwnTransport(name, tables[name], told.get("plugins", []), [one for one in found if one not in _SINKS])


def _placeholders(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield from _PLACEHOLDER.findall(value)
    elif isinstance(value, Mapping | list):
        for inner in value.values() if isinstance(value, Mapping) else value:
            yield from _placeholders(inner)
