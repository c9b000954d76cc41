"""Draws the states of a recipient into docs/life-of-a-message.md from the one table, between two markers; `--check` compares."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from postroad.store.states import ENDS, TRANSITIONS, State, Step

PAGE = Path(__file__).resolve().parent.parent / "docs" / "life-of-a-message.md"
BEGIN, END = "<!-- states: begin (make docs) -->", "<!-- states: end -->"


def grouped(table: Mapping[tuple[State, Step], State]) -> dict[tuple[State, State], list[str]]:
    """The steps between each two states, in the table's order: one arrow for all of them."""
    arrows: dict[tuple[State, State], list[str]] = {}
    for (state, step), target in table.items():
        arrows.setdefault((state, target), []).append(step.value)
    return arrows


def diagram() -> str:
    """The table as a Mermaid state diagram."""
    lines = ["```mermaid", "stateDiagram-v2", "    [*] --> WAITING: accepted", "    [*] --> HELD: accepted, no route"]
    lines += [f"    {a.name} --> {b.name}: {', '.join(steps)}" for (a, b), steps in grouped(TRANSITIONS).items()]
    lines += [f"    {end.name} --> [*]" for end in sorted(ENDS)]
    return "\n".join([*lines, "```"])


def drawn(page: str) -> str:
    """The page with the diagram of today; raises ValueError where the markers are missing."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{PAGE.name} has lost its markers {BEGIN} and {END}")
    return f"{before}{BEGIN}\n{diagram()}\n{END}{after}"


def main(arguments: list[str]) -> int:
    page = PAGE.read_text(encoding="utf-8")
    if arguments == ["--check"]:
        return 0 if page == drawn(page) else 1
    PAGE.write_text(drawn(page), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
