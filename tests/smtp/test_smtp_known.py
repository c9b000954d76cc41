"""What is learnt about hosts: when something is done without, for how long, and what never is."""

from __future__ import annotations

import ssl
from collections.abc import Callable

import pytest
from smtp_plan import Plan, send
from smtp_road import OpenRoad
from trio.testing import MockClock

from postroad.testing.smtp_peer import ACCEPT, Behaviour, Raw, SmtpPeer
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
