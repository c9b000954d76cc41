"""A worker that is a DNS server on loopback: every domain has a mail host of its own, and every host an address of its own in
127.0.0.0/8, or all are 127.0.0.1.

It reads one question and no more, by hand: it must not be what limits a run.  RFC 1035 section 4.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import sys
import zlib
from typing import cast

from processes import say

__all__ = ["address_of", "answer"]

_SECONDS_TO_LIVE = 3600
_HEADER, _ENDING = struct.Struct("!6H"), struct.Struct("!2H")
_RECORD = struct.Struct(
    "!3HIH"
)  # after its name: kind, class, TTL and length of its data; before it, where the name stands
_ANSWERED = 0x8180  # QR, RD, RA
_TO_QUESTION = 0xC000 | _HEADER.size  # a pointer to the name that was asked for
_A, _MX = 1, 15
_HOST = b"\x02mx"


def answer(query: bytes, *, is_one_host: bool = False) -> bytes:
    """The reply to one query: `mx.` before the name is the mail host of a name.  Raises IndexError, struct.error for no query."""
    end = _HEADER.size
    while query[end]:
        end += 1 + query[end]
    end += 1
    kind, _ = _ENDING.unpack_from(query, end)
    name, question = query[_HEADER.size : end].lower(), query[_HEADER.size : end + _ENDING.size]
    data = b""
    if kind == _MX and not name.startswith(_HOST):
        data = struct.pack("!H", 10) + _HOST + struct.pack("!H", _TO_QUESTION)
    elif kind == _A and name.startswith(_HOST):
        data = socket.inet_aton("127.0.0.1" if is_one_host else address_of(name))
    head = _HEADER.pack(int.from_bytes(query[:2]), _ANSWERED, 1, bool(data), 0, 0)
    return head + question + (_RECORD.pack(_TO_QUESTION, kind, 1, _SECONDS_TO_LIVE, len(data)) + data if data else b"")


def address_of(host: bytes) -> str:
    """The same for the same host, and hardly ever for another; never the network's first ones, where servers are that are fed."""
    return socket.inet_ntoa((0x7F010000 + zlib.crc32(host) % 0xFE0000).to_bytes(4))


class _Server(asyncio.DatagramProtocol):
    def __init__(self, *, is_one_host: bool) -> None:
        self._is_one_host = is_one_host

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)  # not by its class, before Python 3.12

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._transport.sendto(answer(data, is_one_host=self._is_one_host), addr)


async def serve(port: int) -> None:
    """port: that of a network of the benchmark's own, whose every address the sink has; 0: any, and one host."""
    loop = asyncio.get_running_loop()
    where = ("127.0.0.1", port)
    transport, _ = await loop.create_datagram_endpoint(lambda: _Server(is_one_host=not port), local_addr=where)
    say({"ready": True, "port": transport.get_extra_info("sockname")[1]})
    await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(serve(json.loads(sys.argv[1])["port"]))
