"""MX delivery, against a DNS server on loopback that lies in many ways."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from postroad.testing import make_request
from postroad.testing.dns_peer import DnsPeer, Lie
from postroad.testing.smtp_peer import Behaviour, SmtpPeer
from postroad.verdict import Disposition, Scope, Verdict
from postroad_smtp import smtp_transport
from postroad_smtp.dial import Guard
from postroad_smtp.mx import Route
from postroad_smtp.settings import read_networks

ACCEPTED, DEFERRED, REFUSED = Disposition.ACCEPTED, Disposition.DEFERRED, Disposition.REFUSED
ZONE = {
    "example.org": {"MX": ["10 mx1.example.org.", "20 mx2.example.org."]},
    "other.example": {"MX": ["5 MX2.example.org.", "5 mx1.example.org."]},
    "implicit.example": {"A": ["127.0.0.1"]},
    "alias.example": {"CNAME": ["example.org."]},
    "null.example": {"MX": ["0 ."], "A": ["127.0.0.1"]},
    "loop.example": {"CNAME": ["loop2.example."]},
    "loop2.example": {"CNAME": ["loop.example."]},
    "servfail.example": {"MX": Lie.SERVFAIL},
    "refused.example": {"MX": Lie.REFUSED},
    "silent.example": {"MX": Lie.SILENCE},
    "garbage.example": {"MX": Lie.GARBAGE},
    "truncated.example": {"MX": Lie.TRUNCATED, "MX over TCP": ["10 mx1.example.org."]},
    "nowhere.example": {"MX": ["10 missing.example.org."]},
    "nodata.example": {},
    "half.example": {"MX": ["10 missing.example.org.", "20 mx1.example.org."]},
    "broken-host.example": {"MX": ["10 broken.example.org."]},
    "alias-host.example": {"MX": ["10 cname.example.org."]},
    "myself.example": {"MX": ["10 client.example.", "20 mx1.example.org."]},
    "me-last.example": {"MX": ["10 mx1.example.org.", "20 client.example."]},
    "private.example": {"MX": ["10 private.example.org."]},
    "dead-first.example": {"MX": ["10 dead.example.org.", "20 mx1.example.org."]},
    "many.example": {"MX": [f"10 m{number}.example.org." for number in range(100)]},
    "mx1.example.org": {"A": ["127.0.0.1"]},
    "mx2.example.org": {"A": ["127.0.0.1"]},
    "cname.example.org": {"CNAME": ["mx1.example.org."]},
    "broken.example.org": {"A": Lie.SERVFAIL, "AAAA": Lie.SERVFAIL},
    "private.example.org": {"A": ["10.1.2.3", "169.254.169.254"], "AAAA": ["::1", "::ffff:127.0.0.1"]},
    "dead.example.org": {"A": ["127.0.0.2"]},
    **{f"m{number}.example.org": {"A": ["127.0.0.3", "127.0.0.4"]} for number in range(100)},
}


class Wide:
    """MX delivery with its DNS server and one SMTP server on 127.0.0.1."""

    def __init__(self, transport: Any, dns: DnsPeer, peer: SmtpPeer) -> None:
        self.transport = transport
        self.dns = dns
        self.peer = peer

    async def send(self, domain: str) -> Verdict:
        (verdict,) = await self.transport.deliver(make_request([f"b@{domain}"], domain=domain))
        return verdict


@asynccontextmanager
async def _wide(
    *, allow: Sequence[str] = ("127.0.0.0/8",), zone: Mapping[str, Any] = ZONE, replies: Any = None, **more: Any
) -> AsyncIterator[Wide]:
    dns, peer = DnsPeer(zone), SmtpPeer(Behaviour(replies))
    async with dns.listening() as server, peer.listening() as (_, port):
        settings = {
            "port": port,
            "dns_servers": [server],
            "allow_networks": list(allow),
            "helo": "client.example",
            "dns_seconds": 4.0,
            **more,
        }
        async with smtp_transport(settings) as transport:
            assert transport.capabilities.by_domain
            yield Wide(transport, dns, peer)
    assert peer.faults == []


GOOD = [
    "example.org", "other.example", "implicit.example", "alias.example", "truncated.example", "half.example",
    "alias-host.example", "me-last.example", "dead-first.example", "[127.0.0.1]",
]  # fmt: skip


@pytest.mark.parametrize("domain", GOOD)
async def test_mail_arrives_at(domain: str, autojump_clock: MockClock) -> None:
    async with _wide() as wide:
        verdict = await wide.send(domain)
        assert verdict.disposition is ACCEPTED, verdict
        assert "[127.0.0.1]:" in verdict.remote


@pytest.mark.parametrize(
    ("domain", "disposition", "status"),
    [
        ("missing.example", REFUSED, "5.1.2"),
        ("null.example", REFUSED, "5.1.10"),
        ("nowhere.example", REFUSED, "5.4.4"),
        ("nodata.example", REFUSED, "5.4.4"),
        ("myself.example", REFUSED, "5.4.6"),
        ("private.example", REFUSED, "5.4.4"),
        ("[10.1.2.3]", REFUSED, "5.4.4"),
        ("[IPv6:::1]", REFUSED, "5.4.4"),
        ("servfail.example", DEFERRED, "4.4.3"),
        ("refused.example", DEFERRED, "4.4.3"),
        ("silent.example", DEFERRED, "4.4.3"),
        ("garbage.example", DEFERRED, "4.4.3"),
        ("broken-host.example", DEFERRED, "4.4.3"),
        ("loop.example", DEFERRED, "4.4.3"),
        ("many.example", DEFERRED, "4.4.1"),
    ],
)
async def test_mail_does_not_arrive_at(
    domain: str, disposition: Disposition, status: str, autojump_clock: MockClock
) -> None:
    async with _wide() as wide:
        verdict = await wide.send(domain)
        assert (verdict.disposition, verdict.status) == (disposition, status), verdict
        assert verdict.reply.isprintable()
        assert wide.peer.connections == []


async def test_without_permission_no_mx_leads_to_this_machine() -> None:
    async with _wide(allow=()) as wide:
        verdict = await wide.send("example.org")
        assert (verdict.disposition, verdict.status) == (REFUSED, "5.4.4")
        assert wide.peer.connections == []


async def test_domains_with_the_same_servers_share_a_site_and_its_connections() -> None:
    async with _wide() as wide:
        sites = {(await wide.send(domain)).site for domain in ("example.org", "other.example", "alias.example")}
        assert len(sites) == 1
        assert len(wide.peer.connections) == 1


async def test_the_dns_is_asked_once_for_many_messages_at_once() -> None:
    async with _wide(sessions=2) as wide:
        async with trio.open_nursery() as nursery:
            for _ in range(50):
                nursery.start_soon(wide.send, "example.org")
        assert wide.dns.asked.count(("example.org", "MX")) == 1
        assert all(wide.dns.asked.count(question) == 1 for question in wide.dns.asked)
        assert len(wide.peer.transactions) == 50


async def test_what_was_found_is_forgotten_after_its_time(autojump_clock: MockClock) -> None:
    async with _wide(idle_seconds=1) as wide:
        await wide.send("example.org")
        await trio.sleep(299)
        await wide.send("example.org")
        await trio.sleep(2)
        await wide.send("example.org")
        assert wide.dns.asked.count(("example.org", "MX")) == 2


async def test_a_dead_dns_server_is_not_asked_for_each_message(autojump_clock: MockClock) -> None:
    async with _wide() as wide:
        for _ in range(5):
            assert (await wide.send("servfail.example")).disposition is DEFERRED
        assert wide.dns.asked.count(("servfail.example", "MX")) == 1
        await trio.sleep(11)
        await wide.send("servfail.example")
        assert wide.dns.asked.count(("servfail.example", "MX")) == 2


async def test_an_unwilling_first_server_does_not_stop_the_second() -> None:
    async with _wide(replies={"CONNECT": ["421 4.3.2 Busy", "220 peer.example ESMTP"]}) as wide:
        verdict = await wide.send("example.org")
        assert verdict.disposition is ACCEPTED
        assert verdict.remote.startswith("mx2.example.org ")


async def test_no_more_than_two_sessions_are_tried() -> None:
    zone = {**ZONE, "three.example": {"MX": ["1 mx1.example.org.", "2 mx2.example.org.", "3 mx3.example.org."]}}
    zone["mx3.example.org"] = {"A": ["127.0.0.1"]}
    async with _wide(zone=zone, replies={"CONNECT": "421 4.3.2 Busy"}) as wide:
        verdict = await wide.send("three.example")
        assert (verdict.disposition, verdict.scope, verdict.reply) == (DEFERRED, Scope.SITE, "421 4.3.2 Busy")
        assert verdict.remote.startswith("mx1.example.org ")
        assert len(wide.peer.connections) == 2


async def test_a_look_up_that_nobody_waits_for_does_not_hold_the_transport_open(autojump_clock: MockClock) -> None:
    async with _wide() as wide:
        with trio.move_on_after(0.5):
            await wide.send("silent.example")
    assert trio.current_time() < 2


def test_hosts_are_tried_by_preference_and_at_random_among_equals() -> None:
    route = Route("site", ((10, "a"), (10, "b"), (10, "c"), (5, "first"), (20, "last")), 25)
    orders = {tuple(route.ordered(random.Random(seed))) for seed in range(100)}
    assert {order[0] for order in orders} == {"first"}
    assert {order[-1] for order in orders} == {"last"}
    assert len(orders) == 6


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.8.8.8", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1",
        "224.0.0.1", "255.255.255.255", "240.0.0.1", "::1", "::", "fe80::1", "fc00::1", "ff02::1", "::ffff:127.0.0.1",
        "::ffff:8.8.8.8", "::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b::10.0.0.1", "2002:7f00:1::1", "not an address", "",
    ],
)  # fmt: skip
def test_the_guard_refuses(address: str) -> None:
    assert not Guard().allows(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1", "64:ff9b::8.8.8.8"])
def test_the_guard_lets_public_addresses_pass(address: str) -> None:
    assert Guard().allows(address)


def test_the_guard_lets_allowed_networks_pass_and_no_others() -> None:
    guard = Guard(read_networks(("10.1.0.0/16", "fd00::/8")))
    assert guard.allows("10.1.2.3")
    assert guard.allows("fd00::1")
    assert not guard.allows("10.2.0.1")
    assert not guard.allows("::ffff:10.1.2.3")
