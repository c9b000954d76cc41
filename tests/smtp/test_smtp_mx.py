"""From a domain to its servers: the rules of RFC 5321 section 5.1 and RFC 7505, against a DNS server on loopback."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import trio
from smtp_wide import Names, Wide, open_wide
from trio.testing import MockClock, wait_all_tasks_blocked

from postroad.testing.dns_peer import Lie, Told
from postroad.verdict import Disposition, Scope, Verdict
from postroad_smtp.answers import Found
from postroad_smtp.mx import Exchangers, Route

ACCEPTED, DEFERRED, REFUSED = Disposition.ACCEPTED, Disposition.DEFERRED, Disposition.REFUSED
HOSTS: dict[str, Any] = {
    "mx1.example.org": {"A": ["127.0.0.1"]},
    "mx2.example.org": {"A": ["127.0.0.1"]},
    "cname.example.org": {"CNAME": ["mx1.example.org."]},
    "broken.example.org": {"A": Lie.SERVFAIL, "AAAA": Lie.SERVFAIL},
    "half-broken.example.org": {"A": ["127.0.0.1"], "AAAA": Lie.SILENCE},
    "v6-broken.example.org": {"AAAA": Lie.SERVFAIL},
    "private.example.org": {"A": ["10.1.2.3", "169.254.169.254"], "AAAA": ["::ffff:127.0.0.1"]},
    "mostly-private.example.org": {"A": ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4", "127.0.0.1"]},
    "mx_3.example.org": {"A": ["127.0.0.1"]},
    "dead.example.org": {"A": ["127.0.0.2"]},
    **{f"m{number}.example.org": {"A": ["127.0.0.3", "127.0.0.4"]} for number in range(100)},
}
FATE: dict[str, tuple[dict[str, Any] | None, str]] = {
    # domain: its records, and what becomes of mail for it
    "example.org": ({"MX": ["10 mx1.example.org.", "20 mx2.example.org."]}, "accepted"),
    "EXAMPLE.org": (None, "accepted"),
    "example.org.": (None, "accepted"),
    "other.example": ({"MX": ["5 MX2.example.org.", "5 mx1.example.org."]}, "accepted"),
    "alias.example": ({"CNAME": ["example.org."]}, "accepted"),
    "xn--bcher-kva.example": ({"MX": ["10 mx1.example.org."]}, "accepted"),
    "b\N{LATIN SMALL LETTER U WITH DIAERESIS}cher.example": (None, "accepted"),
    "BU\N{COMBINING DIAERESIS}CHER.example": (None, "accepted"),
    "xn--fa-hia.example": ({"MX": ["10 mx1.example.org."]}, "accepted"),
    "fa\N{LATIN SMALL LETTER SHARP S}.example": (None, "accepted"),  # UTS 46, non-transitional: never fass.example
    # no MX at all: the domain itself (RFC 5321 section 5.1), and only then
    "implicit.example": ({"A": ["127.0.0.1"]}, "accepted"),
    "a-but-dead-mx.example": ({"MX": ["10 missing.example.org."], "A": ["127.0.0.1"]}, "refused 5.4.4"),
    "nodata.example": ({}, "refused 5.4.4"),
    "missing.example": (None, "refused 5.1.2"),
    "alias-to-nothing.example": ({"CNAME": ["missing.example."]}, "refused 5.1.2"),
    # null MX (RFC 7505), which beside others means nothing
    "null.example": ({"MX": ["0 ."], "A": ["127.0.0.1"]}, "refused 5.1.10"),
    "null-beside.example": ({"MX": ["0 .", "10 mx1.example.org."]}, "accepted"),
    # hosts that are of no use
    "half.example": ({"MX": ["10 missing.example.org.", "20 mx1.example.org."]}, "accepted"),
    "nowhere.example": ({"MX": ["10 missing.example.org."]}, "refused 5.4.4"),
    "broken-host.example": ({"MX": ["10 broken.example.org."]}, "deferred 4.4.3"),
    "unproven.example": ({"MX": ["10 missing.example.org.", "20 broken.example.org."]}, "deferred 4.4.3"),
    "half-broken-host.example": ({"MX": ["10 half-broken.example.org."]}, "accepted"),
    "v6-broken-host.example": ({"MX": ["10 v6-broken.example.org."]}, "deferred 4.4.3"),
    "alias-host.example": ({"MX": ["10 cname.example.org."]}, "accepted"),
    "digits.example": ({"MX": ["10 127.0.0.1."]}, "accepted"),
    "dead-first.example": ({"MX": ["10 dead.example.org.", "20 mx1.example.org."]}, "accepted"),
    "many.example": ({"MX": [f"10 m{number}.example.org." for number in range(100)]}, "deferred 4.4.1"),
    "500-missing.example": ({"MX": [f"10 gone{number}.example.org." for number in range(500)]}, "deferred 4.4.4"),
    # names that no host has (RFC 1123 section 2.1), though the DNS takes them
    "sharp.example": ({"MX": ["10 mx1.example.org+1#0123456789."]}, "refused 5.4.4"),
    "sharp-first.example": ({"MX": ["10 a#b.example.org.", "20 mx1.example.org."]}, "accepted"),
    "underscore.example": ({"MX": ["10 mx_3.example.org."]}, "accepted"),
    # this host itself: dropped, with whatever is worse
    "myself.example": ({"MX": ["10 client.example."]}, "refused 5.4.6"),
    "myself-first.example": ({"MX": ["10 Client.Example.", "20 mx1.example.org."]}, "refused 5.4.6"),
    "myself-equal.example": ({"MX": ["10 client.example.", "10 mx1.example.org."]}, "refused 5.4.6"),
    "myself-last.example": ({"MX": ["10 mx1.example.org.", "20 client.example."]}, "accepted"),
    # addresses that are not to be connected to
    "private.example": ({"MX": ["10 private.example.org."]}, "refused 5.4.4"),
    "private-first.example": ({"MX": ["10 private.example.org.", "20 mx1.example.org."]}, "accepted"),
    "mostly-private.example": ({"MX": ["10 mostly-private.example.org."]}, "accepted"),
    "private-or-broken.example": ({"MX": ["10 private.example.org.", "20 broken.example.org."]}, "deferred 4.4.3"),
    "private-or-dead.example": ({"MX": ["10 private.example.org.", "20 dead.example.org."]}, "deferred 4.4.1"),
    # address literals, which go through the same guard
    "[127.0.0.1]": (None, "accepted"),
    "[10.1.2.3]": (None, "refused 5.4.4"),
    "[IPv6:fe80::1]": (None, "refused 5.4.4"),
    "[ipv6:::ffff:127.0.0.1]": (None, "refused 5.4.4"),
    "[IPv6:fe80::1%lo]": (None, "refused 5.4.4"),
    "[127.0.0.1": (None, "refused 5.1.3"),
    "[999.0.0.1]": (None, "refused 5.1.3"),
    "[IPv6:]": (None, "refused 5.1.3"),
    "[x-tag:127.0.0.1]": (None, "refused 5.1.3"),
    # what is no domain
    "": (None, "refused 5.1.3"),
    ".": (None, "refused 5.1.3"),
    "a..example": (None, "refused 5.1.3"),
    ".example": (None, "refused 5.1.3"),
    "example..": (None, "refused 5.1.3"),
    "exa mple.org": (None, "refused 5.1.3"),
    "example.org\r\nQUIT": (None, "refused 5.1.3"),
    "\0.example": (None, "refused 5.1.3"),
    "\\046.example": (None, "refused 5.1.3"),
    "-x.example": (None, "refused 5.1.3"),
    "\N{SNOWMAN}.example": (None, "refused 5.1.3"),
    "\ud800.example": (None, "refused 5.1.3"),
    f"{'x' * 64}.example": (None, "refused 5.1.3"),
    "\N{LATIN SMALL LETTER U WITH DIAERESIS}" * 60 + ".example": (None, "refused 5.1.3"),
    "x." * 127 + "example": (None, "refused 5.1.3"),
    "x" * 1_000_000: (None, "refused 5.1.3"),
}
ZONE: dict[str, Any] = HOSTS | {domain: records for domain, (records, _) in FATE.items() if records is not None}


def fate(verdict: Verdict) -> str:
    words = verdict.disposition.value, verdict.status
    return "accepted" if verdict.disposition is ACCEPTED else " ".join(words)


@pytest.mark.parametrize(("domain", "expected"), [(domain, row[1]) for domain, row in FATE.items()], ids=ascii)
async def test_mail_for_a_domain_is(domain: str, expected: str, autojump_clock: MockClock) -> None:
    async with open_wide(ZONE) as wide:
        verdict = await wide.send(domain)
        assert fate(verdict) == expected, verdict
        assert verdict.reply.isprintable()
        assert verdict.site.isprintable()
        assert len(verdict.reply) < 700
        assert len(verdict.site) < 300
        assert len(wide.dns.asked) <= 25
        if expected == "accepted":
            assert "[127.0.0.1]:" in verdict.remote
        else:
            assert wide.peer.connections == []


async def test_without_permission_no_mx_leads_to_this_machine() -> None:
    async with open_wide(ZONE, allow=()) as wide:
        assert fate(await wide.send("example.org")) == "refused 5.4.4"
        assert wide.peer.connections == []


async def test_domains_with_the_same_servers_share_a_site_and_its_connections() -> None:
    async with open_wide(ZONE) as wide:
        sites = {(await wide.send(domain)).site for domain in ("example.org", "other.example", "alias.example")}
        assert len(sites) == 1
        assert len(wide.peer.connections) == 1


async def test_the_connection_that_rests_longest_makes_room_for_one_more(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    """Ten thousand domains must not cost ten thousand descriptors."""
    monkeypatch.setattr("postroad_smtp.pool._RESTING_MOST", 2)
    names = [f"mx{number}.example" for number in range(4)]
    zone = {name: {"MX": [f"10 {name}."], "A": ["127.0.0.1"]} for name in names}
    async with open_wide(zone, idle_seconds=1000) as wide:
        for name in (*names[:2], names[0], *names[2:], names[3]):
            assert (await wide.send(name)).disposition is Disposition.ACCEPTED
            await wait_all_tasks_blocked()
        ended = [[command.split()[0] for command in each.commands][-1] for each in wide.peer.connections]
        assert ended == ["QUIT", "QUIT", ".", "."]
        assert [len(each.commands) for each in wide.peer.connections[::3]] == [10, 9]
        assert trio.current_time() < 100


async def test_no_servers_of_a_stranger_share_a_site_by_their_name() -> None:
    """The name of a set of servers, as a stranger may learn it from a log, given to a server of his own."""
    zone = dict(ZONE)
    async with open_wide(ZONE) as wide:
        name = (await wide.send("example.org")).site
    zone["stranger.example"] = {"MX": [f"10 {name}."]}
    zone[name] = {"A": ["127.0.0.1"]}
    async with open_wide(zone) as wide:
        verdicts = [await wide.send(domain) for domain in ("example.org", "stranger.example")]
        assert [fate(verdict) for verdict in verdicts] == ["accepted", "refused 5.4.4"]
        assert len(wide.peer.transactions) == 1
    assert len(name.partition("#")[2]) == 32  # 128 bits: no second set is found that has the same name


async def _send_at_once(wide: Wide, domains: list[str]) -> None:
    async with trio.open_nursery() as nursery:
        for domain in domains:
            nursery.start_soon(wide.send, domain)


async def test_the_dns_is_asked_once_for_many_messages_at_once() -> None:
    async with open_wide(ZONE, sessions=2) as wide:
        await _send_at_once(wide, ["example.org"] * 100)
        assert wide.dns.asked.count(("example.org", "MX")) == 1
        assert max(Counter(wide.dns.asked).values()) == 1
        assert len(wide.peer.transactions) == 100


async def test_a_failing_look_up_is_made_once_for_many_messages_at_once(autojump_clock: MockClock) -> None:
    async with open_wide({"silent.example": {"MX": Lie.SILENCE}}, dns_seconds=1.0) as wide:
        await _send_at_once(wide, ["silent.example"] * 100)
        assert len(wide.dns.asked) <= 3  # the others are the same look-up, which repeats its question


async def test_what_was_found_is_forgotten_after_its_time(autojump_clock: MockClock) -> None:
    async with open_wide(ZONE, idle_seconds=1) as wide:
        await wide.send("example.org")
        await trio.sleep(299)
        await wide.send("example.org")
        await trio.sleep(2)
        await wide.send("example.org")
        assert wide.dns.asked.count(("example.org", "MX")) == 2


async def test_what_was_found_is_not_used_beyond_its_time(autojump_clock: MockClock) -> None:
    async with open_wide(ZONE, idle_seconds=1) as wide:
        assert fate(await wide.send("example.org")) == "accepted"
        await trio.sleep(301)
        wide.dns.zone = {**ZONE, "example.org": {"MX": Lie.SERVFAIL}}
        assert fate(await wide.send("example.org")) == "deferred 4.4.3"


@pytest.mark.parametrize("ttl", [0, 1, 2**31, 2**32 - 1])
async def test_an_answer_holds_for_30_seconds_at_the_least(ttl: int, autojump_clock: MockClock) -> None:
    """0 would ask for each message; RFC 2181 section 8 reads a time above 2^31 - 1 as 0."""
    zone = {**HOSTS, "example.org": {"MX": Told(["10 mx1.example.org."], ttl=ttl)}}
    async with open_wide(zone, idle_seconds=1) as wide:
        for pause, asked in ((29.0, 1), (2.0, 2)):
            await wide.send("example.org")
            await trio.sleep(pause)
            await wide.send("example.org")
            assert wide.dns.asked.count(("example.org", "MX")) == asked


async def test_an_answer_holds_for_an_hour_at_the_most(autojump_clock: MockClock) -> None:
    zone = {**HOSTS, "example.org": {"MX": Told(["10 mx1.example.org."], ttl=2**31 - 1)}}
    async with open_wide(zone, idle_seconds=1) as wide:
        for _ in range(2):
            await wide.send("example.org")
            await trio.sleep(3601)
        assert wide.dns.asked.count(("example.org", "MX")) == 2


async def test_a_dead_dns_server_is_not_asked_for_each_message(autojump_clock: MockClock) -> None:
    async with open_wide({"servfail.example": {"MX": Lie.SERVFAIL}}) as wide:
        for _ in range(5):
            assert (await wide.send("servfail.example")).disposition is DEFERRED
        assert wide.dns.asked.count(("servfail.example", "MX")) == 2  # as an ordinary question, and by dnspython
        await trio.sleep(11)
        await wide.send("servfail.example")
        assert wide.dns.asked.count(("servfail.example", "MX")) == 4


async def test_a_server_that_never_answers_for_ipv6_costs_a_second(autojump_clock: MockClock) -> None:
    async with open_wide(ZONE, dns_seconds=15.0) as wide:
        assert fate(await wide.send("half-broken-host.example")) == "accepted"
        assert trio.current_time() <= 1.1


async def test_an_unwilling_first_server_does_not_stop_the_second() -> None:
    async with open_wide(ZONE, replies={"CONNECT": ["421 4.3.2 Busy", "220 peer.example ESMTP"]}) as wide:
        verdict = await wide.send("example.org")
        assert verdict.disposition is ACCEPTED
        assert verdict.remote.startswith("mx2.example.org ")


async def test_no_more_than_two_sessions_are_tried() -> None:
    zone = {**ZONE, "three.example": {"MX": ["1 mx1.example.org.", "2 mx2.example.org.", "3 mx3.example.org."]}}
    zone["mx3.example.org"] = {"A": ["127.0.0.1"]}
    async with open_wide(zone, replies={"CONNECT": "421 4.3.2 Busy"}) as wide:
        verdict = await wide.send("three.example")
        assert (verdict.disposition, verdict.scope, verdict.reply) == (DEFERRED, Scope.SITE, "421 4.3.2 Busy")
        assert verdict.remote.startswith("mx1.example.org ")
        assert len(wide.peer.connections) == 2


@pytest.mark.parametrize("verb", ["EHLO", "HELO"])
@pytest.mark.parametrize(
    ("zone", "expected"),
    [
        ({"MX": ["10 mx1.example.org.", "20 dead.example.org."]}, "refused 5.4.6"),
        ({"MX": ["10 missing.example.org.", "20 mx1.example.org."]}, "deferred 4.4.6"),
        ({"MX": ["10 dead.example.org.", "20 mx1.example.org."]}, "deferred 4.4.1"),
    ],
    ids=["the best", "a worse one, the best has no address", "a worse one, the best is down"],
)
async def test_a_server_that_has_our_own_name_gets_nothing(verb: str, zone: Mapping[str, Any], expected: str) -> None:
    replies = {"EHLO": "250 Client.EXAMPLE. at your service"}
    if verb == "HELO":
        replies = {"EHLO": "500 5.5.1 What?", "HELO": "250 client.example"}
    async with open_wide({**HOSTS, "loop.example": zone}, replies=replies) as wide:
        verdict = await wide.send("loop.example")
        assert fate(verdict) == expected, verdict
        assert len(wide.peer.connections) == 1
        assert wide.peer.transactions == []


async def test_a_name_without_a_dot_is_nobodys_own() -> None:
    async with open_wide(ZONE, replies={"EHLO": "250 localhost"}, helo="localhost") as wide:
        assert fate(await wide.send("example.org")) == "accepted"


async def test_a_loop_of_one_domain_is_not_held_against_another_one_of_the_site() -> None:
    """The same two servers, preferred the other way round: to one domain ourselves are the best host, to the other the worst."""
    zone = {
        **HOSTS,
        "mx3.example.org": {"A": ["127.0.0.2"]},
        "ours.example": {"MX": ["10 mx1.example.org.", "20 mx3.example.org."]},
        "theirs.example": {"MX": ["10 mx3.example.org.", "20 mx1.example.org."]},
    }
    async with open_wide(zone, replies={"EHLO": "250 client.example"}, sessions=1) as wide:
        got: dict[str, Verdict] = {}

        async def send(domain: str) -> None:
            got[domain] = await wide.send(domain)

        for domain in ("ours.example", "theirs.example"):
            await send(domain)  # so that the DNS is asked
        async with trio.open_nursery() as nursery:
            for domain in ("ours.example", "theirs.example"):
                nursery.start_soon(send, domain)
                await trio.lowlevel.checkpoint()  # the second waits for the first one's session
        assert got["ours.example"].site == got["theirs.example"].site
        assert {domain: fate(verdict) for domain, verdict in got.items()} == {
            "ours.example": "refused 5.4.6",
            "theirs.example": "deferred 4.4.1",
        }


async def test_a_look_up_that_nobody_waits_for_does_not_hold_the_transport_open(autojump_clock: MockClock) -> None:
    async with open_wide({"silent.example": {"MX": Lie.SILENCE}}) as wide:
        with trio.move_on_after(0.5):
            await wide.send("silent.example")
    assert trio.current_time() < 2


class SlowNames(Names):
    """Each look-up takes a second."""

    async def look_up(self, name: str, kind: str, *, is_odd: bool = False) -> Found:
        await trio.sleep(1)
        return await super().look_up(name, kind)


async def test_both_families_are_looked_up_at_once(autojump_clock: MockClock) -> None:
    zone = {("mx.example.org", "AAAA"): ["2001:db8::1"], ("mx.example.org", "A"): ["192.0.2.1", "192.0.2.2"]}
    async with trio.open_nursery() as nursery:
        exchangers = Exchangers(nursery, SlowNames(zone), port=25, own_name="client.example")
        assert list(await exchangers.addresses("mx.example.org")) == ["2001:db8::1", "192.0.2.1", "192.0.2.2"]
        assert trio.current_time() == 1.0


class LateNames(Names):
    """An answer for AAAA takes three seconds; asked: what was."""

    def __init__(self, zone: dict[tuple[str, str], Sequence[Any]]) -> None:
        super().__init__(zone)
        self.asked: list[tuple[str, str]] = []

    async def look_up(self, name: str, kind: str, *, is_odd: bool = False) -> Found:
        self.asked.append((name, kind))
        if kind == "AAAA":
            await trio.sleep(3)
        return await super().look_up(name, kind)


async def test_ipv6_addresses_that_come_late_are_waited_for_once_and_used_when_they_come(
    autojump_clock: MockClock,
) -> None:
    names = LateNames({("mx.example.org", "AAAA"): ["2001:db8::1"], ("mx.example.org", "A"): ["192.0.2.1"]})
    async with trio.open_nursery() as nursery:
        exchangers = Exchangers(nursery, names, port=25, own_name="client.example")
        for _ in range(2):
            assert list(await exchangers.addresses("mx.example.org")) == ["192.0.2.1"]
            assert trio.current_time() == 1.0
        await trio.sleep(2.5)
        assert list(await exchangers.addresses("mx.example.org")) == ["2001:db8::1", "192.0.2.1"]
        assert sorted(names.asked) == [("mx.example.org", "A"), ("mx.example.org", "AAAA")]


@pytest.mark.parametrize(
    ("hosts", "asked"),
    [
        (((20, "mx1.example.org"), (10, "mx2.example.org")), "mx2.example.org"),
        (((10, "mx1.example.org"), (10, "mx2.example.org")), ""),  # which one is first will be drawn by lot
        (((0, "[192.0.2.1]"),), ""),
    ],
)
async def test_the_addresses_of_the_first_host_can_be_had_beforehand(
    hosts: tuple[tuple[int, str], ...], asked: str, autojump_clock: MockClock
) -> None:
    names = LateNames({})
    async with trio.open_nursery() as nursery:
        exchangers = Exchangers(nursery, names, port=25, own_name="client.example")
        await exchangers.prepare(Route("site", hosts, 25))
        assert {name for name, _ in names.asked} == ({asked} if asked else set())


async def test_an_address_that_cannot_be_had_beforehand_is_told_to_who_needs_it(autojump_clock: MockClock) -> None:
    async with open_wide(ZONE) as wide:
        assert fate(await wide.send("broken-host.example")) == "deferred 4.4.3"
        assert wide.dns.asked.count(("broken.example.org", "A")) == 2  # as an ordinary question, and by dnspython


def test_hosts_are_tried_by_preference() -> None:
    route = Route("site", ((10, "a"), (10, "b"), (5, "first"), (20, "last")), 25)
    for seed in range(100):
        order = route.ordered(random.Random(seed))
        assert (order[0], order[-1]) == ("first", "last")


def test_equals_are_tried_in_an_order_that_is_even_and_the_same_for_a_seed() -> None:
    route = Route("site", ((10, "a"), (10, "b"), (10, "c")), 25)
    rng = random.Random(1)
    orders = Counter(tuple(route.ordered(rng)) for _ in range(6000))
    assert len(orders) == 6
    assert all(850 < count < 1150 for count in orders.values())
    assert route.ordered(random.Random(7)) == route.ordered(random.Random(7))


async def test_load_spreads_evenly_over_equal_hosts() -> None:
    async with open_wide(ZONE, messages_per_session=1) as wide:
        hosts = Counter([(await wide.send("other.example")).remote.partition(" ")[0] for _ in range(60)])
        assert set(hosts) == {"mx1.example.org", "mx2.example.org"}
        assert min(hosts.values()) > 10
