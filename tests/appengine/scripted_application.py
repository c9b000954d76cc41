"""An application on loopback that does what its script says, one step for each request."""

from __future__ import annotations

import email
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email.message import Message
from typing import Any, TypeAlias
from urllib.parse import unquote

import trio

from postroad.testing import HttpMode, HttpPeer, HttpReply, HttpRequest

OK = 200


@dataclass(frozen=True)
class Raw:
    """Octets instead of an answer, then the end of the connection; none: it is closed without a word."""

    octets: bytes = b""


class Hang:
    """Reads all, and never answers."""


class Deaf:
    """Accepts, and reads nothing."""


Step: TypeAlias = int | HttpReply | Raw | Hang | Deaf


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
    """script: a step for each request, then `default`."""

    script: Iterator[Step]
    default: Step
    peer: HttpPeer = field(default_factory=HttpPeer)
    _steps: dict[str, Step] = field(default_factory=dict)  # of the requests whose head is there, by their keys

    def __post_init__(self) -> None:
        self.peer.script = self._reply_to

    @property
    def url(self) -> str:
        return self.peer.url

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    @property
    def connections(self) -> int:
        return self.peer.connections

    @property
    def requests(self) -> list[Request]:
        """What was read whole, in order."""
        return [Request(asked.target, asked.headers, asked.body) for asked in self.peer.asked]

    def keys(self) -> list[str]:
        return [request.key for request in self.requests]

    async def wait_requests(self, number: int) -> list[Request]:
        await self.peer.wait_asked(number)
        return self.requests

    def _reply_to(self, asked: HttpRequest) -> HttpReply:
        key = asked.headers.get("idempotency-key", "")
        if not asked.is_whole:
            self._steps[key] = next(self.script, self.default)
        return _reply_of(self._steps.pop(key) if asked.is_whole else self._steps[key])


def _reply_of(step: Step) -> HttpReply:
    match step:
        case int():
            return HttpReply(step, b"done")
        case Raw():
            return HttpReply(body=step.octets, mode=HttpMode.RAW)
        case Hang():
            return HttpReply(mode=HttpMode.SILENT)
        case Deaf():
            return HttpReply(mode=HttpMode.DEAF)
        case HttpReply():
            return step


@asynccontextmanager
async def open_application(
    *script: Step, default: Step = OK, at: BoundPort | None = None, ssl_context: Any = None
) -> AsyncGenerator[Application]:
    """at: a port that was closed until now."""
    application = Application(iter(script), default)
    async with application.peer.listening(tls=ssl_context, socket=at.sock if at else None):
        yield application


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
