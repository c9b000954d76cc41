"""The ordinary case of the DNS by hand, with dnspython as the oracle, and what it leaves to dnspython."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, cast

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.resolver
import dns.rrset
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from postroad.testing.dns_peer import DnsPeer, Lie
from postroad_smtp.datagram import Quick, Told, make_questions, read_answer
from postroad_smtp.lookup import Dns
from postroad_smtp.places import Place

NAME = "example.org"
SOA = "ns.example.org. root.example.org. 1 7200 3600 86400 120"
RECORDS: dict[str, list[str]] = {
    "MX": ["10 mx1.example.org.", "20 Mx2.elsewhere.example.", "10 mx1.example.org."],
    "A": ["192.0.2.1", "192.0.2.2"],
    "AAAA": ["2001:db8::1", "::ffff:192.0.2.1", "::"],
}


def _answer(kind: str, *answers: tuple[str, int, str, list[str]], soa: str = "", code: int = 0) -> bytes:
    response = dns.message.make_response(dns.message.make_query(NAME, kind))
    response.flags |= dns.flags.RA | dns.flags.AA
    response.set_rcode(dns.rcode.Rcode(code))
    response.answer += [dns.rrset.from_text(owner, ttl, "IN", of, *records) for owner, ttl, of, records in answers]
    if soa:
        response.authority.append(dns.rrset.from_text(soa, 600, "IN", "SOA", SOA))
    return response.to_wire()


def _by_dnspython(wire: bytes, kind: str) -> Told:
    answer = dns.resolver.Answer(
        dns.name.from_text(NAME), dns.rdatatype.from_text(kind), dns.rdataclass.IN, _as_query(wire)
    )
    listed = cast("Iterable[Any]", answer.rrset or ())
    records = tuple(_plain(one, kind) for one in listed)
    return Told(records, answer.chaining_result.minimum_ttl)


def _plain(record: Any, kind: str) -> Any:
    return (record.preference, record.exchange.to_text(True).lower()) if kind == "MX" else record.address


def _as_query(wire: bytes) -> dns.message.QueryMessage:
    message = dns.message.from_wire(wire)
    assert isinstance(message, dns.message.QueryMessage)
    return message


@pytest.mark.parametrize("kind", RECORDS)
def test_an_ordinary_answer_is_read_as_dnspython_reads_it(kind: str) -> None:
    wire = _answer(kind, (f"{NAME}.", 300, kind, RECORDS[kind]))
    told = read_answer(wire, NAME, kind)
    assert told is not None
    assert told == _by_dnspython(wire, kind)
    assert told.records


@pytest.mark.parametrize("soa", ["", "example.org.", "org.", "."])
def test_no_data_holds_as_long_as_dnspython_says(soa: str) -> None:
    wire = _answer("AAAA", soa=soa)
    assert read_answer(wire, NAME, "AAAA") == _by_dnspython(wire, "AAAA") == Told((), 120 if soa else 300)


def test_a_name_that_does_not_exist_is_told() -> None:
    told = read_answer(_answer("MX", soa="org.", code=3), NAME, "MX")
    assert told is not None
    assert (told.exists, told.records) == (False, ())


def _changed(wire: bytes, at: int, value: bytes) -> bytes:
    return wire[:at] + value + wire[at + len(value) :]


PLAIN = _answer("MX", (f"{NAME}.", 300, "MX", ["10 mx1.example.org."]))
UNUSUAL = {
    "an alias": _answer("MX", (f"{NAME}.", 300, "CNAME", ["other.example."])),
    "another name's records": _answer("MX", ("other.example.", 300, "MX", ["10 mx1.example.org."])),
    "records of another kind": _answer("MX", (f"{NAME}.", 300, "A", ["192.0.2.1"])),
    "records, and NXDOMAIN": _answer("MX", (f"{NAME}.", 300, "MX", ["10 mx1.example.org."]), code=3),
    "SERVFAIL": _answer("MX", code=2),
    "a cut answer": _changed(PLAIN, 2, bytes((PLAIN[2] | 2,))),
    "a question": _changed(PLAIN, 2, bytes((PLAIN[2] & 0x7F,))),
    "odd octets in a name": _answer("MX", (f"{NAME}.", 300, "MX", ["10 a\\000b.example."])),
    "a record that ends too early": PLAIN[:-3],
    "more records than there are": _changed(PLAIN, 6, b"\0\2"),
    "nothing": b"",
    "a name that points at itself": _changed(PLAIN, 12, b"\xc0\x0c"),
    "a name that points forwards": _changed(PLAIN, 12, b"\xc0\x20"),
}


@pytest.mark.parametrize("case", UNUSUAL)
def test_what_is_not_ordinary_is_left_to_dnspython(case: str) -> None:
    assert read_answer(PLAIN, NAME, "MX") is not None
    assert read_answer(UNUSUAL[case], NAME, "MX") is None


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200), st.integers(0, 60))
def test_no_bytes_raise(junk: bytes, kept: int) -> None:
    told = read_answer(PLAIN[:kept] + junk, NAME, "MX")
    assert told is None or 0 <= told.seconds <= 0x7FFF_FFFF


@pytest.mark.parametrize("name", ["", ".", "a..b", "x" * 64, "a." * 200, "A.example", "a b", "\N{SNOWMAN}", "a\\.b"])
def test_an_odd_name_makes_no_question(name: str) -> None:
    assert make_questions(name, ["MX"]) == {}


class _Server:
    """Answers each question with what it is told, after the question's own id."""

    def __init__(self) -> None:
        self.sock = trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.answers: list[bytes] = []  # each is sent to each question; b"id" in front stands for the question's
        self.asked: list[tuple[bytes, int]] = []  # ids and ports

    async def run(self) -> None:
        while True:
            data, address = await self.sock.recvfrom(4096)
            self.asked.append((data[:2], address[1]))
            for answer in self.answers:
                await self.sock.sendto(data[:2] + answer[2:] if answer[:2] == b"id" else answer, address)


