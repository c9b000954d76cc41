"""A connection's stream: sends, receives, and says whether the peer has spoken or gone.  Knows no SMTP; makes no bytes."""

from __future__ import annotations

import select
import socket

import trio

from .plain import PlainStream
from .trouble import Kind, Trouble

__all__ = ["Wire"]

_CLOSE_SECONDS = 1.0  # closing forcefully does not wait; this is the net below that


class Wire:
    """stream: what is spoken over now; a TLS stream after STARTTLS.  Lost connections are Trouble, never OSError."""

    __slots__ = ("_base", "_plain", "_poll", "stream")

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self._base = self._plain = stream if isinstance(stream, PlainStream) else None
        self._poll: select.poll | None = None  # once it is asked for news

    @property
    def plain_socket(self) -> socket.socket | None:
        """What is read and written as it is: None under TLS, and where the stream is no socket."""
        return None if self._plain is None else self._plain.socket

    def secured(self, stream: trio.abc.Stream) -> None:
        """Go on over TLS."""
        self.stream = stream
        self._plain = None

    def send_nowait(self, data: bytes) -> bytes | memoryview:
        """Send what can be sent without waiting; what is left of it."""
        if self._plain is None:
            return data
        try:
            sent = self._plain.send_nowait(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise _lost_sending() from error
        return b"" if sent == len(data) else memoryview(data)[sent:]

    async def send(self, data: bytes) -> None:
        """Send all of it; where the kernel takes it at once, without a checkpoint."""
        if rest := self.send_nowait(data):
            await self.send_rest(rest)

    async def send_rest(self, rest: bytes | memoryview) -> None:
        """Send what `send_nowait` left."""
        try:
            await self.stream.send_all(rest)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise _lost_sending() from error

    async def wait_for_room(self) -> None:
        """Until it can be written, which is when it is connected, or has failed."""
        try:
            if self._plain is not None:
                await self._plain.wait_send_all_might_not_block()
        except trio.ClosedResourceError as error:
            raise _lost_sending() from error

    async def receive(self) -> bytes:
        """Some bytes.  Raises Trouble at the end of the stream."""
        try:
            data = await self.stream.receive_some(65_536)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise _lost() from error
        if not data:
            raise _closed()
        return bytes(data)

    def receive_nowait(self) -> bytes | None:
        """Some bytes, None where there are none; only where `plain_socket` is.  Raises Trouble at the end of the stream."""
        assert self._plain is not None
        try:
            data = self._plain.receive_nowait()
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise _lost() from error
        if data == b"":
            raise _closed()
        return data

    def has_news(self) -> bool:
        """Whether the peer sent something, or closed, that nobody has read yet.  A stream without a socket never says so."""
        if self._base is None:
            return False
        if self._poll is None:
            self._poll = select.poll()
            self._poll.register(self._base.socket.fileno(), select.POLLIN)
        return bool(self._poll.poll(0))

    def has_plain_news(self) -> bool:
        """The same without TLS; under it, there may be words of its own."""
        return self._plain is not None and self.has_news()

    def close_nowait(self) -> bool:
        """Close without another word; False where that takes a checkpoint, as it may without a socket below."""
        if self._base is None:
            return False
        self._base.close_nowait()
        return True

    async def close_forcefully(self) -> None:
        """The same, with a checkpoint where it takes one."""
        if not self.close_nowait():
            with trio.move_on_after(_CLOSE_SECONDS, shield=True):
                await trio.aclose_forcefully(self.stream)


def _lost_sending() -> Trouble:
    return Trouble(Kind.LOST, "the connection was lost while sending", "4.4.2")


def _lost() -> Trouble:
    return Trouble(Kind.LOST, "the connection was lost", "4.4.2")


def _closed() -> Trouble:
    return Trouble(Kind.LOST, "the server closed the connection", "4.4.2")
