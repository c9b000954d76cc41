"""What a run of the suite came to, as a page for people: Markdown tables, beside plots (`plots.py`) and the JSON that both are
made from.

    python benchmarks/results.py results.json             makes page and plots anew

Figures are medians over rounds with least and most; ratios are taken within a round.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from measure import MEMORY_FILE_SYSTEMS
from peers.debian import find_python
from places import cache_folder
from processes import BENCHMARKS

__all__ = ["is_doubtful", "page", "publish"]

Told = Mapping[str, Any]

_REPRODUCE = "make bench-full"
_DOCS = BENCHMARKS.parent / "docs/benchmarks.md"
_BUSY_LOAD = 0.5  # for each CPU: more runs beside than a quiet machine has
_STRAY_SYNCS = 0.01  # a message: of a start, or of a file that is not the queue
_PLOTS = ("throughput", "scenarios", "latency", "cpu")
_HEADINGS = (
    "system",
    "kept on disk",
    "messages/s",
    "x Postfix",
    "CPU ms/message",
    "PSS MB",
    "durable p50 / p99 / longest ms",
    "received p50 / p99 ms",
    "syncs/message (strace)",
)
_NOTES = """\
Figures are medians over rounds, with the least and the most in brackets; ratios are taken within each round, between runs that
are seconds apart. A run counts only when the sink received every distinct message, and nothing else.

- *kept on disk*: synced: what was accepted is on synced storage. not synced: a queue on disk that a power failure may take.
  no queue: nothing is kept. How each does it stands below.
- *messages/s*: from the first submission until the sink has all.
- *CPU*: of all of the system's own processes until nothing is left to do; submitters inside them count, SMTP injectors do not.
- *PSS*: memory of all of its processes at the end of a run, shared pages divided.
- *durable*: from the call to the moment the message is promised safe (without a queue: until the sink took it). *received*: from
  submission to the sink, at full load.
- *-*: it does not tell, or is not asked; messages of aiosmtplib are made before the run, so that their age says nothing.
- Postroad's submitters call it in-process and so spare the work of an SMTP session, which Postfix and the other servers do for
  every message. `door` is the fairest comparison: there the submitters are other processes."""


def publish(told: Told, folder: Path, cache: Path, *, may_fetch: bool = True) -> Iterator[str]:
    """Write the JSON, the plots and the page into a folder; say what was written, what is absent and what does not count."""
    text = json.dumps(told, indent=1) + "\n"
    try:
        source = _written(folder, text)
    except OSError as error:  # the run took an hour
        yield f"cannot write in {folder}: {error.strerror}"
        folder = Path(tempfile.mkdtemp(prefix="postroad-benchmark-"))
        source = _written(folder, text)
    plots = source.parent
    reason = draw(source, cache, may_fetch=may_fetch)
    drawn = [] if reason else [f"{name}.svg" for name in _PLOTS if (plots / f"{name}.svg").exists()]
    (folder / "RESULTS.md").write_text(page(told, drawn, folder), encoding="utf-8")
    yield from remarks(told)
    yield f"the plots are absent: {reason}" if reason else f"plots: {plots}"
    yield f"page: {folder / 'RESULTS.md'}"


def _written(folder: Path, text: str) -> Path:
    source = folder / "plots/results.json"
    source.parent.mkdir(parents=True, exist_ok=True)
    source.write_text(text, encoding="utf-8")
    return source


def draw(source: Path, cache: Path, *, may_fetch: bool = True) -> str:
    """Draw the plots beside the JSON, in an environment of their own; why there are none, if so."""
    python, absent = find_python(cache, "bench-plots", "matplotlib", may_fetch=may_fetch)
    if absent:
        return f"matplotlib: {absent}{'' if may_fetch else '; run without --no-fetch'}"
    argv = [python, BENCHMARKS / "plots.py", source]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=120)
    return "" if not done.returncode else (done.stderr.strip().splitlines() or ["no reason given"])[-1]


def remarks(told: Told) -> Iterator[str]:
    for name, scenario in told["scenarios"].items():
        yield from (f"{name}: absent: {system}: {reason}" for system, reason in scenario["absent"].items())
        yield from (f"{name}: DOES NOT COUNT: {problem}" for problem in scenario["problems"])


def page(told: Told, plots: Sequence[str], folder: Path = BENCHMARKS) -> str:
    """The Markdown.  folder: where it will lie."""
    parts = ["# Benchmark results", _opening(told, folder), *_warnings(told)]
    parts += [*(f"![{_title(name)}](plots/{name})" for name in plots), _NOTES]
    parts += [_scenario(name, scenario, told["rounds"]) for name, scenario in told["scenarios"].items()]
    if told.get("pairs"):
        parts.append(_pairs(told["pairs"]))
    if told.get("backlog"):
        parts.append(_backlog(told["backlog"]))
    parts += [_systems(told), _absent(told)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _opening(told: Told, folder: Path) -> str:
    machine = told["machine"]
    packages, rounds = _listed(machine["packages"]), told["rounds"]
    systems = f" The systems: {_listed(told['versions'])}." if told.get("versions") else ""
    return (
        f"Made {told['made']} by `{_command(told)}`{_commit(told)} in {rounds} round{'s' * (rounds > 1)}, on "
        f"{machine['cpus']} CPUs ({machine['cpu']}), Linux {machine['kernel']}, {machine['file_system']}, "
        f"Python {machine['python']}, {packages}.{systems} "
        f"The disk did {told['disk_syncs_per_second']:,.0f} synced appends of 4 KiB a second; the load before was "
        f"{machine['load_before']}. Everything is on loopback. "
        f"More: [docs/benchmarks.md]({os.path.relpath(_DOCS, folder)})."
    )


def _command(told: Told) -> str:
    given = " ".join(told.get("options", ()))
    return f'{_REPRODUCE} ARGS="{given}"' if given else _REPRODUCE


def _commit(told: Told) -> str:
    return f" of commit {told['checkout']}" if told.get("checkout") else ""


def _listed(versions: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def _warnings(told: Told) -> Iterator[str]:
    """What a reader must know before any figure."""
    machine = told["machine"]
    if told["is_short"]:
        yield "**A short run: these figures only show that everything works.**"
    if told.get("interrupted"):
        yield "**Interrupted: only what was complete by then is here.**"
    if machine["load_before"] > _BUSY_LOAD * machine["cpus"]:
        yield (
            f"**A busy machine: the load before the run was {machine['load_before']} on {machine['cpus']} CPUs. Others took "
            "CPU and disk, which changes ratios between systems, too; run it again when nothing else does.**"
        )
    if machine["file_system"] in MEMORY_FILE_SYSTEMS:
        yield "**The spools were in memory, so syncs cost nothing; choose another folder with `--cache`.**"


def _title(name: str) -> str:
    return name.removesuffix(".svg").replace("-", " ")


def _scenario(name: str, scenario: Told, rounds: int) -> str:
    rows = [_row(system, figures, rounds) for system, figures in scenario["summary"].items() if figures["counted_runs"]]
    problems = [f"Does not count: {problem}." for problem in scenario["problems"]]
    problems += [_doubt(system, figures) for system, figures in scenario["summary"].items() if is_doubtful(figures)]
    heading = f"## {name}\n\n{scenario['about']}; {scenario['messages']:,} messages a run, into {scenario['sink']}."
    return "\n\n".join([heading, _markdown([_HEADINGS, *rows]) if rows else "No run counts.", *problems])


def is_doubtful(figures: Told) -> bool:
    """Whether strace saw something else than what is said of a system's durability."""
    syncs = figures["syncs_per_message"]
    return syncs is not None and {"synced": syncs == 0, "not synced": syncs > _STRAY_SYNCS}.get(figures["level"], False)


