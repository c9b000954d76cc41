"""Mail from outside, for the application: checked, told from bounces of ours, and made durable as callbacks.

A bounce of ours names a message of this spool: anybody can write a report, but only who saw the mail knows its id.  Nothing
is decided here about what the application does with it, and nothing is lost that was handed over: what is no bounce of ours
is mail.  Asked by `engine.py` only.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import msgspec

from .actors.notes import Returned
from .actors.ports import Ports
from .address import parse_address
from .arguments import read_addresses, read_key
from .draft import Draft, IncomingDraft
from .dsn import ReceivedReport, read_report
from .errors import ConfigError, EngineClosed, SubmissionError
from .message import BOUNCE_ADDRESS, Arrival
from .receipt import Receipt
from .returned import ReturnedMail

__all__ = ["Incoming", "tells_failure"]


class Incoming:
    """accept: makes a draft durable.  give: hands a note to the bounce actor."""

    def __init__(
        self,
        ports: Ports,
        returned: ReturnedMail,
        accept: Callable[[Draft], Awaitable[Receipt]],
        give: Callable[[Returned], None],
    ) -> None:
        self._ports = ports
        self._returned = returned
        self._accept = accept
        self._give = give

    async def take_mail(self, sender: Any, recipients: Any, raw: Any, key: Any) -> Receipt:
        """As `Engine.receive`."""
        lane = self._ports.table.callback_lane
        if lane is None:
            raise ConfigError("callbacks.transport", "name the transport that brings incoming mail to the application")
        arrival = self._read(sender, recipients, raw, key)
        report = await self._report_in(arrival.raw)
        is_ours = report is not None and await self._is_known(report.our_id)
        if is_ours and tells_failure(report) and self._ports.table.tells_bounces:
            arrival = msgspec.structs.replace(arrival, recipients=(BOUNCE_ADDRESS,))
        receipt = await self._accept(IncomingDraft(arrival, lane))
        if is_ours:
            await self._tell(arrival.raw)
        return receipt

    async def take_bounce(self, raw: Any) -> None:
        """As `Engine.receive_bounce`."""
        self._returned.check(raw)
        table = self._ports.table
        report = await self._report_in(raw) if table.tells_bounces else None
        if report is None or not (tells_failure(report) or report.kind == "other"):
            await self._returned.hand_over(raw, self._give)
            return
        assert table.callback_lane is not None, "it tells bounces"
        await self._accept(IncomingDraft(Arrival(recipients=(BOUNCE_ADDRESS,), raw=raw), table.callback_lane))
        await self._tell(raw)

    async def _tell(self, raw: bytes) -> None:
        """What it says becomes events.  It is durable already: handed over again, it would be told twice."""
        try:
            await self._returned.hand_over(raw, self._give)
        except EngineClosed:
            return

    def _read(self, sender: Any, recipients: Any, raw: Any, key: Any) -> Arrival:
        """Raises SubmissionError, which names the argument."""
        self._returned.check(raw)
        to = tuple(dict.fromkeys(read_addresses(recipients, "recipients")))
        allowed = self._ports.config.limits.recipients
        if not to:
            raise SubmissionError("recipients", "there are none; give the addresses that the mail came for")
        if len(to) > allowed:
            raise SubmissionError("recipients", f"there are {len(to):,}, [limits] recipients allows {allowed:,}")
        if BOUNCE_ADDRESS in to:
            raise SubmissionError("recipients", f"{BOUNCE_ADDRESS} means bounces, and no mail comes for it")
        is_null = sender in ("", "<>")
        return Arrival(
            sender="" if is_null else str(parse_address(sender, "sender")), recipients=to, raw=raw, key=read_key(key)
        )

    async def _report_in(self, raw: bytes) -> ReceivedReport | None:
        if len(raw) <= self._ports.config.spool.content_file_bytes:
            return read_report(raw)
        return await self._ports.executor.write(partial(read_report, raw))

    async def _is_known(self, id: str) -> bool:
        return bool(id) and await self._ports.executor.ask(lambda store: store.message(id)) is not None


def tells_failure(report: ReceivedReport | None) -> bool:
    """Whether it says that mail was not delivered: no notice of delay or success, no complaint, no receipt of a reader."""
    if report is None or report.kind == "arf":
        return False
    return any(recipient.action == "failed" for recipient in report.recipients)
