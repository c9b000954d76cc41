"""The bytes of one connection of the scripted SMTP server: reads commands and content strictly, and notes what is wrong."""

from __future__ import annotations

import socket
import ssl
import struct

import trio

__all__ = ["Gone", "Line"]

_COMMAND_OCTETS = 12_288  # RFC 4954 allows as much for AUTH
_TEXT_OCTETS = 998


class Gone(Exception):
    """The connection is over."""


class Line:
    """A stream with a buffer.  reads: every piece that was received.  faults: where breaches of the rules are noted."""

    def __init__(self, stream: trio.abc.Stream, reads: list[bytes], faults: list[str]) -> None:
        self.stream = stream
        self._socket_stream = stream
        self._reads = reads
        self._faults = faults
        self._buffer = b""

    @property
    def has_more(self) -> bool:
        """Whether something was received that is not read yet."""
        return bool(self._buffer)

    @property
    def has_command(self) -> bool:
        """Whether a whole command was received that is not read yet."""
        return b"\n" in self._buffer

    def note(self, fault: str) -> None:
        self._faults.append(fault)

    async def send(self, data: bytes) -> None:
        await self.stream.send_all(data)

    async def say(self, reply: str) -> None:
        """Send a reply; newlines separate its lines."""
        await self.send(reply.replace("\n", "\r\n").encode() + b"\r\n")

    async def secure(self, context: ssl.SSLContext) -> bool:
        """Negotiate TLS; whether the client resumed an earlier session."""
        stream = trio.SSLStream(self.stream, context, server_side=True, https_compatible=True)
        failure: Exception | None = None
        try:
            await stream.do_handshake()
        except trio.BrokenResourceError as error:
            failure = error
        if failure is not None:
            await self._send_alert(stream)
            raise failure
        self.stream = stream
        return bool(stream.session_reused)

    async def _send_alert(self, stream: trio.SSLStream[trio.abc.Stream]) -> None:
        """Say what was wrong with the client's handshake, as every server does; trio keeps it to itself."""
        await self.send(stream._outgoing.read())  # pyright: ignore[reportPrivateUsage]  # trio has no other way to it

    async def await_hello(self) -> None:
        """Wait for the client's first bytes of TLS, and drop them."""
        if not await self.stream.receive_some(65_536):
            raise Gone

    def reset(self) -> None:
        """Make the end of the connection an RST."""
        if isinstance(self._socket_stream, trio.SocketStream):
            linger = struct.pack("ii", 1, 0)
            self._socket_stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

    async def read_command(self) -> str:
        """A command without its CRLF.  Raises Gone at the end of the connection."""
        while b"\n" not in self._buffer:
            if len(self._buffer) > _COMMAND_OCTETS:
                self._faults.append("a command without end")
                raise Gone
            await self._more()
        line, _, self._buffer = self._buffer.partition(b"\n")
        if not line.endswith(b"\r") or b"\r" in line[:-1] or b"\0" in line:
            self._faults.append(f"a command with bare CR, LF or NUL: {line!r}")
        return line.removesuffix(b"\r").decode("utf-8", "replace")

    async def read_content(self) -> tuple[bytes, bytes]:
        """Content to its final dot: as it came, and with the dots undone."""
        end = b"\r\n.\r\n"
        searched = 0
        while not self._buffer.startswith(b".\r\n") and self._buffer.find(end, searched) < 0:
            searched = max(0, len(self._buffer) - len(end))
            await self._more()
        stop = 3 if self._buffer.startswith(b".\r\n") else self._buffer.index(end, searched) + len(end)
        raw, self._buffer = self._buffer[:stop], self._buffer[stop:]
        return raw, self._undone(raw[:-3])

    async def read_octets(self, count: int) -> bytes:
        """So many octets, whatever they are (BDAT, RFC 3030)."""
        while len(self._buffer) < count:
            await self._more()
        octets, self._buffer = self._buffer[:count], self._buffer[count:]
        return octets

    def check_text(self, text: bytes) -> None:
        """Note what no line of a content may have; a leading dot is not counted."""
        for line in text.split(b"\r\n"):
            if b"\r" in line or b"\n" in line or b"\0" in line:
                self._faults.append(f"content with bare CR, LF or NUL: {line[:60]!r}")
            if len(line.removeprefix(b".")) > _TEXT_OCTETS:
                self._faults.append(f"content with a line of {len(line)} octets")

    def _undone(self, text: bytes) -> bytes:
        self.check_text(text)
        lines = text.split(b"\r\n")
        for line in lines:
            if line.startswith(b".") and not line.startswith(b".."):
                self._faults.append(f"content with a dot that is not doubled: {line[:60]!r}")
        return b"\r\n".join(line.removeprefix(b".") for line in lines)

    async def _more(self) -> None:
        data = bytes(await self.stream.receive_some(65_536))
        if not data:
            raise Gone
        self._reads.append(data)
        self._buffer += data
