"""The whole benchmark: every scenario, each with the systems that make sense for it, in alternating rounds in one run.

    make bench-full                                       everything, three rounds: 25 to 60 minutes; writes benchmarks/RESULTS.md
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
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import trustme

import suite_options
from backlog import DeadSink, measure_backlog
from catalogue import COLD, PARTS, Scenario
from load import Load
from measure import describe_machine, sync_rate
from network import ANY_HOST, DNS_PORT, SMTP_PORT, own_network
from options import run_script
from own import Unfit
from pairs import measure_pairs
from peers.debian import find_programs
from peers.postroad import Postroad
from places import work_folder
from processes import BENCHMARKS, Family
from report import Report
from results import publish
from rounds import TROUBLE, Plan, Stage, play, play_syncs, tell
from sinks import CountingSink, FolderSink, Sink, SmtpSink
from suite_options import results_folder
from systems import Terms, make_peers
from versions import checkout, versions

_SHORT_WARM_UP, _WARM_UP_PART = 5, 10
_SYNC_MESSAGES = 600
_PAIRS, _SHORT_PAIRS = 300, 20
_WAITING, _SHORT_WAITING = 10_000, 200


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    return suite_options.parse(argv, __doc__)


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
            return FolderSink(folder / "mail", load.recipients)
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
    peers, absent = make_peers(scenario.peers, field.terms, scenario.load, lacking)
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
    peers, absent = make_peers(field.options.beside["backlog"], field.terms, Load())
    plan = replace(field.plan(waiting, Load()), warm_up=0)
    told = measure_backlog(Stage(field.family, folder, DeadSink(), plan), peers)  # type: ignore[arg-type]
    return {"messages": waiting, "systems": told, "absent": absent}


def benchmark(options: argparse.Namespace) -> dict[str, Any]:
    """What is complete when it is interrupted is told, too; `interrupted` is then the status to end with."""
    told: dict[str, Any] = {
        "made": time.strftime("%Y-%m-%d", time.gmtime()),
        "options": options.given,
        "checkout": checkout(),
        "is_short": options.short,
        "rounds": 1 if options.short else options.rounds,
        "interrupted": 0,
        "scenarios": {},
    }
    try:
        _play_all(options, told)
    except KeyboardInterrupt:
        told["interrupted"] = 130
    except SystemExit as end:  # by a signal
        told["interrupted"] = end.code
    parts = [*(one.peers for one in options.chosen), *options.beside.values()]
    played = list(dict.fromkeys(name for peers in parts for name in peers))
    return {**told, "versions": versions(played, options.cache)}


def _play_all(options: argparse.Namespace, told: dict[str, Any]) -> None:
    """Scenario by scenario into `told`.  Raises Unfit where a stranger's transport cannot be opened."""
    terms = Terms(options.cache, not options.no_fetch, options.submitters, options.window, options.own)
    family = Family()
    with work_folder(options.cache) as folder, family.ended_at_exit():
        field = Field(options, terms, family, folder)
        told |= {"machine": describe_machine(folder), "disk_syncs_per_second": sync_rate(folder)}
        if options.own:
            try_own(field, options.chosen[0])
        for scenario in options.chosen:
            print(f"{scenario.name}: {scenario.about}", flush=True)
            told["scenarios"][scenario.name] = measure(field, scenario)
        for name in options.beside:
            print(name, flush=True)
            told[name] = _measure_beside(field, name)


def try_own(field: Field, scenario: Scenario) -> None:
    """Open it once, beside its sink.  Raises Unfit."""
    folder, own = field.fresh("own"), field.options.own
    peer = Postroad(submitters=1, window=1, with_log=True, name=own.name, own=own.told())
    with field.family.those_started_here():
        stage = Stage(
            field.family, folder, field.sink(scenario, folder), replace(field.plan(1, scenario.load), warm_up=0)
        )
        try:
            with stage.started(peer):
                pass
        except TROUBLE as error:
            raise Unfit(f"--transport {own.name} cannot be opened: {error}") from error
        finally:
            shutil.rmtree(folder)


def main(argv: Sequence[str] | None = None) -> int:
    options = parse(argv)
    folder = results_folder(options)
    for line in _notes(options, folder):
        print(line, flush=True)
    try:
        told = benchmark(options)
    except Unfit as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    interrupted = told["interrupted"]
    folder = options.out if interrupted else folder
    if interrupted:
        print("interrupted; every process was ended", file=sys.stderr)
    if not interrupted or told["scenarios"]:
        for line in publish(told, folder, options.cache, may_fetch=not (options.no_fetch or interrupted)):
            print(line)
    return int(interrupted) or int(any(one["problems"] for one in told["scenarios"].values()))


def _notes(options: argparse.Namespace, folder: Path) -> Iterator[str]:
    if options.publish and folder != BENCHMARKS:
        yield f"not published, because of {' '.join(options.given)}: the page goes to {folder}"
    if options.own and options.own.left:
        left = ", ".join(f"{{{name}}}" for name in options.own.left)
        yield f"--config: {left} is left as it is: only {{port}} and {{folder}} are filled in"


if __name__ == "__main__":
    sys.exit(run_script(main))
