"""A worker that is an SMTP server, or an HTTP one: it accepts everything, keeps nothing, and counts distinct deliveries.

A delivery is a Message-ID with a recipient.  The SMTP server takes PIPELINING (RFC 2920), answers what came in one read with one
write, with a certificate offers STARTTLS, and puts off a share of the messages once, after their content.  Orders: reset; wait
(until so many distinct deliveries are there or the time is over), which answers with the count.  Loopback only; it is no
example of an SMTP server.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from http_session import HttpSession
from processes import say
from workload import HEAD_OCTETS, MESSAGE_ID, SUBMITTED, own_cpu_seconds, percentiles

_BYE = b"221 bye\r\n"
_END = b"\r\n.\r\n"


class Count:
    """What arrived since the last reset.  deferred: the share of messages that are put off when they come first."""

    def __init__(self, deferred: float = 0.0) -> None:
        self.arrived = asyncio.Event()
        self._deferred = deferred
        self.reset()

    def reset(self) -> None:
        self._ids: set[bytes] = set()
        self._met: set[bytes] = set()
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

    def add(self, head: bytes, octets: int, recipients: Sequence[bytes]) -> bool:
        """Whether a message is taken now."""
        found = MESSAGE_ID.search(head)
        if self._deferred and found and self._is_put_off(found[1]):
            return False
        self._messages += len(recipients)
        self._octets += octets
        self._last_at = time.monotonic()
        if found:
            self._ids.update(b"%s %s" % (found[1], recipient) for recipient in recipients)
        if submitted := SUBMITTED.search(head):
            self._seconds.append(self._last_at - float(submitted[1]))
        self._look()
        return True

    def _is_put_off(self, id: bytes) -> bool:
        """Of the messages that come for the first time so many, evenly."""
        if id in self._met:
            return False
        before = int(len(self._met) * self._deferred)
        self._met.add(id)
        return int(len(self._met) * self._deferred) > before

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
        self._recipients: list[bytes] = []

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
        if replies[-1:] == [_BYE]:
            self._transport.close()

    def _command(self) -> bytes | None:
        end = self._buffer.find(b"\r\n")
        if end < 0:
            return None
        verb = bytes(self._buffer[:4]).upper()
        if verb == b"RCPT":
            self._recipients.append(bytes(self._buffer[8:end]).partition(b">")[0])
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
            case b"RSET":
                self._recipients = []
                return b"250 ok\r\n"
            case b"QUIT":
                return _BYE
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
        is_taken = self._count.add(bytes(self._buffer[:HEAD_OCTETS]), end + 2, self._recipients)
        del self._buffer[: end + len(_END)]
        self._in_content, self._recipients = False, []
        return b"250 2.0.0 ok\r\n" if is_taken else b"451 4.3.2 later\r\n"


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
    """certificate: a PEM file with key and certificate, for STARTTLS.  deferred: a share.  http: instead of SMTP.  host, port:
    where to listen, unless at any port of 127.0.0.1."""
    count = Count(settings.get("deferred", 0.0))
    tls: ssl.SSLContext | None = None
    if settings.get("certificate"):
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(settings["certificate"])
    loop = asyncio.get_running_loop()
    make: Callable[[], asyncio.Protocol] = (
        (lambda: HttpSession(count)) if settings.get("http") else (lambda: Session(count, tls))
    )
    server = await loop.create_server(make, settings.get("host", "127.0.0.1"), settings.get("port", 0), backlog=1000)
    orders = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    say({"ready": True, "port": server.sockets[0].getsockname()[1]})
    while line := await orders.readline():
        say(await _obey(count, json.loads(line)))


if __name__ == "__main__":
    asyncio.run(serve(json.loads(sys.argv[1])))
