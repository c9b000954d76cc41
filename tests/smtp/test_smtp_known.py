"""What is learnt about hosts: when something is done without, for how long, and what never is."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import Any

import pytest
import trio
from smtp_plan import Plan, send
from smtp_road import OpenRoad
from trio.testing import MockClock

from postroad.testing.smtp_peer import ACCEPT, Behaviour, Cut, Raw, SmtpPeer
from postroad.verdict import Disposition, Scope

ACCEPTED, DEFERRED, REFUSED = Disposition.ACCEPTED, Disposition.DEFERRED, Disposition.REFUSED
MakeContext = Callable[..., ssl.SSLContext]
BROKEN = Raw(b"220 go\r\n", then_cut=True)  # to STARTTLS: the handshake then fails
FIRST, SECOND = "8.8.8.1", "8.8.8.2"


# --- TLS ---


async def test_broken_tls_behind_an_unwilling_first_server_is_noted_too(
    server_context: MakeContext, autojump_clock: MockClock
) -> None:
    """Two sessions an attempt: the third, in plain text, belongs to the next attempt."""
    unwilling = SmtpPeer(Behaviour({"CONNECT": "421 4.3.2 Busy"}))
    broken = SmtpPeer(Behaviour({"STARTTLS": BROKEN}), tls=server_context())
    plan = Plan({"mx1.example.org": [FIRST], "mx2.example.org": [SECOND]}, {FIRST: 0.0, SECOND: 0.0})
    async with plan.running({FIRST: unwilling, SECOND: broken}) as transport:
        assert (await send(transport)).disposition is DEFERRED
        verdict = await send(transport)
        assert (verdict.disposition, verdict.tls) == (ACCEPTED, "none")
        assert verdict.remote.startswith("mx2.example.org ")


@pytest.mark.parametrize("more", [{}, {"login_without_tls": True}], ids=["login needs TLS", "login without TLS"])
async def test_with_a_login_a_failed_handshake_defers_and_is_forgotten(
    road: OpenRoad, server_context: MakeContext, monkeypatch: pytest.MonkeyPatch, more: dict[str, bool]
) -> None:
    """Else whoever cuts one connection has the password in plain text, or the smarthost on hold for an hour."""
    monkeypatch.setenv("SMTP_PASSWORD", "pencil")
    behaviour = Behaviour({"STARTTLS": [BROKEN, ACCEPT]}, logins={"user": "pencil"})
    login = {"username": "user", "password_env": "SMTP_PASSWORD"}
    async with road(peer=SmtpPeer(behaviour, tls=server_context()), is_strict=False, **login, **more) as way:
        (verdict,) = await way.send()
        assert (verdict.disposition, verdict.scope, verdict.status) == (DEFERRED, Scope.SITE, "4.7.5")
        assert way.commands() == ["EHLO", "STARTTLS"]
        (verdict,) = await way.send()
        assert (verdict.disposition, verdict.tls) == (ACCEPTED, "opportunistic TLSv1.3")
        assert len(way.peer.connections) == 2


@pytest.mark.parametrize("reply", ["454 4.7.0 TLS not available", "502 5.5.1 What?"])
@pytest.mark.parametrize("more", [{}, {"login_without_tls": True}], ids=["login needs TLS", "login without TLS"])
async def test_with_a_login_a_refused_starttls_defers_too(
    road: OpenRoad,
    server_context: MakeContext,
    monkeypatch: pytest.MonkeyPatch,
    more: dict[str, bool],
    reply: str,
) -> None:
    """It was offered: the refusal may be anybody's on the way."""
    monkeypatch.setenv("SMTP_PASSWORD", "pencil")
    behaviour = Behaviour({"STARTTLS": [reply, ACCEPT]}, logins={"user": "pencil"})
    login = {"username": "user", "password_env": "SMTP_PASSWORD"}
    async with road(peer=SmtpPeer(behaviour, tls=server_context()), is_strict=False, **login, **more) as way:
        (verdict,) = await way.send()
        assert (verdict.disposition, verdict.scope) == (DEFERRED, Scope.SITE)
        assert way.commands() == ["EHLO", "STARTTLS"]
        assert (await way.send())[0].disposition is ACCEPTED


# --- EHLO ---


def _greetings(peer: SmtpPeer) -> list[str]:
    return [each.commands[0].split(" ")[0] for each in peer.connections]


NEEDS = [
    ({"content": b"Subject: x\r\n\r\n\xc3\xa4\r\n"}, "6.3"),
    ({"content": "Subject: \u00e4\r\n\r\nx\r\n".encode()}, "6.9"),
    ({"sender": "\u00e4@example.com"}, "6.7"),
    ({"recipients": ["\u00e4@example.org"]}, "6.7"),
]


@pytest.mark.parametrize(("needs", "status"), NEEDS)
async def test_a_server_that_was_never_asked_what_it_offers_gets_nothing_bounced(
    autojump_clock: MockClock, needs: dict[str, Any], status: str
) -> None:
    peer = SmtpPeer(Behaviour({"EHLO": [Cut(), ACCEPT]}))
    plan = Plan({"mx.example.org": [FIRST]}, {FIRST: 0.0})
    async with plan.running(peer, idle_seconds=1.0) as transport:
        verdict = await send(transport, **needs)
        assert (verdict.disposition, verdict.status) == (DEFERRED, f"4.{status}")
        assert "EHLO" in verdict.reply
        await trio.sleep(2)
        assert (await send(transport, **needs)).disposition is ACCEPTED
        assert _greetings(peer) == ["EHLO", "HELO", "EHLO"]


