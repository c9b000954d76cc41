"""The resolver against a DNS server that lies: whatever it answers, there is one of four outcomes, and no exception."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import dns.message
import dns.rrset
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from smtp_wide import open_wide
from trio.testing import MockClock

from postroad.errors import ConfigError
from postroad.testing.dns_peer import DnsPeer, Lie, Told, Turns
from postroad.verdict import Verdict
from postroad_smtp.answers import Found, Status
from postroad_smtp.lookup import Dns
from postroad_smtp.places import Place, read_server
from postroad_smtp.settings import SmtpSettings

MX = ["10 mx.example.org."]
HOST: dict[str, Any] = {"mx.example.org": {"A": ["127.0.0.1"]}}


def _chain(length: int) -> dict[str, Any]:
    """example.org is so many CNAMEs away from the name that has the MX."""
    names = ["example.org", *(f"c{number}.example" for number in range(1, length)), "end.example"]
    return {name: {"CNAME": [f"{target}."]} for name, target in itertools.pairwise(names)} | {"end.example": {"MX": MX}}


LIES: dict[str, tuple[dict[str, Any], str]] = {
    # the lie: the zone, and what becomes of mail for example.org
    "SERVFAIL": ({"example.org": {"MX": Lie.SERVFAIL}}, "deferred 4.4.3"),
    "REFUSED": ({"example.org": {"MX": Lie.REFUSED}}, "deferred 4.4.3"),
    "silence": ({"example.org": {"MX": Lie.SILENCE}}, "deferred 4.4.3"),
    "garbage": ({"example.org": {"MX": Lie.GARBAGE}}, "deferred 4.4.3"),
    "a wrong id": ({"example.org": {"MX": Told(MX, Lie.WRONG_ID)}}, "deferred 4.4.3"),
    "a wrong id, then the answer": ({"example.org": {"MX": Turns(Told(MX, Lie.WRONG_ID), MX)}}, "accepted"),
    "a wrong question": ({"example.org": {"MX": Told(MX, Lie.WRONG_QUESTION)}}, "deferred 4.4.3"),
    "records of another name": ({"example.org": {"MX": Told(MX, Lie.OTHER_NAME)}}, "deferred 4.4.3"),
    "records, and NXDOMAIN": ({"example.org": {"MX": Told(MX, Lie.NXDOMAIN)}}, "deferred 4.4.3"),
    "NXDOMAIN": ({"example.org": {"MX": Lie.NXDOMAIN}}, "refused 5.1.2"),
    "NXDOMAIN for A beside an MX": ({"example.org": {"MX": MX, "A": Lie.NXDOMAIN}}, "accepted"),
    "NXDOMAIN for AAAA of the MX": ({"mx.example.org": {"A": ["127.0.0.1"], "AAAA": Lie.NXDOMAIN}}, "accepted"),
    "SERVFAIL for AAAA of the MX": ({"mx.example.org": {"A": ["127.0.0.1"], "AAAA": Lie.SERVFAIL}}, "accepted"),
    "truncated, whole over TCP": ({"example.org": {"MX": Told(MX, Lie.TRUNCATED)}}, "accepted"),
    "truncated, cut over TCP": ({"example.org": {"MX": Told(MX, Lie.CUT)}}, "deferred 4.4.3"),
    "additional records that lie": (
        {"example.org": {"MX": Told(MX, additional=[("mx.example.org", "A", "127.0.0.66")])}},
        "accepted",
    ),
    "an answer of 10 KB": (
        {"example.org": {"MX": [*MX, *(f"{20 + n} {'x' * 20}{n}.elsewhere.example." for n in range(250))]}},
        "accepted",
    ),
    "an MX that is the root, and worth something": ({"example.org": {"MX": ["10 ."]}}, "refused 5.1.10"),
    "labels of bytes": ({"example.org": {"MX": ["1 a\\000b\\013.\\255\\.example.", *MX]}}, "accepted"),
    "a name of 253 octets": ({"example.org": {"MX": ["1 " + "x" * 60 + ("." + "y" * 63) * 3 + ".", *MX]}}, "accepted"),
    "ten CNAMEs": (_chain(10), "accepted"),
    "eleven CNAMEs": (_chain(11), "deferred 4.4.4"),
    "more CNAMEs than fit": (_chain(19), "deferred 4.4.4"),
    "a loop of CNAMEs": (
        {"example.org": {"CNAME": ["loop.example."]}, "loop.example": {"CNAME": ["example.org."]}},
        "deferred 4.4.4",
    ),
    "a CNAME to itself": ({"example.org": {"CNAME": ["example.org."]}}, "deferred 4.4.4"),
    "a host of eleven CNAMEs": (
        {"mx.example.org": {"CNAME": ["example.net."]}}
        | {"example.net" if name == "example.org" else name: records for name, records in _chain(10).items()},
        "deferred 4.4.4",
    ),
}
FOLLOWED_HERE = [name for name in LIES if "CNAME" in name]


def _fate(verdict: Verdict) -> str:
    disposition = verdict.disposition.value
    return disposition if disposition == "accepted" else f"{disposition} {verdict.status}"


@pytest.mark.parametrize("name", LIES)
async def test_an_answer_that_lies_is(name: str, autojump_clock: MockClock) -> None:
    zone, expected = LIES[name]
    async with open_wide({"example.org": {"MX": MX}, **HOST, **zone}) as wide:
        verdict = await wide.send("example.org")
        assert _fate(verdict) == expected, verdict
        assert verdict.reply.isprintable()
        if expected == "accepted":
            assert verdict.remote.startswith("mx.example.org [127.0.0.1]:")
            assert trio.current_time() < 4.5


@pytest.mark.parametrize("name", FOLLOWED_HERE)
async def test_cnames_are_counted_over_several_answers(name: str, autojump_clock: MockClock) -> None:
    """Of a server that gives one at a time."""
    zone, expected = LIES[name]
    async with open_wide(DnsPeer({"example.org": {"MX": MX}, **HOST, **zone}, follows=False)) as wide:
        assert _fate(await wide.send("example.org")) == expected


async def test_a_long_answer_comes_over_tcp(autojump_clock: MockClock) -> None:
    zone, _ = LIES["an answer of 10 KB"]
    async with open_wide({**HOST, **zone}) as wide:
        await wide.send("example.org")
        assert wide.dns.over_tcp == [("example.org", "MX")]


async def test_a_name_that_turns_to_this_machine_after_the_look_up_is_refused_when_connecting(
    autojump_clock: MockClock,
) -> None:
    zone = {"example.org": {"MX": MX}, "mx.example.org": {"A": Turns(["127.0.0.1"], ["169.254.169.254"])}}
    async with open_wide(zone, idle_seconds=1) as wide:
        assert _fate(await wide.send("example.org")) == "accepted"
        await trio.sleep(301)
        verdict = await wide.send("example.org")
        assert _fate(verdict) == "refused 5.4.4"
        assert "169.254.169.254" in verdict.reply
        assert len(wide.peer.connections) == 1


# --- By itself ---


@asynccontextmanager
async def _answering(answer: Callable[[bytes], bytes]) -> AsyncIterator[Dns]:
    """A resolver whose server is a function of the question's bytes."""
    with trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM) as sock:
        await sock.bind(("127.0.0.1", 0))

        async def serve() -> None:
            while True:
                data, address = await sock.recvfrom(4096)
                await sock.sendto(answer(data), address)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve)
            yield Dns([Place("127.0.0.1", sock.getsockname()[1])], seconds=2.0)
            nursery.cancel_scope.cancel()


