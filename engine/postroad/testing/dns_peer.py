"""A small DNS server for tests, in this process and on loopback, that answers what it is told to, or lies.

`DnsPeer({"example.org": {"MX": ["10 mx1.example.org."]}, ...})`.  A name that is not in the zone does not exist (NXDOMAIN), a
kind that a name lacks is no data.  Instead of records a kind may have a Lie, `Told` records, or `Turns` for each time it is
asked.  CNAMEs are followed, as a resolver does.
"""

from __future__ import annotations

import enum
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.nameserver
import dns.rcode
import dns.rdatatype
import dns.rrset
import trio

__all__ = ["DnsPeer", "Lie", "Told", "Turns", "Zone"]

_MAX_CNAMES = 20
_UDP_OCTETS = 512  # RFC 1035 section 4.2.1, where the question has no EDNS
_ELSEWHERE = dns.name.from_text("elsewhere.example.")


class Lie(enum.Enum):
    """What to do instead of answering, or to the answer."""

    SERVFAIL = "SERVFAIL"
    REFUSED = "REFUSED"
    NXDOMAIN = "NXDOMAIN"
    SILENCE = "no answer at all"
    GARBAGE = "bytes that are no DNS message"
    TRUNCATED = "an empty answer with TC; the records come over TCP"
    CUT = "an empty answer with TC; over TCP half an answer and the end of the connection"
    WRONG_ID = "the answer to a question with another id"
    WRONG_QUESTION = "the answer to a question about another name"
    OTHER_NAME = "records of another name"


@dataclass(frozen=True)
class Told:
    """Records, and how they are told.

    ttl: seconds, instead of the peer's own.  additional: (name, kind, record) triples that nobody asked for, in the additional
    section.
    """

    records: Sequence[str] = ()
    lie: Lie | None = None
    ttl: int | None = None
    additional: Sequence[tuple[str, str, str]] = ()


Answer: TypeAlias = "Sequence[str] | Lie | Told"


class Turns:
    """One answer for each time that is asked; the last one stays."""

    def __init__(self, *answers: Answer) -> None:
        self._answers = list(answers)

    def take(self) -> Answer:
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]


Zone: TypeAlias = Mapping[str, Mapping[str, "Answer | Turns"]]


