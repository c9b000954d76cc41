"""Memory while messages wait: all processes of a system, with so many in its queue and nobody who takes them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from measure import pss_of_tree
from peers import Queueing
from rounds import TROUBLE, Plan, Run, Stage
from sinks import Received, free_port

__all__ = ["DeadSink", "measure_backlog"]

_LOOK_SECONDS = 0.2


class DeadSink:
    """A port where nobody listens."""

    name = "nobody: connections are refused"
    folder: Path | None = None

    def __init__(self) -> None:
        self.port = free_port()

    def reset(self) -> None:
        pass

    def wait(self, count: int, seconds: float) -> Received:
        return Received(0, 0, time.monotonic(), 0.0)


def measure_backlog(stage: Stage, peers: Mapping[str, Queueing]) -> dict[str, Any]:
    """Memory of each system in megabytes (proportional set size), and why it does not count, if so."""
    return {peer.name: _measure_one(stage, peer) for peer in peers.values()}


def _measure_one(stage: Stage, peer: Queueing) -> dict[str, Any]:
    plan: Plan = stage.plan
    try:
        with stage.started(peer):
            before = pss_of_tree(peer.pid)
            peer.send(plan.messages, plan.seconds)
            queued = _wait_queued(peer, plan.messages, plan.seconds)
            pss = pss_of_tree(peer.pid)
    except TROUBLE as error:
        return {"problem": Run.failed(peer.name, 1, plan.messages, error).problem}
    told = {"queued": queued, "pss_mb": _mb(pss), "empty_pss_mb": _mb(before), "durability": peer.durability}
    return {
        **told,
        "problem": "" if queued == plan.messages else f"{queued:,} of {plan.messages:,} messages wait in it",
    }


def _wait_queued(peer: Queueing, count: int, seconds: float) -> int:
    deadline = time.monotonic() + seconds
    while (queued := peer.queued()) != count and time.monotonic() < deadline:
        time.sleep(_LOOK_SECONDS)
    return queued


def _mb(octets: int | None) -> float | None:
    return None if octets is None else octets / 1e6
