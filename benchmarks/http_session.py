"""The counting sink's other voice: an HTTP server that takes what Mailgun's API takes (POST of a form with the message as it is).

It reads requests with a Content-Length, over kept connections, and nothing else of HTTP.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from typing import Protocol

__all__ = ["HttpSession"]

_LENGTH = re.compile(rb"^content-length:[ \t]*(\d+)", re.IGNORECASE | re.MULTILINE)
_TO = re.compile(rb'name="to"\r\n(?:[^\r\n]+\r\n)*\r\n([^\r\n]*)')
_BODY = b'{"id": "<taken@sink.example>", "message": "Queued. Thank you."}'
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(_BODY), _BODY)
_REFUSAL = b"HTTP/1.1 411 Length Required\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
_HEAD = 4096  # octets of the form in which the fields and the message's header are looked for


class Counter(Protocol):
    connections: int

    def add(self, head: bytes, octets: int, recipients: Sequence[bytes]) -> bool: ...


class HttpSession(asyncio.Protocol):
    """One connection."""

    def __init__(self, count: Counter) -> None:
        self._count = count
        self._buffer = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._count.connections += 1

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while self._request():
            pass

    def _request(self) -> bool:
        """Answer one request, if it is there as a whole."""
        end = self._buffer.find(b"\r\n\r\n") + 4
        if end < 4:
            return False
        found = _LENGTH.search(self._buffer, 0, end)
        if found is None:
            self._transport.write(_REFUSAL)
            self._transport.close()
            return False
        length = int(found[1])
        if len(self._buffer) < end + length:
            return False
        form = bytes(self._buffer[end : end + min(length, _HEAD)])
        del self._buffer[: end + length]
        self._count.add(form, length, [to.strip() for field in _TO.findall(form) for to in field.split(b",")])
        self._transport.write(_ANSWER)
        return True
