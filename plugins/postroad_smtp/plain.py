"""A TCP stream with less in its way than trio's own: a third of the cost of a small message is in these two calls.

`send_nowait` writes what the kernel takes at once, which for most messages is all; `receive_some` waits before it reads, because
after a write there is never anything to read yet.  Everything else, TLS included, sees an ordinary trio Stream.
"""

from __future__ import annotations

import contextlib
import os
import socket

import trio

__all__ = ["PlainStream", "connect"]

_SOME = 65_536


class PlainStream(trio.abc.Stream):
    """sock: a connected, non-blocking socket of the standard library; it belongs to the stream."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock

    def send_nowait(self, data: bytes | memoryview) -> int:
        """Write what can be written now; how many octets that was.  Raises trio.BrokenResourceError."""
        try:
            return self.socket.send(data)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError as error:
            raise self._lost(error) from error

    def _lost(self, error: OSError) -> Exception:
        if self.socket.fileno() < 0:
            return trio.ClosedResourceError("the stream was closed")
        return trio.BrokenResourceError(f"the connection was lost: {error.strerror or error}")

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await trio.lowlevel.checkpoint()
        rest = memoryview(data)
        while rest:
            rest = rest[self.send_nowait(rest) :]
            if rest:
                await self.wait_send_all_might_not_block()

    async def wait_send_all_might_not_block(self) -> None:
        try:
            await trio.lowlevel.wait_writable(self.socket)
        except (OSError, ValueError) as error:  # ValueError: the socket is closed
            raise trio.ClosedResourceError("the stream was closed") from error

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        while True:
            try:
                await trio.lowlevel.wait_readable(self.socket)
            except (OSError, ValueError) as error:
                raise trio.ClosedResourceError("the stream was closed") from error
            try:
                return self.socket.recv(max_bytes or _SOME)
            except (BlockingIOError, InterruptedError):
                continue
            except OSError as error:
                raise self._lost(error) from error

    async def aclose(self) -> None:
        if self.socket.fileno() >= 0:
            trio.lowlevel.notify_closing(self.socket)
            self.socket.close()
        await trio.lowlevel.checkpoint()


async def connect(address: str, port: int) -> PlainStream:
    """A TCP connection to a numeric address.  Raises OSError."""
    sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.settimeout(0)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await _finish(sock, address, port)
    except BaseException:
        sock.close()
        raise
    return PlainStream(sock)


async def _finish(sock: socket.socket, address: str, port: int) -> None:
    with contextlib.suppress(BlockingIOError):
        sock.connect((address, port))
    await trio.lowlevel.wait_writable(sock)
    code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if code:
        raise OSError(code, os.strerror(code))