def _whole(query: bytes) -> bytes:
    response = dns.message.make_response(dns.message.from_wire(query))
    response.answer.append(
        dns.rrset.from_text("example.org.", 300, "IN", "MX", "10 mx1.example.org.", "20 mx2.example.org.")
    )
    return response.to_wire()


@settings(max_examples=150, deadline=None)
@given(
    changes=st.lists(st.tuples(st.integers(2, 90), st.integers(0, 255)), max_size=6),
    length=st.integers(0, 120),
    tail=st.binary(max_size=20),
)
def test_no_bytes_of_a_server_raise(changes: list[tuple[int, int]], length: int, tail: bytes) -> None:
    def answer(query: bytes) -> bytes:
        wire = bytearray(_whole(query))
        for place, value in changes:
            wire[place % len(wire)] = value
        return bytes(wire[:2] + wire[2:length] + tail)

    async def look_up() -> Found:
        async with _answering(answer) as resolver:
            return await resolver.look_up("example.org", "MX")

    found = trio.run(look_up, clock=MockClock(autojump_threshold=0))
    assert isinstance(found.status, Status)
    assert found.said.isprintable()
    assert 0 < found.seconds <= 3600
    assert bool(found.records) is (found.status is Status.FOUND)


async def test_an_answer_is_found(autojump_clock: MockClock) -> None:
    async with _answering(_whole) as resolver:
        found = await resolver.look_up("example.org", "MX")
    assert (found.status, found.seconds) == (Status.FOUND, 300.0)
    assert sorted(found.records) == [(10, "mx1.example.org"), (20, "mx2.example.org")]


@pytest.mark.parametrize("name", ["", ".", "a..b", "x" * 64, "x" * 300, "\\", "\0", "a b", "\N{SNOWMAN}", "\ud800"])
async def test_no_name_raises(name: str, autojump_clock: MockClock) -> None:
    async with _answering(lambda query: dns.message.make_response(dns.message.from_wire(query)).to_wire()) as resolver:
        found = await resolver.look_up(name, "MX")
    assert found.status in (Status.FAILED, Status.NO_DATA)


@pytest.mark.parametrize("server", ["resolver.example", "unix:/run/dns.sock", "127.0.0.1:0", "nonsense:"])
def test_a_dns_server_that_is_no_address_is_refused_at_the_start(server: str) -> None:
    with pytest.raises(ConfigError, match="dns_servers"):
        SmtpSettings(dns_servers=(server,))


def test_a_dns_server_may_have_a_port() -> None:
    assert read_server("dns_servers", "[::1]:5353", 53) == ("::1", 5353)
    assert read_server("dns_servers", "::1", 53) == ("::1", 53)
    assert read_server("dns_servers", "192.0.2.53", 53) == ("192.0.2.53", 53)


def test_a_system_without_dns_servers_asks_for_the_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    import dns.resolver

    def read_nothing(*_: object) -> None:
        raise dns.resolver.NoResolverConfiguration

    monkeypatch.setattr(dns.resolver.BaseResolver, "read_resolv_conf", read_nothing)
    with pytest.raises(ConfigError, match="dns_servers"):
        Dns((), 1.0)


@pytest.mark.parametrize("lie", LIES)
async def test_in_memory_the_scripted_server_is_the_one_on_loopback(lie: str, autojump_clock: MockClock) -> None:
    found: list[list[Found]] = []
    for is_in_memory in (True, False):
        peer = DnsPeer({"example.org": {"MX": MX}, **HOST, **LIES[lie][0]})
        async with peer.listening() as server:
            dns = Dns([peer.in_memory() if is_in_memory else read_server("dns_servers", server, 53)], 5.0)
            asked = (("example.org", "MX"), ("mx.example.org", "A"), ("mx.example.org", "AAAA"))
            found.append([(await dns.look_up(name, kind))._replace(said="") for name, kind in asked])
    assert found[0] == found[1]
