"""Bounce writes to senders and reads what comes back, and never retries.

A report is committed in the same transaction that marks its recipients as reported; it is an ordinary message with the null
sender.  Where the application is told of bounces, it is one more recipient of the report.  What fails of a report, or of
mail for the application, is never reported.  Notes in: FailuresWaiting (from queue), Returned (from the application).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, assert_never
from zlib import crc32

import msgspec
import trio

from ..dsn import ReportedRecipient, ReportRequest, read_report, write_report
from ..errors import EngineClosed, PostroadError, StoreError
from ..events import RemoteBounce, ReportQueued
from ..log import get_logger
from ..message import Kind, Message
from ..store.contract import Accept, Accepted, DelayReport, Report, Store, StoredMessage, StoredRecipient
from .inbox import Inbox
from .notes import FailuresWaiting, Returned
from .ports import Ports

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
        wanted = [recipient for recipient in stored.recipients if _wants_report(stored.message, recipient)]
        unwanted = tuple(recipient.number for recipient in stored.recipients if recipient not in wanted)
        if unwanted:
            await self._put(Report(stored.handle, unwanted, None, now))
            _log.info("unreported", id=stored.message.id, recipients=len(unwanted))
        if not wanted:
            return
        accept = await self._write("failed", stored, wanted, now)
        await self._put(Report(stored.handle, tuple(recipient.number for recipient in wanted), accept, now))
        self._say("failed", stored, wanted, accept, now)

    async def _report_delay(self, stored: StoredMessage) -> None:
        now = self._ports.clock.now()
        late = [recipient for recipient in stored.recipients if recipient.attempts or recipient.settled_at]
        if not late or not _report_to(stored.message):
            await self._put(DelayReport(stored.handle, None, now))
            return
        accept = await self._write("delayed", stored, late, now)
        if await self._put(DelayReport(stored.handle, accept, now)) is not None:
            self._say("delayed", stored, late, accept, now)

    async def _put(self, operation: Report | DelayReport) -> Accepted | None:
        """Commit it; return None where nothing was stored, as for a message that was finished meanwhile."""
        (answer,) = await self._ports.intake.put([operation])
        return answer if isinstance(answer, Accepted) else None

    async def _write(
        self,
        kind: Literal["failed", "delayed"],
        stored: StoredMessage,
        recipients: Sequence[StoredRecipient],
        now: float,
    ) -> Accept:
        id = self._ports.new_id(now)
        to = _report_to(stored.message)
        request = ReportRequest(
            kind=kind,
            message=stored.message,
            recipients=tuple(self._reported(kind, stored.message, recipient) for recipient in recipients),
            returned=await self._content(stored),
            to=to,
            hostname=self._ports.door.hostname,
            from_name=self._ports.config.reports.from_name,
            full_bytes=self._ports.config.reports.full_bytes,
            report_id=id,
            now=now,
        )
        content = self._written(request)
        message = Message(
            id=id,
            sender="",
            accepted_at=now,
            size=len(content),
            kind=Kind.REPORT,
            eight_bit=not content.isascii(),
            smtputf8=not all(address.isascii() for address in to),
            message_id=f"{id}@{self._ports.door.hostname}",
            checksum=crc32(content),
        )
        table = self._ports.table
        lane = table.callback_lane if kind == "failed" and table.tells_bounces else None
        return self._ports.door.report(content, to, message, now, lane)

    def _written(self, request: ReportRequest) -> bytes:
        """The report; should the returned mail be too strange for it, one without: it must not stop all other reports."""
        try:
            return write_report(request)
        except Exception:
            _log.exception("report_without_mail", id=request.message.id)
            return write_report(msgspec.structs.replace(request, returned=b""))

    def _reported(
        self, kind: Literal["failed", "delayed"], message: Message, recipient: StoredRecipient
    ) -> ReportedRecipient:
        return ReportedRecipient(
            address=recipient.address,
            action=kind,
            status=recipient.status,
            reply=recipient.reply,
            remote=recipient.remote,
            attempts=recipient.attempts,
            orcpt=recipient.orcpt,
            last_attempt_at=recipient.settled_at if recipient.attempts else None,
            will_retry_until=self._until(message, recipient) if kind == "delayed" else None,
        )

    def _until(self, message: Message, recipient: StoredRecipient) -> float | None:
        road = self._ports.table.road_of(recipient.lane)
        if message.expires_at is not None or road is None:
            return message.expires_at
        return message.started_at + road.retry.give_up_seconds

    async def _content(self, stored: StoredMessage) -> bytes:
        """What is returned; a report without it is better than none."""
        content = self._ports.content_of(stored.handle, stored.message)
        limit = max(self._ports.config.reports.full_bytes, 100_000) + 1
        try:
            async with content.chunks() as pieces:
                read = b""
                async for piece in pieces:
                    read += piece
                    if len(read) > limit:
                        break  # only the headers of so large a message are returned
                return read
        except StoreError as error:
            _log.error("content_lost", id=stored.message.id, error=repr(error))
            return b""

    def _say(
        self, kind: str, stored: StoredMessage, recipients: Sequence[StoredRecipient], accept: Accept, now: float
    ) -> None:
        addresses = tuple(recipient.address for recipient in recipients)
        _log.info("reported", id=stored.message.id, report=accept.message.id, kind=kind, recipients=len(addresses))
        if self._ports.observers.is_active:
            self._ports.observers.publish(
                ReportQueued(at=now, id=stored.message.id, report_id=accept.message.id, kind=kind, recipients=addresses)
            )

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


def _report_to(message: Message) -> tuple[str, ...]:
    """Who gets reports on a message: nobody on a report, mail for the application, or the null sender (RFC 5321 section 6.1)."""
    if message.kind is not Kind.MAIL or not message.sender:
        return ()
    return message.report_to or (message.sender,)


def _wants_report(message: Message, recipient: StoredRecipient) -> bool:
    notify = recipient.notify or message.dsn.notify
    return bool(_report_to(message)) and (not notify or "failure" in notify)
