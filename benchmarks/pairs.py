"""One submitter alone: what a durable accept takes, turn by turn with the disk's own write and sync of the same octets."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from peers.postroad import Postroad
from rounds import Spread, Stage

__all__ = ["compare", "measure_pairs"]


def measure_pairs(stage: Stage, peer: Postroad, count: int) -> dict[str, Any]:
    """So many pairs in each round.  The message is delivered before the disk's turn comes."""
    rounds: list[Mapping[str, Any]] = []
    for _ in range(stage.plan.rounds):
        with stage.started(peer):
            stage.sink.reset()
            told = peer.pair(count, stage.plan.seconds)
            received = stage.sink.wait(count, stage.plan.seconds)
            rounds.append({**compare(told["accepted"], told["synced"]), "problem": received.problem(count)})
    counted = [one for one in rounds if not one["problem"]]
    spread = Spread.of([one["ratio"] for one in counted])
    return {
        "pairs": count,
        "rounds": rounds,
        "ratio": vars(spread) if spread else None,
        "accept_ms": _median(counted, "accept_ms"),
        "sync_ms": _median(counted, "sync_ms"),
    }


def compare(accepted: Sequence[float], synced: Sequence[float]) -> dict[str, float]:
    """Medians in milliseconds, and how many times the disk's median the accept's is."""
    accept, sync = statistics.median(accepted), statistics.median(synced)
    return {"accept_ms": 1000 * accept, "sync_ms": 1000 * sync, "ratio": accept / sync}


def _median(rounds: Sequence[Mapping[str, Any]], name: str) -> float | None:
    return statistics.median(one[name] for one in rounds) if rounds else None
