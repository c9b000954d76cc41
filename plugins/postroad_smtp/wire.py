"""A connection's stream: sends, receives, and says whether the peer has spoken or gone.  Knows no SMTP; makes no bytes."""

from __future__ import annotations

import select
from typing import Any

import trio

from .trouble import Kind, Trouble

__all__ = ["Wire"]

_CLOSE_SECONDS = 1.0  # closing forcefully does not wait; this is the net below that


class Wire:
    """stream: what is spoken over now; a TLS stream after STARTTLS.  Lost connections are Trouble, never OSError."""

    __slots__ = ("_receive_some", "_send_all", "_socket", "stream")

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._socket: Any = stream.socket if isinstance(stream, trio.SocketStream) else None
        self._take(stream)

    def _take(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self._send_all = stream.send_all
        self._receive_some = stream.receive_some

    def secured(self, stream: trio.abc.Stream) -> None:
        """Go on over TLS."""
        self._take(stream)

    async def send(self, data: bytes) -> None:
        try:
            await self._send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise Trouble(Kind.LOST, "the connection was lost while sending", "4.4.2") from error

    async def receive(self) -> bytes:
        """Some bytes.  Raises Trouble at the end of the stream."""
        try:
            data = await self._receive_some(65_536)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise Trouble(Kind.LOST, "the connection was lost", "4.4.2") from error
        if not data:
            raise Trouble(Kind.LOST, "the server closed the connection", "4.4.2")
        return bytes(data)

    def has_news(self) -> bool:
        """Whether the peer sent something, or closed, that nobody has read yet.  A stream without a socket never says so."""
        if self._socket is None:
            return False
        poll = select.poll()
        poll.register(self._socket.fileno(), select.POLLIN)
        return bool(poll.poll(0))

    async def close_forcefully(self) -> None:
        """Close without another word."""
        with trio.move_on_after(_CLOSE_SECONDS, shield=True):
            await trio.aclose_forcefully(self.stream)
