"""A worker: an HTTP server on loopback that answers as Postmark and Amazon SES do where all is well, and counts.

It reads no more of a request than it must: where it ends, and how many messages it holds.  It may wait before each answer, as a
provider over a network does.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import threading
from collections.abc import Mapping
from typing import Any

from processes import take_orders

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_MESSAGE = b'"TextBody":'


class Counts:
    calls = messages = 0


class Caller(asyncio.Protocol):
    """One connection."""

    def __init__(self, counts: Counts, seconds: float) -> None:
        self._counts = counts
        self._seconds = seconds
        self._read = b""

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._read += data
        head, found, rest = self._read.partition(b"\r\n\r\n")
        length = _LENGTH.search(head + b"\r\n")
        if not found or length is None or len(rest) < int(length[1]):
            return
        self._read = rest[int(length[1]) :]
        answer = self._answer(head.split(b" ", 2)[1], rest[: int(length[1])])
        if self._seconds:
            asyncio.get_running_loop().call_later(self._seconds, self._say, answer)
        else:
            self._say(answer)

    def _answer(self, target: bytes, body: bytes) -> bytes:
        number = body.count(_MESSAGE) if target.startswith(b"/email") else 1
        self._counts.calls += 1
        self._counts.messages += number
        if target == b"/v2/email/outbound-emails":
            return b'{"MessageId":"0102018c1c5e0000-0a1b2c3d"}'
        one = b'{"ErrorCode":0,"Message":"OK","MessageID":"b7bc2f4a-e38e-4336-af7d-e6c392c2f817","To":"b@example.org"}'
        return b"[%s]" % b",".join([one] * number) if target == b"/email/batch" else one

    def _say(self, answer: bytes) -> None:
        if not self._transport.is_closing():
            head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
            self._transport.write(head % len(answer) + answer)


def main() -> None:
    settings = json.loads(sys.argv[1])
    counts, ports, is_up = Counts(), list[int](), threading.Event()

    async def serve() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Caller(counts, settings["seconds"]), "127.0.0.1", 0)
        ports.append(server.sockets[0].getsockname()[1])
        is_up.set()
        await server.serve_forever()

    threading.Thread(target=asyncio.run, args=[serve()], daemon=True).start()
    is_up.wait()

    def obey(order: dict[str, Any]) -> Mapping[str, Any]:
        told = {"port": ports[0], "calls": counts.calls, "messages": counts.messages}
        counts.calls = counts.messages = 0
        return told

    take_orders(obey)


if __name__ == "__main__":
    main()
