"""The whole benchmark: every scenario, each with the systems that make sense for it, in alternating rounds in one run.

    make bench-full                                       everything, three rounds: about an hour; writes benchmarks/RESULTS.md
    make bench-full ARGS="--short"                        one small round of everything, to see that it works
    make bench-full ARGS="--scenarios api,door --rounds 5"
    make bench-full ARGS="--transport mine --config mine.toml"

Everything is on loopback.  Every process is ended by its pid, also on Ctrl-C.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
import tomllib
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import trustme

from backlog import DeadSink, measure_backlog
from catalogue import COLD, PARTS, Scenario, choose
from load import Load
from measure import describe_machine, sync_rate
from network import ANY_HOST, DNS_PORT, SMTP_PORT, own_network
from pairs import measure_pairs
from peers.debian import find_programs
from peers.postroad import Postroad
from processes import BENCHMARKS, Family
from report import Report
from results import publish
from rounds import Plan, Stage, play, play_syncs, tell
from sinks import CountingSink, FolderSink, Sink, SmtpSink
from systems import Terms, make_peers
from throughput import cache_folder, folder_path, work_folder

_SHORT_WARM_UP, _WARM_UP_PART = 5, 10
_SYNC_MESSAGES = 600
_PAIRS, _SHORT_PAIRS = 300, 20
_WAITING, _SHORT_WAITING = 10_000, 200
_BESIDE = ("pairs", "backlog")  # what is measured besides throughput
_WAITERS = ("postroad", "postfix", "opensmtpd", "exim", "slimta", "haraka")


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--scenarios", default="", help=f"by name, separated by commas; also {' and '.join(_BESIDE)}")
    parser.add_argument("--peers", default="", help="only these systems, by name, separated by commas")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--short", action="store_true", help="few messages: the figures say nothing")
    parser.add_argument("--scale", type=float, default=1.0, help="part of each scenario's messages")
    parser.add_argument("--submitters", type=int, default=50, help="tasks that submit, each awaiting its own submit")
    parser.add_argument("--window", type=int, default=40, help="attempts at once: [windows] start and max")
    parser.add_argument("--transport", default="", help="also over this transport of --config, as [transports.NAME]")
    parser.add_argument("--config", type=Path, help="a TOML file with [transports.NAME], and perhaps plugins = [...]")
    parser.add_argument("--sink", choices=("smtp", "http", "file"), default="smtp", help="what --transport speaks")
    parser.add_argument("--no-syncs", action="store_true", help="leave out the runs under strace that count syncs")
    parser.add_argument("--no-fetch", action="store_true", help="fetch and install nothing; what is absent stays so")
    parser.add_argument("--seconds", type=float, default=180.0, help="the longest one run may take")
    parser.add_argument("--cache", type=Path, default=cache_folder(), help="packages, environments and spools")
    parser.add_argument(
        "--out", type=folder_path, default=BENCHMARKS / "out", help="folder for the JSON, the table and plots"
    )
    parser.add_argument(
        "--publish", action="store_true", help="write benchmarks/RESULTS.md and its plots, if everything is run"
    )
    options = parser.parse_args(argv)
    names = [name for name in options.scenarios.split(",") if name]
    options.beside = [name for name in _BESIDE if name in names] if names else list(_BESIDE)
    rest = ",".join(name for name in names if name not in _BESIDE)
    if bool(options.transport) != bool(options.config):
        parser.error("--transport and --config go together")
    try:
        is_own = bool(options.transport)
        options.chosen = choose(rest, any_transport=is_own, sink=options.sink) if rest or not names else []
        options.own = read_own(options.transport, options.config) if is_own else None
    except tomllib.TOMLDecodeError as error:
        parser.error(f"{options.config} is no TOML: {error}")
    except (LookupError, OSError) as error:
        parser.error(str(error))
    if options.transport:
        options.beside = []
    if options.rounds < 1:
        parser.error("--rounds must be at least 1")
    return options


def read_own(name: str, path: Path) -> Mapping[str, Mapping[str, Any]]:
    """A stranger's transport, for `Postroad(own=...)`.  Raises LookupError where the file has no such table."""
    told = tomllib.loads(path.read_text(encoding="utf-8"))
    if name not in told.get("transports", {}):
        raise LookupError(f"{path} has no [transports.{name}]")
    return {name: {"table": told["transports"][name], "plugins": told.get("plugins", [])}}


