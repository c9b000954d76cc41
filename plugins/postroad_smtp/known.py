"""What was learnt about hosts the hard way: broken TLS, confused by pipelining.  In memory, bounded, forgotten after a while."""

from __future__ import annotations

import enum

import trio

__all__ = ["Flaw", "KnownHosts"]

_SECONDS = 3600.0  # long enough to spare a host its failing handshakes, short enough to notice a repair
_MOST = 10_000


class Flaw(enum.Enum):
    """What is wrong with a host."""

    TLS = "its TLS fails"
    PIPELINING = "it takes pipelined commands for an error"
    CHUNKING = "it takes BDAT for an error"
    EHLO = "it hangs up at EHLO"


class KnownHosts:
    """Flaws by host.  Used by all sessions of a transport."""

    def __init__(self) -> None:
        self._until: dict[tuple[str, Flaw], float] = {}

    def note(self, host: str, flaw: Flaw) -> None:
        self._until.pop((host, flaw), None)
        while len(self._until) >= _MOST:
            del self._until[next(iter(self._until))]
        self._until[host, flaw] = trio.current_time() + _SECONDS

    def forget(self, host: str, flaw: Flaw) -> None:
        """It was something else."""
        self._until.pop((host, flaw), None)

    def has(self, host: str, flaw: Flaw) -> bool:
        return bool(self._until) and trio.current_time() < self._until.get((host, flaw), 0.0)
