"""Durable submit -> SMTP out: postroad beside smtplib and Postfix, in alternating rounds against the same sink.

    make bench                        three rounds of 3,000 messages of 10 KiB, under two minutes
    make bench ARGS="--rounds 5 --messages 10000 --no-log"

Everything is on loopback.  Every process is ended by its pid, also on Ctrl-C.  Results go to benchmarks/out/*.json.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from load import Load
from measure import MEMORY_FILE_SYSTEMS, describe_machine, sync_rate
from options import add_octets, add_places, add_submission, at_least, make_parser, names, positive, run_script
from peers import Peer
from peers.debian import find_programs
from peers.postfix import Postfix
from peers.postroad import Postroad
from peers.smtplib_threads import SmtplibThreads
from places import save_json, work_folder
from processes import Family
from report import Report
from rounds import Plan, Stage, play, play_syncs, tell
from sinks import CountingSink, Sink, SmtpSink

_PEERS = ("postroad", "postroad-no-log", "smtplib", "postfix")


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument("--rounds", type=at_least(1), default=3, help="of every system")
    parser.add_argument("--messages", type=at_least(1), default=3000, help="in each run")
    parser.add_argument("--warm-up", type=at_least(0), default=200, help="messages before each timed run, not counted")
    add_octets(parser)
    add_submission(parser)
    parser.add_argument(
        "--peers",
        type=names("peers", _PEERS),
        default="postroad,smtplib,postfix",
        help=f"of {', '.join(_PEERS)}, separated by commas",
    )
    parser.add_argument("--no-log", action="store_true", help="add postroad without its log, for comparison")
    parser.add_argument(
        "--sink", choices=("auto", "smtp-sink", "counting"), default="auto", help="auto: smtp-sink if there"
    )
    parser.add_argument("--no-syncs", action="store_true", help="leave out the runs under strace that count syncs")
    parser.add_argument("--no-fetch", action="store_true", help="do not fetch Debian's package where Postfix is absent")
    parser.add_argument("--seconds", type=positive, default=60.0, help="the longest one run may take")
    add_places(parser, has_cache="unpacked packages, spools (on the disk to be measured)")
    parser.add_argument(
        "--profile", default="", metavar="PATH", help="cProfile of postroad's trio thread (distorts figures)"
    )
    return parser.parse_args(argv)


def choose_peers(options: argparse.Namespace) -> tuple[list[Peer], dict[str, str]]:
    """Those that were asked for and can run, and why the others cannot."""
    about = {"submitters": options.submitters, "window": options.window}
    makers: dict[str, Callable[[], Peer]] = {
        "postroad": lambda: Postroad(
            **about, with_log=True, profile=options.profile and str(Path(options.profile).resolve())
        ),
        "postroad-no-log": lambda: Postroad(**about, with_log=False),
        "smtplib": SmtplibThreads,
        "postfix": lambda: Postfix(options.cache, may_fetch=not options.no_fetch),
    }
    more = ["postroad-no-log"] if options.no_log else []
    peers = [makers[name]() for name in dict.fromkeys([*options.peers, *more])]
    absent = {peer.name: reason for peer in peers if (reason := peer.available())}
    return [peer for peer in peers if peer.name not in absent], absent


def open_sink(options: argparse.Namespace, family: Family, folder: Path) -> Sink:
    if options.sink == "counting":
        return CountingSink(family, folder)
    programs = find_programs(options.cache, may_fetch=not options.no_fetch)
    if not isinstance(programs, str):
        return SmtpSink(family, folder, programs.sbin / "smtp-sink", programs.environment())
    if options.sink == "smtp-sink":
        raise SystemExit(f"there is no smtp-sink: {programs}")
    return CountingSink(family, folder)


def benchmark(options: argparse.Namespace) -> Report:
    family = Family()
    peers, absent = choose_peers(options)
    plan = Plan(options.rounds, options.messages, options.warm_up, options.seconds, Load(octets=options.octets))
    with work_folder(options.cache) as folder, family.ended_at_exit():
        machine, rate = describe_machine(folder), sync_rate(folder)
        stage = Stage(family, folder, open_sink(options, family, folder), plan)
        print(_opening(plan, machine, stage.sink.name, rate, peers), flush=True)
        runs = play(stage, peers, tell)
        syncs = {} if options.no_syncs else play_syncs(stage, peers, min(600, plan.messages))
    return Report(plan, machine, stage.sink.name, rate, peers, absent, runs, syncs, "postroad")


def _opening(plan: Plan, machine: dict[str, object], sink: str, rate: float, peers: Sequence[Peer]) -> str:
    lines = [
        f"{plan.rounds} round{'s' * (plan.rounds > 1)} of "
        f"{plan.messages:,} messages of {plan.load.octets:,} octets, after {plan.warm_up} to warm up",
        f"{machine['cpus']} CPUs ({machine['cpu']}), Python {machine['python']}, {machine['file_system']}: "
        f"{rate:,.0f} synced 4 KiB appends a second; load before: {machine['load_before']}",
        f"sink: {sink}",
        *(f"{peer.name}: {peer.settings}" for peer in peers),
    ]
    if machine["file_system"] in MEMORY_FILE_SYSTEMS:
        lines.append("WARNING: the spool is not on a disk, so syncs cost nothing; choose another folder with --cache")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    options = parse(argv)
    report = benchmark(options)
    print(report.text())
    print(f"\nJSON: {save_json(report.told(), options.out, 'throughput')}")
    return 1 if report.problems else 0


if __name__ == "__main__":
    sys.exit(run_script(main))
