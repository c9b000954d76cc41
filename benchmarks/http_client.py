"""The HTTP transport: what a call costs beside bare httpx2 with the same bodies, and how many messages share a call.

    make bench-http                   five rounds, about a minute

The client runs in a process of its own and counts its own CPU; the sink is another process.  Bare httpx2 is given its bodies
ready: what ours costs more is reading the message, writing the request, signing it, and the verdict.  Results go to
benchmarks/out/http-client-*.json.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import trio

from measure import describe_machine
from options import add_octets, add_places, at_least, make_parser, positive, run_script
from places import save_json, work_folder
from postroad import Submission, open_engine
from postroad.log import configure_logging
from processes import Family, Worker
from report import span, table
from rounds import Spread
from workload import Template

_WAYS = ("httpx2", "postroad")
_PROVIDERS = ("ses", "postmark")
_WORST, _FEWEST = 1.3, 5.0  # asked for: times the client's own cost; messages a call
_LATENCY_SECONDS = 0.05  # of a provider's answer, for the queue: an answer at once leaves nothing to gather


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument("--rounds", type=at_least(1), default=5, help="of each way")
    parser.add_argument("--calls", type=at_least(1), default=1500, help="in a round, of each")
    parser.add_argument("--messages", type=at_least(1), default=2000, help="in the queue")
    add_octets(parser)
    parser.add_argument("--seconds", type=positive, default=120.0, help="the longest one run may take")
    add_places(parser, has_cache="for the work of a run")
    return parser.parse_args(argv)


class HttpSink:
    """seconds: before each answer."""

    def __init__(self, family: Family, folder: Path, seconds: float = 0.0) -> None:
        self._worker = family.worker(
            "http_sink", {"seconds": seconds}, folder / f"sink-{seconds:g}.err", title="the sink"
        )
        self._worker.answer(10)
        self.url = f"http://127.0.0.1:{self.counts()['port']}"

    def counts(self) -> dict[str, Any]:
        """Since the last look."""
        return self._worker.ask({}, 10)


def measure_calls(options: argparse.Namespace, family: Family, folder: Path) -> list[dict[str, Any]]:
    sink = HttpSink(family, folder)
    runs: list[dict[str, Any]] = []
    for number in range(options.rounds):
        for provider in _PROVIDERS:
            for way in _WAYS if number % 2 else reversed(_WAYS):
                settings = {"provider": provider, "way": way, "url": sink.url, "octets": options.octets}
                worker = family.worker("clients.http_calls", settings, folder / "client.err")
                told = _asked(worker, options)
                family.end(worker.process)
                if (calls := sink.counts()["calls"]) != options.calls:
                    raise RuntimeError(f"{options.calls} calls were made, {calls} arrived")
                runs.append({"round": number, "provider": provider, "way": way, **told})
                print(f"  round {number}: {provider} by {way}: {told['cpu_us']:.0f} us CPU a call", flush=True)
    return runs


def _asked(worker: Worker, options: argparse.Namespace) -> dict[str, Any]:
    worker.answer(options.seconds)
    return worker.ask({"count": options.calls}, options.seconds)


def measure_queue(options: argparse.Namespace, family: Family, folder: Path) -> dict[str, Any]:
    """One tenant's mixed queue through an engine, at the default windows: messages a call."""
    sink = HttpSink(family, folder, _LATENCY_SECONDS)
    begun = time.monotonic()
    trio.run(_run_queue, options, sink.url)
    told = sink.counts()
    if told["messages"] != options.messages:
        raise RuntimeError(f"{options.messages} messages were sent, {told['messages']} arrived")
    return {**told, "seconds": round(time.monotonic() - begun, 2), "a_call": told["messages"] / told["calls"]}


async def _run_queue(options: argparse.Namespace, url: str) -> None:
    letter = {"plugin": "http", "provider": "postmark", "api_key": "key-0123456789", "base_url": url, "others": "hide"}
    config = {
        "spool": {"url": "memory:"},
        "senders": {"authorized": ["*"]},
        "transports": {"letters": letter},
        "routes": [{"transport": "letters"}],
    }
    configure_logging("warning")
    async with open_engine(config) as engine:
        receipts = await engine.submit_many([_mixed(number, options.octets) for number in range(options.messages)])
        for receipt in receipts:
            await receipt.settled()


def _mixed(number: int, octets: int) -> Submission:
    """Senders, domains and sizes that differ, as a tenant's invoices, notices and answers do."""
    size = (octets // 10, octets, 3 * octets)[number % 3]
    recipient = f"box{number}@site{number % 7}.example"
    sender = f"sender{number % 5}@bench.example"
    return Submission(sender=sender, recipients=[recipient], content=Template(size, "mixed").message(number))


def _spread(runs: Sequence[dict[str, Any]], provider: str, way: str, figure: str) -> Spread | None:
    return Spread.of([run[figure] for run in runs if (run["provider"], run["way"]) == (provider, way)])


def _ratio(runs: Sequence[dict[str, Any]], provider: str, figure: str) -> Spread:
    """Ours to the client's own, within each round."""
    by = {(run["round"], run["way"]): run[figure] for run in runs if run["provider"] == provider}
    found = Spread.of([by[number, "postroad"] / by[number, "httpx2"] for number in {run["round"] for run in runs}])
    assert found is not None
    return found


def text_of(runs: Sequence[dict[str, Any]], queue: dict[str, Any]) -> str:
    rows = [["call", "httpx2, us CPU", "postroad, us CPU", "CPU", "time"]]
    for provider in _PROVIDERS:
        cpu = [span(_spread(runs, provider, way, "cpu_us"), ",.0f") for way in _WAYS]
        ratios = [span(_ratio(runs, provider, figure), ".2f", " x") for figure in ("cpu_us", "us")]
        rows.append([provider, *cpu, *ratios])
    calls = f"{queue['messages']:,} messages in {queue['calls']:,} calls: {queue['a_call']:.1f} messages a call"
    return f"{table(rows)}\n\nmixed queue: {calls} (at least {_FEWEST:g} are asked for, and at most {_WORST} x above)"


def main(argv: Sequence[str] | None = None) -> int:
    options, family = parse(argv), Family()
    with work_folder(options.cache) as folder, family.ended_at_exit():
        machine = describe_machine(folder)
        runs = measure_calls(options, family, folder)
        queue = measure_queue(options, family, folder)
        for left in folder.iterdir():
            with suppress(OSError):
                left.unlink()
    print(f"\n{text_of(runs, queue)}\nload before and after: {machine['load_before']}, {os.getloadavg()[0]:.2f}")
    path = save_json({"machine": machine, "runs": runs, "queue": queue}, options.out, "http-client")
    print(f"\nJSON: {path}")
    slow = any(_ratio(runs, provider, "cpu_us").median > _WORST for provider in _PROVIDERS)
    return 1 if slow or queue["a_call"] < _FEWEST else 0


if __name__ == "__main__":
    sys.exit(run_script(main))
