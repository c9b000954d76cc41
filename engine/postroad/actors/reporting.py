"""Reports to senders: who gets one, what it says, and that it was stored.  Writes nothing into the store.

Used by the bounce actor for what failed here, and by `remote_notices.py` for what a provider returned later.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal
from zlib import crc32

import msgspec

from ..dsn import ReportedRecipient, ReportRequest, write_report
from ..errors import StoreError
from ..events import ReportQueued
from ..log import get_logger
from ..message import Kind, Message
from ..store.contract import Accept, StoredMessage, StoredRecipient
from .ports import Ports

__all__ = ["ReportWriter", "report_to", "wants_report"]

_log = get_logger()


class ReportWriter:
    """Writes reports in the engine's name."""

    def __init__(self, ports: Ports) -> None:
        self._ports = ports

    async def write(
        self,
        kind: Literal["failed", "delayed"],
        stored: StoredMessage,
        recipients: Sequence[StoredRecipient],
        now: float,
    ) -> Accept:
        """What the spool shall keep of a report on these recipients; it is the caller's to have it stored."""
        id = self._ports.new_id(now)
        to = report_to(stored.message)
        is_gone = stored.finished_at is not None  # its content went with its end
        request = ReportRequest(
            kind=kind,
            message=stored.message,
            recipients=tuple(self._reported(kind, stored.message, recipient) for recipient in recipients),
            returned=_traces(stored.message) if is_gone else await self._content(stored),
            to=to,
            hostname=self._ports.door.hostname,
            from_name=self._ports.config.reports.from_name,
            full_bytes=0 if is_gone else self._ports.config.reports.full_bytes,
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

    def say(
        self, kind: str, stored: StoredMessage, recipients: Sequence[StoredRecipient], accept: Accept, now: float
    ) -> None:
        """Tell that a report was stored."""
        addresses = tuple(recipient.address for recipient in recipients)
        _log.info("reported", id=stored.message.id, report=accept.message.id, kind=kind, recipients=len(addresses))
        if self._ports.observers.is_active:
            self._ports.observers.publish(
                ReportQueued(at=now, id=stored.message.id, report_id=accept.message.id, kind=kind, recipients=addresses)
            )


def _traces(message: Message) -> bytes:
    """What is known of a mail whose content is gone: the header field by which its sender finds it."""
    return f"Message-ID: <{message.message_id}>\r\n\r\n".encode() if message.message_id else b""


def report_to(message: Message) -> tuple[str, ...]:
    """Who gets reports on a message: nobody on a report, mail for the application, or the null sender (RFC 5321 section 6.1)."""
    if message.kind is not Kind.MAIL or not message.sender:
        return ()
    return message.report_to or (message.sender,)


def wants_report(message: Message, recipient: StoredRecipient) -> bool:
    notify = recipient.notify or message.dsn.notify
    return bool(report_to(message)) and (not notify or "failure" in notify)
