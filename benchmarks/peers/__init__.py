"""The systems that are compared, one small module each, behind one interface.

A peer is started anew for every round, warmed up, and then timed; it never measures itself but for what only it can see.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

from load import Load
from processes import Family
from sinks import Sink

__all__ = ["Level", "Peer", "Place", "Queueing", "Sent"]


# Of what was accepted: on synced storage; in a queue on disk that a power failure may take; nowhere.
Level = Literal["synced", "not synced", "no queue"]


@dataclass(frozen=True)
class Place:
    """Where and with what a peer works.

    folder: its own, on a real disk, fresh for every start.  nameserver: the port, on 127.0.0.1, of one that leads every domain to
    the sink; 53 where the sink has port 25.
    """

    family: Family
    folder: Path
    sink: Sink
    load: Load
    nameserver: int = 0


@dataclass(frozen=True)
class Sent:
    """What a peer says of one run.

    began: monotonic seconds of the first submission.  cpu_seconds: of all its processes, until nothing was left to do.
    durable: percentiles from submission to the moment it was promised safe (or, without a queue, accepted by the sink).
    """

    began: float
    cpu_seconds: float
    durable: Mapping[str, float] = field(default_factory=dict[str, float])
    commits: int | None = None
    problem: str = ""


class Peer(Protocol):
    """One system.  name, durability, settings: for people; they stand beside every figure.  level: what durability is worth."""

    name: str
    level: Level
    durability: str
    settings: str

    def available(self) -> str | None:
        """Why it cannot run here, or None.  May fetch and unpack what it needs."""
        ...

    def start(self, place: Place) -> None: ...

    @property
    def pid(self) -> int:
        """The process whose tree it is (between start and stop)."""
        ...

    def send(self, count: int, seconds: float) -> None:
        """Begin to send so many messages; return when all were submitted."""
        ...

    def finish(self, seconds: float) -> Sent:
        """Wait until nothing is left to do after the sink has everything."""
        ...

    def stop(self) -> None: ...


@runtime_checkable
class Queueing(Peer, Protocol):
    """A system that can say how much waits in it."""

    def queued(self) -> int: ...
