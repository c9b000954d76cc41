"""A TCP or unix stream with less in its way than trio's own: a third of the cost of a small message is in these two calls.

`send_nowait` writes what the kernel takes at once, which for most messages is all; `receive_some` waits before it reads, because
after a write there is never anything to read yet.  Everything else, TLS included, sees an ordinary trio Stream.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import sys

import trio

__all__ = ["PlainStream", "connect"]

_SOME = 65_536
_REPLIES = 4096  # octets that are read at once of what is but replies
_IP_BIND_ADDRESS_NO_PORT = getattr(socket, "IP_BIND_ADDRESS_NO_PORT", 24)  # the name came with Python 3.12
_ASKS_AGAIN = sys.platform == "linux"  # where a second connect(2) gives the first one's outcome, be it good or bad
_BACKLOG_TRIES, _BACKLOG_SECONDS = 100, 0.1


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
            if (data := self.receive_nowait(max_bytes or _SOME)) is not None:
                return data

    def receive_nowait(self, max_bytes: int = _REPLIES) -> bytes | None:
        """What is here, None where nothing is.  Raises trio.BrokenResourceError."""
        try:
            return self.socket.recv(max_bytes)
        except (BlockingIOError, InterruptedError):
            return None
        except OSError as error:
            raise self._lost(error) from error

    def close_nowait(self) -> None:
        """Close; whoever waits on the stream gets trio.ClosedResourceError."""
        if self.socket.fileno() >= 0:
            trio.lowlevel.notify_closing(self.socket)
            self.socket.close()

    async def aclose(self) -> None:
        self.close_nowait()
        await trio.lowlevel.checkpoint()


async def connect(address: str, port: int, source: str = "") -> PlainStream:
    """A connection to a numeric address, or to the unix socket whose path the address is.

    source: this machine's address to connect from; "" leaves it to the system.  Raises OSError; nothing stays open then.
    Without a checkpoint where this machine answers at once.
    """
    sock = socket.socket(_family(address), socket.SOCK_STREAM)
    try:
        sock.settimeout(0)
        if sock.family == socket.AF_UNIX:
            await _connect_unix(sock, address)
        else:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if source:
                _bind(sock, source)
            await _connect_tcp(sock, (address, port))
    except BaseException:
        sock.close()
        raise
    return PlainStream(sock)


def _family(address: str) -> socket.AddressFamily:
    if address.startswith("/"):
        return socket.AF_UNIX
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def _bind(sock: socket.socket, source: str) -> None:
    with contextlib.suppress(OSError):  # or each connection would take a port for itself, whatever it leads to: ip(7)
        sock.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
    try:
        sock.bind((source, 0))
    except OSError as error:
        if error.errno != errno.EADDRNOTAVAIL:
            raise
        raise OSError(error.errno, f"this machine has no address {source} (source_addresses)") from error


async def _connect_tcp(sock: socket.socket, target: tuple[str, int]) -> None:
    code = sock.connect_ex(target)
    if code == errno.EINPROGRESS and _ASKS_AGAIN:
        code = sock.connect_ex(target)  # 0 where this machine answered already: it spares the wait
    if code in (errno.EINPROGRESS, errno.EALREADY, errno.EWOULDBLOCK):
        await trio.lowlevel.wait_writable(sock)
        code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if code:
        raise OSError(code, os.strerror(code))


async def _connect_unix(sock: socket.socket, path: str) -> None:
    """At once, or never: a full backlog is the only thing to wait for, and nothing tells when it has room (unix(7))."""
    code = sock.connect_ex(path)
    for _ in range(_BACKLOG_TRIES):
        if code != errno.EAGAIN:
            break
        await trio.sleep(_BACKLOG_SECONDS)
        code = sock.connect_ex(path)
    if code:
        raise OSError(code, os.strerror(code))
    await trio.lowlevel.checkpoint()
