"""One connection to the engine's gate, for one thread of one process.  Synchronous; used by `handover.py` only.

It asks and is answered, within a deadline; what to do when that fails is not its business.
"""

from __future__ import annotations

import errno
import os
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from .errors import EngineClosed, StoreError, SubmissionTooLarge
from .gate_frames import PREAMBLE, BadFrame, Frames, address_of
from .gate_protocol import Answer, Call, Failed, encode_request, error_of, read_response, value_type

__all__ = ["GateLost", "Line", "NobodyListens"]

_ANSWER_OCTETS = 64 << 20  # a list of messages with many recipients
_BUSY = frozenset({errno.EAGAIN, errno.EWOULDBLOCK})  # connect: the gate's backlog is full


class NobodyListens(Exception):
    """There is no gate."""


class GateLost(Exception):
    """The connection ended before all was answered: what was asked may have been done."""


class Line:
    """A connection to the gate, for one thread of one process."""

    def __init__(self, path: Path, until: float, frame_octets: int) -> None:
        self._socket: socket.socket | None = None
        self._pid = os.getpid()
        self._frame_octets = frame_octets
        self._frames = Frames(_ANSWER_OCTETS)
        self._number = 0
        self._socket = _connect(path, until)

    @property
    def is_usable(self) -> bool:
        """A connection that a fork brought here belongs to the parent."""
        if self._pid != os.getpid():
            self.close()
        return self._socket is not None

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    __del__ = close  # a thread that ends leaves its connection to the collector

    def ask(self, calls: Sequence[Call], until: float) -> list[Any]:
        """The answers, values or errors.  Raises GateLost when the connection ends before the last of them."""
        first = self._number + 1
        frames = [encode_request(number, call) for number, call in enumerate(calls, first)]
        self._number += len(calls)
        for frame in frames:
            if len(frame) > self._frame_octets + 4:
                raise SubmissionTooLarge(
                    "content", f"the message has {len(frame):,} octets, more than [limits] message_bytes"
                )
        try:
            return self._talk(b"".join(frames), calls, first, until)
        except (OSError, BadFrame) as error:
            self.close()
            raise GateLost from error
        except BaseException:
            self.close()
            raise

    def _talk(self, data: bytes, calls: Sequence[Call], first: int, until: float) -> list[Any]:
        lost: OSError | None = None
        try:
            self._ready(until).sendall(data)
        except OSError as error:  # the gate may have said why before it closed
            lost = error
        answers = [self._answer(call, number, until) for number, call in enumerate(calls, first)]
        if lost is not None:
            raise lost
        return answers

    def _answer(self, call: Call, number: int, until: float) -> Any:
        response = read_response(self._receive(until))
        if response.number == 0:
            raise _whole(response)
        if response.number != number:
            raise BadFrame(f"answer {response.number} where {number} was due")
        if isinstance(response, Failed):
            return error_of(response)
        return _value(response, call)

    def _receive(self, until: float) -> bytes:
        while (payload := self._frames.take()) is None:
            data = self._ready(until).recv(65_536)
            if not data:
                raise ConnectionResetError("the gate closed the connection")
            self._frames.put(data)
        return payload

    def _ready(self, until: float) -> socket.socket:
        assert self._socket is not None
        self._socket.settimeout(max(0.001, until - time.monotonic()))
        return self._socket


def _whole(response: Answer | Failed) -> Exception:
    """What the gate says of the connection; an engine that ends, or a full gate, is only asked again."""
    if not isinstance(response, Failed) or response.kind == EngineClosed.__name__:
        return ConnectionResetError("the gate takes no requests now")
    return error_of(response)


def _value(answer: Answer, call: Call) -> Any:
    try:
        return msgspec.msgpack.decode(answer.value, type=value_type(call))
    except msgspec.DecodeError as error:
        raise BadFrame(str(error)) from None


def _connect(path: Path, until: float) -> socket.socket:
    line = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with address_of(path) as address:
            line.settimeout(max(0.001, until - time.monotonic()))
            line.connect(address)
        line.sendall(PREAMBLE)
    except OSError as error:
        line.close()
        raise _trouble(path, error) from error
    except BaseException:
        line.close()
        raise
    return line


def _trouble(path: Path, error: OSError) -> Exception:
    if isinstance(error, (FileNotFoundError, ConnectionRefusedError)):
        return NobodyListens()
    if isinstance(error, PermissionError):
        return StoreError(f"the engine's socket {path} may not be used by this user; run as the engine's user")
    if error.errno in _BUSY or isinstance(error, (TimeoutError, ConnectionError)):
        return GateLost()
    return StoreError(f"the engine's socket {path} cannot be used: {error}")
