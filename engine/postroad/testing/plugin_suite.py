"""Tries a plugin as it is installed, as a stranger would ship it: for authors' own tests, and `postroad plugin check`.

    def test_my_plugin_is_in_order():
        check_plugin("chat", settings={"chat": {"url": "https://chat.example/hook"}})

The duties stand in `postroad.hookspecs.PLUGIN_DUTIES`.  A transport's own duties are tried by `check_transport`, a store's by
`check_store`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from ..strangers import words_for
from .duties import duty_text
from .plugin_cases import CASES, PluginCase
from .plugin_subject import Subject
from .results import Failed, Report, Result
from .transport_bench import NotTried

__all__ = ["PluginFailed", "PluginReport", "check_plugin", "try_plugin"]

PluginReport = Report


class PluginFailed(Failed):
    """A plugin is not in order; `report` has every case."""


def check_plugin(
    name: str,
    *,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    stores: Mapping[str, str] | None = None,
    skip: Collection[str] = (),
    only: Collection[str] = (),
) -> PluginReport:
    """Run every case on the installed plugin of that entry-point name; raises PluginFailed where something is wrong.

    settings: by the name of a transport, settings that it can be opened with.  stores: by the name of a store, what stands behind
    the scheme in a URL that it can be opened with.  skip, only: names of cases.  Not to be called from an asynchronous function:
    it runs trio itself.
    """
    report = try_plugin(name, settings=settings, stores=stores, skip=skip, only=only)
    if report.problems:
        raise PluginFailed(report)
    return report


def try_plugin(
    name: str,
    *,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    stores: Mapping[str, str] | None = None,
    skip: Collection[str] = (),
    only: Collection[str] = (),
) -> PluginReport:
    """As check_plugin, without raising.  Raises ValueError for a case that does not exist."""
    if unknown := {*skip, *only} - {case.name for case in CASES}:
        raise ValueError(f"there is no case {', '.join(sorted(unknown))}")
    subject = Subject(name, settings or {}, stores or {})
    return PluginReport(tuple(_result_of(case, subject, skip) for case in CASES if not only or case.name in only))


def _result_of(case: PluginCase, subject: Subject, skip: Collection[str]) -> Result:
    problem = skipped = ""
    if case.name in skip:
        skipped = "as asked"
    else:
        try:
            problem = "; ".join(case.run(subject))
        except NotTried as error:
            skipped = str(error)
        except Exception as error:
            problem = f"raised {words_for(error)}"
    return Result(case.name, case.expected, duty_text(case.duty), problem, skipped)
