"""Tries every mutant of the list and prints what became of it; ends with 1 if one survives.

    python tests/mutants/run_mutants.py [--only NAME] [--jobs N] [--list]

First the named tests run on an unchanged copy: a test that is red anyway proves nothing.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from mutant import Mutant
from mutant_list import MUTANTS
from mutant_trial import Trial, Verdict

__all__ = ["main", "try_all"]

_BASE_SECONDS = 300.0  # for all the named tests together, on an unchanged copy
_SAID_LINES = 30  # of pytest, shown for a mutant that is not killed


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="run_mutants.py", description="Break promises on purpose; see docs/mutants.md."
    )
    parser.add_argument("--only", default="", metavar="NAME", help="mutants whose name holds this")
    parser.add_argument("--jobs", type=int, default=2, choices=(1, 2), help="at the same time")
    parser.add_argument("--list", action="store_true", help="print the list and try nothing")
    given = parser.parse_args(arguments)
    chosen = [mutant for mutant in MUTANTS if given.only in mutant.name]
    if not chosen:
        print(f"no mutant's name holds {given.only!r}", file=sys.stderr)
        return 2
    if given.list:
        for mutant in chosen:
            print(f"{mutant.name}  ({mutant.promise}): {mutant.breaks}")
        return 0
    return try_all(chosen, Trial(), given.jobs)


def try_all(mutants: Sequence[Mutant], trial: Trial, jobs: int) -> int:
    """Print a line for each as it ends, and what pytest said of those that were not killed."""
    tests = list(dict.fromkeys(test for mutant in mutants for test in mutant.tests))
    begun = time.monotonic()
    red, said = Trial(trial.root, _BASE_SECONDS).unchanged(tests)
    if red:
        print(f"{said}\nnot green without any mutant: {', '.join(red)}")
        return 1
    print(f"{len(tests)} tests are green without any mutant ({time.monotonic() - begun:.1f} s)")
    width = max(len(mutant.name) for mutant in mutants)
    with ThreadPoolExecutor(jobs) as pool:
        verdicts: list[Verdict] = []
        for verdict in pool.map(trial.judge, mutants):
            print(_line(verdict, width), flush=True)
            verdicts.append(verdict)
    alive = [verdict for verdict in verdicts if not verdict.is_killed]
    for verdict in alive:
        print(f"\n=== {verdict.mutant.name}: {verdict.problem}", *verdict.said.splitlines()[-_SAID_LINES:], sep="\n")
    print(f"\n{len(verdicts) - len(alive)} of {len(verdicts)} killed in {time.monotonic() - begun:.0f} s")
    return 1 if alive else 0


def _line(verdict: Verdict, width: int) -> str:
    mutant = verdict.mutant
    test = mutant.tests[0].rpartition("::")[2]
    return f"{mutant.name:{width}}  {mutant.promise:7}  {verdict.seconds:5.1f} s  {verdict.problem or 'killed'}  {test}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
