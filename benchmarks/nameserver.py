"""A worker that is a DNS server on loopback: every domain has a mail host of its own, and every host is 127.0.0.1."""

from __future__ import annotations

import asyncio
import sys
from typing import cast

import dns.flags
import dns.message
import dns.rdatatype
import dns.rrset

from processes import say

_SECONDS_TO_LIVE = 3600
_HOST = "mx."


def answer(query: bytes) -> bytes:
    """The reply to one query: `mx.` before the name is the mail host of a name."""
    asked = dns.message.from_wire(query)
    reply = dns.message.make_response(asked)
    reply.flags |= dns.flags.RA
    (question,) = asked.question
    name = question.name.to_text()
    found = {"MX": f"10 {_HOST}{name}", "A": "127.0.0.1"}.get(dns.rdatatype.to_text(question.rdtype))
    is_host = name.startswith(_HOST)
    if found and is_host == (question.rdtype == dns.rdatatype.A):
        reply.answer.append(dns.rrset.from_text(question.name, _SECONDS_TO_LIVE, "IN", question.rdtype, found))
    return reply.to_wire()


class _Server(asyncio.DatagramProtocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)  # not by its class, before Python 3.12

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._transport.sendto(answer(data), addr)


async def serve() -> None:
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(_Server, local_addr=("127.0.0.1", 0))
    say({"ready": True, "port": transport.get_extra_info("sockname")[1]})
    await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(serve())
