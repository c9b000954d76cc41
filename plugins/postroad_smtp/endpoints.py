"""What was learnt about endpoints (an address and a port) by connecting: which ones to leave alone for a moment, which are slow.

One failure costs an endpoint nothing, so that a lost connection does not delay a site with one server.  From the second in a
row on it is left alone, for a second that doubles to a minute; then one connection tries it.  An answer about a message forgets
all.  1,000 messages for a dead site are so a few connections, not 1,000.  While connections to an endpoint stand, a refusal
means "no more of them", which is the pool's affair (`pool.py`).  In memory, bounded; used by `opening.py` only.
"""

from __future__ import annotations

import itertools
import math
import random
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

import trio

from postroad.log import printable

from .trouble import Kind, Trouble

__all__ = ["Endpoint", "Endpoints"]

Endpoint: TypeAlias = "tuple[str, int]"
T = TypeVar("T")

_FIRST_SECONDS, _MOST_SECONDS = 1.0, 60.0
_JITTER = 0.2  # of the pause, either way: processes that failed together do not come back together
_FORGET_SECONDS = 600.0  # failures so far apart are not in a row
_SLOW_SECONDS = 600.0
_MOST = 10_000
_NOT_THEIRS = frozenset(
    {Kind.LOCAL, Kind.ABORTED, Kind.FAULT, Kind.PROHIBITED, Kind.UNSUITED, Kind.LOOP, Kind.CONFUSED}
)


@dataclass(slots=True)
class _Failing:
    """count: failures in a row.  at, noted, trouble: time, number and reason of the last.  until: nobody tries before."""

    count: int
    at: float
    noted: int
    until: float
    trouble: Trouble


class Endpoints:
    """Used by all connections of a transport.  rng: for the jitter."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._steps = itertools.count()  # orders what time cannot: under a test's clock much happens in one instant
        self._failing: dict[Endpoint, _Failing] = {}
        self._slow_until: dict[Endpoint, float] = {}
        self._standing: dict[Endpoint, int] = {}  # connections that served

    def resting(self, endpoint: Endpoint) -> Trouble | None:
        """Why the endpoint is not to be tried now; None where it may be."""
        failing = self._failing.get(endpoint)
        left = failing.until - trio.current_time() if failing is not None else 0.0
        return _remembered(failing.trouble, left) if failing is not None and left > 0 else None

    def is_slow(self, endpoint: Endpoint) -> bool:
        """Whether another address of the same host lately answered first, although it was started later."""
        until = self._slow_until.get(endpoint)
        return until is not None and trio.current_time() < until

    def begin(self, endpoint: Endpoint) -> int:
        """A connection is tried; gives a number for `failed`.  After a pause it is the only one, until its fate is known."""
        failing = self._failing.get(endpoint)
        if failing is not None:
            failing.until = trio.current_time() + self._pause(failing.count)
        return self.step()

    def step(self) -> int:
        """The number of this moment, among those of connections."""
        return next(self._steps)

    def failed(self, endpoint: Endpoint, trouble: Trouble, begun: int) -> None:
        """A connection came to nothing.  begun: from `begin`; one that began before the last failure tells nothing new."""
        if trouble.kind in _NOT_THEIRS or endpoint in self._standing:
            return
        now, known = trio.current_time(), self._failing.get(endpoint)
        if known is not None and begun < known.noted:
            return
        count = known.count + 1 if known is not None and now - known.at < _FORGET_SECONDS else 1
        _keep(self._failing, endpoint, _Failing(count, now, next(self._steps), now + self._pause(count), trouble))

    def overtaken(self, endpoint: Endpoint) -> None:
        """Another address of the host answered first."""
        _keep(self._slow_until, endpoint, trio.current_time() + _SLOW_SECONDS)

    def served(self, endpoint: Endpoint) -> None:
        """A connection answered about a message, be it by a refusal: what was held against the endpoint is forgotten.  A greeting
        is not enough: some leave at the first MAIL, every time."""
        self._failing.pop(endpoint, None)
        self._standing[endpoint] = self._standing.get(endpoint, 0) + 1

    def closed(self, endpoint: Endpoint) -> None:
        """A connection that `served` has ended."""
        left = self._standing.pop(endpoint, 1) - 1
        if left:
            self._standing[endpoint] = left

    def _pause(self, count: int) -> float:
        if count < 2:
            return 0.0
        seconds = min(_FIRST_SECONDS * 2.0 ** min(count - 2, 10), _MOST_SECONDS)
        return seconds * self._rng.uniform(1 - _JITTER, 1 + _JITTER)


def _keep(kept: dict[Endpoint, T], endpoint: Endpoint, value: T) -> None:
    kept.pop(endpoint, None)
    while len(kept) >= _MOST:
        del kept[next(iter(kept))]
    kept[endpoint] = value


def _remembered(trouble: Trouble, left: float) -> Trouble:
    """The trouble anew, for an attempt that was spared: an exception is raised once."""
    said = printable(f"not tried for another {math.ceil(left)} s: {trouble.said}", 600)
    again = Trouble(trouble.kind, said, trouble.status, scope=trouble.scope)
    again.remote, again.tls, again.is_remembered = trouble.remote, trouble.tls, True
    return again
