"""A scripted HTTP server on loopback, for the tests of a transport that posts: it answers, keeps silent, cuts, or babbles.

It reads requests by h11 (RFC 9112), which the extra `http` brings, and answers by a function; what h11 would never send, it says
as octets.  docs/testing.md shows how tests are written with it.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum

import h11
import trio

__all__ = ["HttpMode", "HttpPeer", "HttpReply", "HttpRequest"]

_READ_OCTETS = 65_536
_HEAD_OCTETS = 1 << 20  # longer than a transport would send; more ends the connection


class HttpMode(Enum):
    """What becomes of a request."""

    ANSWER = "read it, then answer"
    SILENT = "read it, never answer"
    DEAF = "read its head, and nothing more, not even that the client leaves"
    CUT_BEFORE = "close when its head is there"
    CUT_AFTER = "read it, then close"
    CUT_ANSWER = "close in the midst of the answer's body"
    EARLY = "answer when its head is there, then close"
    RAW = "read it, say the reply's body as it is instead of HTTP, then close"


@dataclass(frozen=True)
class HttpRequest:
    """One request.  headers: with lower-case names.  body: empty while only the head is there (`is_whole` is False)."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes = b""
    is_whole: bool = True


@dataclass(frozen=True)
class HttpReply:
    """What a peer says.  headers: beside Content-Length.  interim: how many 103 go before it.  after_seconds: of trio's clock."""

    status: int = 200
    body: bytes = b""
    headers: Sequence[tuple[str, str]] = ()
    mode: HttpMode = HttpMode.ANSWER
    reason: str = ""
    interim: int = 0
    after_seconds: float = 0.0


@dataclass
class HttpPeer:
    """answer: asked for the reply when a request is there.  script: asked before that, and also when only the head is there (for
    the modes that begin then, else its answer is not used); None passes it on.  pause: awaited between request and reply.

    asked: all that came whole.  taken: those of them that a success (2xx) was meant for, whatever became of it.  heads: the
    targets of all whose head came.  connections: how many there were.  url: of its root, while it listens.
    """

    answer: Callable[[HttpRequest], HttpReply] = lambda asked: HttpReply()
    script: Callable[[HttpRequest], HttpReply | None] = lambda asked: None
    pause: Callable[[HttpRequest], Awaitable[None]] | None = None
    asked: list[HttpRequest] = field(default_factory=list[HttpRequest])
    taken: list[HttpRequest] = field(default_factory=list[HttpRequest])
    heads: list[str] = field(default_factory=list[str])
    connections: int = 0
    url: str = ""
    arrived: trio.Event = field(default_factory=trio.Event)  # the first whole request
    _next: trio.Event = field(default_factory=trio.Event)

    async def wait_asked(self, number: int) -> Sequence[HttpRequest]:
        """Wait until so many requests came whole; return them."""
        while len(self.asked) < number:
            await self._next.wait()
        return self.asked

    @asynccontextmanager
    async def listening(
        self, *, tls: ssl.SSLContext | None = None, socket: trio.socket.SocketType | None = None
    ) -> AsyncGenerator[str]:
        """Serve at a free port of 127.0.0.1, or on a socket that is bound; gives the URL of its root.  tls: speak https."""
        if socket is None:
            socket = trio.socket.socket()
            await socket.bind(("127.0.0.1", 0))
        socket.listen(100)
        plain = trio.SocketListener(socket)
        listener = trio.SSLListener(plain, tls, https_compatible=True) if tls else plain
        host, port = socket.getsockname()[:2]
        self.url = f"{'https' if tls else 'http'}://{host}:{port}"
        async with trio.open_nursery() as nursery:
            await nursery.start(trio.serve_listeners, self.serve, [listener])
            yield self.url
            nursery.cancel_scope.cancel()

    async def serve(self, stream: trio.abc.Stream) -> None:
        """Serve one connection, wherever it comes from: `listening` does this, and `trio.serve_listeners` for a unix socket."""
        self.connections += 1
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=_HEAD_OCTETS)
        async with stream:
            try:
                while await self._serve_one(stream, connection):
                    connection.start_next_cycle()
            except (trio.BrokenResourceError, trio.ClosedResourceError, h11.ProtocolError):
                pass  # the client went away, or spoke no HTTP

    async def _serve_one(self, stream: trio.abc.Stream, connection: h11.Connection) -> bool:
        """Serve one request; whether another may follow."""
        head = await _next_event(stream, connection)
        if not isinstance(head, h11.Request):
            return False
        request = _request_of(head)
        self.heads.append(request.target)
        early = self.script(request)
        if early is not None and early.mode in (HttpMode.CUT_BEFORE, HttpMode.DEAF, HttpMode.EARLY):
            if early.mode is HttpMode.DEAF:
                await trio.sleep_forever()
            if early.mode is HttpMode.EARLY:
                await _say(stream, connection, early)
            return False
        body = bytearray()
        while isinstance(event := await _next_event(stream, connection), h11.Data):
            body += event.data
        if not isinstance(event, h11.EndOfMessage):
            return False
        return await self._take(stream, connection, _request_of(head, bytes(body)))

    async def _take(self, stream: trio.abc.Stream, connection: h11.Connection, request: HttpRequest) -> bool:
        self.asked.append(request)
        reply = self.script(request) or self.answer(request)
        if 200 <= reply.status < 300:
            self.taken.append(request)
        self.arrived.set()
        self._next.set()
        self._next = trio.Event()
        if self.pause is not None:
            await self.pause(request)
        await trio.sleep(reply.after_seconds)
        match reply.mode:
            case HttpMode.SILENT | HttpMode.DEAF:
                await _wait_closed(stream)
            case HttpMode.RAW:
                await stream.send_all(reply.body)
            case HttpMode.ANSWER | HttpMode.CUT_ANSWER | HttpMode.EARLY:
                await _say(stream, connection, reply)
            case HttpMode.CUT_BEFORE | HttpMode.CUT_AFTER:
                pass
        return reply.mode is HttpMode.ANSWER and connection.our_state is h11.DONE and connection.their_state is h11.DONE


async def _next_event(stream: trio.abc.Stream, connection: h11.Connection) -> object:
    while (event := connection.next_event()) is h11.NEED_DATA:
        connection.receive_data(bytes(await stream.receive_some(_READ_OCTETS)))
    return event


def _request_of(head: h11.Request, body: bytes | None = None) -> HttpRequest:
    headers = {name.decode().lower(): value.decode("latin-1") for name, value in head.headers}
    return HttpRequest(head.method.decode(), head.target.decode(), headers, body or b"", body is not None)


async def _say(stream: trio.abc.Stream, connection: h11.Connection, reply: HttpReply) -> None:
    for _ in range(reply.interim):
        await _send(stream, connection, h11.InformationalResponse(status_code=103, headers=[]))
    headers = [*reply.headers, ("Content-Length", str(len(reply.body)))]
    if reply.mode is HttpMode.EARLY:
        headers.append(("Connection", "close"))
    await _send(stream, connection, h11.Response(status_code=reply.status, headers=headers, reason=reply.reason))
    if reply.mode is HttpMode.CUT_ANSWER:
        await stream.send_all(reply.body[: len(reply.body) // 2])
        return
    await _send(stream, connection, h11.Data(data=reply.body))
    await _send(stream, connection, h11.EndOfMessage())


async def _send(stream: trio.abc.Stream, connection: h11.Connection, event: h11.Event) -> None:
    if octets := connection.send(event):
        await stream.send_all(octets)


async def _wait_closed(stream: trio.abc.Stream) -> None:
    while await stream.receive_some(_READ_OCTETS):
        pass
