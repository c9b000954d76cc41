"""An SMTP transport to a scripted server, ready to be sent mail through."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from postroad.testing import make_request
from postroad.testing.smtp_peer import Behaviour, SmtpPeer
from postroad.transport import Transport
from postroad.verdict import Verdict
from postroad_smtp import smtp_transport

CONTENT = b"From: a@example.com\r\nSubject: Hello\r\n\r\nHello\r\n.\r\n..dots\r\n"


class Road:
    """A transport and its peer."""

    def __init__(self, transport: Transport, peer: SmtpPeer) -> None:
        self.transport = transport
        self.peer = peer
        self.committed = 0

    def _commit(self) -> None:
        self.committed += 1

    async def send(self, *recipients: str, **more: Any) -> Sequence[Verdict]:
        more.setdefault("content", CONTENT)
        more.setdefault("commit", self._commit)
        return await self.transport.deliver(make_request(recipients or ("b@example.org",), **more))

    def commands(self, connection: int = 0) -> list[str]:
        """The verbs that a connection heard."""
        return [command.split(" ")[0] for command in self.peer.connections[connection].commands]


OpenRoad = Callable[..., AbstractAsyncContextManager[Road]]


@asynccontextmanager
async def open_road(
    replies: dict[str, Any] | None = None, *, peer: SmtpPeer | None = None, is_strict: bool = True, **settings: Any
) -> AsyncIterator[Road]:
    peer = peer or SmtpPeer(Behaviour(replies))
    async with peer.listening() as (host, port):
        table = {"smarthost": f"{host}:{port}", "helo": "client.example", **settings}
        async with smtp_transport(table) as transport:
            yield Road(transport, peer)
    if is_strict:
        assert peer.faults == []
