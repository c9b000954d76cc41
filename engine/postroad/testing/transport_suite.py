"""Tries any transport against the duties in `postroad.transport`: for plugin authors' own tests.

    async def test_my_transport_does_its_duties():
        async with my_fake_peer() as peer:
            await check_transport(open_my_transport, {"url": peer.url}, handed_over=lambda: peer.bodies)

The settings lead to a peer that takes everything.  Each case opens a transport of its own, and is a small function in
`transport_cases.py` or `transport_cases_later.py` that says which duty it tests.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import trio
import trio.testing

from ..log import printable
from ..strangers import leaves
from .transport_bench import Bench, Unmet
from .transport_cases import Case
from .transport_cases_later import CASES

if TYPE_CHECKING:
    from ..transport import TransportFactory

__all__ = ["Result", "TransportFailed", "TransportReport", "check_transport"]

_SECRET_KEY = re.compile(r"pass|secret|token|key|auth|cred", re.IGNORECASE)
_SHORTEST_SECRET = 4  # shorter ones would be found in every log


@dataclass(frozen=True, slots=True)
class Result:
    """One case: what was expected, from which duty, and the problem, "" where there was none.  skipped: why not tried."""

    case: str
    expected: str
    duty: str
    problem: str = ""
    skipped: str = ""

    def __str__(self) -> str:
        if not self.problem:
            return f"{self.case}: {'skipped, ' + self.skipped if self.skipped else 'good'}"
        return f"{self.case}: {self.problem}\n    expected: {self.expected}\n    duty: {self.duty}"


@dataclass(frozen=True, slots=True)
class TransportReport:
    """What `check_transport` found."""

    results: tuple[Result, ...]

    @property
    def problems(self) -> tuple[Result, ...]:
        return tuple(result for result in self.results if result.problem)

    def __str__(self) -> str:
        return "\n".join(str(result) for result in self.problems or self.results)


class TransportFailed(AssertionError):
    """A transport does not do its duties; `report` has every case."""

    def __init__(self, report: TransportReport) -> None:
        super().__init__(f"{len(report.problems)} of {len(report.results)} cases failed\n{report}")
        self.report = report


async def check_transport(
    factory: TransportFactory,
    settings: Mapping[str, Any],
    *,
    domain: str = "example.org",
    handed_over: Callable[[], Sequence[bytes]] | None = None,
    refused_recipient: str | None = None,
    broken: Mapping[str, Any] | None = None,
    silent: Mapping[str, Any] | None = None,
    skip: Collection[str] = (),
    seconds: float = 30.0,
) -> TransportReport:
    """Run every case and give the report; raises TransportFailed where a duty is not done.

    domain: recipients are at this one.  handed_over: all that the peer took so far, each as it got it; lets the cases
    compare content and moment.  refused_recipient: an address that the peer refuses for good.  broken: settings that
    lead nowhere (a closed port); silent: settings that lead to a peer that never answers.
    skip: names of cases.  seconds: of trio's clock, for each case; "silent" needs 1 of them, or a MockClock.
    """
    await trio.lowlevel.checkpoint()
    bench = Bench(factory, settings, domain, handed_over, refused_recipient, broken, silent)
    run = _Run(bench, frozenset(skip), seconds)
    report = TransportReport(tuple([await run.result_of(case) for case in CASES]))
    if report.problems:
        raise TransportFailed(report)
    return report


@dataclass(slots=True)
class _Run:
    bench: Bench
    skip: frozenset[str]
    seconds: float

    async def result_of(self, case: Case) -> Result:
        await trio.lowlevel.checkpoint()
        reason = "as asked" if case.name in self.skip else self.bench.lacks(case.needs)
        problem = "" if reason else await self._problem_of(case)
        return Result(case.name, case.expected, case.duty, problem, reason)

    async def _problem_of(self, case: Case) -> str:
        before = _open_things()
        with _captured_logs() as lines:
            problem = await self._failure_of(case)
        return problem or self._leak(lines) or await _left_open(before)

    async def _failure_of(self, case: Case) -> str:
        await trio.lowlevel.checkpoint()
        try:
            with trio.fail_after(self.seconds):
                await case.run(self.bench)
        except trio.TooSlowError:
            return f"did not end within {self.seconds:g} s"
        except Exception as error:
            return "; ".join(_words(leaf) for leaf in leaves(error))
        return ""

    def _leak(self, lines: Sequence[str]) -> str:
        hidden = {"content": self.bench.marker, **_secrets(self.bench.settings)}
        for what, text in hidden.items():
            if any(text in line for line in lines):
                return f"{what} was written into the log (never log content or secrets)"
        return ""


def _words(error: BaseException) -> str:
    if isinstance(error, Unmet):
        return str(error)
    return f"raised {type(error).__name__}: {printable(str(error))}"


# --- Around each case: logs, and what is left open ---


@contextmanager
def _captured_logs() -> Generator[list[str]]:
    """All lines of structlog and of the standard library's logging, as text."""
    from structlog.testing import capture_logs

    lines: list[str] = []
    handler, root = _Listener(lines), logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    with capture_logs() as events:
        try:
            yield lines
        finally:
            root.removeHandler(handler)
            root.setLevel(level)
            lines.extend(repr(event) for event in events)


class _Listener(logging.Handler):
    def __init__(self, lines: list[str]) -> None:
        super().__init__(logging.DEBUG)
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.append(record.getMessage())


def _secrets(settings: Mapping[str, Any]) -> dict[str, str]:
    """Values of settings that are secret by their names."""
    return {
        f"the setting {key!r}": value
        for key, value in settings.items()
        if isinstance(value, str) and len(value) >= _SHORTEST_SECRET and _SECRET_KEY.search(key)
    }


_DESCRIPTORS = "/proc/self/fd"  # Linux; elsewhere descriptors are not counted
_TURNS, _TURN_SECONDS = 20, 0.001  # for what closes in the background; a sound transport needs one


def _open_things() -> tuple[int, int]:
    files = len(os.listdir(_DESCRIPTORS)) if os.path.isdir(_DESCRIPTORS) else 0
    return files, trio.lowlevel.current_statistics().tasks_living


async def _left_open(before: tuple[int, int]) -> str:
    await trio.lowlevel.checkpoint()
    files = tasks = 0
    for _ in range(_TURNS):
        await trio.testing.wait_all_tasks_blocked(_TURN_SECONDS)
        files, tasks = (max(0, now - then) for now, then in zip(_open_things(), before, strict=True))
        if files == tasks == 0:
            return ""
    return f"left {files} descriptors and {tasks} tasks open after its context"
