"""MX delivery against a DNS server that lies, on loopback: rows 26 and 40 to 43."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import trio
from fault_case import DELIVERED, Case, Expected, Seen, told
from fault_scene import SMALL

from postroad.testing import make_request
from postroad.testing.dns_peer import DnsPeer, Lie
from postroad.testing.smtp_peer import ACCEPT, Behaviour, Cut, Silence, SmtpPeer
from postroad.verdict import Verdict
from postroad_smtp import smtp_transport

__all__ = ["cases"]

HERE = "127.0.0.1"
HOSTS: dict[str, Any] = {
    "mx1.example.org": {"A": [HERE]},
    "mx2.example.org": {"A": [HERE]},
    "alias.example.org": {"CNAME": ["mx1.example.org."]},
    "dead.example.org": {"A": ["127.0.0.2"]},
    "unknown.example.org": {"A": Lie.SERVFAIL, "AAAA": Lie.SERVFAIL},
    **{f"m{number}.example.org": {"A": ["127.0.0.2", "127.0.0.3"]} for number in range(500)},
}
TWO = {"MX": ["10 mx1.example.org.", "20 mx2.example.org."]}


def cases() -> Iterator[Case]:
    for make in (_greetings, _answers, _dead_hosts, _aliases, _oneself, _many, _private, _rebinding):
        yield from make()


async def _meet(
    records: Mapping[str, Any] | None,
    *,
    more: Mapping[str, Any] | None = None,
    replies: Mapping[str, Any] | None = None,
    allow: Sequence[str] = ("127.0.0.0/8",),
    counts: bool = False,
) -> Seen:
    """Send to b@example.org, whose DNS has these records (None: no such name)."""
    zone = {**HOSTS, **(more or {}), **({"example.org": records} if records is not None else {})}
    dns, peer = DnsPeer(zone), SmtpPeer(Behaviour(replies))
    async with dns.listening() as server, peer.listening(HERE) as (_, port):
        settings = {"port": port, "dns_servers": [server], "allow_networks": list(allow), "helo": "client.example"}
        async with smtp_transport(settings) as transport:
            verdict = await _send(transport)
            seconds = trio.current_time()
    assert peer.faults == []
    assert len(peer.transactions) == (told(verdict) == DELIVERED)
    facts = (_count(len(peer.connections)),) if counts else ()
    return Seen(outcomes=(_told(verdict),), seconds=seconds, facts=facts)


def _count(connections: int) -> str:
    return "1 connection" if connections == 1 else f"{connections} connections"


async def _send(transport: Any) -> Verdict:
    (verdict,) = await transport.deliver(
        make_request(["b@example.org"], content=SMALL, domain="example.org", deadline=trio.current_time() + 3600)
    )
    assert verdict.reply.isprintable()
    return verdict


def _told(verdict: Verdict) -> str:
    """With the name of the host that took it."""
    host = verdict.remote.partition(" ")[0]
    return f"{told(verdict)} to {host}" if told(verdict) == DELIVERED else told(verdict)


def _case(
    row: str,
    what: str,
    records: Mapping[str, Any] | None,
    outcome: str,
    *,
    seconds: tuple[float, float] = (0, 1),
    variant: str = "",
    facts: tuple[str, ...] = (),
    **more: Any,
) -> Case:
    return Case(
        row=row,
        what=what,
        variant=variant,
        meet=partial(_meet, records, counts=bool(facts), **more),
        expected=Expected(outcomes=(outcome,), seconds=seconds, is_next_delivered=None, facts=facts),
    )


def _greetings() -> Iterator[Case]:
    for reply in ("450 4.7.0", "554 5.7.1", "421 4.3.2"):
        first = {"CONNECT": [f"{reply} No", ACCEPT]}
        yield _case("26", f"{reply} from the first of two servers", TWO, "delivered to mx2.example.org", replies=first)
    for reply in ("450 4.7.0", "554 5.7.1"):
        status = f"4{reply[5:]}"
        yield _case(
            "26", f"{reply} from both servers", TWO, f"deferred {status} (site)", replies={"CONNECT": f"{reply} No"}
        )


def _answers() -> Iterator[Case]:
    """Row 40."""
    null = {"MX": ["0 ."], "A": [HERE]}
    yield _case("40", "null MX, although there is an A record", null, "refused 5.1.10 (recipient)")
    yield _case("40", "NXDOMAIN", None, "refused 5.1.2 (recipient)")
    yield _case("40", "no MX, but an A record", {"A": [HERE]}, "delivered to example.org")
    yield _case("40", "neither MX nor address", {}, "refused 5.4.4 (site)")
    yield _case(
        "40",
        "MX hosts without address, although the domain has an A record",
        {"MX": ["10 gone.example.org."], "A": [HERE]},
        "refused 5.4.4 (site)",
    )
    later = "deferred 4.4.3 (site)"
    for lie in (Lie.SERVFAIL, Lie.REFUSED):
        yield _case("40", lie.value, {"MX": lie, "A": [HERE]}, later)
    for what, lie in {"silence": Lie.SILENCE, "octets that are no DNS": Lie.GARBAGE}.items():
        yield _case("40", what, {"MX": lie, "A": [HERE]}, later, seconds=(14, 16))
    yield _case("40", "SERVFAIL for the MX host's addresses", {"MX": ["10 unknown.example.org."]}, later)


def _dead_hosts() -> Iterator[Case]:
    """Row 41."""
    dead = {"MX": ["10 dead.example.org.", "20 mx1.example.org."]}
    yield _case("41", "nobody listens at the first", dead, "delivered to mx1.example.org")
    gone = {"MX": ["10 gone.example.org.", "20 mx1.example.org."]}
    yield _case("41", "the first has no address", gone, "delivered to mx1.example.org")
    unknown = {"MX": ["10 unknown.example.org.", "20 mx1.example.org."]}
    yield _case("41", "SERVFAIL for the first", unknown, "delivered to mx1.example.org")
    for what, reaction in {"FIN": Cut(), "silence": Silence()}.items():
        seconds = (294, 301) if what == "silence" else (0, 1)
        replies = {"CONNECT": [reaction, ACCEPT]}
        yield _case(
            "41",
            f"{what} instead of the first one's greeting",
            TWO,
            "delivered to mx2.example.org",
            replies=replies,
            seconds=seconds,
        )
    neither = {"MX": ["10 dead.example.org.", "20 gone.example.org."]}
    yield _case("41", "neither works", neither, "deferred 4.4.1 (site)")


def _chain(length: int) -> dict[str, Any]:
    links: dict[str, Any] = {
        f"c{number}.example": {"CNAME": [f"c{number + 1}.example."]} for number in range(1, length)
    }
    return {**links, f"c{length}.example": {"MX": ["10 mx1.example.org."]}}


def _aliases() -> Iterator[Case]:
    """Row 42: names that lead to names."""
    loop = {"other.example": {"CNAME": ["example.org."]}}
    yield _case("42", "a loop of two CNAMEs", {"CNAME": ["other.example."]}, "deferred 4.4.4 (site)", more=loop)
    yield _case("42", "3 CNAMEs", {"CNAME": ["c1.example."]}, "delivered to mx1.example.org", more=_chain(3))
    yield _case("42", "12 CNAMEs", {"CNAME": ["c1.example."]}, "deferred 4.4.4 (site)", more=_chain(12))
    yield _case("42", "an MX that is a CNAME", {"MX": ["10 alias.example.org."]}, "delivered to alias.example.org")


def _oneself() -> Iterator[Case]:
    """Row 42: an MX that is this host itself; its name is client.example."""
    ours = {"client.example": {"A": [HERE]}}
    loops = "refused 5.4.6 (recipient)"
    yield _case(
        "42", "this host is the best MX", {"MX": ["10 client.example.", "20 mx1.example.org."]}, loops, more=ours
    )
    yield _case(
        "42",
        "this host is the worst MX",
        {"MX": ["10 mx1.example.org.", "20 client.example."]},
        "delivered to mx1.example.org",
        more=ours,
    )
    itself = {"EHLO": "250 client.example at your service"}
    yield _case("42", "the best MX answers EHLO with our name", TWO, loops, replies=itself, facts=("1 connection",))


def _many() -> Iterator[Case]:
    """Row 42: more servers than are tried."""
    many = {"MX": [f"10 m{number}.example.org." for number in range(500)]}
    yield _case("42", "500 MX, all dead", many, "deferred 4.4.1 (site)")
    three = {"MX": ["1 mx1.example.org.", "2 mx2.example.org.", "3 alias.example.org."]}
    yield _case(
        "42",
        "3 MX, all refuse the greeting",
        three,
        "deferred 4.3.2 (site)",
        replies={"CONNECT": "421 4.3.2 Busy"},
        facts=("2 connections",),
    )


PRIVATE = {
    "loopback": ("127.0.0.1", "127.8.8.8", "::1"),
    "private": ("10.0.0.1", "172.16.0.1", "192.168.1.1"),
    "unique local": ("fc00::1", "fd12:3456::1"),
    "shared (100.64/10)": ("100.64.0.1",),
    "link-local": ("169.254.169.254", "fe80::1"),
    "unspecified": ("0.0.0.0", "::"),
    "mapped": ("::ffff:127.0.0.1", "::ffff:8.8.8.8"),
    "IPv4-compatible": ("::127.0.0.1",),
    "NAT64 of a private one": ("64:ff9b::7f00:1", "64:ff9b::a00:1"),
    "6to4 of a private one": ("2002:7f00:1::1", "2002:a00:1::1"),
    "Teredo of a private one": ("2001:0:808:808::80ff:fffe",),
    "multicast": ("224.0.0.1", "ff02::1"),
    "broadcast and reserved": ("255.255.255.255", "240.0.0.1"),
    "documentation": ("192.0.2.1", "198.51.100.1", "203.0.113.1", "2001:db8::1", "3fff::1"),
}


def _private() -> Iterator[Case]:
    """Row 43."""
    for what, addresses in PRIVATE.items():
        for address in addresses:
            kind = "AAAA" if ":" in address else "A"
            more = {"inner.example.org": {kind: [address]}}
            records = {"MX": ["10 inner.example.org."]}
            yield _case(
                "43",
                what,
                records,
                "refused 5.4.4 (site)",
                variant=address,
                more=more,
                allow=(),
                facts=("0 connections",),
            )
    for what, records in {"an A record alone": {"A": [HERE]}, "digits as MX": {"MX": [f"10 {HERE}."]}}.items():
        yield _case("43", "loopback", records, "refused 5.4.4 (site)", variant=what, allow=(), facts=("0 connections",))
    mixed = {"mixed.example.org": {"A": ["10.0.0.1", HERE]}}
    allowed = {"allow": (f"{HERE}/32",), "more": mixed, "facts": ("1 connection",)}
    yield _case(
        "43",
        "a private address beside one that is allowed",
        {"MX": ["10 mixed.example.org."]},
        "delivered to mixed.example.org",
        **allowed,
    )


def _rebinding() -> Iterator[Case]:
    """Row 43: the name leads to an address that is allowed, and later to this machine."""
    yield Case(
        row="43",
        what="rebinding: an address that is allowed, 10 minutes later loopback",
        meet=_meet_rebinding,
        expected=Expected(
            outcomes=("delivered to mx.example.org", "refused 5.4.4 (site)"),
            is_next_delivered=None,
            facts=("no connection to loopback",),
        ),
    )


@contextmanager
def _told_to(dns: DnsPeer, address: str) -> Iterator[None]:
    dns.zone = {"example.org": {"MX": ["10 mx.example.org."]}, "mx.example.org": {"A": [address]}}
    yield


async def _meet_rebinding() -> Seen:
    dns, outside, inside = DnsPeer({}), SmtpPeer(), SmtpPeer()
    async with dns.listening() as server, outside.listening("127.0.0.9") as (_, port), trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(port, host=HERE)
        await nursery.start(trio.serve_listeners, inside.serve, [listener])
        settings = {"port": port, "dns_servers": [server], "allow_networks": ["127.0.0.9/32"], "idle_seconds": 1.0}
        async with smtp_transport(settings) as transport:
            with _told_to(dns, "127.0.0.9"):
                first = await _send(transport)
            with _told_to(dns, HERE):
                await trio.sleep(600)
                second = await _send(transport)
        nursery.cancel_scope.cancel()
    facts = ("no connection to loopback",) if not inside.connections else ("LOOPBACK WAS CONNECTED TO",)
    return Seen(outcomes=(_told(first), _told(second)), facts=facts)
