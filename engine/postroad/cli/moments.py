"""Moments as people write them: "+10m", "2026-12-24 08:00", Unix seconds; and as they like to read them."""

from __future__ import annotations

import re
import time
from datetime import datetime
from typing import Any

import click

__all__ = ["MOMENT", "ago", "clock_time"]

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_FROM_NOW = re.compile(r"\+(\d{1,9}(?:\.\d{1,3})?)([smhd])")
_SECONDS = re.compile(r"\d{1,11}(?:\.\d{1,6})?")


class _Moment(click.ParamType[float]):
    name = "moment"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        try:
            return _read(str(value), time.time())
        except ValueError:
            self.fail(
                f'{value!r} is no moment; write "+10m", "2026-12-24 08:00" (local time) or Unix seconds', param, ctx
            )


MOMENT = _Moment()


def _read(text: str, now: float) -> float:
    if match := _FROM_NOW.fullmatch(text):
        return now + float(match[1]) * _UNITS[match[2]]
    if _SECONDS.fullmatch(text) and len(text) > 4:  # four digits are a year
        return float(text)
    return datetime.fromisoformat(text).astimezone().timestamp()


def ago(moment: float, now: float) -> str:
    """Roughly how far away: "in 5 min", "3 h ago", "now"."""
    seconds = moment - now
    size = abs(seconds)
    if size < 1:
        return "now"
    for limit, unit, name in ((100, 1, "s"), (6000, 60, "min"), (172_800, 3600, "h"), (float("inf"), 86_400, "d")):
        if size < limit:
            amount = f"{size / unit:.0f} {name}"
            break
    else:
        amount = "ever"
    return f"in {amount}" if seconds > 0 else f"{amount} ago"


def clock_time(moment: float | None) -> str:
    """Local date and time."""
    return "" if moment is None else datetime.fromtimestamp(moment).astimezone().strftime("%Y-%m-%d %H:%M:%S %z")
