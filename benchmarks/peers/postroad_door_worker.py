"""A worker that starts an engine and some processes that submit to it from outside, and passes orders on to them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from processes import Crew, Family, lead, shares
from tree import cpu_of_tree
from workload import together

_SECONDS = 300.0


class House:
    """An engine and its doors."""

    def __init__(self, family: Family, settings: dict[str, Any]) -> None:
        folder = Path(settings["folder"])
        self._engine = family.worker("peers.postroad_worker", settings, folder / "engine.err")
        self._engine.answer(_SECONDS)
        doors = [
            family.worker("peers.door_worker", {**settings, "door": number}, folder / f"door{number}.err")
            for number in range(settings["processes"])
        ]
        self._doors = Crew(doors)
        self._doors.wait_ready(_SECONDS)
        self._pids = [worker.process.pid for worker in (self._engine, *doors)]
        self._cpu = 0.0

    def obey(self, order: dict[str, Any]) -> dict[str, Any]:
        if order["do"] == "send":
            return self._send(order["count"])
        told = self._engine.ask(order, _SECONDS)
        return {**told, "cpu_seconds": self._used() - self._cpu} if order["do"] == "finish" else told

    def _used(self) -> float:
        return sum(map(cpu_of_tree, self._pids))

    def _send(self, count: int) -> dict[str, Any]:
        """Have each door send its part."""
        self._cpu = self._used()
        self._engine.ask({"do": "send", "count": 0}, _SECONDS)  # its counters begin here
        return together(self._doors.ask([{"count": part} for part in shares(count, len(self._doors))], _SECONDS))


if __name__ == "__main__":
    lead(lambda family, settings: House(family, settings).obey)
