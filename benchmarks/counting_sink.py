"""A worker that is an SMTP server: it accepts everything, keeps nothing, and counts distinct Message-IDs.

It takes PIPELINING (RFC 2920), answers what came in one read with one write, and with a certificate offers STARTTLS.
Orders: reset; wait (until so many distinct messages are there or the time is over), which answers with the count.  Loopback
only; it is no example of an SMTP server.
"""

from __future__ import annotations

import asyncio
import json
import re
import ssl
import sys
import time
from typing import Any

from processes import say
from workload import own_cpu_seconds, percentiles

_MESSAGE_ID = re.compile(rb"^message-id:[ \t]*<([^>]*)>", re.IGNORECASE | re.MULTILINE)
_SUBMITTED = re.compile(rb"^X-Submitted: ([0-9.]+)", re.MULTILINE)
_HEAD = 4096  # octets in which the headers are looked for
_END = b"\r\n.\r\n"


class Count:
    """What arrived since the last reset."""

    def __init__(self) -> None:
        self.arrived = asyncio.Event()
        self.reset()

    def reset(self) -> None:
        self._ids: set[bytes] = set()
        self._messages = self._octets = 0
        self._last_at = 0.0
        self._seconds: list[float] = []
        self._wanted = 0
        self.connections = 0
        self._cpu = own_cpu_seconds()

    def expect(self, wanted: int) -> None:
        self._wanted = wanted
        self.arrived.clear()
        self._look()

    def _look(self) -> None:
        if len(self._ids) >= self._wanted:
            self.arrived.set()

    def add(self, head: bytes, octets: int) -> None:
        self._messages += 1
        self._octets += octets
        self._last_at = time.monotonic()
        if found := _MESSAGE_ID.search(head):
            self._ids.add(found[1])
        if submitted := _SUBMITTED.search(head):
            self._seconds.append(self._last_at - float(submitted[1]))
        self._look()

    def told(self) -> dict[str, Any]:
        return {
            "messages": self._messages,
            "distinct": len(self._ids),
            "octets": self._octets,
            "last_at": self._last_at,
            "connections": self.connections,
            "cpu_seconds": own_cpu_seconds() - self._cpu,
            "received": percentiles(self._seconds),
        }


class Session(asyncio.Protocol):
    """One connection: commands are lines; content ends with a dot on a line of its own."""

    def __init__(self, count: Count, tls: ssl.SSLContext | None = None) -> None:
        self._count = count
        self._tls = tls  # None also once it is spoken
        self._securing: asyncio.Task[None] | None = None
        self._buffer = bytearray()
        self._looked = 0  # octets of the buffer in which the end of the content is not
        self._in_content = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._count.connections += 1
        transport.write(b"220 sink.example ESMTP\r\n")

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self._securing is not None:
            return  # the answer must not go out before TLS stands
        replies: list[bytes] = []
        while (reply := self._content() if self._in_content else self._command()) is not None:
            replies.append(reply)
        if replies:
            self._transport.write(b"".join(replies))

    def _command(self) -> bytes | None:
        end = self._buffer.find(b"\r\n")
        if end < 0:
            return None
        verb = bytes(self._buffer[:4]).upper()
        del self._buffer[: end + 2]
        match verb:
            case b"EHLO":
                more = b"250-STARTTLS\r\n" if self._tls is not None else b""
                return b"250-sink.example\r\n250-PIPELINING\r\n250-8BITMIME\r\n" + more + b"250 SIZE 100000000\r\n"
            case b"STAR":
                self._securing = asyncio.create_task(self._secure())
                return None
            case b"DATA":
                self._in_content = True
                self._looked = 0
                return b"354 go on\r\n"
            case b"QUIT":
                self._transport.write(b"221 bye\r\n")
                self._transport.close()
                return None
            case _:
                return b"250 ok\r\n"

    async def _secure(self) -> None:
        assert self._tls is not None
        context, self._tls = self._tls, None
        self._transport.write(b"220 go ahead\r\n")
        secured = await asyncio.get_running_loop().start_tls(self._transport, self, context, server_side=True)
        assert secured is not None
        self._transport, self._securing = secured, None
        self.data_received(b"")

    def _content(self) -> bytes | None:
        end = self._buffer.find(_END, self._looked)
        if end < 0:
            self._looked = max(0, len(self._buffer) - len(_END))
            return None
        self._count.add(bytes(self._buffer[:_HEAD]), end + 2)
        del self._buffer[: end + len(_END)]
        self._in_content = False
        return b"250 2.0.0 ok\r\n"


async def _obey(count: Count, order: dict[str, Any]) -> dict[str, Any]:
    if order["do"] == "reset":
        count.reset()
        return {}
    count.expect(order["count"])
    try:
        await asyncio.wait_for(count.arrived.wait(), order["seconds"])
        await asyncio.sleep(order.get("linger", 0.0))  # copies that come too often shall be seen
    except TimeoutError:
        pass
    return count.told()


async def serve(settings: dict[str, Any]) -> None:
    """certificate: a PEM file with key and certificate, for STARTTLS."""
    count = Count()
    tls: ssl.SSLContext | None = None
    if settings.get("certificate"):
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(settings["certificate"])
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Session(count, tls), "127.0.0.1", 0, backlog=1000)
    orders = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    say({"ready": True, "port": server.sockets[0].getsockname()[1]})
    while line := await orders.readline():
        say(await _obey(count, json.loads(line)))


if __name__ == "__main__":
    asyncio.run(serve(json.loads(sys.argv[1])))
