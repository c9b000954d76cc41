"""Tries mutants: copies the checkout, breaks the copy, runs the named tests there, and says what they showed.

The copy's code must be what is imported, not the checkout's own, which is installed: it stands first on PYTHONPATH, and the run
tells from where the changed module came.  Red is only an assertion that failed; a copy that cannot be imported proves nothing.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from mutant import Mutant
from mutant_witness import MODULE, REPORT

__all__ = ["ROOT", "SECONDS", "Run", "Trial", "Verdict", "not_green", "problem_of", "run_bounded"]

ROOT = Path(__file__).resolve().parent.parent.parent
SECONDS = 60.0  # for one mutant: its tests take a few
_COPIED = ("engine", "plugins", "tests")
_LEFT_OUT = frozenset({".git", ".venv", ".servers", ".hypothesis", ".pytest_cache", ".fuzz", "demo-run"})
_OPTIONS = ("-q", "-p", "mutant_witness", "-p", "no:cacheprovider", "--no-header", "--tb=short")


@dataclass(frozen=True, slots=True)
class Verdict:
    """problem: why the mutant is not killed, "" where it is.  said: what pytest said, for who has to look."""

    mutant: Mutant
    seconds: float
    problem: str = ""
    said: str = ""

    @property
    def is_killed(self) -> bool:
        return not self.problem


@dataclass(frozen=True, slots=True)
class Run:
    """One run of pytest.  code: None where it took too long.  failed: by what, by node id.  file: of the module asked for."""

    code: int | None
    said: str
    passed: frozenset[str] = frozenset()
    failed: Mapping[str, Sequence[str]] | None = None
    file: str | None = None


@dataclass(frozen=True, slots=True)
class Trial:
    """root: the checkout to copy.  seconds: after which a run has failed."""

    root: Path = ROOT
    seconds: float = SECONDS

    def judge(self, mutant: Mutant) -> Verdict:
        """Break a copy and run the tests.  Raises Rotten."""
        begun = time.monotonic()
        with self._copy() as copy:
            file = copy / mutant.file
            file.write_text(mutant.applied(file.read_text(encoding="utf-8")), encoding="utf-8")
            Path(importlib.util.cache_from_source(str(file))).unlink(missing_ok=True)
            run = self._run(copy, mutant.tests, mutant.module)
            problem = problem_of(mutant, run, file)
        return Verdict(mutant, time.monotonic() - begun, problem, run.said)

    def unchanged(self, tests: Sequence[str]) -> tuple[list[str], str]:
        """Which of the tests do not pass on an unchanged copy, and what pytest said."""
        with self._copy() as copy:
            run = self._run(copy, tests, "")
        return not_green(tests, run.passed, run.failed or {}), run.said

    @contextmanager
    def _copy(self) -> Iterator[Path]:
        """Compiled files come along: they are told from stale ones by the time of their source, which is kept."""
        with tempfile.TemporaryDirectory(prefix="postroad-mutant-") as name:
            copy = Path(name).resolve()
            for entry in self.root.iterdir():
                if entry.name in _COPIED:
                    shutil.copytree(entry, copy / entry.name, symlinks=True)
                elif entry.name not in _LEFT_OUT:
                    (copy / entry.name).symlink_to(entry)
            yield copy

    def _run(self, copy: Path, tests: Sequence[str], module: str) -> Run:
        report = copy / "mutant-report.json"
        paths = [copy / "engine", copy / "plugins", Path(__file__).parent]
        changed = {"PYTHONPATH": os.pathsep.join(map(str, paths)), REPORT: str(report), MODULE: module}
        command = [sys.executable, "-m", "pytest", *_OPTIONS, *(f"tests/{test}" for test in tests)]
        code, said = run_bounded(command, copy, {**os.environ, **changed}, self.seconds)
        if not report.exists():
            return Run(code, said)
        told = json.loads(report.read_text(encoding="utf-8"))
        return Run(code, said, frozenset(told["passed"]), told["failed"], told["file"])


def run_bounded(
    command: Sequence[str], folder: Path, environment: Mapping[str, str], seconds: float
) -> tuple[int | None, str]:
    """Run it in a process group of its own, which ends with it."""
    with subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            said, _ = process.communicate(timeout=seconds)
            code: int | None = process.returncode
        except subprocess.TimeoutExpired:
            code, said = None, ""
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    return code, said


def problem_of(mutant: Mutant, run: Run, file: Path) -> str:
    if run.code is None:
        return "HUNG"
    if run.failed is None or run.code not in (0, 1):
        return f"BROKEN (pytest ended with {run.code})"
    if run.file != str(file):
        return f"NOT TRIED ({run.file} was imported)"
    for test in mutant.tests:
        reasons = {reason for node, why in run.failed.items() if _is_of(test, node) for reason in why}
        if not reasons:
            return f"SURVIVED {test.rpartition('::')[2]}"
        if "AssertionError" not in reasons:
            return f"BROKEN ({', '.join(sorted(reasons))})"
    return ""


def not_green(tests: Iterable[str], passed: Iterable[str], failed: Iterable[str]) -> list[str]:
    """The tests of which no case passed, or some case failed."""
    return [
        test
        for test in tests
        if not any(_is_of(test, node) for node in passed) or any(_is_of(test, node) for node in failed)
    ]


def _is_of(test: str, node: str) -> bool:
    """Whether a node is the test, a case of it, or inside of it."""
    rest = node.removeprefix("tests/").removeprefix(test)
    return node.removeprefix("tests/").startswith(test) and (not rest or rest[0] in "[:")
