"""Days in Pacific time, by which App Engine's daily quotas begin anew.  Pure: the moment is given.

By the rule that is law in the United States since 2007, so that no table of time zones has to be installed.
"""

from __future__ import annotations

import time
from calendar import timegm

__all__ = ["pacific_day", "utc_text"]

_HOUR = 3600


def pacific_day(now: float) -> tuple[int, int]:
    """When the Pacific day of a moment began, and how many seconds it has (a change of the clocks makes it 23 or 25 hours)."""
    here = time.gmtime(now + _offset(now))
    start = _midnight(here.tm_year, here.tm_mon, here.tm_mday)
    return start, _midnight(here.tm_year, here.tm_mon, here.tm_mday + 1) - start


def _midnight(year: int, month: int, day: int) -> int:
    """Midnight in Pacific time; the clocks change at two, so noon would not tell its offset."""
    utc = timegm((year, month, day, 0, 0, 0))
    return utc - _offset(utc + 8 * _HOUR - 1)


def _offset(moment: float) -> int:
    """Seconds from UTC to Pacific time: daylight time begins on the second Sunday of March, and ends on the first of November."""
    year = time.gmtime(moment - 8 * _HOUR).tm_year
    begins = _sunday(year, 3, 8) + 10 * _HOUR  # 2:00 at -8
    ends = _sunday(year, 11, 1) + 9 * _HOUR  # 2:00 at -7
    return -7 * _HOUR if begins <= moment < ends else -8 * _HOUR


def _sunday(year: int, month: int, first: int) -> int:
    """Midnight UTC of the first Sunday on or after a day."""
    start = timegm((year, month, first, 0, 0, 0))
    return start + (6 - time.gmtime(start).tm_wday) * 24 * _HOUR


def utc_text(moment: float) -> str:
    """A moment for people."""
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(moment))
