"""The SMTP transport alone, without queue and spool, beside aiosmtplib, smtplib and Postfix's smtp-source, in alternating rounds.

    make bench-smtp                   five rounds of every scenario, about three minutes
    make bench-smtp ARGS="--rounds 3 --scenarios kept,link"

Every client runs in a process of its own and counts its own CPU; the sink is another process.  Everything is on loopback, and
every process is ended by its pid, also on Ctrl-C.  Results go to benchmarks/out/smtp-client-*.json.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import trustme

from clients.rivals import SmtpSource, WorkerClient, find_aiosmtplib
from load import Load
from measure import describe_machine
from options import add_octets, add_places, at_least, make_parser, names, positive, run_script
from peers import Peer
from peers.debian import find_programs
from places import save_json, work_folder
from processes import Family
from report import span, table
from rounds import Plan, Run, Spread, Stage, play
from sinks import CountingSink, Received, Sink, SmtpSink

SUBJECT = "postroad"
_USUAL = (
    "smtplib and EmailMessage"  # what applications do: the message is made, and the host's name looked up, each time
)
ROUND_TRIP_SECONDS = 0.05


@dataclass(frozen=True)
class Scenario:
    """What is measured.  clients: by name.  link: through a link with a round trip of 50 ms.  foreign_sink: into smtp-sink.

    A client of the same name with "plain" behind it goes beside TLS without it.
    """

    name: str
    about: str
    clients: Sequence[str]
    messages: int
    sessions: int = 20
    kept: bool = True
    tls: bool = False
    link: bool = False
    foreign_sink: bool = False


SCENARIOS = (
    Scenario("kept", "20 kept connections", (SUBJECT, "aiosmtplib", "smtplib", "smtp-source"), 4000),
    Scenario(
        "smtp-sink",
        "20 kept connections into smtp-sink",
        (SUBJECT, "aiosmtplib", "smtp-source"),
        4000,
        foreign_sink=True,
    ),
    Scenario(
        "single", "a connection a message", (SUBJECT, "aiosmtplib", "smtplib", _USUAL, "smtp-source"), 1000, kept=False
    ),
    Scenario(
        "starttls",
        "20 kept connections, STARTTLS",
        (SUBJECT, "postroad plain", "aiosmtplib", "smtplib"),
        3000,
        tls=True,
    ),
    Scenario("link", "one connection, round trip 50 ms", (SUBJECT, "aiosmtplib", "smtplib"), 25, sessions=1, link=True),
)


class FarSink:
    """A sink behind the link."""

    def __init__(self, sink: CountingSink, family: Family, folder: Path) -> None:
        self.name = f"{sink.name}, behind {1000 * ROUND_TRIP_SECONDS:.0f} ms of round trip"
        self._sink = sink
        settings = {"port": sink.port, "seconds": ROUND_TRIP_SECONDS / 2}
        self.port = int(family.worker("delaying_link", settings, folder / "link.err").answer(20.0)["port"])

    folder: Path | None = None

    def reset(self) -> None:
        self._sink.reset()

    def wait(self, count: int, seconds: float) -> Received:
        return self._sink.wait(count, seconds)


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser, known = make_parser(__doc__), [*(one.name for one in SCENARIOS), "memory"]
    parser.add_argument("--rounds", type=at_least(1), default=5, help="of every client")
    add_octets(parser)
    parser.add_argument(
        "--scenarios", type=names("scenarios", known), default=",".join(known), help="separated by commas"
    )
    parser.add_argument("--no-fetch", action="store_true", help="do not fetch Debian's package where Postfix is absent")
    parser.add_argument("--seconds", type=positive, default=60.0, help="the longest one run may take")
    add_places(parser, has_cache="unpacked packages, environments")
    return parser.parse_args(argv)


def make_clients(scenario: Scenario, options: argparse.Namespace) -> list[Peer]:
    shape = {"sessions": scenario.sessions, "kept": scenario.kept, "tls": scenario.tls}
    python, absent = find_aiosmtplib(options.cache) if "aiosmtplib" in scenario.clients else (Path(), "")
    makers: Mapping[str, Callable[[], Peer]] = {
        SUBJECT: lambda: WorkerClient(SUBJECT, "postroad_client", shape),
        "postroad plain": lambda: WorkerClient("postroad plain", "postroad_client", {**shape, "tls": False}),
        "aiosmtplib": lambda: WorkerClient("aiosmtplib", "aiosmtplib_client", shape, python=python, absent=absent),
        "smtplib": lambda: WorkerClient("smtplib", "smtplib_client", shape),
        _USUAL: lambda: WorkerClient(_USUAL, "smtplib_client", {**shape, "usual": True}),
        "smtp-source": lambda: SmtpSource(shape, options.cache, may_fetch=not options.no_fetch),
    }
    return [makers[name]() for name in scenario.clients]


@dataclass(frozen=True)
class Outcome:
    """The runs of one scenario, and what they come to.  absent: clients that could not run, and why."""

    scenario: Scenario
    sink: str
    runs: Sequence[Run]
    absent: Mapping[str, str]

    def _good(self, name: str) -> list[Run]:
        return [run for run in self.runs if run.peer == name and not run.problem]

    def spread(self, name: str, value: Callable[[Run], float]) -> Spread | None:
        return Spread.of([value(run) for run in self._good(name)])

    def ratio(self, name: str, value: Callable[[Run], float]) -> Spread | None:
        """The subject's value over another client's, round by round."""
        theirs = {run.round: value(run) for run in self._good(name)}
        return Spread.of([value(run) / theirs[run.round] for run in self._good(SUBJECT) if theirs.get(run.round)])

    def round_trips(self, run: Run) -> float:
        """Per message, where the link is all that takes time."""
        return (run.received.at - run.sent.began) / ROUND_TRIP_SECONDS / run.messages

    @property
    def problems(self) -> list[str]:
        return [
            f"{self.scenario.name}: {run.peer}, round {run.round}: {run.problem}" for run in self.runs if run.problem
        ]

    def summary(self) -> dict[str, Any]:
        def told(spread: Spread | None) -> dict[str, float] | None:
            return asdict(spread) if spread else None

        return {
            name: {
                "per_second": told(self.spread(name, lambda run: run.per_second)),
                "cpu_us": told(self.spread(name, _cpu_us)),
                "rate_ratio": told(self.ratio(name, lambda run: run.per_second)),
                "cpu_ratio": told(self.ratio(name, _cpu_us)),
                "sink_cpu_us": told(self.spread(name, _sink_cpu_us)),
                "round_trips": told(self.spread(name, self.round_trips)) if self.scenario.link else None,
            }
            for name in self.scenario.clients
        }

    def text(self) -> str:
        last = "round trips/message" if self.scenario.link else "postroad's CPU is"
        rows = [["client", "messages/s (least - most)", "postroad is", "CPU us/message", last, "sink's"]]
        for name in self.scenario.clients:
            rate = self.ratio(name, lambda run: run.per_second)
            cpu = self.spread(name, self.round_trips) if self.scenario.link else self.ratio(name, _cpu_us)
            rows.append(
                [
                    name,
                    span(self.spread(name, lambda run: run.per_second), ",.0f"),
                    "1" if name == SUBJECT else span(rate, ".2f", " x"),
                    span(self.spread(name, _cpu_us), ".0f"),
                    "1" if name == SUBJECT and not self.scenario.link else span(cpu, ".2f"),
                    span(self.spread(name, _sink_cpu_us), ".0f"),
                ]
            )
        parts = [
            f"\n{self.scenario.name}: {self.scenario.about}, {self.scenario.messages:,} messages a run",
            table(rows),
        ]
        parts += [f"absent: {name}: {reason}" for name, reason in self.absent.items()]
        return "\n".join([*parts, *(f"DOES NOT COUNT: {problem}" for problem in self.problems)])


def _cpu_us(run: Run) -> float:
    return 1000 * run.cpu_ms


def _sink_cpu_us(run: Run) -> float:
    return 1e6 * run.received.cpu_seconds / run.messages


def make_sink(scenario: Scenario, options: argparse.Namespace, family: Family, folder: Path) -> Sink:
    """Raises LookupError where smtp-sink is wanted and cannot be had."""
    if scenario.foreign_sink:
        programs = find_programs(options.cache, may_fetch=not options.no_fetch)
        if isinstance(programs, str):
            raise LookupError(programs)
        return SmtpSink(family, folder, programs.sbin / "smtp-sink", programs.environment())
    certificate = None
    if scenario.tls:
        certificate = folder / "certificate.pem"
        trustme.CA().issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(certificate)
    near = CountingSink(family, folder, certificate)
    return FarSink(near, family, folder) if scenario.link else near


def measure(scenario: Scenario, options: argparse.Namespace, family: Family, folder: Path) -> Outcome:
    folder.mkdir()
    try:
        sink = make_sink(scenario, options, family, folder)
    except LookupError as error:
        return Outcome(scenario, "none", [], {"smtp-sink": str(error)})
    clients = make_clients(scenario, options)
    absent = {peer.name: reason for peer in clients if (reason := peer.available())}
    load = Load(octets=options.octets)
    plan = Plan(options.rounds, scenario.messages, max(2, scenario.messages // 10), options.seconds, load)
    stage = Stage(family, folder, sink, plan)
    runs = play(stage, [peer for peer in clients if peer.name not in absent], _tell)
    if not any(run.problem for run in runs):
        shutil.rmtree(folder)
    return Outcome(scenario, sink.name, runs, absent)


def measure_memory(options: argparse.Namespace, family: Family, folder: Path, sessions: int = 1000) -> dict[str, Any]:
    """What open sessions cost: proportional set size of the client, with so many open against with one."""
    folder.mkdir()
    sink = CountingSink(family, folder)
    shape = {"sessions": sessions, "kept": True, "tls": False}
    client = WorkerClient(SUBJECT, "postroad_client", shape)
    stage = Stage(family, folder, sink, Plan(1, sessions, 0, options.seconds, Load(octets=options.octets)))
    with stage.started(client):
        sink.reset()
        told = client.ask({"do": "hold"}, options.seconds)
        opened = sink.wait(sessions + 1, options.seconds).connections
    shutil.rmtree(folder)
    return {"sessions": opened, "pss_bytes": told["pss_bytes"]}


def _tell(run: Run) -> None:
    figure = run.problem or f"{run.per_second:,.0f} messages/s, {_cpu_us(run):.0f} us CPU a message"
    print(f"  round {run.round}: {run.peer}: {figure}", flush=True)


def benchmark(options: argparse.Namespace) -> tuple[dict[str, Any], list[Outcome]]:
    family, memory = Family(), None
    outcomes: list[Outcome] = []
    with work_folder(options.cache) as folder, family.ended_at_exit():
        machine = describe_machine(folder)
        for scenario in SCENARIOS:
            if scenario.name in options.scenarios:
                print(f"{scenario.name}: {scenario.about}", flush=True)
                outcomes.append(measure(scenario, options, family, folder / scenario.name))
        if "memory" in options.scenarios:
            memory = measure_memory(options, family, folder / "memory")
    told = {
        "machine": machine,
        "octets": options.octets,
        "memory": memory,
        "scenarios": {
            one.scenario.name: {
                "about": one.scenario.about,
                "sink": one.sink,
                "summary": one.summary(),
                "absent": one.absent,
                "problems": one.problems,
                "runs": [run.told() for run in one.runs],
            }
            for one in outcomes
        },
    }
    return told, outcomes


def main(argv: Sequence[str] | None = None) -> int:
    options = parse(argv)
    told, outcomes = benchmark(options)
    for outcome in outcomes:
        print(outcome.text())
    if told["memory"]:
        print(f"\nmemory: {told['memory']['sessions']:,} open sessions: {told['memory']['pss_bytes'] / 1e6:.1f} MB")
    print(f"\nJSON: {save_json(told, options.out, 'smtp-client')}")
    return 1 if any(outcome.problems for outcome in outcomes) else 0


if __name__ == "__main__":
    sys.exit(run_script(main))
