"""What a benchmark came to, as a table for people and as JSON for programs.

Ratios are taken within each round, between runs a few seconds apart, because the machine's mood moves absolute figures.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from peers import Peer
from rounds import Plan, Run, Spread

__all__ = ["Report", "span", "table"]

_NOTES = (
    "Each round runs every system once, one after the other, in turning order; figures are medians over rounds (least - most).",
    "messages/s: from the first submission until the sink has all; a run with a missing or doubled message does not count.",
    "CPU: of the system's own processes until nothing is left to do, without the sink.  smtp-source, which feeds Postfix, is",
    "left out; the submitters inside postroad's and smtplib's processes are counted.",
    "The API road skips the SMTP-in work that Postfix does (its own local API, sendmail, is several times slower than its SMTP).",
)


@dataclass(frozen=True)
class Report:
    """Everything there is to tell.  absent: peers that could not run, and why.  subject: the peer that is compared with all."""

    plan: Plan
    machine: Mapping[str, Any]
    sink: str
    sync_rate: float
    peers: Sequence[Peer]
    absent: Mapping[str, str]
    runs: Sequence[Run]
    syncs: Mapping[str, float]
    subject: str

    @property
    def problems(self) -> list[str]:
        return [f"{run.peer}, round {run.round}: {run.problem}" for run in self.runs if run.problem]

    def _spread(self, peer: str, value: Callable[[Run], float | None]) -> Spread | None:
        values = [value(run) for run in self._counted(peer)]
        return Spread.of([one for one in values if one is not None])

    def _counted(self, peer: str) -> list[Run]:
        return [run for run in self.runs if run.peer == peer and not run.problem]

    def ratio(self, peer: str, of: str = "") -> Spread | None:
        """How many times a system (the subject, if none is named) is as fast as a peer, round by round."""
        theirs = {run.round: run.per_second for run in self._counted(peer)}
        ours = self._counted(of or self.subject)
        return Spread.of([run.per_second / theirs[run.round] for run in ours if run.round in theirs])

    # --- for programs ---

    def summary(self) -> dict[str, Any]:
        return {peer.name: self._summary_of(peer) for peer in self.peers}

    def _summary_of(self, peer: Peer) -> dict[str, Any]:
        spreads = {
            "per_second": self._spread(peer.name, lambda run: run.per_second),
            "cpu_ms": self._spread(peer.name, lambda run: run.cpu_ms),
            "commits_per_message": self._spread(peer.name, lambda run: run.commits_per_message),
            "durable_p50_ms": self._spread(peer.name, lambda run: run.sent.durable.get("p50_ms")),
            "durable_p99_ms": self._spread(peer.name, lambda run: run.sent.durable.get("p99_ms")),
            "received_p50_ms": self._spread(peer.name, lambda run: run.received.latency.get("p50_ms")),
            "received_p99_ms": self._spread(peer.name, lambda run: run.received.latency.get("p99_ms")),
            "durable_max_ms": self._spread(peer.name, lambda run: run.sent.durable.get("max_ms")),
            "pss_mb": self._spread(peer.name, lambda run: None if run.pss is None else run.pss / 1e6),
            "subject_ratio": self.ratio(peer.name),
            "postfix_ratio": self.ratio("postfix", of=peer.name),
        }
        return {
            "level": peer.level,
            "durability": peer.durability,
            "settings": peer.settings,
            "counted_runs": len(self._counted(peer.name)),
            "syncs_per_message": self.syncs.get(peer.name),
            **{name: asdict(spread) if spread else None for name, spread in spreads.items()},
        }

    def told(self) -> dict[str, Any]:
        return {
            "plan": asdict(self.plan),
            "machine": self.machine,
            "sink": self.sink,
            "disk_syncs_per_second": self.sync_rate,
            "summary": self.summary(),
            "absent": self.absent,
            "problems": self.problems,
            "runs": [run.told() for run in self.runs],
        }

    # --- for people ---

    def text(self) -> str:
        rows = [_HEADINGS, *(self._row(peer) for peer in self.peers)]
        parts = ["", table(rows), "", *self._durability(), ""]
        parts += [f"absent: {name}: {reason}" for name, reason in self.absent.items()]
        parts += [f"DOES NOT COUNT: {problem}" for problem in self.problems]
        return "\n".join([*parts, *_NOTES])

    def _row(self, peer: Peer) -> list[str]:
        name = peer.name
        return [
            name,
            span(self._spread(name, lambda run: run.per_second), ",.0f"),
            "1" if name == self.subject else span(self.ratio(name), ".2f", " x"),
            span(self._spread(name, lambda run: run.cpu_ms), ".3f"),
            _median(self._spread(name, lambda run: run.commits_per_message), ".3f"),
            f"{self.syncs[name]:.3f}" if name in self.syncs else "-",
            self._pair(name, lambda run: run.sent.durable),
            self._pair(name, lambda run: run.received.latency),
        ]

    def _pair(self, name: str, of: Callable[[Run], Mapping[str, float]]) -> str:
        half = self._spread(name, lambda run: of(run).get("p50_ms"))
        most = self._spread(name, lambda run: of(run).get("p99_ms"))
        return f"{half.median:.1f} / {most.median:.1f}" if half and most else "-"

    def _durability(self) -> list[str]:
        return [f"{peer.name}: durability: {peer.durability}; {peer.settings}" for peer in self.peers]


_HEADINGS = [
    "system",
    "messages/s (least - most)",
    "postroad is",
    "CPU ms/message",
    "commits/message",
    "syncs/message",
    "durable p50 / p99 ms",
    "received p50 / p99 ms",
]


def span(spread: Spread | None, form: str, unit: str = "") -> str:
    if spread is None:
        return "-"
    return f"{spread.median:{form}}{unit} ({spread.least:{form}} - {spread.most:{form}})"


def _median(spread: Spread | None, form: str) -> str:
    return f"{spread.median:{form}}" if spread else "-"


def table(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])
