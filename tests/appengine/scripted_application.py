"""An application on loopback that does what its script says: HTTP/1.1 by h11, and faults that h11 would not make."""

from __future__ import annotations

import email
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email.message import Message
from typing import Any, TypeAlias
from urllib.parse import unquote

import h11
import trio

OK = 200


@dataclass(frozen=True)
class Reply:
    """An answer.  early: before the body was read, and the connection is closed then."""

    status: int = OK
    headers: Sequence[tuple[str, str]] = ()
    reason: str = ""
    body: bytes = b"done"
    passing: int = 0
    early: bool = False
    after_seconds: float = 0.0


@dataclass(frozen=True)
class Raw:
    """Octets instead of an answer, then the end of the connection; none: it is closed without a word."""

    octets: bytes = b""


class Hang:
    """Reads all, and never answers."""


class Deaf:
    """Accepts, and reads nothing."""


Step: TypeAlias = int | Reply | Raw | Hang | Deaf


@dataclass
class Request:
    target: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def path(self) -> str:
        return unquote(self.target)

    @property
    def form(self) -> dict[str, Message]:
        return form_of(self.headers["content-type"], self.body)

    @property
    def fields(self) -> dict[str, str]:
        """By the parts' own charsets, as an application's framework reads them."""
        return {
            name: part.get_payload(decode=True).decode(part.get_param("charset", "utf-8"))  # type: ignore[union-attr]
            for name, part in self.form.items()
        }

    @property
    def key(self) -> str:
        return self.headers["idempotency-key"]


def form_of(content_type: str, body: bytes) -> dict[str, Message]:
    whole = email.message_from_bytes(b"Content-Type: " + content_type.encode() + b"\r\n\r\n" + body)
    parts: list[Any] = list(whole.get_payload())
    return {str(part.get_param("name", header="content-disposition")): part for part in parts}


@dataclass
class Application:
    """script: a step for each request, then `default`.  requests: what was read whole, in order."""

    script: Iterator[Step]
    default: Step
    port: int = 0
    requests: list[Request] = field(default_factory=list)
    connections: int = 0
    changed: trio.Event = field(default_factory=trio.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def keys(self) -> list[str]:
        return [request.key for request in self.requests]

    async def wait_requests(self, number: int) -> list[Request]:
        while len(self.requests) < number:
            await self.changed.wait()
        return self.requests

    async def serve(self, stream: trio.abc.Stream) -> None:
        self.connections += 1
        async with stream:
            try:
                await self._answer(stream, next(self.script, self.default))
            except (trio.BrokenResourceError, h11.RemoteProtocolError):
                return

    async def _answer(self, stream: trio.abc.Stream, step: Step) -> None:
        talk = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
        if isinstance(step, Deaf):
            await trio.sleep_forever()
        if isinstance(step, Reply) and step.early:
            await _next(talk, stream)
            await _say(talk, stream, step)
            return
        await self._read(talk, stream)
        if isinstance(step, Hang):
            await stream.receive_some(1)  # it only hears of the end
            return
        if isinstance(step, Raw):
            await stream.send_all(step.octets or b"") if step.octets else None
            return
        await _say(talk, stream, Reply(step) if isinstance(step, int) else step)

    async def _read(self, talk: h11.Connection, stream: trio.abc.Stream) -> None:
        head = await _next(talk, stream)
        if not isinstance(head, h11.Request):
            raise trio.BrokenResourceError("it went away without a word")
        body = b""
        while isinstance(event := await _next(talk, stream), h11.Data):
            body += event.data
        headers = {name.decode(): value.decode() for name, value in head.headers}
        self.requests.append(Request(head.target.decode(), headers, body))
        self.changed.set()
        self.changed = trio.Event()


async def _next(talk: h11.Connection, stream: trio.abc.Stream) -> Any:
    while (event := talk.next_event()) is h11.NEED_DATA:
        talk.receive_data(bytes(await stream.receive_some(65_536)))
    return event


async def _say(talk: h11.Connection, stream: trio.abc.Stream, reply: Reply) -> None:
    if reply.after_seconds:
        await trio.sleep(reply.after_seconds)
    for _ in range(reply.passing):
        await stream.send_all(b"HTTP/1.1 103 Early Hints\r\n\r\n")
    headers = [*reply.headers, ("content-length", str(len(reply.body)))]
    octets = talk.send(h11.Response(status_code=reply.status, headers=headers, reason=reply.reason)) or b""
    await stream.send_all(octets + (talk.send(h11.Data(data=reply.body)) or b""))


@asynccontextmanager
async def open_application(
    *script: Step, default: Step = OK, at: BoundPort | None = None, ssl_context: Any = None
) -> AsyncGenerator[Application]:
    """at: a port that was closed until now."""
    application = Application(iter(script), default)
    bound = at or await BoundPort.make()
    bound.sock.listen(100)
    application.port = bound.number
    listener: Any = trio.SocketListener(bound.sock)
    if ssl_context:
        listener = trio.SSLListener(listener, ssl_context, https_compatible=True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, application.serve, [listener])
        yield application
        nursery.cancel_scope.cancel()


@dataclass
class BoundPort:
    """A port where nobody listens, and nobody else can begin to: it is bound."""

    sock: trio.socket.SocketType

    @classmethod
    async def make(cls) -> BoundPort:
        sock = trio.socket.socket()
        await sock.bind(("127.0.0.1", 0))
        return cls(sock)

    @property
    def number(self) -> int:
        return self.sock.getsockname()[1]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.number}"


@asynccontextmanager
async def closed_port() -> AsyncGenerator[BoundPort]:
    bound = await BoundPort.make()
    with bound.sock:
        yield bound
