"""Mail from outside, for the application: checked, told from bounces of ours, and made durable as callbacks.

A bounce of ours names a message of this spool: anybody can write a report, but only who saw the mail knows its id.  Nothing
is decided here about what the application does with it, and nothing is lost that was handed over: what is no bounce of ours
is mail.  A report of this engine's own that comes in by its sender's mailbox is not told again: the application has its
callback already.  Asked by `engine.py` and, for other processes, by `gate.py`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import msgspec

from .actors.notes import Returned
from .actors.ports import Ports
from .arrivals import check_raw, has_told, no_callbacks, read_arrival, tells_bounce, tells_failure
from .draft import Draft, IncomingDraft
from .dsn import ReceivedReport, read_report
from .errors import EngineClosed
from .log import get_logger
from .message import BOUNCE_ADDRESS, Arrival
from .receipt import Receipt
from .returned import ReturnedMail
from .store.contract import StoredMessage

__all__ = ["Incoming"]

_log = get_logger()


class Incoming:
    """accept: makes a draft durable.  receipt: of what is stored, by its id.  give: hands a note to the bounce actor."""

    def __init__(
        self,
        ports: Ports,
        returned: ReturnedMail,
        accept: Callable[[Draft], Awaitable[Receipt]],
        receipt: Callable[[str], Receipt],
        give: Callable[[Returned], None],
    ) -> None:
        self._ports = ports
        self._returned = returned
        self._accept = accept
        self._receipt = receipt
        self._give = give

    async def take_mail(self, sender: Any, recipients: Any, raw: Any, key: Any, id: str | None = None) -> Receipt:
        """As `Engine.receive`.  id: as which it shall be stored, None where the engine is to choose."""
        lane = self._ports.table.callback_lane
        if lane is None:
            raise no_callbacks()
        arrival = read_arrival(sender, recipients, raw, key, self._ports.config.limits)
        report = await self._report_in(arrival.raw)
        if report is not None and await self._has_told(report):
            return self._receipt(report.own_id)
        is_ours = report is not None and await self._stored(report.our_id) is not None
        if is_ours and tells_failure(report) and self._ports.table.tells_bounces:
            arrival = msgspec.structs.replace(arrival, recipients=(BOUNCE_ADDRESS,))
        receipt = await self._accept(IncomingDraft(arrival, lane, id))
        if is_ours:
            await self._tell(arrival.raw)
        return receipt

    async def take_bounce(self, raw: Any, id: str | None = None) -> None:
        """As `Engine.receive_bounce`.  id: as for `take_mail`, of what becomes a callback."""
        check_raw(raw, self._ports.config.limits.message_bytes)
        table = self._ports.table
        report = await self._report_in(raw) if table.tells_bounces else None
        if report is None or not tells_bounce(report):
            await self._returned.hand_over(raw, self._give)
            return
        if await self._has_told(report):
            return
        assert table.callback_lane is not None, "it tells bounces"
        arrival = Arrival(recipients=(BOUNCE_ADDRESS,), raw=raw)
        await self._accept(IncomingDraft(arrival, table.callback_lane, id))
        await self._tell(raw)

    async def _tell(self, raw: bytes) -> None:
        """What it says becomes events.  It is durable already: handed over again, it would be told twice."""
        try:
            await self._returned.hand_over(raw, self._give)
        except EngineClosed:
            return

    async def _report_in(self, raw: bytes) -> ReceivedReport | None:
        if len(raw) <= self._ports.config.spool.content_file_bytes:
            return read_report(raw)
        return await self._ports.executor.write(partial(read_report, raw))

    async def _has_told(self, report: ReceivedReport) -> bool:
        """Whether it is a report of ours with a callback of its own."""
        told = has_told(await self._stored(report.own_id))
        if told:
            _log.info("report_came_back", id=report.our_id, report=report.own_id)
        return told

    async def _stored(self, id: str) -> StoredMessage | None:
        return await self._ports.executor.ask(lambda store: store.message(id)) if id else None
