"""The bytes of one connection of the scripted SMTP server: reads commands and content strictly, and notes what is wrong."""

from __future__ import annotations

import base64
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

    async def secure(self, context: ssl.SSLContext) -> None:
        stream = trio.SSLStream(self.stream, context, server_side=True, https_compatible=True)
        await stream.do_handshake()
        self.stream = stream

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

    def _undone(self, text: bytes) -> bytes:
        lines = text.split(b"\r\n")
        for line in lines:
            if b"\r" in line or b"\n" in line or b"\0" in line:
                self._faults.append(f"content with bare CR, LF or NUL: {line[:60]!r}")
            if len(line.removeprefix(b".")) > _TEXT_OCTETS:
                self._faults.append(f"content with a line of {len(line)} octets")
            if line.startswith(b".") and not line.startswith(b".."):
                self._faults.append(f"content with a dot that is not doubled: {line[:60]!r}")
        return b"\r\n".join(line.removeprefix(b".") for line in lines)

    async def read_login(self, command: str) -> tuple[str, str]:
        """Finish AUTH PLAIN or LOGIN; gives user name and password."""
        _, mechanism, *initial = command.split(" ")
        if mechanism.upper() == "PLAIN":
            text = initial[0] if initial else await self._ask("")
            _, user, password = base64.b64decode(text).decode().split("\0")
            return user, password
        user = await self._ask("Username:")
        password = await self._ask("Password:")
        return base64.b64decode(user).decode(), base64.b64decode(password).decode()

    async def _ask(self, challenge: str) -> str:
        await self.say(f"334 {base64.b64encode(challenge.encode()).decode()}")
        return await self.read_command()

    async def _more(self) -> None:
        data = bytes(await self.stream.receive_some(65_536))
        if not data:
            raise Gone
        self._reads.append(data)
        self._buffer += data