@dataclass(frozen=True)
class Field:
    """Where the scenarios are played."""

    options: argparse.Namespace
    terms: Terms
    family: Family
    folder: Path

    def plan(self, messages: int, load: Load, names: Mapping[str, str] | None = None) -> Plan:
        """names: of the systems, on the command line, by the names that they bear."""
        options = self.options
        warm_up = _SHORT_WARM_UP if options.short else max(2, messages // _WARM_UP_PART)
        parts = {shown: PARTS[name] for shown, name in (names or {}).items() if name in PARTS}
        rounds, parts = (1, {}) if options.short else (options.rounds, parts)
        return Plan(rounds, messages, min(200, warm_up), options.seconds, load, parts, COLD)

    def messages_of(self, scenario: Scenario) -> int:
        messages = scenario.small if self.options.short else scenario.messages
        return max(1, round(messages * self.options.scale))

    def fresh(self, name: str) -> Path:
        folder = self.folder / name
        folder.mkdir()
        folder.chmod(0o755)
        return folder

    def sink(self, scenario: Scenario, folder: Path, *, is_everywhere: bool = False) -> Sink:
        """is_everywhere: it is the mail host at every address.  Raises LookupError where Postfix's smtp-sink is wanted and
        cannot be had."""
        load = scenario.load
        if load.out == "file":
            return FolderSink(folder / "mail")
        if not scenario.foreign_sink:
            certificate = _certificate(folder) if load.tls else None
            where = (ANY_HOST, SMTP_PORT) if is_everywhere else ("127.0.0.1", 0)
            is_http = load.out == "http"
            return CountingSink(
                self.family, folder, certificate, deferred=load.deferred, speaks_http=is_http, listens_at=where
            )
        programs = find_programs(self.terms.cache, may_fetch=self.terms.may_fetch)
        if isinstance(programs, str):
            raise LookupError(programs)
        return SmtpSink(self.family, folder, programs.sbin / "smtp-sink", programs.environment())

    def nameserver(self, load: Load, folder: Path, *, is_everywhere: bool = False) -> int:
        """The port of one that leads every domain to the sink, where the load asks for it."""
        if not load.by_mx:
            return 0
        asked = {"port": DNS_PORT if is_everywhere else 0}
        return int(self.family.worker("nameserver", asked, folder / "nameserver.err").answer(20.0)["port"])


def _certificate(folder: Path) -> Path:
    path = folder / "certificate.pem"
    trustme.CA().issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(path)
    return path


def measure(field: Field, scenario: Scenario) -> dict[str, Any]:
    """One scenario, as it goes into the JSON."""
    folder, messages = field.fresh(scenario.name), field.messages_of(scenario)
    network = own_network() if scenario.load.by_mx else nullcontext("the machine's network does")
    with network as lacking, field.family.those_started_here():
        told = _measure_in(folder, messages, field, scenario, lacking)
    if not told["problems"]:
        shutil.rmtree(folder)  # kept otherwise: its .err and .log files say why
    return told


def _measure_in(folder: Path, messages: int, field: Field, scenario: Scenario, lacking: str) -> dict[str, Any]:
    """lacking: why this is not played in a network of its own."""
    about = {"about": scenario.about, "load": scenario.load.told(), "messages": messages}
    try:
        sink = field.sink(scenario, folder, is_everywhere=not lacking)
    except LookupError as error:
        return {**about, "sink": "none", "summary": {}, "absent": {"smtp-sink": str(error)}, "problems": [], "runs": []}
    peers, absent = make_peers(_asked(scenario.peers, field.options.peers), field.terms, scenario.load, lacking)
    plan = field.plan(messages, scenario.load, {peer.name: name for name, peer in peers.items()})
    stage = Stage(field.family, folder, sink, plan, field.nameserver(scenario.load, folder, is_everywhere=not lacking))
    playing = list(peers.values())
    runs = play(stage, playing, tell) if playing else []
    watched = playing if scenario.counts_syncs and not field.options.no_syncs else []
    syncs = play_syncs(stage, watched, min(_SYNC_MESSAGES, messages))
    report = Report(plan, {}, sink.name, 0.0, playing, absent, runs, syncs, playing[0].name if playing else "")
    return {
        **about,
        "sink": sink.name,
        "subject": report.subject,
        "summary": report.summary(),
        "absent": absent,
        "problems": report.problems,
        "runs": [run.told() for run in runs],
    }


def _asked(names: Sequence[str], only: str) -> list[str]:
    return [name for name in names if not only or name in only.split(",")]


def _measure_beside(field: Field, name: str) -> dict[str, Any]:
    folder = field.fresh(name)
    with field.family.those_started_here():
        told = (_measure_pairs if name == "pairs" else _measure_backlog)(field, folder)
    if not any(child.is_dir() for child in folder.iterdir()):
        shutil.rmtree(folder)
    return told


def _measure_pairs(field: Field, folder: Path) -> dict[str, Any]:
    count = _SHORT_PAIRS if field.options.short else _PAIRS
    stage = Stage(field.family, folder, CountingSink(field.family, folder), field.plan(count, Load()))
    return measure_pairs(stage, Postroad(submitters=1, window=field.options.window, with_log=True), count)


def _measure_backlog(field: Field, folder: Path) -> dict[str, Any]:
    waiting = _SHORT_WAITING if field.options.short else _WAITING
    peers, absent = make_peers(_asked(_WAITERS, field.options.peers), field.terms, Load())
    plan = replace(field.plan(waiting, Load()), warm_up=0)
    told = measure_backlog(Stage(field.family, folder, DeadSink(), plan), peers)  # type: ignore[arg-type]
    return {"messages": waiting, "systems": told, "absent": absent}


def benchmark(options: argparse.Namespace) -> dict[str, Any]:
    terms = Terms(options.cache, not options.no_fetch, options.submitters, options.window, options.own)
    family = Family()
    with work_folder(options.cache) as folder, family.ended_at_exit():
        field = Field(options, terms, family, folder)
        told: dict[str, Any] = {
            "made": time.strftime("%Y-%m-%d", time.gmtime()),
            "is_short": options.short,
            "rounds": 1 if options.short else options.rounds,
            "machine": describe_machine(folder),
            "disk_syncs_per_second": sync_rate(folder),
            "scenarios": {},
        }
        for scenario in options.chosen:
            print(f"{scenario.name}: {scenario.about}", flush=True)
            told["scenarios"][scenario.name] = measure(field, _adapted(scenario, options))
        for name in options.beside:
            print(name, flush=True)
            told[name] = _measure_beside(field, name)
    return told


def _adapted(scenario: Scenario, options: argparse.Namespace) -> Scenario:
    """With a stranger's transport as the subject, and Postroad's own beside it."""
    if not options.transport:
        return scenario
    beside = ("postroad",) if options.sink == "smtp" else ()
    return replace(scenario, peers=(options.transport, *beside), load=replace(scenario.load, out=options.sink))


def main(argv: Sequence[str] | None = None) -> int:
    options = parse(argv)
    try:
        told = benchmark(options)
    except KeyboardInterrupt:
        print("interrupted; every process was ended", file=sys.stderr)
        return 130
    is_whole = not (options.short or options.transport or options.scenarios or options.peers)
    folder = BENCHMARKS if options.publish and is_whole else options.out
    for line in publish(told, folder, options.cache, may_fetch=not options.no_fetch):
        print(line)
    return 1 if any(one["problems"] for one in told["scenarios"].values()) else 0


if __name__ == "__main__":
    sys.exit(main())
