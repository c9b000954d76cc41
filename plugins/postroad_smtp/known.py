"""What was learnt about hosts the hard way: broken TLS, confused by pipelining.  In memory, bounded, forgotten after a while."""

from __future__ import annotations

import enum
from typing import NamedTuple

import trio

__all__ = ["Flaw", "KnownHosts"]

_SECONDS = 3600.0  # long enough to spare a host its failing handshakes, short enough to notice a repair
_EHLO_SECONDS = 900.0  # that long it has neither TLS nor extensions, for two connections that somebody cut
_MOST = 10_000


class Flaw(enum.Enum):
    """What is wrong with a host."""

    TLS = "its TLS fails"
    PIPELINING = "it takes pipelined commands for an error"
    CHUNKING = "it takes BDAT for an error"
    EHLO = "it hangs up at EHLO"

    __hash__ = object.__hash__  # there is one of each, and Enum's own is written in Python

    @property
    def proofs(self) -> int:
        """How many times in a row it must be seen: one lost connection may have any cause."""
        return 2 if self is Flaw.EHLO else 1

    @property
    def seconds(self) -> float:
        """For how long it is remembered."""
        return _EHLO_SECONDS if self is Flaw.EHLO else _SECONDS


class _Seen(NamedTuple):
    times: int
    until: float
    noted: int


class KnownHosts:
    """Flaws by host.  Used by all sessions of a transport."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, Flaw], _Seen] = {}

    def note(self, host: str, flaw: Flaw, *, begun: int = 0, noted: int = 0) -> None:
        """It was seen, once more.

        begun, noted: the numbers of the connection and of this moment, from Endpoints.  A connection that was begun before the
        flaw was last seen tells nothing new: both may have ended by the same restart.
        """
        now, seen = trio.current_time(), self._seen.get((host, flaw))
        if seen is not None and begun < seen.noted:
            return
        self._seen.pop((host, flaw), None)
        while len(self._seen) >= _MOST:
            del self._seen[next(iter(self._seen))]
        times = seen.times if seen is not None and now < seen.until else 0
        self._seen[host, flaw] = _Seen(times + 1, now + flaw.seconds, noted)

    def forget(self, host: str, flaw: Flaw) -> None:
        """It was something else."""
        self._seen.pop((host, flaw), None)

    def has(self, host: str, flaw: Flaw) -> bool:
        seen = self._seen.get((host, flaw))
        return seen is not None and seen.times >= flaw.proofs and trio.current_time() < seen.until
