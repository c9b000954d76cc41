"""`mail.send_mail` from many processes into one spool while an engine runs: calls a second, the worst wait, none lost or doubled.

    python benchmarks/appengine.py [--processes 8] [--messages 1000]

Ends with an error unless every message reached the engine's transport exactly once.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from options import at_least, folder_path, make_parser, run_script
from processes import BENCHMARKS, Family, Worker

_SECONDS = 300.0
_ALONE, _PAUSE_SECONDS = 200, 0.01  # messages of the second part: how soon an engine at rest has one


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument("--processes", type=at_least(1), default=8, help="that send")
    parser.add_argument("--messages", type=at_least(1), default=1000, help="calls of each process")
    usual = str(BENCHMARKS / "out")
    parser.add_argument("--folder", type=folder_path, default=usual, help="where the spool lies: a real disk")
    return parser.parse_args(argv)


def main() -> int:
    given, family = parse(), Family()
    with tempfile.TemporaryDirectory(dir=given.folder) as folder, family.ended_at_exit():
        return _run(family, Path(folder), given.processes, given.messages)


def _run(family: Family, folder: Path, processes: int, messages: int) -> int:
    spool = str(folder / "spool.db")
    engine = _worker(family, folder, role="engine", spool=spool)
    senders = [_worker(family, folder, role="sender", spool=spool, name=f"s{number}") for number in range(processes)]
    engine.ask({"count": processes}, _SECONDS)  # those that warmed up
    order = {"messages": messages, "pause": 0}
    with ThreadPoolExecutor(processes) as pool:
        said = list(pool.map(lambda worker: worker.ask(order, _SECONDS), senders))
    is_sound = _tell_crowd(said, engine.ask({"count": processes * messages}, _SECONDS))
    alone = senders[0].ask({"messages": _ALONE, "pause": _PAUSE_SECONDS}, _SECONDS)
    at = engine.ask({"count": _ALONE}, _SECONDS)["at"]
    waits = sorted(1000 * (at[subject] - begun) for subject, begun, _ in alone["calls"])
    print(f"call to transport, one sender: median {waits[len(waits) // 2]:.1f} ms, worst {waits[-1]:.1f} ms")
    return 0 if is_sound else 1


def _worker(family: Family, folder: Path, **settings: Any) -> Worker:
    worker = family.worker("appengine_worker", settings, folder / f"{settings.get('name', 'engine')}.err")
    worker.answer(_SECONDS)
    return worker


def _tell_crowd(said: list[dict[str, Any]], heard: dict[str, Any]) -> bool:
    calls = [call for each in said for call in each["calls"]]
    seconds = max(end for _, _, end in calls) - min(begun for _, begun, _ in calls)
    waits = sorted(1000 * (end - begun) for _, begun, end in calls)
    arrivals = sorted(1000 * (heard["at"][subject] - begun) for subject, begun, _ in calls if subject in heard["at"])
    lost, doubled = len(calls) - len(heard["at"]), heard["calls"] - len(heard["at"])
    print(f"{len(said)} processes, {len(calls)} calls in {seconds:.2f} s: {len(calls) / seconds:.0f} a second")
    print(f"a call: median {waits[len(waits) // 2]:.1f} ms, worst {waits[-1]:.1f} ms")
    print(f"CPU of a call in its process: {1e6 * sum(each['cpu'] for each in said) / len(calls):.0f} us")
    print(f"call to transport: median {arrivals[len(arrivals) // 2]:.1f} ms, worst {arrivals[-1]:.1f} ms")
    print(f"lost {lost}, doubled {doubled}")
    return not lost and not doubled


if __name__ == "__main__":
    sys.exit(run_script(main))
