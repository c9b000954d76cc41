"""Alternating rounds: every peer once a round, in turning order, each started anew and warmed up; and what they come to.

A run counts only when the sink received exactly the messages sent and nothing was left in the queue.
"""

from __future__ import annotations

import shutil
import statistics
import subprocess
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from load import USUAL, Load
from measure import count_syncs, pss_of_tree
from peers import Peer, Place, Queueing, Sent
from processes import Family, Gone, OutOfTime
from sinks import Received, Sink

__all__ = ["TROUBLE", "Plan", "Run", "Spread", "Stage", "play", "play_syncs", "tell"]

_PATIENCE_SECONDS = 10.0  # between looks into the queue, which cost the system something
_HOPELESS_SECONDS = 1.0  # for what is left in a queue, where the sink lacks something anyhow
TROUBLE = (OutOfTime, RuntimeError, OSError, subprocess.SubprocessError)


@dataclass(frozen=True)
class Plan:
    """How much to do.

    seconds: the longest one run may take.  parts: of the messages, for peers that are slow, by name.
    cold: peers that are not warmed up, by name.
    """

    rounds: int
    messages: int
    warm_up: int
    seconds: float
    load: Load = USUAL
    parts: Mapping[str, float] = field(default_factory=dict[str, float])
    cold: Sequence[str] = ()

    def messages_of(self, peer: str) -> int:
        return max(1, round(self.messages * self.parts.get(peer, 1.0)))


@dataclass(frozen=True)
class Run:
    """One timed run of one peer.  recipients: of each message.  pss: octets of memory of all its processes at the end."""

    peer: str
    round: int
    messages: int
    sent: Sent
    received: Received
    recipients: int = 1
    pss: int | None = None

    @classmethod
    def failed(cls, peer: str, number: int, messages: int, error: Exception) -> Run:
        problem = str(error) if isinstance(error, Gone) else f"{type(error).__name__}: {error}"
        return cls(peer, number, messages, Sent(0.0, 0.0, problem=problem), Received(0, None, 0.0, 0.0))

    @property
    def problem(self) -> str:
        return self.sent.problem or self.received.problem(self.messages * self.recipients)

    @property
    def per_second(self) -> float:
        seconds = self.received.at - self.sent.began
        return self.messages / seconds if seconds > 0 else 0.0

    @property
    def cpu_ms(self) -> float:
        return 1000 * self.sent.cpu_seconds / self.messages

    @property
    def commits_per_message(self) -> float | None:
        return None if self.sent.commits is None else self.sent.commits / self.messages

    def told(self) -> dict[str, Any]:
        own = {"per_second": self.per_second, "cpu_ms": self.cpu_ms, "commits_per_message": self.commits_per_message}
        return {"problem": self.problem, **own, **asdict(self)}


@dataclass(frozen=True)
class Spread:
    """Least, median and most of some values."""

    least: float
    median: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread | None:
        return cls(min(values), statistics.median(values), max(values)) if values else None


@dataclass
class Stage:
    """Where the peers of one benchmark play."""

    family: Family
    folder: Path
    sink: Sink
    plan: Plan
    nameserver: int = 0
    _count: int = field(default=0)

    @contextmanager
    def started(self, peer: Peer) -> Generator[None]:
        """A peer, fresh and warmed up; ended and cleared away afterwards."""
        if gone := self.family.gone():
            raise Gone(gone)  # the sink, or whoever serves all
        self._count += 1
        folder = self.folder / f"{self._count:03d}"
        folder.mkdir()
        with self.family.those_started_here():
            with self._naming_who_ended():
                peer.start(Place(self.family, folder, self.sink, self.plan.load, self.nameserver))
            try:
                with self._naming_who_ended():
                    if self.plan.warm_up and peer.name not in self.plan.cold:
                        self._warm_up(peer)
                    yield
            finally:
                peer.stop()
        shutil.rmtree(folder)  # kept when the run failed: its .err and .log files say why

    @contextmanager
    def _naming_who_ended(self) -> Generator[None]:
        """What is to be told of is the process that ended, before whoever waited for it."""
        try:
            yield
        except TROUBLE as error:
            if gone := self.family.gone(str(error)):
                raise Gone(f"{gone}; then: {error}") from error
            raise

    def _warm_up(self, peer: Peer) -> None:
        run = self.run(peer, 0, min(self.plan.warm_up, self.plan.messages_of(peer.name)))
        if run.received.problem(run.messages * run.recipients):
            raise RuntimeError(f"warming up: {run.problem}")

    def run(self, peer: Peer, number: int, messages: int) -> Run:
        self.sink.reset()
        begun, recipients = time.monotonic(), self.plan.load.recipients
        peer.send(messages, self.plan.seconds)
        received = self._wait(peer, messages * recipients, max(1.0, self.plan.seconds - (time.monotonic() - begun)))
        is_all_there = not received.problem(messages * recipients)
        sent = peer.finish(self.plan.seconds if is_all_there else _HOPELESS_SECONDS)
        run = Run(peer.name, number, messages, sent, received, recipients, pss_of_tree(peer.pid))
        if run.problem and (gone := self.family.gone()):
            raise Gone(f"{gone}; then: {run.problem}")
        return run

    def _wait(self, peer: Peer, count: int, seconds: float) -> Received:
        """Until the sink has all, at most so long, and not much longer than there is something in the queue."""
        deadline = time.monotonic() + seconds
        received, is_empty = self.sink.wait(count, min(seconds, _PATIENCE_SECONDS)), False
        while received.counted < count and not is_empty and (left := deadline - time.monotonic()) > 0:
            is_empty = isinstance(peer, Queueing) and not peer.queued()
            received = self.sink.wait(count, min(left, _HOPELESS_SECONDS if is_empty else _PATIENCE_SECONDS))
        return received


def play(stage: Stage, peers: Sequence[Peer], tell: Callable[[Run], None]) -> list[Run]:
    """All rounds; `tell` hears of every run when it is over."""
    runs: list[Run] = []
    for number in range(1, stage.plan.rounds + 1):
        turn = (number - 1) % len(peers)
        for peer in (*peers[turn:], *peers[:turn]):
            runs.append(_play_one(stage, peer, number))
            tell(runs[-1])
    return runs


def _play_one(stage: Stage, peer: Peer, number: int) -> Run:
    """A peer that fails loses this run; the others go on."""
    messages = stage.plan.messages_of(peer.name)
    try:
        with stage.started(peer):
            return stage.run(peer, number, messages)
    except TROUBLE as error:
        return Run.failed(peer.name, number, messages, error)


def play_syncs(stage: Stage, peers: Sequence[Peer], messages: int) -> dict[str, float]:
    """Syncs per message by peer, in runs of their own: strace slows what it watches."""
    syncs: dict[str, float] = {}
    for peer in peers:
        with suppress(*TROUBLE), stage.started(peer):
            count = count_syncs(stage.family, peer.pid, partial(stage.run, peer, 0, messages), stage.folder)
            if count is not None:
                syncs[peer.name] = count / messages
    return syncs


def tell(run: Run) -> None:
    """Say on standard output how a run went, as soon as it is over."""
    figure = run.problem or f"{run.per_second:,.0f} messages/s, {run.cpu_ms:.3f} ms CPU a message"
    print(f"  round {run.round}: {run.peer}: {figure}", flush=True)
