"""The suite's command line: what is played, by whom, and where its results go."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from catalogue import BESIDE, SCENARIOS, Scenario, choose
from options import add_places, add_submission, at_least, changed, make_parser, names, positive
from own import Unfit, read_own
from processes import BENCHMARKS
from systems import Terms, known_systems, make_all

__all__ = ["listing", "parse", "results_folder"]

_WITHOUT_FIGURES = ("cache", "publish", "list")  # options that change nothing of what is measured


def parse(argv: Sequence[str] | None, about: str | None) -> argparse.Namespace:
    """The options, and what they come to.

    given: those that are not at their defaults.  chosen: the scenarios, each with the systems that play in it.  beside: the
    systems of what is measured beside throughput.  own: a stranger's transport, or None.
    """
    parser = make_parser(about)
    _add_arguments(parser)
    options = parser.parse_args(argv)
    if options.list:
        print("\n".join(listing(options.cache)))
        parser.exit()
    options.given = changed(parser, options, apart_from=_WITHOUT_FIGURES)
    try:
        _complete(options)
    except Unfit as error:
        parser.error(str(error))
    return options


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    known = [*(one.name for one in SCENARIOS), *BESIDE]
    parser.add_argument("--list", action="store_true", help="tell all scenarios and systems, and end")
    parser.add_argument(
        "--scenarios",
        type=names("scenarios", known),
        help=f"of {', '.join(known)}, separated by commas; all by default",
    )
    parser.add_argument(
        "--peers",
        type=lambda text: text.split(","),
        help="only these systems, by name (see --list), separated by commas",
    )
    parser.add_argument("--rounds", type=at_least(1), default=3, help="of every system in every scenario")
    parser.add_argument("--short", action="store_true", help="few messages: the figures say nothing")
    parser.add_argument("--scale", type=positive, default=1.0, help="part of each scenario's messages")
    add_submission(parser)
    parser.add_argument("--transport", default="", help="also over this transport of --config, as [transports.NAME]")
    parser.add_argument("--config", type=Path, help="a TOML file with [transports.NAME], and perhaps plugins = [...]")
    parser.add_argument("--sink", choices=("smtp", "http", "file"), default="smtp", help="what --transport speaks")
    parser.add_argument("--no-syncs", action="store_true", help="leave out the runs under strace that count syncs")
    parser.add_argument("--no-fetch", action="store_true", help="fetch and install nothing; what is absent stays so")
    parser.add_argument("--seconds", type=positive, default=180.0, help="the longest one run may take")
    add_places(parser)
    parser.add_argument(
        "--publish", action="store_true", help="write benchmarks/RESULTS.md and its plots, if everything is as usual"
    )


def _complete(options: argparse.Namespace) -> None:
    """Raises Unfit."""
    if bool(options.transport) != bool(options.config):
        raise Unfit("--transport and --config go together")
    systems = known_systems(Terms(options.cache))
    name = options.transport
    options.own = read_own(name, options.config, options.sink, systems) if name else None
    _check_peers(options.peers, [name, "postroad"] if name else systems)
    scenarios = _scenarios(options)
    playing = _cast({one.name: one.peers for one in scenarios} | _beside(options), options)
    options.beside = {part: playing[part] for part in BESIDE if part in playing}
    options.chosen = [replace(one, peers=playing[one.name]) for one in scenarios if one.name in playing]


def _check_peers(asked: Sequence[str] | None, known: Sequence[str]) -> None:
    if unknown := [name for name in asked or () if name not in known]:
        raise Unfit(f"--peers: unknown peers {', '.join(map(repr, unknown))}; known: {', '.join(known)}")


def _scenarios(options: argparse.Namespace) -> list[Scenario]:
    wanted = None if options.scenarios is None else [name for name in options.scenarios if name not in BESIDE]
    try:
        chosen = choose(wanted, any_transport=bool(options.transport), sink=options.sink)
    except LookupError as error:
        raise Unfit(str(error)) from error
    return [_over_own(one, options) for one in chosen] if options.transport else chosen


def _over_own(scenario: Scenario, options: argparse.Namespace) -> Scenario:
    """With a stranger's transport as the subject, and Postroad's own of that kind beside it."""
    about = scenario.about.replace("out by SMTP", f"out by {options.transport}")
    return replace(
        scenario,
        about=about,
        peers=(options.transport, "postroad"),
        load=replace(scenario.load, out=options.sink),
    )


def _beside(options: argparse.Namespace) -> Mapping[str, Sequence[str]]:
    if not options.transport:
        return {name: peers for name, peers in BESIDE.items() if options.scenarios is None or name in options.scenarios}
    if alone := [name for name in BESIDE if name in (options.scenarios or ())]:
        raise Unfit(f"--scenarios: {alone[0]} is not played with --transport")
    return {}


def _cast(parts: Mapping[str, Sequence[str]], options: argparse.Namespace) -> dict[str, list[str]]:
    """Who plays in what, where somebody does."""
    asked = options.peers
    cast = {part: [name for name in peers if asked is None or name in asked] for part, peers in parts.items()}
    for part in [part for part, playing in cast.items() if not playing]:
        if options.scenarios is not None:
            raise Unfit(f"no system of --peers plays in {part}: it has {', '.join(parts[part])}")
        del cast[part]
    return cast


def results_folder(options: argparse.Namespace) -> Path:
    """The published page holds a whole run at its usual settings and nothing else."""
    return BENCHMARKS if options.publish and not options.given else Path(options.out)


def listing(cache: Path) -> Iterator[str]:
    peers = make_all(Terms(cache, may_fetch=False))
    yield "systems, as --peers takes them:"
    yield from (f"  {name:14} {peer.name} ({peer.level})" for name, peer in peers.items())
    yield "scenarios:"
    yield from (f"  {one.name:19} {one.about}: {', '.join(one.peers)}" for one in SCENARIOS)
    yield from (f"  {part:19} beside throughput: {', '.join(peers)}" for part, peers in BESIDE.items())
