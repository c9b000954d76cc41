"""The duties of plugins, read from where they are written: the docstring of `Transport`, and `PLUGIN_DUTIES`.

The reports of the kit point to them by number; docs/duties.md lists them with the cases that try each (`make docs`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache

from .. import hookspecs, transport

__all__ = ["duty_text", "plugin_duties", "transport_duties"]

_BEGINS = re.compile(r"([A-Z]\d+) (?=[A-Z])")


@cache
def transport_duties() -> Mapping[str, str]:
    """By number ("T1"), in their order; empty where Python leaves docstrings out (-OO)."""
    return _read(transport.Transport.__doc__)


@cache
def plugin_duties() -> Mapping[str, str]:
    """By number ("H1"), in their order."""
    return _read(hookspecs.PLUGIN_DUTIES)


def duty_text(number: str) -> str:
    """The number with its prose."""
    prose = transport_duties().get(number) or plugin_duties().get(number)
    return f"{number} {prose}" if prose else number


def _read(prose: str | None) -> dict[str, str]:
    duties: dict[str, str] = {}
    number = ""
    for line in map(str.strip, (prose or "").splitlines()):
        if begins := _BEGINS.match(line):
            number = begins[1]
            duties[number] = line[begins.end() :]
        elif line and number:
            duties[number] += f" {line}"
        else:
            number = ""
    return duties
