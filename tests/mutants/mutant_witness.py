"""A pytest plugin of the run in a copy: writes down which tests passed, by what the others failed, and what was imported.

Loaded with `-p mutant_witness`; the variables of the environment come from `mutant_trial.py`.
"""

from __future__ import annotations

import importlib
import json
import os
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest

__all__ = ["MODULE", "REPORT"]

REPORT, MODULE = "MUTANT_REPORT", "MUTANT_MODULE"  # a file to write; a module of whose file to tell

_passed: set[str] = set()
_failed: dict[str, list[str]] = {}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    report = yield
    if call.excinfo is not None and report.failed:
        _failed.setdefault(item.nodeid, []).extend(_named(leaf, item.path.name) for leaf in _leaves(call.excinfo.value))
    elif call.when == "call" and report.passed:
        _passed.add(item.nodeid)
    return report


def _leaves(error: BaseException) -> Iterator[BaseException]:
    """The exceptions that are no groups."""
    if isinstance(error, BaseExceptionGroup):
        for part in error.exceptions:
            yield from _leaves(part)
    else:
        yield error


def _named(error: BaseException, test_file: str) -> str:
    """The name "AssertionError" where the test judged: by assert, by pytest.fail, or by a line such as `(lease,) = leased()`."""
    is_judged = isinstance(error, (AssertionError, pytest.fail.Exception)) or _raised_in(error) == test_file
    return "AssertionError" if is_judged else type(error).__name__


def _raised_in(error: BaseException) -> str:
    """The name of the file whose line raised it."""
    frames = list(traceback.walk_tb(error.__traceback__))
    return Path(frames[-1][0].f_code.co_filename).name if frames else ""


def _file_of(module: str) -> str | None:
    """From where a module comes; None for one that cannot be imported."""
    try:
        return importlib.import_module(module).__file__ if module else None
    except Exception:
        return None


def pytest_sessionfinish() -> None:
    told = {"passed": sorted(_passed), "failed": _failed, "file": _file_of(os.environ[MODULE])}
    Path(os.environ[REPORT]).write_text(json.dumps(told), encoding="utf-8")
