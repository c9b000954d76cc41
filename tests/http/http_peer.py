"""A scripted HTTP server on loopback: reads requests by h11, answers by a function, and misbehaves on demand.

A fake of a provider gives it `answer`; a test sets `script`, which is asked first.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum
from functools import partial

import h11
import trio


class Mode(Enum):
    """What becomes of a request."""

    ANSWER = "read it, then answer"
    SILENT = "read it, never answer"
    CUT_BEFORE = "close when its head is there"
    CUT_AFTER = "read it, then close"
    CUT_ANSWER = "close in the midst of the answer"
    EARLY = "answer when its head is there, then close"


@dataclass(frozen=True)
class Asked:
    """One request as it came."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class Reply:
    status: int = 200
    body: bytes = b"{}"
    headers: tuple[tuple[str, str], ...] = (("Content-Type", "application/json"),)
    mode: Mode = Mode.ANSWER


@dataclass
class HttpPeer:
    """answer: what a fake says.  script: asked before that; None passes it on.  asked: all whole requests.

    pause: awaited between a request and its answer.
    """

    answer: Callable[[Asked], Reply]
    script: Callable[[Asked], Reply | None] = lambda asked: None
    asked: list[Asked] = field(default_factory=list)
    heads: list[str] = field(default_factory=list)
    connections: int = 0
    url: str = ""
    arrived: trio.Event = field(default_factory=trio.Event)
    pause: Callable[[Asked], Awaitable[None]] | None = None

    async def serve(self, stream: trio.SocketStream) -> None:
        self.connections += 1
        connection = h11.Connection(h11.SERVER)
        async with stream:
            try:
                while await self._one(stream, connection):
                    connection.start_next_cycle()
            except (trio.BrokenResourceError, trio.ClosedResourceError, h11.RemoteProtocolError):
                pass

    async def _one(self, stream: trio.SocketStream, connection: h11.Connection) -> bool:
        """Serve one request; whether another may follow."""
        head = await self._next(stream, connection)
        if not isinstance(head, h11.Request):
            return False
        self.heads.append(head.target.decode())
        early = self._reply_to(head, b"", is_whole=False)
        if early is not None and early.mode in (Mode.CUT_BEFORE, Mode.EARLY):
            if early.mode is Mode.EARLY:
                await self._send(stream, connection, early)
            return False
        body = bytearray()
        while isinstance(event := await self._next(stream, connection), h11.Data):
            body += event.data
        if not isinstance(event, h11.EndOfMessage):
            return False
        reply = self._reply_to(head, bytes(body), is_whole=True)
        assert reply is not None
        return await self._carry_out(stream, connection, reply)

    async def _carry_out(self, stream: trio.SocketStream, connection: h11.Connection, reply: Reply) -> bool:
        self.arrived.set()
        if self.pause is not None:
            await self.pause(self.asked[-1])
        if reply.mode is Mode.SILENT:
            while await stream.receive_some(65536):  # until the client leaves
                pass
            return False
        if reply.mode is Mode.CUT_AFTER:
            return False
        await self._send(stream, connection, reply)
        return reply.mode is Mode.ANSWER and connection.our_state is h11.DONE

    def _reply_to(self, head: h11.Request, body: bytes, *, is_whole: bool) -> Reply | None:
        headers = {name.decode().lower(): value.decode() for name, value in head.headers}
        asked = Asked(head.method.decode(), head.target.decode(), headers, body)
        scripted = self.script(asked)
        if not is_whole:
            return scripted
        self.asked.append(asked)
        return scripted or self.answer(asked)

    async def _next(self, stream: trio.SocketStream, connection: h11.Connection) -> object:
        while (event := connection.next_event()) is h11.NEED_DATA:
            connection.receive_data(await stream.receive_some(65536))
        return event

    async def _send(self, stream: trio.SocketStream, connection: h11.Connection, reply: Reply) -> None:
        headers = [*reply.headers, ("Content-Length", str(len(reply.body)))]
        if reply.mode is Mode.EARLY:
            headers.append(("Connection", "close"))
        await stream.send_all(connection.send(h11.Response(status_code=reply.status, headers=headers)) or b"")
        if reply.mode is Mode.CUT_ANSWER:
            await stream.send_all(reply.body[: len(reply.body) // 2])
            return
        await stream.send_all(connection.send(h11.Data(data=reply.body)) or b"")
        await stream.send_all(connection.send(h11.EndOfMessage()) or b"")


@asynccontextmanager
async def http_peer(
    answer: Callable[[Asked], Reply], script: Callable[[Asked], Reply | None] = lambda asked: None
) -> AsyncGenerator[HttpPeer]:
    """A peer that listens on loopback while the block runs."""
    peer = HttpPeer(answer, script)
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, host="127.0.0.1"), peer.serve, 0)
        port = listeners[0].socket.getsockname()[1]
        peer.url = f"http://127.0.0.1:{port}"
        yield peer
        nursery.cancel_scope.cancel()
