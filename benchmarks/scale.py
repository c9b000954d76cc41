"""Does the engine stay small and quick when the queue is large?  Each scenario prints its figures, and names those that miss.

    make scale                                            all scenarios, about a quarter of an hour, 25 GB of disk
    make scale ARGS="--scenarios backlog --messages 100000"

Memory is the proportional set size of the engine's process, sampled every half second from its start to its end.  Everything
is on loopback, every process is ended by its pid.  Results go to benchmarks/out/*.json.
"""

from __future__ import annotations

import argparse
import math
import shutil
import sys
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from threading import Event, Thread
from typing import Any

from measure import describe_machine, pss
from options import add_places, at_least, make_parser, names, run_script
from places import save_json, work_folder
from processes import Family, Worker
from rounds import Spread
from sinks import CountingSink

_OCTETS = 400  # "short bodies will do"
_LARGE_OCTETS = 20_000_000
_EACH = 100  # messages on a lane
_WARM = 10  # messages in a spool that counts as empty
_SAMPLE_SECONDS = 0.5
_TURNS = 50  # of twenty messages, in a round
_MINUTES = 60.0


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument(
        "--scenarios", type=names("scenarios", SCENARIOS), default=",".join(SCENARIOS), help="separated by commas"
    )
    parser.add_argument(
        "--messages", type=at_least(10 * _EACH), default=1_000_000, help="queued, a hundred on each lane"
    )
    parser.add_argument("--large", type=at_least(1), default=1000, help="messages of 20 MB")
    parser.add_argument(
        "--troubled", type=at_least(1), default=100_000, help="messages for each of two troubled destinations"
    )
    parser.add_argument("--rounds", type=at_least(1), default=9, help="of what is compared side by side")
    add_places(parser, has_cache="spools (on the disk to be measured)")
    return parser.parse_args(argv)


@dataclass
class Found:
    """What a scenario measured.  missed: targets that were not met, in words."""

    figures: dict[str, Any] = field(default_factory=dict[str, Any])
    missed: list[str] = field(default_factory=list[str])

    def add(self, name: str, value: float | Spread, most: float = math.inf) -> None:
        """Keep a figure; `most` is what its median may be."""
        self.figures[name] = value
        figure = value.median if isinstance(value, Spread) else value
        if figure > most:
            self.missed.append(f"{name}: {_shown(value)}, allowed {most:g}")


def _shown(value: float | Spread) -> str:
    if isinstance(value, Spread):
        return f"{value.median:,.3g} ({value.least:,.3g} - {value.most:,.3g})"
    return f"{value:,.4g}"


class Memory:
    """Samples a process's memory beside everything else."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._most = 0.0
        self._over = Event()
        self._thread = Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._over.wait(_SAMPLE_SECONDS):
            self._look()

    def _look(self) -> None:
        self._most = max(self._most, pss(self._pid) / 1e6)

    def since(self) -> float:
        """The most since this was asked last, in megabytes."""
        self._look()
        most, self._most = self._most, 0.0
        return most

    def stop(self) -> None:
        self._over.set()
        self._thread.join()


class Application:
    """An engine's process, seen from here."""

    def __init__(self, family: Family, folder: Path, port: int = 1, octets: int = _OCTETS) -> None:
        folder.mkdir(exist_ok=True)
        settings = {"folder": str(folder), "port": port, "octets": octets}
        self._family = family
        self._worker: Worker = family.worker("scale_engine", settings, folder.with_suffix(".err"))
        self._worker.answer(_MINUTES)
        self.memory = Memory(self._worker.process.pid)

    def ask(self, do: str, **order: Any) -> dict[str, Any]:
        return self._worker.ask({"do": do, **order}, 60 * _MINUTES)

    def open(self, *, accepts: bool = False) -> dict[str, Any]:
        return self.ask("open", accepts=accepts)

    def end(self) -> None:
        self.memory.stop()
        self._family.end(self._worker.process)


@contextmanager
def application(*arguments: Any, **more: Any) -> Generator[Application]:
    running = Application(*arguments, **more)
    try:
        yield running
    finally:
        running.end()


# --- the scenarios ---