@pytest.mark.parametrize(("needs", "status"), NEEDS)
async def test_a_server_that_does_not_know_ehlo_offers_nothing(
    road: OpenRoad, needs: dict[str, Any], status: str
) -> None:
    async with road({"EHLO": "500 5.5.1 What?"}) as way:
        more = {key: value for key, value in needs.items() if key != "recipients"}
        (verdict,) = await way.send(*needs.get("recipients", ()), **more)
        assert (verdict.disposition, verdict.status) == (REFUSED, f"5.{status}")


async def test_only_the_recipient_that_needs_an_extension_waits_for_it(road: OpenRoad) -> None:
    async with road({"EHLO": [Cut(), ACCEPT]}) as way:
        plain, utf8 = await way.send("b@example.org", "\u00e4@example.org")
        assert plain.disposition is ACCEPTED
        assert (utf8.disposition, utf8.status, utf8.scope) == (DEFERRED, "4.6.7", Scope.RECIPIENT)


async def test_one_lost_connection_does_not_cost_the_next_one_its_tls(
    road: OpenRoad, server_context: MakeContext
) -> None:
    peer = SmtpPeer(Behaviour({"EHLO": [Cut(), ACCEPT]}), tls=server_context())
    async with road(peer=peer, messages_per_session=1) as way:
        assert [(await way.send())[0].tls for _ in range(2)] == ["none", "opportunistic TLSv1.3"]


async def test_two_connections_cut_by_one_restart_are_not_two_in_a_row(
    autojump_clock: MockClock, server_context: MakeContext
) -> None:
    peer = SmtpPeer(Behaviour({"EHLO": [Cut(), Cut(), ACCEPT]}), tls=server_context())
    plan = Plan({"mx.example.org": [FIRST]}, {FIRST: 0.1})
    async with plan.running(peer, messages_per_session=1) as transport:
        async with trio.open_nursery() as nursery:
            for _ in range(2):
                nursery.start_soon(send, transport)
        assert _greetings(peer) == ["EHLO", "EHLO", "HELO", "HELO"]
        assert (await send(transport)).tls == "opportunistic TLSv1.3"


async def test_a_server_that_always_hangs_up_at_ehlo_is_spoken_to_by_helo_for_a_quarter_of_an_hour(
    autojump_clock: MockClock,
) -> None:
    peer = SmtpPeer(Behaviour({"EHLO": Cut()}))
    plan = Plan({"mx.example.org": [FIRST]}, {FIRST: 0.0})
    async with plan.running(peer, messages_per_session=1) as transport:
        for _ in range(4):
            assert (await send(transport)).disposition is ACCEPTED
        assert _greetings(peer) == ["EHLO", "HELO", "EHLO", "HELO", "HELO", "HELO"]
        await trio.sleep(901)
        peer.behaviour = Behaviour()
        assert (await send(transport)).disposition is ACCEPTED
        assert _greetings(peer)[6:] == ["EHLO"]


async def test_ehlo_that_works_again_is_not_half_forgotten(autojump_clock: MockClock) -> None:
    """Two connections in a row: what lies between them counts."""
    peer = SmtpPeer(Behaviour({"EHLO": [Cut(), ACCEPT, Cut(), ACCEPT]}))
    plan = Plan({"mx.example.org": [FIRST]}, {FIRST: 0.0})
    async with plan.running(peer, messages_per_session=1) as transport:
        for _ in range(4):
            assert (await send(transport)).disposition is ACCEPTED
        assert _greetings(peer) == ["EHLO", "HELO", "EHLO", "EHLO", "HELO", "EHLO"]


async def test_a_server_that_fares_no_better_with_helo_is_not_spoken_to_by_it(autojump_clock: MockClock) -> None:
    peer = SmtpPeer(Behaviour({"EHLO": [Cut(), Cut(), ACCEPT], "HELO": Cut()}))
    plan = Plan({"mx.example.org": [FIRST]}, {FIRST: 0.0})
    async with plan.running(peer) as transport:
        for _ in range(2):
            assert (await send(transport)).disposition is DEFERRED
        await trio.sleep(10)
        assert (await send(transport)).disposition is ACCEPTED
        assert _greetings(peer) == ["EHLO", "HELO", "EHLO", "HELO", "EHLO"]


async def test_helo_behind_an_unwilling_first_server_is_found_too(autojump_clock: MockClock) -> None:
    unwilling, odd = SmtpPeer(Behaviour({"CONNECT": "421 4.3.2 Busy"})), SmtpPeer(Behaviour({"EHLO": Cut()}))
    plan = Plan({"mx1.example.org": [FIRST], "mx2.example.org": [SECOND]}, {FIRST: 0.0, SECOND: 0.0})
    async with plan.running({FIRST: unwilling, SECOND: odd}) as transport:
        got: list[Disposition] = []
        for _ in range(3):
            got.append((await send(transport)).disposition)
            await trio.sleep(300)
        assert got == [DEFERRED, DEFERRED, ACCEPTED]
        assert _greetings(odd) == ["EHLO", "EHLO", "HELO"]
