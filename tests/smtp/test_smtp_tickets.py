"""TLS sessions are resumed, within their bounds, and never where that could cost a message or a check."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Callable

import pytest
import trio
import trustme
from smtp_road import OpenRoad
from trio.testing import MockClock, memory_stream_pair

from postroad.testing.smtp_peer import ACCEPT, Behaviour, Reset, SmtpPeer
from postroad.verdict import Disposition
from postroad_smtp.tickets import Tickets
from postroad_smtp.tls import Certificates, Level, Secured, Tls
from postroad_smtp.trouble import Kind, Trouble

ACCEPTED = Disposition.ACCEPTED
MakeContext = Callable[..., ssl.SSLContext]


@pytest.mark.parametrize("implicit", [False, True])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("level", ["opportunistic", "required", "verified"])
async def test_the_second_connection_is_resumed(
    road: OpenRoad,
    server_context: MakeContext,
    ca_file: str,
    level: str,
    version: ssl.TLSVersion,
    *,
    implicit: bool,
) -> None:
    context = server_context()
    context.maximum_version = version
    peer = SmtpPeer(tls=context, tls_at_once=implicit)
    settings = {"tls": level, "implicit_tls": "on" if implicit else "off", "messages_per_session": 1}
    if level == "verified":
        settings["ca_file"] = ca_file
    async with road(peer=peer, **settings) as way:
        for _ in range(3):
            (verdict,) = await way.send()
            assert (verdict.disposition, verdict.tls[:-2]) == (ACCEPTED, f"{level} TLSv1")
        assert [each.is_resumed for each in way.peer.connections] == [False, True, True]


async def test_a_server_that_refuses_the_ticket_is_spoken_to_anew(
    road: OpenRoad, server_context: MakeContext, ca_file: str
) -> None:
    peer = SmtpPeer(tls=server_context())
    async with road(peer=peer, tls="verified", ca_file=ca_file, messages_per_session=1) as way:
        for _ in range(3):
            assert (await way.send())[0].disposition is ACCEPTED
            peer.tls = server_context()  # with other keys for tickets
        assert [each.is_resumed for each in way.peer.connections] == [False, False, False]


@pytest.mark.parametrize("level", ["opportunistic", "verified"])
async def test_a_server_that_chokes_on_a_ticket_gets_another_handshake_and_no_plain_text(
    road: OpenRoad, server_context: MakeContext, ca_file: str, level: str
) -> None:
    peer = SmtpPeer(Behaviour({"TLS": [ACCEPT, Reset(), ACCEPT]}), tls=server_context())
    more = {"ca_file": ca_file} if level == "verified" else {}
    async with road(peer=peer, tls=level, messages_per_session=1, **more) as way:
        for _ in range(2):
            (verdict,) = await way.send()
            assert (verdict.disposition, verdict.tls) == (ACCEPTED, f"{level} TLSv1.3")
        assert [each.is_tls for each in way.peer.connections] == [True, False, True]
        assert [each.is_tls for each in way.peer.transactions] == [True, True]


async def test_what_changed_at_the_server_is_seen_when_it_refuses_the_ticket(
    road: OpenRoad, server_context: MakeContext, ca_file: str
) -> None:
    peer = SmtpPeer(tls=server_context())
    async with road(peer=peer, tls="verified", ca_file=ca_file, messages_per_session=1) as way:
        assert (await way.send())[0].disposition is ACCEPTED
        peer.tls = server_context(signed_by=trustme.CA())
        (verdict,) = await way.send()
        assert (verdict.disposition, verdict.status) == (Disposition.DEFERRED, "4.7.5")


async def test_another_transport_does_not_resume(road: OpenRoad, server_context: MakeContext, ca_file: str) -> None:
    peer = SmtpPeer(tls=server_context())
    for settings in ({"tls": "required"}, {"tls": "verified", "ca_file": ca_file}):
        async with road(peer=peer, **settings) as way:
            assert (await way.send())[0].disposition is ACCEPTED
    assert [each.is_resumed for each in peer.connections] == [False, False]


async def test_the_certificate_is_looked_at_every_hour(
    road: OpenRoad, server_context: MakeContext, autojump_clock: MockClock
) -> None:
    peer = SmtpPeer(tls=server_context())
    async with road(peer=peer, tls="required", messages_per_session=1) as way:
        for _ in range(5):
            assert (await way.send())[0].disposition is ACCEPTED
            autojump_clock.jump(1700.0)
        assert [each.is_resumed for each in way.peer.connections] == [False, True, True, False, True]


async def _handshake(tls: Tls, context: ssl.SSLContext, host: str, server: str) -> Secured:
    """A handshake in memory, and a word from the server, with which TLS 1.3 brings its tickets."""
    ours, theirs = memory_stream_pair()

    async def serve() -> None:
        stream = trio.SSLStream(theirs, context, server_side=True)
        with contextlib.suppress(trio.BrokenResourceError):
            await stream.do_handshake()
            await stream.send_all(b"x")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        secured = await tls.secure(ours, host, server)
        assert await secured.stream.receive_some(1) == b"x"
    tls.keep(secured)
    return secured


async def test_a_session_is_for_one_name_only(authority: trustme.CA, ca_file: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("one.example").configure_cert(context)
    tls = Tls(Level.VERIFIED, Certificates(ca_file))
    for expected in (False, True):
        secured = await _handshake(tls, context, "one.example", "one.example [192.0.2.1]:25")
        assert secured.stream.session_reused is expected
    with pytest.RaisesGroup(pytest.RaisesExc(Trouble, match="another name than two.example")):
        await _handshake(tls, context, "two.example", "two.example [192.0.2.1]:25")


async def test_only_so_many_are_kept(server_context: MakeContext) -> None:
    secured = await _handshake(Tls(Level.REQUIRED), server_context(), "127.0.0.1", "x")
    tickets = Tickets()
    for number in range(501):
        tickets.keep(f"host{number}", secured.stream.session, trio.current_time())
    assert tickets.find("host0") is None
    assert tickets.find("host1") is not None
    tickets.keep("without", None, 0.0)
    assert tickets.find("without") is None


async def test_a_failed_handshake_forgets_the_session(server_context: MakeContext) -> None:
    tls = Tls(Level.REQUIRED)
    await _handshake(tls, server_context(), "127.0.0.1", "x")
    for is_offered in (True, False):
        ours, theirs = memory_stream_pair()
        await theirs.send_all(b"nonsense in place of a handshake")
        with pytest.raises(Trouble) as caught:
            await tls.secure(ours, "127.0.0.1", "x")
        assert caught.value.kind is Kind.TLS_FAILED
        assert caught.value.may_be_ticket is is_offered
