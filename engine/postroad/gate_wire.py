"""One client's octets at the engine's gate, with less in their way than a stream of trio's.

What is here is read at once, and what there is room for is written at once: of a small message the wait for its first octet is
the only one.  What has to wait longer goes by trio's stream, within a deadline.  Used by `gate.py` only.
"""

from __future__ import annotations

import os

import trio

__all__ = ["EXCHANGE_SECONDS", "Wire"]

EXCHANGE_SECONDS = 30.0  # to send a frame once it is begun, and to take its answers
_PIECE_OCTETS = 65_536  # one read; a buffer of 256 KiB is new memory each time, and costs five times as much
_PIECES = 4  # about what a unix socket holds: so much is answered by one commit


class Wire:
    """stream: of a client; whoever made it closes it."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self._descriptor = stream.socket.fileno() if isinstance(stream, trio.SocketStream) else None

    async def receive(self) -> bytes:
        """What has come, after a wait for its first octet; b"" where the client has gone.  Raises trio.BrokenResourceError."""
        if self._descriptor is None:
            return bytes(await self._stream.receive_some(_PIECES * _PIECE_OCTETS))
        piece = None
        while piece is None:
            await trio.lowlevel.wait_readable(self._descriptor)
            piece = _read(self._descriptor)
        pieces = [piece]
        while len(pieces[-1]) == _PIECE_OCTETS and len(pieces) < _PIECES and (more := _read(self._descriptor)):
            pieces.append(more)
        return b"".join(pieces)

    async def send(self, data: bytes) -> None:
        """No checkpoint where the client takes all at once.  Raises trio.BrokenResourceError or TooSlowError."""
        sent = 0 if self._descriptor is None else _write(self._descriptor, data)
        if sent < len(data):
            with trio.fail_after(EXCHANGE_SECONDS):
                await self._stream.send_all(memoryview(data)[sent:])


def _read(descriptor: int) -> bytes | None:
    """What is here, b"" at the end, None where there is nothing yet."""
    try:
        return os.read(descriptor, _PIECE_OCTETS)
    except BlockingIOError:
        return None
    except OSError as error:
        raise trio.BrokenResourceError(f"the client was lost: {error.strerror}") from error


def _write(descriptor: int, data: bytes) -> int:
    """How many octets there was room for."""
    try:
        return os.write(descriptor, data)
    except BlockingIOError:
        return 0
    except OSError as error:
        raise trio.BrokenResourceError(f"the client was lost: {error.strerror}") from error
