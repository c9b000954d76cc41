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

__all__ = ["PlainStream", "connect", "connect_nowait"]

_SOME = 65_536
_REPLIES = 4096  # octets that are read at once of what is but replies
_IP_BIND_ADDRESS_NO_PORT = getattr(socket, "IP_BIND_ADDRESS_NO_PORT", 24)  # the name came with Python 3.12
_ASKS_AGAIN = sys.platform == "linux"  # where a second connect(2) gives the first one's outcome, be it good or bad
_UNDER_WAY = frozenset({errno.EINPROGRESS, errno.EALREADY, errno.EWOULDBLOCK})
_NONBLOCK = getattr(socket, "SOCK_NONBLOCK", 0)  # a system call less, where there is such a thing
_BACKLOG_TRIES, _BACKLOG_SECONDS = 100, 0.1


class PlainStream(trio.abc.Stream):
    """sock: a non-blocking socket of the standard library; it belongs to the stream.

    is_pending: it is not connected yet.  Once it can be written, or failed, `finish` says which.
    """

    def __init__(self, sock: socket.socket, *, is_pending: bool = False) -> None:
        self.socket = sock
        self.is_pending = is_pending
        self._is_known = False  # to trio, which has to hear of its end

    def finish(self) -> None:
        """How connecting has ended.  Raises OSError."""
        self.is_pending = False
        if code := self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            raise OSError(code, os.strerror(code))

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
        self._is_known = True
        try:
            await trio.lowlevel.wait_writable(self.socket)
        except (OSError, ValueError) as error:  # ValueError: the socket is closed
            raise trio.ClosedResourceError("the stream was closed") from error

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        self._is_known = True
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
        if self._is_known and self.socket.fileno() >= 0:
            trio.lowlevel.notify_closing(self.socket)
        self.socket.close()

    async def aclose(self) -> None:
        self.close_nowait()
        await trio.lowlevel.checkpoint()


def connect_nowait(address: str, port: int, source: str = "") -> PlainStream:
    """Begin a connection to a numeric address, or to the unix socket whose path the address is.

    source: this machine's address to connect from; "" leaves it to the system.  Raises OSError; nothing stays open then.  That is
    BlockingIOError where nothing tells when it may succeed: the backlog of a unix socket is full.
    """
    family = _family(address)
    sock = socket.socket(family, socket.SOCK_STREAM | _NONBLOCK)
    try:
        if not _NONBLOCK:
            sock.settimeout(0)
        if family == socket.AF_UNIX:
            return PlainStream(sock, is_pending=_begin(sock, address))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if source:
            _bind(sock, source)
        return PlainStream(sock, is_pending=_begin(sock, (address, port)))
    except BaseException:
        sock.close()
        raise


def _begin(sock: socket.socket, target: str | tuple[str, int]) -> bool:
    """Whether the connection's outcome is not known yet.  Raises OSError."""
    code = sock.connect_ex(target)
    if code == errno.EINPROGRESS and _ASKS_AGAIN:
        code = sock.connect_ex(target)  # 0 where this machine answered already: it spares the wait
    if code in _UNDER_WAY and sock.family != socket.AF_UNIX:
        return True
    if code:
        raise OSError(code, os.strerror(code))
    return False


async def connect(address: str, port: int, source: str = "") -> PlainStream:
    """The same, waiting for the connection, and for room in a backlog; without a checkpoint where this machine answers."""
    stream = await _connect_when_room(address, port, source)
    try:
        if stream.is_pending:
            await stream.wait_send_all_might_not_block()
            stream.finish()
    except BaseException:
        stream.close_nowait()
        raise
    return stream


async def _connect_when_room(address: str, port: int, source: str) -> PlainStream:
    for _ in range(_BACKLOG_TRIES):
        try:
            return connect_nowait(address, port, source)
        except BlockingIOError:
            await trio.sleep(_BACKLOG_SECONDS)
    return connect_nowait(address, port, source)


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