class DnsPeer:
    """asked: every question over UDP so far, as (name, kind); over_tcp: those over TCP.  The zone may be replaced at any time.

    ttl: of all records, in seconds.  follows: whether an answer has the whole chain of CNAMEs, or the first one only.
    """

    def __init__(self, zone: Zone, *, ttl: int = 300, follows: bool = True) -> None:
        self.zone = zone
        self.asked: list[tuple[str, str]] = []
        self.over_tcp: list[tuple[str, str]] = []
        self._ttl = ttl
        self._follows = follows
        self._truncated: dict[tuple[str, str], Told] = {}  # what comes over TCP must be what UDP was asked for

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

    def in_memory(self) -> dns.nameserver.Nameserver:
        """The same server for a resolver of dnspython (under trio), without a network."""
        return _InMemory(self._answer_udp, self._answer_tcp)

    async def _serve_udp(self, sock: trio.socket.SocketType) -> None:
        while True:
            data, address = await sock.recvfrom(4096)
            answer = self._answer_udp(dns.message.from_wire(data))
            if answer:
                await sock.sendto(answer, address)

    async def _serve_tcp(self, stream: trio.SocketStream) -> None:
        async with stream:
            data = b""
            while len(data) < 2 or len(data) < 2 + int.from_bytes(data[:2]):
                piece = await stream.receive_some()
                if not piece:
                    return
                data += bytes(piece)
            with_length = self._answer_tcp(dns.message.from_wire(data[2:]))
            if with_length:
                await stream.send_all(with_length)

    def _answer_udp(self, query: dns.message.Message) -> bytes:
        question = _question(query)
        self.asked.append(question)
        response, told = self._respond(query, question)
        match told.lie:
            case Lie.SILENCE:
                return b""
            case Lie.GARBAGE:
                return b"\xff" * 7
            case Lie.TRUNCATED | Lie.CUT:
                return self._truncate(query, question, told)
            case _:
                pass
        try:
            return response.to_wire(max_size=max(query.payload, _UDP_OCTETS), want_shuffle=False)
        except dns.exception.TooBig:
            return self._truncate(query, question, told)

    def _truncate(self, query: dns.message.Message, question: tuple[str, str], told: Told) -> bytes:
        self._truncated[question] = told
        response = dns.message.make_response(query)
        response.flags |= dns.flags.TC | dns.flags.RA
        return response.to_wire()

    def _answer_tcp(self, query: dns.message.Message) -> bytes:
        question = _question(query)
        self.over_tcp.append(question)
        response, told = self._respond(query, question, self._truncated.pop(question, None))
        if told.lie is Lie.SILENCE:
            return b""
        wire = response.to_wire(max_size=65_535, want_shuffle=False)
        length = len(wire).to_bytes(2)
        return length + (wire[: len(wire) // 2] if told.lie is Lie.CUT else wire)

    def _respond(
        self, query: dns.message.Message, question: tuple[str, str], told: Told | None = None
    ) -> tuple[dns.message.Message, Told]:
        response = dns.message.make_response(query)
        response.flags |= dns.flags.RA
        told = self._fill(response, *question, told)
        if told.lie in (Lie.SERVFAIL, Lie.REFUSED, Lie.NXDOMAIN):
            response.set_rcode(dns.rcode.from_text(told.lie.value))
        elif told.lie is Lie.WRONG_ID:
            response.id ^= 0xFFFF
        elif told.lie is Lie.WRONG_QUESTION:
            response.question = [dns.rrset.RRset(_ELSEWHERE, query.question[0].rdclass, query.question[0].rdtype)]
        return response, told

    def _fill(self, response: dns.message.Message, name: str, kind: str, told: Told | None) -> Told:
        """Put in what the zone says; `told` instead of the zone's records, if it was taken from there before."""
        for _ in range(_MAX_CNAMES):
            records = self.zone.get(name)
            if records is None:
                response.set_rcode(dns.rcode.NXDOMAIN)
                return Told()
            alias = records.get("CNAME") if kind != "CNAME" else None
            if alias is None:
                told = told or self._told(name, kind)
                self._add(response, name, kind, told)
                return told
            target = _as_told(alias)
            self._add(response, name, "CNAME", target)
            if not self._follows:
                break
            name = target.records[0].rstrip(".").lower()
        return Told()

    def _told(self, name: str, kind: str) -> Told:
        told = _as_told(self.zone[name].get(kind, ()))
        if told.lie in (Lie.TRUNCATED, Lie.CUT) and not told.records:
            return Told(_as_told(self.zone[name].get(f"{kind} over TCP", ())).records, told.lie, told.ttl)
        return told

    def _add(self, response: dns.message.Message, name: str, kind: str, told: Told) -> None:
        owner = _ELSEWHERE.to_text() if told.lie is Lie.OTHER_NAME else f"{name}."
        ttl = self._ttl if told.ttl is None else told.ttl
        if told.records:
            response.answer.append(_rrset(owner, ttl, kind, told.records))
        response.additional += [
            _rrset(f"{other}.", ttl, other_kind, [text]) for other, other_kind, text in told.additional
        ]


class _InMemory(dns.nameserver.Nameserver):
    """Over UDP, what is no answer to the question is as good as silence, as with dnspython's own sockets."""

    def __init__(
        self, over_udp: Callable[[dns.message.Message], bytes], over_tcp: Callable[[dns.message.Message], bytes]
    ) -> None:
        self._over_udp = over_udp
        self._over_tcp = over_tcp

    def __str__(self) -> str:
        return "memory"

    def kind(self) -> str:
        return "memory"

    def is_always_max_size(self) -> bool:
        return False

    def answer_nameserver(self) -> str:
        return "memory"

    def answer_port(self) -> int:
        return 0

    async def async_query(
        self,
        request: dns.message.QueryMessage,
        timeout: float,  # noqa: ASYNC109  # dnspython's
        source: str | None,
        source_port: int,
        max_size: bool,
        backend: Any,
        one_rr_per_rrset: bool = False,
        ignore_trailing: bool = False,
    ) -> dns.message.Message:
        await trio.lowlevel.checkpoint()
        if max_size and (wire := self._over_tcp(request)[2:]):
            return dns.message.from_wire(wire)
        response = None if max_size else _response_to(request, self._over_udp(request))
        if response is None:
            await trio.sleep(timeout)
            raise dns.exception.Timeout(timeout=timeout)  # type: ignore[no-untyped-call]  # dnspython's
        if response.flags & dns.flags.TC:
            raise dns.message.Truncated(message=response)  # type: ignore[no-untyped-call]  # dnspython's
        return response


def _response_to(request: dns.message.Message, wire: bytes) -> dns.message.Message | None:
    try:
        response = dns.message.from_wire(wire)
    except dns.exception.DNSException:
        return None
    return response if request.is_response(response) else None


def _as_told(answer: Answer | Turns) -> Told:
    if isinstance(answer, Turns):
        answer = answer.take()
    if isinstance(answer, Lie):
        return Told(lie=answer)
    return answer if isinstance(answer, Told) else Told(answer)


def _rrset(owner: str, ttl: int, kind: str, records: Sequence[str]) -> dns.rrset.RRset:
    rrset = dns.rrset.from_text(owner, min(ttl, 0x7FFF_FFFF), "IN", kind, *records)
    rrset.ttl = ttl  # beyond what RFC 2181 section 8 allows, too
    return rrset


def _question(query: dns.message.Message) -> tuple[str, str]:
    question = query.question[0]
    return question.name.to_text(omit_final_dot=True).lower(), dns.rdatatype.to_text(question.rdtype)