def _doubt(system: str, figures: Told) -> str:
    return f"Strace saw {figures['syncs_per_message']:.3f} syncs a message of {system}, which is called {figures['level']}."


def _row(system: str, figures: Told, rounds: int) -> list[str]:
    syncs, counted = figures["syncs_per_message"], figures["counted_runs"]
    return [
        system if counted == rounds else f"{system} ({counted} of {rounds} runs)",
        figures["level"],
        _span(figures["per_second"], ",.0f"),
        _span(figures["postfix_ratio"], ".2f"),
        _span(figures["cpu_ms"], ".3f"),
        _median(figures["pss_mb"], ".0f"),
        _several(figures, ["durable_p50_ms", "durable_p99_ms", "durable_max_ms"]),
        _several(figures, ["received_p50_ms", "received_p99_ms"]),
        "-" if syncs is None else f"{syncs:.3f}",
    ]


def _pairs(told: Told) -> str:
    if told["ratio"] is None:
        return "## One submitter\n\nNo round counts."
    return (
        f"## One submitter\n\nA durable accept takes {_span(told['ratio'], '.2f')} times the disk's own write and sync of the "
        f"same octets: {told['accept_ms']:.2f} ms beside {told['sync_ms']:.2f} ms, medians of {told['pairs']} interleaved "
        "pairs a round."
    )


def _backlog(told: Told) -> str:
    rows = [
        [name, _number(one.get("pss_mb")), _number(one.get("empty_pss_mb")), one["problem"] or f"{one['queued']:,}"]
        for name, one in told["systems"].items()
    ]
    heading = f"## Memory with {told['messages']:,} queued messages\n\nOf 10 KiB each; nobody takes them."
    return f"{heading}\n\n{_markdown([('system', 'PSS MB', 'empty, MB', 'queued'), *rows])}"


def _systems(told: Told) -> str:
    known: dict[str, Told] = {}
    for scenario in told["scenarios"].values():
        for name, figures in scenario["summary"].items():
            known.setdefault(name, figures)
    lines = [f"- **{name}** ({one['level']}): {one['durability']}; {one['settings']}" for name, one in known.items()]
    return "## The systems, and what their durability is worth\n\n" + "\n".join(lines) if lines else ""


def _absent(told: Told) -> str:
    parts = [*told["scenarios"].values(), *([told["backlog"]] if told.get("backlog") else [])]
    absent = {name: reason for one in parts for name, reason in one["absent"].items()}
    return "## Absent\n\n" + "\n".join(f"- {name}: {reason}" for name, reason in absent.items()) if absent else ""


def _markdown(rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])


def _span(spread: Mapping[str, float] | None, form: str) -> str:
    if spread is None:
        return "-"
    return f"{spread['median']:{form}} ({spread['least']:{form}} - {spread['most']:{form}})"


def _median(spread: Mapping[str, float] | None, form: str) -> str:
    return "-" if spread is None else f"{spread['median']:{form}}"


def _several(figures: Told, names: Sequence[str]) -> str:
    spreads = [figures[name] for name in names]
    return "-" if None in spreads else " / ".join(_median(spread, ".1f") for spread in spreads)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Makes page and plots anew from the JSON of a run of the suite.")
    parser.add_argument("source", type=Path, help="plots/results.json, in the folder where the page will lie")
    source: Path = parser.parse_args(argv).source
    try:
        told = json.loads(source.read_text(encoding="utf-8"))
        page(told, [])  # before anything is written
        lines = list(publish(told, source.resolve().parent.parent, cache_folder()))
    except OSError as error:
        parser.error(f"{source}: {error.strerror}")
    except (ValueError, LookupError, TypeError) as error:
        parser.error(f"{source} is no JSON of a run of the suite: {type(error).__name__}: {error}")
    print("\n".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