def measure_backlog(options: argparse.Namespace, family: Family, folder: Path, found: Found) -> None:
    """A queue that only grows; what leasing and settling cost then; a start on it, and deliveries from it."""
    domains = [f"d{number}.example" for number in range(options.messages // _EACH)]
    spool = folder / "backlog"
    with application(family, spool) as engine:
        engine.open()
        engine.ask("fill", count=_WARM, domains=domains)
        empty = engine.memory.since()
        found.add("empty, MB", empty)
        seconds = engine.ask("fill", count=options.messages, domains=domains)["seconds"]
        found.add("accepted a second", options.messages / seconds)
        found.add("while accepting, MB over empty", engine.memory.since() - empty, 96)
        engine.ask("close")
    measure_leasing(options, family, folder, found)
    with application(family, spool) as engine:
        opened = engine.open(accepts=True)
        assert opened["messages"] + opened["accepted"] >= options.messages + _WARM, opened
        found.add("start, seconds", opened["seconds"], 2)
        delivered = engine.ask("deliver", seconds=20)
        found.add("delivered a second", delivered["delivered"] / delivered["seconds"])
        found.add("after a start and while delivering, MB over empty", engine.memory.since() - empty, 96)
        engine.ask("close")


def measure_leasing(options: argparse.Namespace, family: Family, folder: Path, found: Found) -> None:
    """Leasing and settling in the spool of `backlog`, and in one with a hundredth of its messages, in turn."""
    small = folder / "small"
    small.mkdir()
    settings = {
        "small": str(small),
        "large": str(folder / "backlog"),
        "small_lanes": options.messages // _EACH // 100,
        "each": _EACH,
        "octets": _OCTETS,
    }
    worker = family.worker("scale_store", settings, folder / "store.err")
    worker.answer(10 * _MINUTES)
    rounds = [worker.ask({"round": number, "turns": _TURNS}, _MINUTES) for number in range(options.rounds + 1)][1:]
    family.end(worker.process)
    for unit, name in (("us", "time"), ("cpu_us", "CPU")):
        for size in ("small", "large"):
            found.add(f"lease and settle, {size} spool, us of {name}", _spread(one[size][unit] for one in rounds))
        ratio = _spread(one["large"][unit] / one["small"][unit] for one in rounds)
        found.add(f"lease and settle, large to small spool, {name}", ratio, 1.3)


def measure_large(options: argparse.Namespace, family: Family, folder: Path, found: Found) -> None:
    """Messages of 20 MB from a file into the spool, and out over SMTP, as quickly as the disk goes."""
    path = folder / "large.eml"
    with path.open("wb") as file:
        file.write(b"From: a@bench.example\r\nSubject: large\r\n\r\n")
        file.writelines([b"x" * 76 + b"\r\n"] * (_LARGE_OCTETS // 78))
    sink = CountingSink(family, folder)
    with application(family, folder / "large", sink.port) as engine:
        engine.open()
        began = time.monotonic()
        left = engine.ask("send_files", count=options.large, path=str(path), ahead=8)["messages"]
        accepted = time.monotonic() - began
        received = sink.wait(options.large, 20 * _MINUTES)
        found.add("20 MB messages, accepted MB a second", options.large * _LARGE_OCTETS / 1e6 / accepted)
        found.add("20 MB messages, queued when the last was accepted", left)
        found.add("20 MB messages, not received", options.large - received.messages, 0)
        found.add("20 MB messages, MB", engine.memory.since(), 256)
        engine.ask("close")


def measure_neighbours(options: argparse.Namespace, family: Family, folder: Path, found: Found) -> None:
    """A steady stream of mail through an engine with a slow and a dead destination, and through one without, in turn."""
    sink = CountingSink(family, folder)
    with (
        application(family, folder / "alone", sink.port) as alone,
        application(family, folder / "beside", sink.port) as beside,
    ):
        for engine in (alone, beside):
            engine.open()
        beside.ask("fill", count=2 * options.troubled, domains=["slow.example", "dead.example"])
        rounds = [_latencies(sink, [alone, beside], number) for number in range(options.rounds + 1)][1:]
        found.add("beside troubled destinations, MB", beside.memory.since())
    for name in ("p50_ms", "p99_ms"):
        found.add(f"{name} alone", _spread(one[0][name] for one in rounds))
        found.add(f"{name} beside troubled destinations", _spread(one[1][name] for one in rounds))
        found.add(f"{name} beside to alone", _spread(one[1][name] / one[0][name] for one in rounds), 1.2)


def _latencies(sink: CountingSink, engines: Sequence[Application], number: int) -> list[Mapping[str, float]]:
    """From submission to receipt, for each engine; which one is first changes from round to round."""
    told: dict[int, Mapping[str, float]] = {}
    for place in (0, 1) if number % 2 else (1, 0):
        sink.reset()
        engines[place].ask("pace", per_second=_PACE, count=_PACED)
        received = sink.wait(_PACED, _MINUTES)
        if problem := received.problem(_PACED):
            raise RuntimeError(problem)
        told[place] = received.latency
    return [told[0], told[1]]


_PACE, _PACED = 200, 2000
Scenario = Callable[[argparse.Namespace, Family, Path, Found], None]
SCENARIOS: Mapping[str, Scenario] = {
    "backlog": measure_backlog,
    "large": measure_large,
    "neighbours": measure_neighbours,
}


def _spread(values: Any) -> Spread:
    spread = Spread.of(list(values))
    assert spread is not None
    return spread


# --- the report ---


def benchmark(options: argparse.Namespace) -> tuple[dict[str, Any], list[str]]:
    family = Family()
    told: dict[str, Any] = {}
    missed: list[str] = []
    with work_folder(options.cache) as folder, family.ended_at_exit():
        told["machine"] = describe_machine(folder)
        for name in options.scenarios:
            found = Found()
            place = folder / name
            place.mkdir()
            print(f"{name}: {SCENARIOS[name].__doc__}", flush=True)
            SCENARIOS[name](options, family, place, found)
            shutil.rmtree(place)
            for figure, value in found.figures.items():
                print(f"  {figure}: {_shown(value)}", flush=True)
            told[name] = {figure: _plain(value) for figure, value in found.figures.items()}
            missed += [f"{name}: {text}" for text in found.missed]
    return told, missed


def _plain(value: float | Spread) -> object:
    return asdict(value) if isinstance(value, Spread) else value


def main(argv: Sequence[str] | None = None) -> int:
    options = parse(argv)
    told, missed = benchmark(options)
    for text in missed:
        print(f"MISSED: {text}")
    print(f"JSON: {save_json({**told, 'missed': missed}, options.out, 'scale')}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(run_script(main))
