"""A scripted HTTP server on loopback, for the tests of a transport that posts: it answers, keeps silent, cuts, or babbles."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import h11
import trio

__all__ = ["Answer", "Behaviour", "HttpPeer", "Taken"]

Behaviour: TypeAlias = Literal["answer", "silent", "lost", "mute", "babbling"]


@dataclass(frozen=True)
class Taken:
    """One request that came whole."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class Answer:
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass
class HttpPeer:
    """answer: what to say to a request.  behaviour: whether to say it: `silent` reads nothing, `lost` reads and cuts, `mute`
    reads and waits, `babbling` says what is no HTTP.  taken: what came and was not refused.
    """

    answer: Callable[[Taken], Answer] = lambda _: Answer()
    behaviour: Behaviour = "answer"
    taken: list[Taken] = field(default_factory=list)

    @asynccontextmanager
    async def listening(self) -> AsyncGenerator[str]:
        """Serve on loopback; gives the URL of its root."""
        async with trio.open_nursery() as nursery:
            [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
            nursery.start_soon(trio.serve_listeners, self._serve, [listener])
            host, port = listener.socket.getsockname()
            yield f"http://{host}:{port}"
            nursery.cancel_scope.cancel()

    async def _serve(self, stream: trio.SocketStream) -> None:
        with suppress(trio.BrokenResourceError, h11.RemoteProtocolError):
            async with stream:
                if self.behaviour == "silent":
                    await _wait_closed(stream)
                else:
                    await self._talk(stream, h11.Connection(h11.SERVER))

    async def _talk(self, stream: trio.SocketStream, connection: h11.Connection) -> None:
        while (request := await _next_request(stream, connection)) is not None:
            answer = self.answer(request)
            if answer.status < 300:
                self.taken.append(request)
            if self.behaviour == "answer":
                await _say(stream, connection, answer)
            elif self.behaviour == "babbling":
                await stream.send_all(b"hello\r\n\xff hello\r\n\r\n")
            elif self.behaviour == "mute":
                await _wait_closed(stream)
            if connection.our_state is not h11.DONE or connection.their_state is not h11.DONE:
                return
            connection.start_next_cycle()


async def _next_request(stream: trio.SocketStream, connection: h11.Connection) -> Taken | None:
    """The next one, or None where the client has gone."""
    head: h11.Request | None = None
    body = b""
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await stream.receive_some(65_536))
        elif isinstance(event, h11.Request):
            head = event
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage) and head is not None:
            headers = {name.decode(): value.decode("latin-1") for name, value in head.headers}
            return Taken(head.method.decode(), head.target.decode(), headers, body)
        else:
            return None


async def _say(stream: trio.SocketStream, connection: h11.Connection, answer: Answer) -> None:
    headers = [("Content-Length", str(len(answer.body))), *answer.headers.items()]
    for event in (
        h11.Response(status_code=answer.status, headers=headers),
        h11.Data(data=answer.body),
        h11.EndOfMessage(),
    ):
        await stream.send_all(connection.send(event) or b"")


async def _wait_closed(stream: trio.SocketStream) -> None:
    while await stream.receive_some(65_536):
        pass
