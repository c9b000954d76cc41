"""How the gate's requests and answers are cut from a stream, and where its socket is.

A connection begins with PREAMBLE; then every frame is a length of 4 octets and so many octets.  Used on both sides: `gate.py`,
`gate_line.py`.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from .errors import ConfigError

__all__ = ["PREAMBLE", "BadFrame", "Frames", "address_of", "frame_limit", "framed"]

PREAMBLE = b"postroad gate 1\n"  # the number is the version of what follows
_LENGTH = struct.Struct(">I")
_SLACK = 1 << 20  # of a frame, beside the message: 1,000 recipients of 256 octets and all the rest
_SOCKET_OCTETS = 107  # of a unix socket's path (Linux, sun_path without its NUL)


class BadFrame(Exception):
    """The peer sent what is no frame of this protocol."""


def framed(payload: bytes) -> bytes:
    """A payload as it goes over the wire."""
    return _LENGTH.pack(len(payload)) + payload


def frame_limit(message_bytes: int) -> int:
    """Octets of the largest frame, where messages may have so many."""
    return message_bytes + _SLACK


class Frames:
    """Cuts what arrives into frames.  Feed it with `put`; `wanted` says how long the frame is that is being received."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held = bytearray()

    def put(self, data: bytes) -> None:
        self._held += data

    def __len__(self) -> int:
        return len(self._held)

    @property
    def wanted(self) -> int:
        """Octets of the first frame in all, 0 while its length is not known.  Raises BadFrame when it is too long."""
        if len(self._held) < _LENGTH.size:
            return 0
        length = int(_LENGTH.unpack_from(self._held)[0])
        if length > self._limit:
            raise BadFrame(f"a frame of {length:,} octets, {self._limit:,} are allowed")
        return _LENGTH.size + length

    def take(self) -> bytes | None:
        """The first frame's payload if all of it is here."""
        wanted = self.wanted
        if not wanted or len(self._held) < wanted:
            return None
        payload = bytes(memoryview(self._held)[_LENGTH.size : wanted])
        del self._held[:wanted]
        return payload

    def take_small(self, octets: int) -> list[bytes]:
        """The payloads of all frames that are here, up to the first of more than so many octets."""
        payloads: list[bytes] = []
        begin, end = 0, len(self._held)
        with memoryview(self._held) as held:
            while begin + _LENGTH.size <= end:
                first = begin + _LENGTH.size
                last = first + int(_LENGTH.unpack_from(held, begin)[0])
                if last > end or last - begin > octets:
                    break
                payloads.append(bytes(held[first:last]))
                begin = last
        del self._held[:begin]
        return payloads


@contextmanager
def address_of(path: Path) -> Generator[str]:
    """An address for `bind` and `connect`: the path itself, or one by way of its open folder where that is too long."""
    if len(os.fsencode(path)) <= _SOCKET_OCTETS:
        yield str(path)
        return
    folder = _open_folder(path)
    try:
        address = f"/proc/self/fd/{folder}/{path.name}"
        if len(os.fsencode(address)) > _SOCKET_OCTETS:
            raise ConfigError(
                "spool.url", f"the name {path.name!r} is too long for a unix socket; use a shorter file name"
            )
        yield address
    finally:
        os.close(folder)


def _open_folder(path: Path) -> int:
    if not os.path.isdir("/proc/self/fd"):
        raise ConfigError(
            "spool.url", f"{path} is too long for a unix socket ({_SOCKET_OCTETS} octets); use a shorter path"
        )
    return os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
