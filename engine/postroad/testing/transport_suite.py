"""Tries any transport against the duties in `postroad.transport`: for plugin authors' own tests.

    async def test_my_transport_does_its_duties():
        async with my_fake_peer() as peer:
            await check_transport(open_my_transport, {"url": peer.url}, handed_over=lambda: peer.bodies)

The settings lead to a peer that takes everything.  Each case opens a transport of its own, and is a small function in one
of the `transport_cases*.py` that says which duty it tests; the duties stand in `postroad.transport.Transport`.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import trio

from ..log import printable
from ..strangers import leaves
from ..transport import Beginning
from . import (
    transport_cases_capable,
    transport_cases_content,
    transport_cases_factory,
    transport_cases_later,
    transport_cases_trouble,
)
from .duties import duty_text
from .leftovers import open_things, wait_closed
from .results import Failed, Report, Result
from .simulated_trace import captured_log
from .transport_bench import Bench, NotTried, Unmet, secrets_of
from .transport_cases import CASES, Case

if TYPE_CHECKING:
    from ..transport import TransportFactory

__all__ = ["Result", "TransportFailed", "TransportReport", "check_transport"]

_ALL = (
    transport_cases_later,
    transport_cases_content,
    transport_cases_trouble,
    transport_cases_factory,
    transport_cases_capable,
)  # each adds its cases

TransportReport = Report


class TransportFailed(Failed):
    """A transport does not do its duties; `report` has every case."""


async def check_transport(
    factory: TransportFactory,
    settings: Mapping[str, Any],
    *,
    domain: str = "example.org",
    handed_over: Callable[[], Sequence[bytes]] | None = None,
    refused_recipient: str | None = None,
    broken: Mapping[str, Any] | None = None,
    silent: Mapping[str, Any] | None = None,
    lost: Mapping[str, Any] | None = None,
    mute: Mapping[str, Any] | None = None,
    deferring: Mapping[str, Any] | None = None,
    retry_after_seconds: float | None = None,
    forbidden: Mapping[str, Any] | None = None,
    babbling: Mapping[str, Any] | None = None,
    renders: bool = False,
    calls: Callable[[], int] | None = None,
    skip: Collection[str] = (),
    only: Collection[str] = (),
    seconds: float = 30.0,
) -> TransportReport:
    """Run every case and give the report; raises TransportFailed where a duty is not done.

    domain: recipients are at this one.  handed_over: all that the peer took so far, each as it got it; lets the cases
    compare content and moment.  renders: the peer gets something made of the content, as a chat does, with its Subject in it.
    refused_recipient: an address that the peer refuses for good.  calls: how many calls the peer has had; for messages_per_call.

    Further settings lead to other peers.  broken: nobody is there (a closed port); silent: never says a word; lost: takes a
    mail and cuts the connection before its answer; mute: takes a mail and never answers; deferring: says "not now", and after
    `retry_after_seconds` if it says how long; forbidden: refuses our credentials; babbling: answers what means nothing.
    skip, only: names of cases.  seconds: of trio's clock, for each case; "silent" and "mute" take 1 to 4 of them, or a MockClock.
    """
    await trio.lowlevel.checkpoint()
    if unknown := {*skip, *only} - {case.name for case in CASES}:
        raise ValueError(f"there is no case {', '.join(sorted(unknown))}")
    bench = Bench(
        factory,
        settings,
        domain,
        handed_over,
        refused_recipient,
        broken=broken,
        silent=silent,
        lost=lost,
        mute=mute,
        deferring=deferring,
        forbidden=forbidden,
        babbling=babbling,
        retry_after_seconds=retry_after_seconds,
        renders=renders,
        calls=calls,
    )
    run = _Run(bench, frozenset(skip), seconds, await _may_begin(bench))
    chosen = [case for case in CASES if not only or case.name in only]
    report = TransportReport(tuple([await run.result_of(case) for case in chosen]))
    if report.problems:
        raise TransportFailed(report)
    return report


async def _may_begin(bench: Bench) -> bool:
    """A factory that cannot be opened, or does something to its settings, is the cases' affair."""
    try:
        async with bench.open(copy.deepcopy(bench.settings)) as transport:
            return isinstance(transport, Beginning)
    except Exception:
        return False


@dataclass(slots=True)
class _Run:
    bench: Bench
    skip: frozenset[str]
    seconds: float
    may_begin: bool

    async def result_of(self, case: Case) -> Result:
        await trio.lowlevel.checkpoint()
        reason, problem = "as asked" if case.name in self.skip else self.bench.lacks(case.needs), ""
        if not reason:
            try:
                problem = await self._problem_of(case) or await self._problem_begun(case)
            except NotTried as error:
                reason = str(error)
        return Result(case.name, case.expected, duty_text(case.duty), problem, reason)

    async def _problem_begun(self, case: Case) -> str:
        """The same case once more, with attempts that are begun at once: two ways in, one way to behave."""
        if not self.may_begin:
            await trio.lowlevel.checkpoint()
            return ""
        self.bench.begins = True
        try:
            problem = await self._problem_of(case)
        finally:
            self.bench.begins = False
        return f"by begin_delivery: {problem}" if problem else ""

    async def _problem_of(self, case: Case) -> str:
        before = open_things()
        with _captured_logs() as lines:
            problem = await self._failure_of(case)
        return problem or self._misdeed() or self._leak(lines) or await wait_closed(before)

    def _misdeed(self) -> str:
        found, self.bench.misdeeds = self.bench.misdeeds, []
        return "; ".join(dict.fromkeys(found))

    async def _failure_of(self, case: Case) -> str:
        await trio.lowlevel.checkpoint()
        try:
            with trio.fail_after(self.seconds):
                await case.run(self.bench)
        except trio.TooSlowError:
            return f"did not end within {self.seconds:g} s"
        except Exception as error:
            if len(causes := leaves(error)) == 1 and isinstance(causes[0], NotTried):
                raise causes[0] from None
            return "; ".join(dict.fromkeys(map(_words, causes)))
        return ""

    def _leak(self, lines: Sequence[str]) -> str:
        hidden = {"content": self.bench.marker, **secrets_of(self.bench.settings)}
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
    """All lines of structlog and of the standard library's logging, as text, whatever level somebody configured."""
    lines: list[str] = []
    handler, root = _Listener(lines), logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        with captured_log(lambda line: lines.append(repr(line)), of_threads=True):
            yield lines
    finally:
        root.removeHandler(handler)
        root.setLevel(level)


class _Listener(logging.Handler):
    def __init__(self, lines: list[str]) -> None:
        super().__init__(logging.DEBUG)
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.append(record.getMessage())
