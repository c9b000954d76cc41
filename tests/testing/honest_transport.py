"""A sound transport to a peer in memory, which `broken_transports.py` spoils in one way after the other."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import trio

from postroad import Refusal
from postroad.errors import ConfigError
from postroad.message import Message
from postroad.store.contract import LeasedRecipient
from postroad.testing.fakes import ACCEPTED
from postroad.testing.transport_suite import TransportReport, check_transport
from postroad.transport import Capabilities, DeliveryRequest
from postroad.verdict import Scope, Verdict

REFUSED = "nobody@example.org"
NOBODY = Verdict.refused("550 5.1.1 nobody", status="5.1.1")
HINT_SECONDS = 90.0
PEERS = ("broken", "silent", "lost", "mute", "deferring", "forbidden", "babbling")
LATER = {
    "broken": Verdict.deferred("nobody is there", status="4.4.1", scope=Scope.SITE),
    "deferring": Verdict.deferred("451 4.3.0 not now", status="4.3.0", retry_after_seconds=HINT_SECONDS),
    "forbidden": Verdict.deferred("535 5.7.8 no", status="4.7.8", scope=Scope.TRANSPORT),
    "babbling": Verdict.deferred("it said what means nothing", status="4.5.0"),
}


class Honest:
    """peer: "" takes everything; the others are those of `check_transport`.  One object serves every settings."""

    able = Capabilities()

    def __init__(self) -> None:
        self.taken: list[bytes] = []
        self.calls = 0
        self.peer = ""

    @property
    def capabilities(self) -> Capabilities:
        return self.able

    @asynccontextmanager
    async def open(self, settings: Any) -> AsyncGenerator[Any]:
        for key, value in settings.items():
            if key not in ("password", "peer"):
                raise ConfigError(key, "there is no such setting")
            if not isinstance(value, str):
                raise ConfigError(key, "must be a text in quotes")
        await trio.lowlevel.checkpoint()
        self.peer = settings.get("peer", "")
        yield self

    async def deliver(self, request: DeliveryRequest) -> Sequence[Verdict]:
        await trio.lowlevel.checkpoint()
        if refusal := self.unfit(request):
            return [refusal] * len(request.recipients)
        if self.peer == "silent":
            await trio.sleep_forever()
        if self.peer in LATER:
            return [self.later()] * len(request.recipients)
        data = await self.read(request)
        verdicts = [self.answer(recipient) for recipient in request.recipients]
        if any(verdict is not NOBODY for verdict in verdicts):
            await trio.lowlevel.checkpoint()
            self.hand_over(request, data)
        return await self.wait_for_the_answer(request, verdicts)

    def unfit(self, request: DeliveryRequest) -> Verdict | None:
        """What the capabilities exclude."""
        able, message = self.able, request.message
        if able.message_bytes is not None and request.content.size > able.message_bytes:
            return Verdict.refused("too large", status="5.3.4")
        if not able.smtputf8 and (message.smtputf8 or not all(each.address.isascii() for each in request.recipients)):
            return Verdict.refused("no UTF-8 there", status="5.6.7")
        if not able.eight_bit and message.eight_bit:
            return Verdict.refused("no eight bit there", status="5.6.3")
        return None

    def later(self) -> Verdict:
        return LATER[self.peer]

    async def read(self, request: DeliveryRequest) -> bytes:
        async with request.content.chunks() as pieces:
            return b"".join([piece async for piece in pieces])

    def hand_over(self, request: DeliveryRequest, data: bytes) -> None:
        request.committing()
        self.calls += 1
        self.taken.append(data)

    async def wait_for_the_answer(self, request: DeliveryRequest, verdicts: Sequence[Verdict]) -> Sequence[Verdict]:
        if self.peer == "mute":
            await trio.sleep_forever()
        if self.peer == "lost":
            return [Verdict.in_doubt("cut before the answer", handed_over=True)] * len(verdicts)
        return verdicts

    def answer(self, recipient: LeasedRecipient) -> Verdict:
        return NOBODY if recipient.address == REFUSED else ACCEPTED


class Limited(Honest):
    """A sound one that can do little."""

    able = Capabilities(
        recipients_per_call=1, messages_per_call=100, message_bytes=5000, eight_bit=False, smtputf8=False
    )
    moment = -1.0

    def objection(self, message: Message, recipients: Sequence[str], content: bytes) -> Refusal | None:
        if self.able.message_bytes is not None and len(content) > self.able.message_bytes:
            return Refusal(field="content", problem="too large")
        return None if all(map(str.isascii, recipients)) else Refusal(field="recipients", problem="no UTF-8 there")

    def hand_over(self, request: DeliveryRequest, data: bytes) -> None:
        """What comes at one moment of the virtual clock goes in one call."""
        before = self.calls
        super().hand_over(request, data)
        self.calls = before + (self.moment != trio.current_time())
        self.moment = trio.current_time()


async def check(transport: Honest, **more: Any) -> TransportReport:
    """Every case but those of further peers."""
    given: dict[str, Any] = {"handed_over": lambda: transport.taken, "refused_recipient": REFUSED, "seconds": 60.0}
    given["calls"] = lambda: transport.calls
    return await check_transport(transport.open, {"password": "correct horse"}, **(given | more))


async def check_all(transport: Honest, **more: Any) -> TransportReport:
    """With every peer; under a clock that jumps."""
    peers = {peer: {"password": "correct horse", "peer": peer} for peer in PEERS}
    return await check(transport, retry_after_seconds=HINT_SECONDS, **{**peers, **more})
