"""A worker that starts several engines, each in a process and on a spool of its own, and parts every order among them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from processes import Crew, Family, Worker, lead, shares
from workload import together

_SECONDS = 300.0


class Engines:
    def __init__(self, family: Family, settings: dict[str, Any]) -> None:
        self._engines = Crew([_start(family, settings, number) for number in range(settings["engines"])])
        self._engines.wait_ready(_SECONDS)

    def obey(self, order: dict[str, Any]) -> dict[str, Any]:
        match order["do"]:
            case "send":
                return self._send(order["count"])
            case "queued":
                return {"queued": sum(answer["queued"] for answer in self._ask_all(order))}
            case _:
                return _in_all(self._ask_all(order))

    def _ask_all(self, order: dict[str, Any]) -> list[dict[str, Any]]:
        return self._engines.ask([order] * len(self._engines), _SECONDS)

    def _send(self, count: int) -> dict[str, Any]:
        parts = shares(count, len(self._engines))
        orders = [{"do": "send", "count": part, "with_seconds": True} for part in parts]
        return together(self._engines.ask(orders, _SECONDS))


def _start(family: Family, settings: dict[str, Any], number: int) -> Worker:
    folder = Path(settings["folder"], f"engine{number}")
    folder.mkdir()
    return family.worker("peers.postroad_worker", {**settings, "folder": str(folder)}, folder / "engine.err")


def _in_all(answers: list[dict[str, Any]]) -> dict[str, Any]:
    """What they say when they have finished."""
    return {
        "cpu_seconds": sum(answer["cpu_seconds"] for answer in answers),
        "commits": sum(answer["commits"] for answer in answers),
        "problem": "; ".join(filter(None, (answer["problem"] for answer in answers))),
    }


if __name__ == "__main__":
    lead(lambda family, settings: Engines(family, settings).obey)