async def test_an_answer_with_another_id_or_question_is_not_believed(autojump_clock: MockClock) -> None:
    server = _Server()
    good = b"id" + _answer("MX", (f"{NAME}.", 300, "MX", ["10 mx1.example.org."]))[2:]
    evil = _answer("MX", (f"{NAME}.", 300, "MX", ["10 evil.example."]))
    server.answers = [b"xx" + evil[2:], b"id" + evil[2:].replace(b"\7example\3org", b"\7exbmple\3org"), good]
    async with _asking(server) as quick:
        (told,) = await quick.ask(NAME, "MX")
    assert told is not None
    assert told.records == ((10, "mx1.example.org"),)


@asynccontextmanager
async def _asking(server: _Server) -> AsyncIterator[Quick]:
    async with trio.open_nursery() as nursery:
        await server.sock.bind(("127.0.0.1", 0))
        nursery.start_soon(server.run)
        yield Quick(Place("127.0.0.1", server.sock.getsockname()[1]))
        nursery.cancel_scope.cancel()
    server.sock.close()


async def test_each_question_has_an_id_and_a_port_of_its_own(autojump_clock: MockClock) -> None:
    """RFC 5452 section 9.2: of twenty, two or three may be alike by chance."""
    server = _Server()
    server.answers = [b"id" + _answer("MX", (f"{NAME}.", 300, "MX", ["10 mx1.example.org."]))[2:]]
    async with _asking(server) as quick, trio.open_nursery() as askers:
        for _ in range(20):
            askers.start_soon(quick.ask, NAME, "MX")
    ids, ports = zip(*server.asked, strict=True)
    assert len(ids) == 20
    assert min(len(set(ids)), len(set(ports))) > 17


A = _answer("A", (f"{NAME}.", 300, "A", ["192.0.2.1"]))
AAAA = _answer("AAAA", (f"{NAME}.", 300, "AAAA", ["2001:db8::1"]))


@pytest.mark.parametrize("answers", [(A, AAAA), (AAAA, A), (A, A, AAAA)])
async def test_several_kinds_are_asked_for_at_once_and_each_is_answered_by_its_own_id(
    answers: Sequence[bytes], autojump_clock: MockClock
) -> None:
    server = _Server()
    server.answers = [b"id" + answer[2:] for answer in answers]
    async with _asking(server) as quick:
        v4, v6 = await quick.ask(NAME, "A", "AAAA")
    assert v4 is not None
    assert v6 is not None
    assert (v4.records, v6.records) == (("192.0.2.1",), ("2001:db8::1",))
    (one, one_port), (two, two_port) = server.asked
    assert one != two
    assert one_port == two_port


