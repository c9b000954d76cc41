"""All cases of the table of faults, by row."""

from __future__ import annotations

import cases_content
import cases_engine
import cases_forms
import cases_limits
import cases_names
import cases_phases
import cases_replies
import cases_shutdown
import cases_time
import cases_tls
from fault_case import Case
from fault_rows import ROWS

__all__ = ["CASES", "cases_of"]

_MODULES = (
    cases_phases,
    cases_replies,
    cases_limits,
    cases_forms,
    cases_names,
    cases_tls,
    cases_engine,
    cases_content,
    cases_shutdown,
    cases_time,
)

CASES: tuple[Case, ...] = tuple(case for module in _MODULES for case in module.cases())


def cases_of(number: str) -> tuple[Case, ...]:
    """The cases of a row; none where no case shows it yet."""
    assert number in ROWS
    return tuple(case for case in CASES if case.row == number)
