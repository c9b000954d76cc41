"""Writes docs/faults.md from the rows and from what their cases show when they are run; `--check` only compares.

    python tests/faults/fault_page.py [--check]

Nothing in the text depends on the machine or the day, so that two runs give the same page.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from fault_case import Case, see
from fault_rows import ABSENT, GROUPS, ROWS, Row
from fault_table import CASES, cases_of

__all__ = ["PAGE", "render"]

PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "faults.md"
TEST = "tests/faults/test_faults.py::test_what_is_seen_is_what_is_promised"

_HEAD = """\
# Faults

What can go wrong when mail is delivered, what Postroad promises for it, and what was seen when it was tried. `make docs` writes
this page by running the table, and a test fails when a run shows something else. {shown} of {all} rows are shown by {cases} runs
of this table, {elsewhere} by other tests (of these {partly} in part); {absent} are about parts that Postroad does not have.

Each run is the real transport, or the whole engine with it, against the scripted server of `postroad.testing`, on loopback (in a
simulated world: in memory) and mostly under a clock that jumps: its seconds are that clock's. A run sends a message into the
fault, then a second one that must arrive. It also checks what holds for every fault: the server has nothing against the octets
that came, nothing unprintable is told, what is told as delivered arrived exactly once, what is told as refused or deferred did
not arrive, and no task and no descriptor is left.

```
make docs                                   # runs everything and writes this page: about 20 s
.venv/bin/pytest tests/faults               # the same as tests
.venv/bin/pytest tests/faults -k row31:     # one row
```

How to read it: "deferred 4.4.2 (site) in 300 s" is a verdict, its status (RFC 3463), how far it reaches (recipient, message,
site, transport) and the time until it was there. "In doubt" is a message that may have been accepted; its next try is announced
as a possible duplicate. "Kept" is a connection that carried a message before, "pipelined" and "one by one" are with and without
PIPELINING. Recipients of one message are joined by "+".
"""


def render() -> str:
    """The page.  Runs every case that was not run before."""
    parts = [_head()]
    for heading, rows in GROUPS.items():
        shown = [row for row in rows if cases_of(row.number)]
        others = [row for row in rows if not cases_of(row.number)]
        parts.append(f"## {heading}\n")
        parts += [_section(row) for row in shown]
        parts += [_others(others)] if others else []
    return "\n".join(parts)


def _head() -> str:
    shown = {row.number for row in ROWS.values() if cases_of(row.number)}
    elsewhere = [row for row in ROWS.values() if row.number not in shown and row.tests]
    return _HEAD.format(
        shown=len(shown),
        all=len(ROWS),
        cases=len(CASES),
        elsewhere=len(elsewhere),
        partly=sum(bool(row.lacks) for row in elsewhere),
        absent=len(ABSENT),
    )


def _section(row: Row) -> str:
    lines = [f"### {row.number}. {row.fault}\n", f"Promised: {row.promise}\n"]
    if row.others:
        lines.append(f"Others: {row.others}\n")
    lines += [*_seen(cases_of(row.number)), ""]
    lines.append(f"Tests: {', '.join(f'`{test}`' for test in (f'{TEST}[row{row.number}: ...]', *row.tests))}\n")
    return "\n".join(lines)


def _others(rows: Iterable[Row]) -> str:
    lines = ["### Shown by other tests\n", "| row | fault | promised | shown by |", "|---|---|---|---|"]
    for row in rows:
        tests = "; ".join(f"`{test}`" for test in row.tests) or f"there is {ABSENT[row.number]}"
        lacks = f" ({row.lacks})" if row.lacks else ""
        lines.append(f"| {row.number} | {row.fault} | {row.promise} | {tests}{lacks} |")
    return "\n".join([*lines, ""])


# --- What was seen: faults that show the same under the same circumstances stand in one line ---


def _seen(cases: Iterable[Case]) -> Iterator[str]:
    """A table of fault, circumstances and outcome."""
    cases = list(cases)
    lines: dict[tuple[str, str], list[str]] = {}
    for (what, seen), those in _grouped(cases).items():
        lines.setdefault((_where(those, [case for case in cases if case.what == what]), seen), []).append(what)
    yield "| fault | where | seen |"
    yield "|---|---|---|"
    for (where, seen), names in lines.items():
        yield f"| {'; '.join(names)} | {where} | {seen} |"


def _grouped(cases: Iterable[Case]) -> dict[tuple[str, str], list[Case]]:
    """By the fault and what it showed."""
    groups: dict[tuple[str, str], list[Case]] = {}
    for case in cases:
        gap = f" **Not as promised: {case.gap}.**" if case.gap else ""
        groups.setdefault((case.what, f"{see(case)}{gap}"), []).append(case)
    return groups


def _where(cases: Iterable[Case], of_this_fault: Iterable[Case]) -> str:
    """The places, each with its circumstances where other ones showed something else there."""
    places: dict[str, list[str]] = {}
    for case in cases:
        places.setdefault(case.where, []).append(case.variant)
    named: dict[str, list[str]] = {}
    for place, variants in places.items():
        is_all = bool(place) and len(variants) == sum(case.where == place for case in of_this_fault)
        named.setdefault("" if is_all else "; ".join(filter(None, variants)), []).append(place)
    return "; ".join(_joined(names, variants) for variants, names in named.items())


def _joined(places: Iterable[str], variants: str) -> str:
    first, *others = places
    names = ", ".join([first, *(place.removeprefix("at ") for place in others)])
    return f"{names} ({variants})" if names and variants else names or variants


def main(arguments: list[str]) -> int:
    if arguments not in ([], ["--check"]):
        print("usage: python tests/faults/fault_page.py [--check]", file=sys.stderr)
        return 2
    page = render()
    if arguments:
        is_same = PAGE.exists() and PAGE.read_text(encoding="utf-8") == page
        if not is_same:
            print("docs/faults.md is not what a run shows; run: make docs", file=sys.stderr)
        return 0 if is_same else 1
    PAGE.write_text(page, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
