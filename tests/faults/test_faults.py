"""The table of faults: every case shows what its row promises, and docs/faults.md says what the cases show."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from fault_case import Case, Expected, Seen, see
from fault_page import PAGE, main, render
from fault_rows import ABSENT, ROWS, Row
from fault_table import CASES, cases_of

ROOT = Path(__file__).resolve().parent.parent.parent
WITH_CASES = {
    str(number) for number in (18, *range(19, 39), *range(40, 47), *range(47, 51), 54, 57, 59, 60, 63, 64, 65)
}


def _parameters() -> list[object]:
    return [
        pytest.param(
            case, id=case.id, marks=pytest.mark.xfail(reason=case.gap, raises=AssertionError) if case.gap else ()
        )
        for case in CASES
    ]


@pytest.mark.parametrize("case", _parameters())
def test_what_is_seen_is_what_is_promised(case: Case) -> None:
    problem = case.expected.problem(see(case))
    assert not problem, problem


def test_the_page_says_what_was_seen() -> None:
    assert PAGE.read_text(encoding="utf-8") == render(), "run: make docs"


def test_unknown_arguments_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--chek"]) == 2
    assert "usage" in capsys.readouterr().err


def test_no_two_cases_have_one_name() -> None:
    assert len({case.id for case in CASES}) == len(CASES) > 500


def test_these_rows_have_cases_and_no_case_lacks_its_row() -> None:
    assert {number for number in ROWS if cases_of(number)} == WITH_CASES
    assert {case.row for case in CASES} <= set(ROWS)


def test_every_row_is_shown_or_about_a_part_that_is_not_there() -> None:
    shown = {row.number for row in ROWS.values() if row.tests or cases_of(row.number)}
    assert shown.isdisjoint(ABSENT)
    assert shown | set(ABSENT) == set(ROWS)


def test_the_rows_are_all_there_in_order() -> None:
    assert [number for number in ROWS if number != "51a"] == [str(number) for number in range(1, 71)]


@pytest.mark.parametrize("row", [row for row in ROWS.values() if row.tests], ids=lambda row: f"row{row.number}")
def test_the_other_tests_of_a_row_exist(row: Row) -> None:
    for test in row.tests:
        path, _, name = test.partition("::")
        tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
        names = {node.name for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))}
        assert not name or name in names, test


def test_a_run_that_shows_something_else_is_told_apart() -> None:
    expected = Expected(outcomes=("deferred 4.4.2 (site)",), seconds=(294, 303), facts=("a fact",))
    good = {"outcomes": expected.outcomes, "seconds": 300.0, "is_next_delivered": True, "facts": ("a fact",)}
    assert expected.problem(Seen(**good)) == ""
    for change in (
        {"outcomes": ("delivered",)},
        {"seconds": 290.0},
        {"seconds": 310.0},
        {"is_next_delivered": False},
        {"facts": ()},
    ):
        assert expected.problem(Seen(**{**good, **change}))
