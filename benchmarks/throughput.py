"""Durable submit -> SMTP out: postroad beside smtplib and Postfix, in alternating rounds against the same sink.

    make bench                        three rounds of 3,000 messages of 10 KiB, under two minutes
    make bench ARGS="--rounds 5 --messages 10000 --no-log"

Everything is on loopback.  Every process is ended by its pid, also on Ctrl-C.  Results go to benchmarks/out/*.json.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

from load import Load
from measure import describe_machine, sync_rate
from peers import Peer
from peers.debian import find_programs
from peers.postfix import Postfix
from peers.postroad import Postroad
from peers.smtplib_threads import SmtplibThreads
from processes import BENCHMARKS, Family
from report import Report
from rounds import Plan, Stage, play, play_syncs, tell
from sinks import CountingSink, Sink, SmtpSink


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--messages", type=int, default=3000, help="in each run")
    parser.add_argument("--warm-up", type=int, default=200, help="messages before each timed run, not counted")
    parser.add_argument("--octets", type=int, default=10_240, help="size of a message")
    parser.add_argument("--submitters", type=int, default=50, help="tasks that submit, each awaiting its own submit")
    parser.add_argument("--window", type=int, default=40, help="attempts at once: [windows] start and max")
    parser.add_argument("--peers", default="postroad,smtplib,postfix", help="which systems, separated by commas")
    parser.add_argument("--no-log", action="store_true", help="add postroad without its log, for comparison")
    parser.add_argument(
        "--sink", choices=("auto", "smtp-sink", "counting"), default="auto", help="auto: smtp-sink if there"
    )
    parser.add_argument("--no-syncs", action="store_true", help="leave out the runs under strace that count syncs")
    parser.add_argument("--no-fetch", action="store_true", help="do not fetch Debian's package where Postfix is absent")
    parser.add_argument("--seconds", type=float, default=60.0, help="the longest one run may take")
    parser.add_argument(
        "--cache", type=Path, default=cache_folder(), help="unpacked packages, spools (on the disk to be measured)"
    )
    parser.add_argument("--out", type=folder_path, default=BENCHMARKS / "out", help="folder for the JSON")
    parser.add_argument(
        "--profile", default="", metavar="PATH", help="cProfile of postroad's trio thread (distorts figures)"
    )
    options = parser.parse_args(argv)
    for name in ("rounds", "messages", "submitters", "window"):
        if getattr(options, name) < 1:
            parser.error(f"--{name} must be at least 1")
    return options


def folder_path(text: str) -> Path:
    """A folder to write into, which need not be there yet.  Raises what argparse tells, before anything is measured."""
    path = Path(text)
    if file := next((part for part in (path, *path.parents) if part.exists() and not part.is_dir()), None):
        raise argparse.ArgumentTypeError(f"{file} is no folder")
    return path


def cache_folder() -> Path:
    """Root's home is closed to Postfix's processes, so root gets a folder of the system's."""
    home = Path("/var/cache") if os.geteuid() == 0 else Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    return home / "postroad-benchmarks"


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
    names = options.peers.split(",")
    if options.no_log and "postroad-no-log" not in names:
        names.append("postroad-no-log")
    if unknown := set(names) - set(makers):
        raise SystemExit(f"unknown peers {sorted(unknown)}; known: {', '.join(makers)}")
    peers = [makers[name]() for name in names]
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


@contextmanager
def work_folder(cache: Path) -> Generator[Path]:
    """A fresh folder that Postfix's processes may enter; what failed runs left in it (.err and .log files) is kept."""
    cache.mkdir(parents=True, exist_ok=True)
    cache.chmod(0o755)
    folder = Path(tempfile.mkdtemp(prefix="run-", dir=cache))
    folder.chmod(0o755)
    try:
        yield folder
    except (KeyboardInterrupt, SystemExit):
        shutil.rmtree(folder)
        raise
    for left in folder.iterdir():
        if not left.is_dir():
            left.unlink()
    if any(folder.iterdir()):
        print(f"what failed runs left is in {folder}")
    else:
        folder.rmdir()


def _opening(plan: Plan, machine: dict[str, object], sink: str, rate: float, peers: Sequence[Peer]) -> str:
    lines = [
        f"{plan.rounds} rounds of {plan.messages:,} messages of {plan.load.octets:,} octets, after {plan.warm_up} to warm up",
        f"{machine['cpus']} CPUs ({machine['cpu']}), Python {machine['python']}, {machine['file_system']}: "
        f"{rate:,.0f} synced 4 KiB appends a second; load before: {machine['load_before']}",
        f"sink: {sink}",
        *(f"{peer.name}: {peer.settings}" for peer in peers),
    ]
    if machine["file_system"] in ("tmpfs", "ramfs"):
        lines.append("WARNING: the spool is not on a disk, so syncs cost nothing; choose another folder with --cache")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    options = parse(argv)
    try:
        report = benchmark(options)
    except KeyboardInterrupt:
        print("interrupted; every process was ended", file=sys.stderr)
        return 130
    print(report.text())
    print(f"\nJSON: {report.write_json(options.out)}")
    return 1 if report.problems else 0


if __name__ == "__main__":
    sys.exit(main())
