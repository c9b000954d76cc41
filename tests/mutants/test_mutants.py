"""The list of mutants is whole and fits the code; a trial tells a killed mutant from every other; some are really tried."""

from __future__ import annotations

import ast
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from mutant import Mutant, Rotten
from mutant_list import MUTANTS
from mutant_page import PAGE, listed
from mutant_trial import ROOT, Run, Trial, not_green, problem_of, run_bounded
from run_mutants import main

AT_LEAST = 40
QUICK = ("a stale lease settles", "unknown trouble fails")  # one of SQLite, one of a pure function


def of_checkout(mutant: Mutant) -> str:
    return mutant.applied((ROOT / mutant.file).read_text(encoding="utf-8"))


@cache
def names_in(path: str) -> set[str]:
    tree = ast.parse((ROOT / "tests" / path).read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))}


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutants_text_stands_once_and_its_tests_are_there(mutant: Mutant) -> None:
    compile(of_checkout(mutant), mutant.file, "exec")
    assert mutant.tests
    for test in mutant.tests:
        path, _, name = test.partition("[")[0].partition("::")
        assert name in names_in(path), test


def test_the_list_is_long_and_spread_over_the_promises() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS) >= AT_LEAST
    broken = Counter(promise for mutant in MUTANTS for promise in mutant.promise.split())
    assert {f"P{number}" for number in range(1, 7)} <= set(broken)
    assert {f"I{number}" for number in range(1, 10)} <= set(broken)
    assert len({mutant.file for mutant in MUTANTS}) >= 25


def test_the_page_has_the_list() -> None:
    assert PAGE.read_text(encoding="utf-8") == listed(PAGE.read_text(encoding="utf-8")), "run: make docs"


def test_some_are_killed() -> None:
    chosen = [mutant for mutant in MUTANTS if mutant.name in QUICK]
    assert len(chosen) == len(QUICK)
    with ThreadPoolExecutor(2) as pool:
        verdicts = list(pool.map(Trial().judge, chosen))
    assert [(verdict.mutant.name, verdict.problem) for verdict in verdicts] == [(mutant.name, "") for mutant in chosen]


# --- What a run shows ---

TEST, FILE = "test_x.py::test_it", Path("/copy/engine/x.py")
ONE = Mutant("a mutant", "P1", "", "engine/x.py", "old", "new", (TEST,))
TWO = replace(ONE, tests=(TEST, "test_x.py::test_too"))
HERE = {"said": "", "file": str(FILE)}


@pytest.mark.parametrize(
    ("changed", "run", "problem"),
    [
        (ONE, Run(1, **HERE, failed={"tests/test_x.py::test_it": ["AssertionError"]}), ""),
        (ONE, Run(1, **HERE, failed={"tests/test_x.py::test_it[2]": ["AssertionError", "KeyError"]}), ""),
        (ONE, Run(0, **HERE, failed={}), "SURVIVED test_it"),
        (ONE, Run(1, **HERE, failed={"tests/test_x.py::test_it_too": ["AssertionError"]}), "SURVIVED test_it"),
        (TWO, Run(1, **HERE, failed={"tests/test_x.py::test_it": ["AssertionError"]}), "SURVIVED test_too"),
        (ONE, Run(1, **HERE, failed={"tests/test_x.py::test_it": ["NameError"]}), "BROKEN (NameError)"),
        (ONE, Run(2, **HERE, failed={}), "BROKEN (pytest ended with 2)"),
        (ONE, Run(1, ""), "BROKEN (pytest ended with 1)"),
        (ONE, Run(None, ""), "HUNG"),
        (ONE, Run(1, "", failed={"tests/test_x.py::test_it": ["AssertionError"]}), "NOT TRIED (None was imported)"),
    ],
)
def test_only_a_failed_assertion_of_every_named_test_kills(changed: Mutant, run: Run, problem: str) -> None:
    assert problem_of(changed, run, FILE) == problem


def test_a_run_that_takes_too_long_is_ended() -> None:
    begun = time.monotonic()
    assert run_bounded([sys.executable, "-c", "import time; time.sleep(60)"], ROOT, {}, 0.1) == (None, "")
    assert time.monotonic() - begun < 30


@pytest.mark.parametrize("old", ["'refused'", "t"])
def test_a_text_that_does_not_stand_once_is_an_error(old: str) -> None:
    with pytest.raises(Rotten, match="a mutant"):
        replace(ONE, old=old).applied(CODE)


# --- A checkout as small as can be ---

CODE = "def answer():\n    return 'accepted'\n"
TESTS = """\
import pytest
from small import answer

@pytest.mark.parametrize("times", [1, 2])
def test_it_answers(times):
    assert answer() * times == "accepted" * times

def test_it_is_a_text():
    (one, *rest) = answer()
    assert rest[::-1][0].isalpha()

def test_red():
    assert False
"""


@pytest.fixture
def trial(tmp_path: Path) -> Trial:
    for folder in ("engine", "plugins", "tests"):
        (tmp_path / folder).mkdir()
    (tmp_path / "engine" / "small.py").write_text(CODE)
    (tmp_path / "plugins" / "small.py").write_text(CODE)  # shadowed, as an installed one would be by mistake
    (tmp_path / "tests" / "test_small.py").write_text(TESTS)
    (tmp_path / "pyproject.toml").write_text("[tool.pytest.ini_options]\n")
    return Trial(tmp_path, seconds=30.0)


def of_small(new: str, folder: str = "engine") -> Mutant:
    named = tuple(f"test_small.py::{name}" for name in ("test_it_answers", "test_it_is_a_text"))
    return Mutant("a mutant", "P1", "", f"{folder}/small.py", "'accepted'", new, named)


def test_a_copy_is_broken_and_the_checkout_stays_as_it_is(trial: Trial) -> None:
    """`(one, *rest) = answer()` is a line of the test: what it cannot take is judged like an assertion."""
    changed = [of_small("''"), of_small("'accepted"), of_small("''", "plugins")]
    with ThreadPoolExecutor(2) as pool:
        killed, broken, shadowed = [verdict.problem for verdict in pool.map(trial.judge, changed)]
    assert killed == ""
    assert broken.startswith("BROKEN")
    assert shadowed.startswith("NOT TRIED (")
    assert (trial.root / "engine" / "small.py").read_text() == CODE


def test_tests_that_are_red_anyway_are_found(trial: Trial) -> None:
    names = [f"test_small.py::{name}" for name in ("test_it_answers", "test_red", "test_it_answers[2]")]
    assert trial.unchanged(names)[0] == ["test_small.py::test_red"]
    assert not_green(["test_small.py::test_gone"], [], []) == ["test_small.py::test_gone"]


def test_a_name_that_nothing_has_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--only", "no such mutant"]) == 2
    assert "no such mutant" in capsys.readouterr().err
