"""The public kit for transports, as a stranger's plugin would pass it: found by its entry point, known by its settings alone."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from trio.testing import MockClock

from postroad.plugins import Plugins
from postroad.testing import check_transport
from postroad.testing.dns_peer import DnsPeer
from postroad.testing.smtp_peer import Behaviour, Cut, Raw, SmtpPeer
from postroad.testing.transport_cases import CASES
from postroad.transport import TransportFactory

REFUSED = "nobody@example.org"
CLOSED_PORT = 1
ZONE = {"example.org": {"MX": ["10 mx.example.org."]}, "mx.example.org": {"A": ["127.0.0.1"]}}
WAYS: Mapping[str, Mapping[str, Any]] = {
    "pipelined": {},
    "one by one": {"pipelining": "off"},
    "one session": {"sessions": 1},
    "a connection per message": {"messages_per_session": 1},
}


@pytest.fixture
def factory() -> TransportFactory:
    plugins = Plugins()
    plugins.load("smtp")
    return plugins.transports["smtp"]


NOT_TRIED = {  # SMTP says no number of seconds, and declares no limits of its own
    *(
        "retry_hint",
        "largest_content",
        "too_large_content",
        "no_eight_bit",
        "no_smtputf8",
        "objection_holds",
        "messages_share_calls",
    ),
    "refused_credentials",  # but where there is a login
}
OTHERS = {
    "lost": Behaviour({".": Cut()}),
    "deferring": Behaviour({"MAIL": "451 4.3.0 Not now"}),
    "babbling": Behaviour({"MAIL": Raw(b"\xff hello hello\r\n")}),
}

MUTE = (
    "S: 220 mute ESMTP\nC: EHLO *\nS: 250 mute\nC: MAIL *\nS: 250 Ok\nC: RCPT *\nS: 250 Ok\nC: DATA\nS: 354 Go\n"
    "!content\n!close"
)


@asynccontextmanager
async def _others() -> AsyncIterator[Mapping[str, int]]:
    """Ports of the peers that take no mail, or do not say so."""
    async with AsyncExitStack() as stack:
        peers = {name: SmtpPeer(each) for name, each in OTHERS.items()} | {"mute": SmtpPeer(dialogue=MUTE)}
        yield {name: (await stack.enter_async_context(each.listening()))[1] for name, each in peers.items()}


@asynccontextmanager
async def _servers(**more: Any) -> AsyncIterator[tuple[SmtpPeer, int, int]]:
    """One that takes everything but mail to REFUSED, and one that never says a word; their ports."""
    refusal = Behaviour({f"RCPT {REFUSED}": "550 5.1.1 Unknown"})
    willing, silent = SmtpPeer(refusal, **more), SmtpPeer(dialogue="!close")
    async with willing.listening() as (_, port), silent.listening() as (_, silent_port):
        yield willing, port, silent_port
    assert willing.faults == silent.faults == []


async def _check(
    factory: TransportFactory, peer: SmtpPeer, settings: Mapping[str, Any], skip: Collection[str] = (), **more: Any
) -> None:
    report = await check_transport(
        factory,
        settings,
        handed_over=lambda: [received.content for received in peer.transactions],
        refused_recipient=REFUSED,
        seconds=2000.0,
        skip=skip,
        **more,
    )
    assert {result.case for result in report.results if result.skipped} <= {*NOT_TRIED, *skip}
    assert len(peer.transactions) >= 20


@pytest.mark.parametrize("way", WAYS)
async def test_to_a_smarthost(factory: TransportFactory, way: str, autojump_clock: MockClock) -> None:
    async with _servers() as (peer, port, silent), _others() as ports:
        settings = {"smarthost": f"127.0.0.1:{port}", **WAYS[way]}
        every = {**ports, "silent": silent, "broken": CLOSED_PORT}
        others = {name: {**settings, "smarthost": f"127.0.0.1:{port}"} for name, port in every.items()}
        await _check(factory, peer, settings, **others)


@pytest.mark.parametrize("way", WAYS)
async def test_by_mx(factory: TransportFactory, way: str, autojump_clock: MockClock) -> None:
    dns = DnsPeer(ZONE)
    async with dns.listening() as server, _servers() as (peer, port, silent), _others() as ports:
        settings = {"port": port, "dns_servers": [server], "allow_networks": ["127.0.0.0/8"], **WAYS[way]}
        every = {**ports, "silent": silent, "broken": CLOSED_PORT}
        await _check(factory, peer, settings, **{name: {**settings, "port": port} for name, port in every.items()})
    assert ("example.org", "MX") in dns.asked


async def test_under_tls_with_a_login(
    factory: TransportFactory, server_context: Callable[[], ssl.SSLContext], tmp_path: Path, autojump_clock: MockClock
) -> None:
    (tmp_path / "password").write_text("correct horse", encoding="ascii")
    async with _servers(tls=server_context()) as (peer, port, silent):
        peer.behaviour.logins["user"] = "correct horse"
        login = {"tls": "required", "username": "user", "password_file": str(tmp_path / "password")}
        settings = {"smarthost": f"127.0.0.1:{port}", **login}
        (tmp_path / "wrong").write_text("battery staple", encoding="ascii")
        every = {"silent": silent, "broken": CLOSED_PORT}
        others = {name: {**settings, "smarthost": f"127.0.0.1:{port}"} for name, port in every.items()}
        forbidden = {**settings, "password_file": str(tmp_path / "wrong")}
        without_tls = {case.name for case in CASES if {"lost", "mute", "deferring", "babbling"} & set(case.needs)}
        await _check(factory, peer, settings, **others, forbidden=forbidden, skip=without_tls)
    assert all(each.is_tls for each in peer.transactions)
