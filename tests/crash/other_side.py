"""The other side: aiosmtpd, not our own code.  It writes down every acceptance before it answers, and is at times unkind.

What it does follows from a recipient's domain: `no` refuses, `later` and `hold` defer at times, `cancel` always, `doubt`,
`recall` and `ask` take a message and at times leave without an answer.
"""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes
from email.message import Message

from aiosmtpd.controller import Controller

from postroad.testing.promises import Arrival, Attempt, forbidden_octets

__all__ = ["OtherSide", "body_of", "failed_places", "id_of", "listening"]

_DEFERRED = {"later.example": 0.5, "hold.example": 0.7, "cancel.example": 1.0}
_UNANSWERED = {"doubt.example": 0.6, "recall.example": 0.6, "ask.example": 0.6}


class OtherSide:
    """arrivals, attempts: what was accepted and what came, in this order.  large: contents of more than 262,144 octets."""

    def __init__(self) -> None:
        self.arrivals: list[Arrival] = []
        self.attempts: list[Attempt] = []
        self.large = 0
        self._draw = random.Random(1)

    async def handle_MAIL(self, server, session, envelope, address, options):
        self.attempts.append(Attempt("127.0.0.1", time.time()))
        envelope.mail_from = address
        return "250 2.1.0 ok"

    async def handle_RCPT(self, server, session, envelope, address, options):
        domain = address.rpartition("@")[2]
        if domain == "no.example":
            return "550 5.1.1 no such user"
        if self._draw.random() < _DEFERRED.get(domain, 0.0):
            return "451 4.7.1 later"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 ok"

    async def handle_DATA(self, server, session, envelope):
        content = envelope.content
        message = message_from_bytes(content)
        forbidden = forbidden_octets(content, eight_bit=True)
        self.large += len(content) > 262_144
        for address in envelope.rcpt_tos:
            self.arrivals.append(Arrival(id_of(message), address, body_of(content), forbidden, failed_places(message)))
        unanswered = max(_UNANSWERED.get(address.rpartition("@")[2], 0.0) for address in envelope.rcpt_tos)
        if self._draw.random() < unanswered:
            server.transport.abort()
        return "250 2.0.0 taken"


@contextmanager
def listening(other_side: OtherSide, port: int) -> Iterator[None]:
    controller = Controller(other_side, hostname="127.0.0.1", port=port, enable_SMTPUTF8=True)
    controller.start()
    try:
        yield
    finally:
        controller.stop()


def id_of(message: Message) -> str:
    return message["Message-ID"].strip("<>").partition("@")[0]


def body_of(content: bytes) -> str:
    """Names the content as the submitters do."""
    return hashlib.sha256(content.partition(b"\r\n\r\n")[2]).hexdigest()[:24]


def failed_places(message: Message) -> tuple[tuple[str, str], ...]:
    """Of a report: the message it answers, and the recipients of its second part (RFC 3464 section 2.3)."""
    if message.get_content_type() != "multipart/report":
        return ()
    id = message["In-Reply-To"].strip("<>").partition("@")[0]
    addresses = [part["Final-Recipient"] for part in message.walk() if "Final-Recipient" in part]
    return tuple((id, address.partition(";")[2].strip()) for address in addresses)
