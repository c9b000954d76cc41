"""Bounce writes to senders and reads what comes back, and never retries.

A report is committed in the same transaction that marks its recipients as reported; it is an ordinary message with the null
sender.  Where the application is told of bounces, it is one more recipient of the report.  What fails of a report, or of
mail for the application, is never reported.  Notes in: FailuresWaiting (from queue), Returned (from the application).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, assert_never

import trio

from ..dsn import read_report
from ..errors import EngineClosed, PostroadError
from ..events import RemoteBounce
from ..log import get_logger
from ..store.contract import Accepted, DelayReport, Report, Store, StoredMessage
from .inbox import Inbox
from .notes import FailuresWaiting, Returned
from .ports import Ports
from .reporting import ReportWriter, report_to, wants_report

__all__ = ["RETURNED_AT_ONCE", "Bounce", "BounceNote"]

BounceNote: TypeAlias = FailuresWaiting | Returned

RETURNED_AT_ONCE = 16  # returned mails in the inbox; the application waits for its turn
_AT_ONCE = 50  # messages with failures read in one go
_AGAIN_SECONDS = 60.0  # after a report could not be written or committed
_ASIDE_AT_MOST = 200  # messages set aside are read anew with each handful, and take memory
_HOPELESS = 3  # failures to commit in a row: it is not the mail's fault

_log = get_logger()


@dataclass(slots=True)
class _Backlog:
    """Whether the store may have something to report."""

    is_waiting: bool = False
    again_at: float | None = None  # trio time


@dataclass(slots=True, eq=False)
class _Chore:
    """One kind of report.  aside: messages whose report could not be written, and the trio time to try again."""

    kind: Literal["failed", "delayed"]
    ask: Callable[[Store, int], list[StoredMessage]]  # oldest first, at most so many
    report: Callable[[StoredMessage], Awaitable[None]]
    aside: dict[int, float] = field(default_factory=dict[int, float])

    def set_aside(self, handle: int) -> bool:
        """Remember it; return False where the one that waited longest had to be forgotten for that."""
        self.aside[handle] = trio.current_time() + _AGAIN_SECONDS
        if len(self.aside) <= _ASIDE_AT_MOST:
            return True
        del self.aside[next(iter(self.aside))]
        return False

    def take_back(self) -> bool:
        """Forget whose time has come; return whether there was one."""
        now = trio.current_time()
        ripe = [handle for handle, again_at in self.aside.items() if again_at <= now]
        for handle in ripe:
            del self.aside[handle]
        return bool(ripe)


class Bounce:
    """The bounce actor."""

    def __init__(self, ports: Ports, inbox: Inbox[BounceNote]) -> None:
        self._ports = ports
        self._inbox = inbox
        self._backlog = _Backlog()
        self._reports = ReportWriter(ports)
        self._chores = (
            _Chore("failed", lambda store, limit: store.failures(limit), self._report_failure),
            _Chore("delayed", lambda store, limit: store.delays(limit), self._report_delay),
        )

    async def run(self) -> None:
        while True:
            for note in await self._wait_for_notes():
                self._take(note)
            if self._backlog.is_waiting or self._is_time():
                await self._work()

    async def _wait_for_notes(self) -> list[BounceNote]:
        if self._backlog.again_at is None:
            return await self._inbox.take_all()
        with trio.move_on_at(self._backlog.again_at):
            return await self._inbox.take_all()
        return []

    def _is_time(self) -> bool:
        return self._backlog.again_at is not None and trio.current_time() >= self._backlog.again_at

    def _take(self, note: BounceNote) -> None:
        match note:
            case FailuresWaiting():
                self._backlog.is_waiting = True
            case Returned():
                self._read(note)
            case _:
                assert_never(note)

    # --- writing reports ---

    async def _work(self) -> None:
        self._backlog = _Backlog()
        times: list[float] = []
        for chore in self._chores:
            try:
                await self._report_all(chore)
                if chore.take_back():  # last, so that what cannot be written never keeps the others waiting
                    await self._report_all(chore)
            except EngineClosed:
                return  # no trouble: the spool keeps what is to be reported for the next engine
            except Exception as error:
                _log.error("reports_wait", kind=chore.kind, error=repr(error), again_in=_AGAIN_SECONDS)
                times.append(trio.current_time() + _AGAIN_SECONDS)
            else:
                times.extend(chore.aside.values())
        self._backlog.again_at = min(times, default=None)

    async def _report_all(self, chore: _Chore) -> None:
        """Report whatever is not set aside.  Raises what stands in everybody's way."""
        in_a_row = 0
        while found := await self._ask(chore):
            for stored in found:
                error = await self._try(chore, stored)
                in_a_row = in_a_row + 1 if isinstance(error, PostroadError) else 0
                if error is not None and in_a_row >= _HOPELESS:
                    raise error

    async def _ask(self, chore: _Chore) -> list[StoredMessage]:
        def ask(store: Store) -> list[StoredMessage]:
            return chore.ask(store, _AT_ONCE + len(chore.aside))

        return [stored for stored in await self._ports.executor.ask(ask) if stored.handle not in chore.aside]

    async def _try(self, chore: _Chore, stored: StoredMessage) -> Exception | None:
        """Report one message, or set it aside: one that cannot be reported must not stop the others, nor the ring."""
        try:
            await chore.report(stored)
        except EngineClosed:
            raise
        except Exception as error:
            _log.exception("report_failed", kind=chore.kind, id=stored.message.id, again_in=_AGAIN_SECONDS)
            if not chore.set_aside(stored.handle):
                raise
            return error
        return None

    async def _report_failure(self, stored: StoredMessage) -> None:
        now = self._ports.clock.now()
        wanted = [recipient for recipient in stored.recipients if wants_report(stored.message, recipient)]
        unwanted = tuple(recipient.number for recipient in stored.recipients if recipient not in wanted)
        if unwanted:
            await self._put(Report(stored.handle, unwanted, None, now))
            _log.info("unreported", id=stored.message.id, recipients=len(unwanted))
        if not wanted:
            return
        accept = await self._reports.write("failed", stored, wanted, now)
        await self._put(Report(stored.handle, tuple(recipient.number for recipient in wanted), accept, now))
        self._reports.say("failed", stored, wanted, accept, now)

    async def _report_delay(self, stored: StoredMessage) -> None:
        now = self._ports.clock.now()
        late = [recipient for recipient in stored.recipients if recipient.attempts or recipient.settled_at]
        if not late or not report_to(stored.message):
            await self._put(DelayReport(stored.handle, None, now))
            return
        accept = await self._reports.write("delayed", stored, late, now)
        if await self._put(DelayReport(stored.handle, accept, now)) is not None:
            self._reports.say("delayed", stored, late, accept, now)

    async def _put(self, operation: Report | DelayReport) -> Accepted | None:
        """Commit it; return None where nothing was stored, as for a message that was finished meanwhile."""
        (answer,) = await self._ports.intake.put([operation])
        return answer if isinstance(answer, Accepted) else None

    # --- reading what comes back ---

    def _read(self, note: Returned) -> None:
        """Tell what the mail says.  Whatever it is, it comes from outside: it must not stop the ring."""
        try:
            self._tell(note.raw)
        except Exception:
            _log.exception("returned_mail_unreadable", octets=len(note.raw))
        finally:
            note.done.set()

    def _tell(self, raw: bytes) -> None:
        report = read_report(raw)
        now = self._ports.clock.now()
        if report is None:
            _log.info("returned_mail_unread", octets=len(raw))
            return
        for recipient in report.recipients:
            _log.info(
                "returned",
                id=report.our_id,
                recipient=recipient.address,
                action=recipient.action,
                status=recipient.status,
                diagnostic=recipient.diagnostic,
            )
            if self._ports.observers.is_active:
                self._ports.observers.publish(
                    RemoteBounce(
                        at=now,
                        id=report.our_id,
                        recipient=recipient.address,
                        action=recipient.action,
                        status=recipient.status,
                        diagnostic=recipient.diagnostic,
                    )
                )
