"""The real transport on its way to a real server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from letters import letter
from real_server import RealServer

from postroad.testing import make_request
from postroad.transport import LeasedRecipient, Transport
from postroad.verdict import Verdict
from postroad_smtp import smtp_transport

KNOWN = "known@example.org"


class Road:
    """A transport that can be told to send a message with a mark."""

    def __init__(self, transport: Transport) -> None:
        self.transport = transport

    async def send(self, mark: str, *recipients: str | LeasedRecipient, **more: Any) -> Sequence[Verdict]:
        """`more` as for `make_request`."""
        more = {"content": letter(mark), "sender": "sender@example.org", **more}
        return await self.transport.deliver(make_request(recipients or (KNOWN,), **more))

    async def send_one(self, mark: str, recipient: str = KNOWN, **more: Any) -> Verdict:
        (verdict,) = await self.send(mark, recipient, **more)
        return verdict


@asynccontextmanager
async def open_road(server: RealServer | str, **settings: Any) -> AsyncIterator[Road]:
    place = server if isinstance(server, str) else server.place
    table = {"smarthost": place, "helo": "client.example", "tls": "none", **settings}
    async with smtp_transport(table) as transport:
        yield Road(transport)