async def test_two_questions_of_a_look_up_never_have_one_id(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = iter([7, 7, 7, 8])
    monkeypatch.setattr("secrets.randbits", lambda _: next(drawn))
    assert [(id, question.kind) for id, question in make_questions(NAME, ["A", "AAAA"]).items()] == [
        (7, "A"),
        (8, "AAAA"),
    ]


async def test_what_is_answered_of_two_is_told_when_the_patience_ends(autojump_clock: MockClock) -> None:
    server = _Server()
    server.answers = [b"id" + A[2:]]
    async with _asking(server) as quick:
        for number in range(1, 5):  # a server that answers is not silent: it is asked again
            v4, v6 = await quick.ask(NAME, "A", "AAAA")
            assert v4 is not None
            assert v6 is None
            assert trio.current_time() == number
            assert v4.at == number - 1


async def test_of_two_answers_the_odd_one_is_left_to_dnspython(autojump_clock: MockClock) -> None:
    async with DnsPeer({NAME: {"A": ["192.0.2.1"], "AAAA": Lie.SERVFAIL}}).listening() as server:
        host, _, port = server.rpartition(":")
        names = Dns([Place(host, int(port))], 5.0)
        ((kind, found, at),) = await names.look_up_ordinary(NAME, ["A", "AAAA"])
    assert (kind, found.records, at) == ("A", ("192.0.2.1",), 0.0)


@pytest.fixture
def silent() -> Iterator[Quick]:
    """Asks a server that never answers."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        yield Quick(Place("127.0.0.1", sock.getsockname()[1]))


async def test_a_server_that_keeps_silent_is_left_to_dnspython_for_a_minute(
    silent: Quick, autojump_clock: MockClock
) -> None:
    for _ in range(5):
        assert await silent.ask(NAME, "MX") == [None]
    assert trio.current_time() == 3.0
    await trio.sleep(60)
    await silent.ask(NAME, "MX")
    assert trio.current_time() == 64.0


async def test_a_silent_first_server_leaves_time_for_the_second(autojump_clock: MockClock) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        silent = Place("127.0.0.1", sock.getsockname()[1])
        async with DnsPeer({NAME: {"MX": ["10 mx1.example.org."]}}).listening() as server:
            host, _, port = server.rpartition(":")
            found = await Dns([silent, Place(host, int(port))], 1.0).look_up(NAME, "MX")
    assert found.records == ((10, "mx1.example.org"),)


@pytest.mark.parametrize("kinds", [("MX",), ("A", "AAAA")])
async def test_a_burst_of_questions_is_asked_by_turns(kinds: Sequence[str], mock_clock: MockClock) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock:
        sock.bind(("127.0.0.1", 0))
        names = Dns([Place("127.0.0.1", sock.getsockname()[1])], 5.0)

        async def ask(name: str) -> None:
            if len(kinds) == 1:
                await names.look_up(name, kinds[0])
            else:
                await names.look_up_ordinary(name, kinds)

        async with trio.open_nursery() as nursery:
            for number in range(250):
                nursery.start_soon(ask, f"d{number}.example")
            await wait_all_tasks_blocked()
            assert _count(sock) == 200
            nursery.cancel_scope.cancel()


def _count(sock: socket.socket) -> int:
    asked = 0
    with suppress(BlockingIOError):
        while sock.recv(512):
            asked += 1
    return asked


async def test_who_waits_for_two_turns_is_not_overtaken_and_holds_none_meanwhile(mock_clock: MockClock) -> None:
    """Else those who have one of two would wait for each other, or for ever."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock:
        sock.bind(("127.0.0.1", 0))
        names = Dns([Place("127.0.0.1", sock.getsockname()[1])], 5.0)
        first = [trio.CancelScope() for _ in range(199)]

        async def ask(scope: trio.CancelScope, name: str) -> None:
            with scope:
                await names.look_up(name, "MX")

        async with trio.open_nursery() as nursery:
            for number, scope in enumerate(first):
                nursery.start_soon(ask, scope, f"d{number}.example")
            await wait_all_tasks_blocked()
            assert _count(sock) == 199
            nursery.start_soon(names.look_up_ordinary, "two.example", ("A", "AAAA"))
            await wait_all_tasks_blocked()
            nursery.start_soon(names.look_up, "later.example", "MX")
            await wait_all_tasks_blocked()
            assert _count(sock) == 0
            for number, scope in enumerate(first[:2]):
                scope.cancel()
                await wait_all_tasks_blocked()
                assert _count(sock) == (2, 1)[number]
            nursery.cancel_scope.cancel()


async def test_questions_that_wait_at_the_same_time_are_one_silence(silent: Quick, autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as askers:
        for _ in range(5):
            askers.start_soon(silent.ask, NAME, "MX")
    await silent.ask(NAME, "MX")
    assert trio.current_time() == 2.0
