"""Writes the list of mutants into docs/mutants.md, between two markers; `--check` only compares.

python tests/mutants/mutant_page.py [--check]
"""

from __future__ import annotations

import sys
from pathlib import Path

from mutant_list import GROUPS

__all__ = ["PAGE", "listed"]

PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "mutants.md"
BEGIN, END = "<!-- mutants: begin (make docs) -->", "<!-- mutants: end -->"


def listed(page: str) -> str:
    """The page with the list of today.  Raises ValueError where the markers are missing."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{PAGE.name} has lost its markers {BEGIN} and {END}")
    return f"{before}{BEGIN}\n{_tables()}{END}{after}"


def _tables() -> str:
    lines: list[str] = []
    for heading, mutants in GROUPS.items():
        lines += [
            f"### {heading}\n",
            "| mutant | breaks | what the changed code does | turns red |",
            "|---|---|---|---|",
        ]
        for mutant in mutants:
            tests = ", ".join(f"`{test.rpartition('::')[2]}`" for test in mutant.tests)
            lines.append(f"| {mutant.name} | {mutant.promise} | {mutant.breaks} | {tests} |")
        lines.append("")
    return "\n".join(lines) + "\n"


def main(arguments: list[str]) -> int:
    page = PAGE.read_text(encoding="utf-8")
    if arguments == ["--check"]:
        return 0 if page == listed(page) else 1
    PAGE.write_text(listed(page), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
