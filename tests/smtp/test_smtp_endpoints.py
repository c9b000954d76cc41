"""The back-off of endpoints: by itself, and as many messages for a dead or a half-dead site meet it."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from smtp_road import OpenRoad
from smtp_wide import Names
from trio.testing import MockClock

from postroad.testing import make_request
from postroad.testing.smtp_peer import ACCEPT, Behaviour, Cut, Reaction, Silence, SmtpPeer
from postroad.verdict import Disposition, Scope, Verdict
from postroad_smtp.endpoints import Endpoint, Endpoints
from postroad_smtp.settings import SmtpSettings
from postroad_smtp.transport import SmtpTransport
from postroad_smtp.trouble import Kind, Trouble

ACCEPTED, DEFERRED, POSTPONED = Disposition.ACCEPTED, Disposition.DEFERRED, Disposition.POSTPONED
HERE: Endpoint = ("192.0.2.1", 25)


def _refused(kind: Kind = Kind.UNREACHABLE) -> Trouble:
    return Trouble(kind, "cannot connect: Connection refused", "4.4.1")


def _fail(endpoints: Endpoints, times: int = 1, *, kind: Kind = Kind.UNREACHABLE) -> None:
    for _ in range(times):
        endpoints.failed(HERE, _refused(kind), endpoints.begin(HERE))


async def _pause(endpoints: Endpoints) -> float:
    """Virtual seconds until the endpoint may be tried."""
    began = trio.current_time()
    for _ in range(1000):
        if endpoints.resting(HERE) is None:
            break
        await trio.sleep(0.125)
    return trio.current_time() - began


async def test_one_failure_costs_nothing(autojump_clock: MockClock) -> None:
    endpoints = Endpoints(random.Random(1))
    _fail(endpoints)
    assert endpoints.resting(HERE) is None


async def test_pauses_double_from_a_second_to_a_minute(autojump_clock: MockClock) -> None:
    endpoints = Endpoints(random.Random(1))
    _fail(endpoints)
    pauses: list[float] = []
    for _ in range(9):
        _fail(endpoints)
        pauses.append(await _pause(endpoints))
    for pause, expected in zip(pauses, [1, 2, 4, 8, 16, 32, 60, 60, 60], strict=True):
        assert 0.8 * expected <= pause <= 1.2 * expected + 0.125
    assert (
        len({round(pause / expected, 3) for pause, expected in zip(pauses[6:], [60] * 3, strict=True)}) == 3
    )  # jitter


async def test_a_seed_gives_the_same_pauses(autojump_clock: MockClock) -> None:
    pauses: list[float] = []
    for _ in range(2):
        endpoints = Endpoints(random.Random(5))
        _fail(endpoints, 4)
        pauses.append(await _pause(endpoints))
    assert pauses[0] == pauses[1]


async def test_success_forgets_failures(autojump_clock: MockClock) -> None:
    endpoints = Endpoints(random.Random(1))
    _fail(endpoints, 5)
    endpoints.served(HERE)
    assert endpoints.resting(HERE) is None
    endpoints.closed(HERE)
    _fail(endpoints)
    assert endpoints.resting(HERE) is None


async def test_failures_ten_minutes_apart_are_not_in_a_row(autojump_clock: MockClock) -> None:
    endpoints = Endpoints(random.Random(1))
    _fail(endpoints, 5)
    await trio.sleep(601)
    _fail(endpoints)
    assert endpoints.resting(HERE) is None


async def test_connections_that_were_begun_together_fail_once(autojump_clock: MockClock) -> None:
    endpoints = Endpoints(random.Random(1))
    begun = [endpoints.begin(HERE) for _ in range(10)]
    for number in begun:
        endpoints.failed(HERE, _refused(), number)
    assert endpoints.resting(HERE) is None


async def test_after_the_pause_one_tries_alone(autojump_clock: MockClock) -> None:
    endpoints = Endpoints(random.Random(1))
    _fail(endpoints, 3)
    await trio.sleep(2.5)
    assert endpoints.resting(HERE) is None
    endpoints.begin(HERE)
    assert endpoints.resting(HERE) is not None


async def test_what_is_remembered_is_told_with_the_time_that_is_left(autojump_clock: MockClock) -> None:
    endpoints = Endpoints(random.Random(1))
    trouble = _refused()
    trouble.remote = "mx.example.org [192.0.2.1]:25"
    for _ in range(6):
        endpoints.failed(HERE, trouble, endpoints.begin(HERE))
    told = endpoints.resting(HERE)
    assert told is not None
    assert told is not trouble
    assert told.said.startswith("not tried for another 1")
    assert told.said.endswith(" s: cannot connect: Connection refused")
    assert (told.kind, told.status, told.scope, told.remote) == (Kind.UNREACHABLE, "4.4.1", Scope.SITE, trouble.remote)
    assert told.retry_after_seconds is None


@pytest.mark.parametrize("kind", [Kind.LOCAL, Kind.ABORTED, Kind.FAULT])
async def test_our_own_trouble_is_not_held_against_an_endpoint(kind: Kind, autojump_clock: MockClock) -> None:
    endpoints = Endpoints(random.Random(1))
    _fail(endpoints, 5, kind=kind)
    assert endpoints.resting(HERE) is None


async def test_a_refusal_beside_standing_connections_is_not_held_against_it(autojump_clock: MockClock) -> None:
    endpoints = Endpoints(random.Random(1))
    endpoints.served(HERE)
    endpoints.served(HERE)
    endpoints.closed(HERE)
    _fail(endpoints, 5)
    assert endpoints.resting(HERE) is None
    endpoints.closed(HERE)
    _fail(endpoints, 2)
    assert endpoints.resting(HERE) is not None


async def test_what_is_known_is_bounded(autojump_clock: MockClock) -> None:
    endpoints = Endpoints(random.Random(1))
    for number in range(10_001):
        there = (f"192.0.{number // 256}.{number % 256}", 25)
        for _ in range(2):
            endpoints.failed(there, _refused(), endpoints.begin(there))
    assert endpoints.resting(("192.0.0.0", 25)) is None
    assert endpoints.resting(("192.0.0.1", 25)) is not None


async def test_a_slow_address_is_slow_for_ten_minutes(autojump_clock: MockClock) -> None:
    endpoints = Endpoints(random.Random(1))
    assert not endpoints.is_slow(HERE)
    endpoints.overtaken(HERE)
    await trio.sleep(599)
    assert endpoints.is_slow(HERE)
    await trio.sleep(2)
    assert not endpoints.is_slow(HERE)


# --- Through the transport ---

Answer = Callable[[], Awaitable[trio.abc.Stream]]


class Site:
    """A transport whose connections are made by `answers`; dialled: every address so far."""

    def __init__(self, answers: dict[str, Answer]) -> None:
        self.answers = answers
        self.dialled: list[str] = []
        self.transport: SmtpTransport

    async def dial(self, address: str, port: int) -> trio.abc.Stream:
        self.dialled.append(address)
        return await self.answers[address]()

    async def send(self) -> Verdict:
        (verdict,) = await self.transport.deliver(make_request(domain="example.org"))
        return verdict

    async def send_at_once(self, count: int) -> Counter[tuple[Disposition, Scope]]:
        got: Counter[tuple[Disposition, Scope]] = Counter()

        async def send() -> None:
            verdict = await self.send()
            got[verdict.disposition, verdict.scope] += 1

        async with trio.open_nursery() as nursery:
            for _ in range(count):
                nursery.start_soon(send)
        return got


ZONE: dict[tuple[str, str], Sequence[Any]] = {
    ("example.org", "MX"): [(10, "mx1.example.org"), (20, "mx2.example.org")],
    ("mx1.example.org", "A"): ["8.8.8.1"],
    ("mx2.example.org", "A"): ["8.8.8.2"],
}
SMARTHOST = "192.0.2.1"


async def _refuse() -> trio.abc.Stream:
    await trio.sleep(0.01)
    raise ConnectionRefusedError(111, "Connection refused")


async def _hang() -> trio.abc.Stream:
    await trio.sleep_forever()
    raise AssertionError


@asynccontextmanager
async def _site(answers: dict[str, Answer], **settings: Any) -> AsyncIterator[tuple[Site, SmtpPeer]]:
    """Addresses without an answer of their own lead to the peer."""
    peer = SmtpPeer()
    async with trio.open_nursery() as nursery:

        async def accept() -> trio.abc.Stream:
            await trio.sleep(0.01)
            return peer.connect(nursery)

        site = Site({SMARTHOST: accept, "8.8.8.1": accept, "8.8.8.2": accept} | answers)
        read = SmtpSettings(helo="client.example", **settings)
        site.transport = SmtpTransport(read, nursery, dial=site.dial, resolver=Names(ZONE), rng=random.Random(3))
        yield site, peer
        site.transport.close()


async def test_a_thousand_messages_for_a_dead_site_are_a_few_connections(autojump_clock: MockClock) -> None:
    async with _site({SMARTHOST: _refuse}, smarthost=SMARTHOST) as (site, _):
        assert await site.send_at_once(1000) == {(DEFERRED, Scope.SITE): 1000}
        assert len(site.dialled) <= 10
        for _ in range(1000):  # and as many, one after the other, within two minutes
            verdict = await site.send()
            assert (verdict.disposition, verdict.status) == (DEFERRED, "4.4.1")
            await trio.sleep(0.12)
        assert len(site.dialled) <= 10 + 9


async def test_connections_that_time_out_are_as_few(autojump_clock: MockClock) -> None:
    async with _site({SMARTHOST: _hang}, smarthost=SMARTHOST) as (site, _):
        assert await site.send_at_once(1000) == {(DEFERRED, Scope.SITE): 1000}
        assert len(site.dialled) <= 10
        assert trio.current_time() <= 31


@pytest.mark.parametrize("end", [Cut(), "421 4.3.2 Bye"], ids=str)
async def test_a_server_that_greets_and_leaves_at_the_first_message_is_left_alone_too(
    road: OpenRoad, end: Reaction, autojump_clock: MockClock
) -> None:
    async with road({"MAIL": end}) as way:
        for _ in range(1000):
            (verdict,) = await way.send()
            assert verdict.disposition is DEFERRED
            await trio.sleep(0.12)
        assert len(way.peer.connections) <= 12


@pytest.mark.parametrize("reply", ["451 4.3.0 Later", "550 5.7.1 No"])
async def test_a_server_that_refuses_message_after_message_serves(
    road: OpenRoad, reply: str, autojump_clock: MockClock
) -> None:
    async with road({"MAIL": reply}, messages_per_session=1) as way:
        for _ in range(20):
            assert (await way.send())[0].reply == reply
        assert len(way.peer.connections) == 20


async def test_a_site_that_is_back_is_found_by_one_connection(autojump_clock: MockClock) -> None:
    async with _site({SMARTHOST: _refuse}, smarthost=SMARTHOST) as (site, _):
        await site.send_at_once(100)
        before = len(site.dialled)
        await trio.sleep(2)
        site.answers[SMARTHOST] = site.answers["8.8.8.1"]
        assert (await site.send()).disposition is ACCEPTED
        assert len(site.dialled) == before + 1
        assert await site.send_at_once(100) == {(ACCEPTED, Scope.RECIPIENT): 100}


async def test_a_dead_first_server_does_not_slow_down_each_connection(autojump_clock: MockClock) -> None:
    async with _site({"8.8.8.1": _hang}, messages_per_session=1) as (site, _):
        for _ in range(50):
            assert (await site.send()).disposition is ACCEPTED
        assert Counter(site.dialled)["8.8.8.1"] <= 4
        assert trio.current_time() < 4 * 31


async def test_when_all_servers_rest_the_first_ones_trouble_is_told_at_once(autojump_clock: MockClock) -> None:
    async with _site({"8.8.8.1": _refuse, "8.8.8.2": _refuse}) as (site, _):
        for _ in range(2):
            await site.send()
        before = trio.current_time()
        verdict = await site.send()
        assert (verdict.disposition, verdict.scope, verdict.status) == (DEFERRED, Scope.SITE, "4.4.1")
        assert verdict.remote == "mx1.example.org [8.8.8.1]:25"
        assert verdict.retry_after_seconds is None
        assert trio.current_time() == before
        assert Counter(site.dialled) == {"8.8.8.1": 2, "8.8.8.2": 2}


async def test_a_server_that_was_tried_is_told_rather_than_one_that_rests(autojump_clock: MockClock) -> None:
    async with _site({"8.8.8.1": _refuse}, messages_per_session=1) as (site, _):
        for _ in range(2):
            assert (await site.send()).disposition is ACCEPTED
        site.answers["8.8.8.2"] = _hang
        verdict = await site.send()
        assert (verdict.remote, verdict.reply) == (
            "mx2.example.org [8.8.8.2]:25",
            "cannot connect: no answer within 30 seconds",
        )


async def test_what_stood_and_ended_is_left_alone_like_any_other(autojump_clock: MockClock) -> None:
    async with _site({}, smarthost=SMARTHOST, messages_per_session=1) as (site, _):
        assert (await site.send()).disposition is ACCEPTED
        site.answers[SMARTHOST] = _refuse
        for _ in range(5):
            await site.send()
        assert len(site.dialled) == 1 + 2


@pytest.mark.parametrize(
    "reaction",
    ["421 4.3.2 Busy", "450 4.7.0 Later", "554 5.7.1 No", Cut(), Silence()],
    ids=["421", "4yz", "5yz", "lost", "silence"],
)
async def test_whatever_comes_before_the_first_envelope_counts(
    road: OpenRoad, reaction: object, autojump_clock: MockClock
) -> None:
    async with road({"CONNECT": reaction}, is_strict=False) as way:
        verdicts = [(await way.send())[0] for _ in range(5)]
        assert {verdict.disposition for verdict in verdicts} == {DEFERRED}
        assert len(way.peer.connections) == 2
        assert "not tried for another" in verdicts[2].reply
        assert verdicts[2].remote == verdicts[1].remote


async def test_one_lost_connection_delays_nothing(road: OpenRoad, autojump_clock: MockClock) -> None:
    async with road({"CONNECT": ["421 4.3.2 Busy", ACCEPT]}) as way:
        assert (await way.send())[0].disposition is DEFERRED
        assert (await way.send())[0].disposition is ACCEPTED
        assert trio.current_time() == 0


async def test_a_wrong_password_is_not_tried_for_each_message(road: OpenRoad, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMTP_PASSWORD", "wrong")
    peer = SmtpPeer(Behaviour({"AUTH": "535 5.7.8 No"}, extensions=("AUTH PLAIN",)))
    login = {"username": "u", "password_env": "SMTP_PASSWORD", "login_without_tls": True, "tls": "none"}
    async with road(peer=peer, is_strict=False, **login) as way:
        verdicts = [(await way.send())[0] for _ in range(10)]
        assert {(verdict.disposition, verdict.scope) for verdict in verdicts} == {(DEFERRED, Scope.TRANSPORT)}
        assert len(peer.connections) == 2


async def test_a_server_that_takes_one_connection_only_is_not_left_alone(autojump_clock: MockClock) -> None:
    """The others wait for the one that stands, and it carries all; what was refused meanwhile is not held against the server."""
    async with _site({}, smarthost=SMARTHOST, messages_per_session=1000) as (site, peer):
        accept, made = site.answers[SMARTHOST], 0

        async def accept_one() -> trio.abc.Stream:
            nonlocal made
            made += 1
            return await (accept() if made == 1 else _refuse())

        site.answers[SMARTHOST] = accept_one
        assert await site.send_at_once(200) == {(ACCEPTED, Scope.RECIPIENT): 200}
        assert len(peer.connections) == 1
