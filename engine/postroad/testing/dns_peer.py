"""A small DNS server for tests, in this process and on loopback, that answers what it is told to, or lies.

`DnsPeer({"example.org": {"MX": ["10 mx1.example.org."]}, ...})`.  A name that is not in the zone does not exist (NXDOMAIN), a
kind that a name lacks is no data.  Instead of records a kind may have a Lie.  CNAMEs are followed, as a resolver does.
"""

from __future__ import annotations

import enum
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TypeAlias

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
import trio

__all__ = ["DnsPeer", "Lie", "Zone"]

_MAX_CNAMES = 20


class Lie(enum.Enum):
    """What to do instead of answering."""

    SERVFAIL = "SERVFAIL"
    REFUSED = "REFUSED"
    SILENCE = "no answer at all"
    GARBAGE = "bytes that are no DNS message"
    TRUNCATED = "an empty answer with TC; the records come over TCP"


Zone: TypeAlias = Mapping[str, Mapping[str, "Sequence[str] | Lie"]]


class DnsPeer:
    """asked: every question so far, as (name, kind).  The zone may be replaced at any time."""

    def __init__(self, zone: Zone, *, ttl: int = 300) -> None:
        self.zone = zone
        self.asked: list[tuple[str, str]] = []
        self._ttl = ttl

    @asynccontextmanager
    async def listening(self) -> AsyncGenerator[str]:
        """Serve on a free port of 127.0.0.1, UDP and TCP; gives "127.0.0.1:port"."""
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        port: int = listener.socket.getsockname()[1]
        with trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM) as sock:
            await sock.bind(("127.0.0.1", port))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._serve_udp, sock)
                await nursery.start(trio.serve_listeners, self._serve_tcp, [listener])
                yield f"127.0.0.1:{port}"
                nursery.cancel_scope.cancel()

    async def _serve_udp(self, sock: trio.socket.SocketType) -> None:
        while True:
            data, address = await sock.recvfrom(4096)
            answer = self._answer(data, is_udp=True)
            if answer is not None:
                await sock.sendto(answer, address)

    async def _serve_tcp(self, stream: trio.SocketStream) -> None:
        async with stream:
            data = b""
            while len(data) < 2 or len(data) < 2 + int.from_bytes(data[:2]):
                piece = await stream.receive_some()
                if not piece:
                    return
                data += bytes(piece)
            answer = self._answer(data[2:], is_udp=False)
            if answer is not None:
                await stream.send_all(len(answer).to_bytes(2) + answer)

    def _answer(self, data: bytes, *, is_udp: bool) -> bytes | None:
        query = dns.message.from_wire(data)
        question = query.question[0]
        name, kind = question.name.to_text(omit_final_dot=True).lower(), dns.rdatatype.to_text(question.rdtype)
        self.asked.append((name, kind))
        response = dns.message.make_response(query)
        response.flags |= dns.flags.RA
        lie = self._fill(response, name, kind)
        if lie is Lie.SILENCE:
            return None
        if lie is Lie.GARBAGE:
            return b"\xff" * 7
        if lie is Lie.TRUNCATED and is_udp:
            response.flags |= dns.flags.TC
        elif lie is Lie.TRUNCATED:
            self._add(response, name, kind, self.zone[name].get(f"{kind} over TCP", ()))
        elif lie is not None:
            response.set_rcode(dns.rcode.from_text(lie.value))
        return response.to_wire(max_size=65_535)

    def _fill(self, response: dns.message.Message, name: str, kind: str) -> Lie | None:
        for _ in range(_MAX_CNAMES):
            records = self.zone.get(name)
            if records is None:
                response.set_rcode(dns.rcode.NXDOMAIN)
                return None
            target = records.get("CNAME")
            if target is None or isinstance(target, Lie):
                return self._add(response, name, kind, records.get(kind, ()))
            self._add(response, name, "CNAME", target)
            name = target[0].rstrip(".").lower()
        return None

    def _add(self, response: dns.message.Message, name: str, kind: str, records: Sequence[str] | Lie) -> Lie | None:
        if isinstance(records, Lie):
            return records
        if records:
            response.answer.append(dns.rrset.from_text(f"{name}.", self._ttl, "IN", kind, *records))
        return None
