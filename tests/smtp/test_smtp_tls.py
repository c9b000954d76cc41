"""TLS: what every level does with good TLS, what is forgotten, implicit TLS, our own certificate, names.  See the matrix too."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio
import trustme
from smtp_road import OpenRoad
from structlog.testing import capture_logs
from trio.testing import MockClock, memory_stream_pair

from postroad.errors import ConfigError
from postroad.events import MessageAccepted, RecipientDeferred, RecipientDelivered, RecipientFailed
from postroad.testing import make_request
from postroad.testing.dns_peer import DnsPeer
from postroad.testing.engine import open_test_engine
from postroad.testing.smtp_peer import ACCEPT, Behaviour, Connection, Cut, Raw, Reaction, Reset, Silence, SmtpPeer
from postroad.verdict import Disposition, Scope
from postroad_smtp import smtp_transport
from postroad_smtp.settings import SmtpSettings
from postroad_smtp.tls import Certificates, Level, Tls
from postroad_smtp.trouble import Kind, Trouble

ACCEPTED, DEFERRED = Disposition.ACCEPTED, Disposition.DEFERRED
LEVELS = ["none", "opportunistic", "required", "verified"]
MakeContext = Callable[..., ssl.SSLContext]


@pytest.mark.parametrize("level", LEVELS)
async def test_good_tls_is_used_at_every_level_that_wants_it(
    road: OpenRoad, server_context: MakeContext, ca_file: str, level: str
) -> None:
    more = {"ca_file": ca_file} if level == "verified" else {}
    async with road(peer=SmtpPeer(tls=server_context()), tls=level, **more) as way:
        for _ in range(2):
            (verdict,) = await way.send()
            assert verdict.disposition is ACCEPTED
            assert verdict.tls == ("none" if level == "none" else f"{level} TLSv1.3")
        assert [each.is_tls for each in way.peer.transactions] == [level != "none"] * 2
        expected = ["EHLO"] if level == "none" else ["EHLO", "STARTTLS", "EHLO"]
        assert way.commands()[: len(expected) + 1] == [*expected, "MAIL"]


async def test_broken_tls_is_given_up_once_and_remembered(road: OpenRoad, server_context: MakeContext) -> None:
    peer = SmtpPeer(Behaviour({"STARTTLS": Raw(b"220 go\r\n", then_cut=True)}), tls=server_context())
    async with road(peer=peer, messages_per_session=1, is_strict=False) as way:
        for _ in range(3):
            (verdict,) = await way.send()
            assert (verdict.disposition, verdict.tls) == (ACCEPTED, "none")
        tried = [any(command == "STARTTLS" for command in each.commands) for each in way.peer.connections]
        assert tried == [True, False, False, False]


async def test_a_silent_handshake_ends_after_its_time(road: OpenRoad, autojump_clock: MockClock) -> None:
    peer = SmtpPeer(dialogue="S: 220 hi\nC: EHLO *\nS: 250-hi\nS: 250 STARTTLS\nC: STARTTLS\nS: 220 go\n!silence")
    async with road(peer=peer, tls="required") as way:
        (verdict,) = await way.send()
        assert verdict.disposition is DEFERRED
        assert 59 < trio.current_time() < 62


async def test_words_behind_the_220_end_the_connection(road: OpenRoad, server_context: MakeContext) -> None:
    dialogue = r"""
        S: 220 hi
        C: EHLO *
        S: 250-hi
        S: 250 STARTTLS
        C: STARTTLS
        !raw 220 go\r\n250-evil\r\n250 AUTH PLAIN\r\n
        !close
    """
    async with road(peer=SmtpPeer(dialogue=dialogue, tls=server_context())) as way:
        (verdict,) = await way.send()
        assert (verdict.disposition, verdict.status) == (DEFERRED, "4.7.0")
        assert len(way.peer.connections) == 1


async def test_what_was_offered_before_tls_is_forgotten(road: OpenRoad, server_context: MakeContext) -> None:
    dialogue = """
        S: 220 hi
        C: EHLO *
        S: 250-hi
        S: 250-SIZE 10
        S: 250-PIPELINING
        S: 250 STARTTLS
        C: STARTTLS
        S: 220 go
        !tls
        C: EHLO *
        S: 250 hi
        C: MAIL FROM:<a@example.com>
        S: 250 Ok
        C: RCPT TO:<b@example.org>
        S: 250 Ok
        C: DATA
        S: 354 go
        !content
        S: 250 Ok
        C: QUIT
        S: 221 Bye
    """
    async with road(peer=SmtpPeer(dialogue=dialogue, tls=server_context())) as way:
        assert (await way.send())[0].disposition is ACCEPTED


@pytest.mark.parametrize("fault", [Cut(), Reset(), "421 4.3.2 Bye", "451 4.3.0 Later", "550 5.7.1 No"], ids=str)
@pytest.mark.parametrize("phase", ["MAIL", "RCPT", "DATA", "."])
async def test_faults_inside_tls_are_as_outside(
    road: OpenRoad, server_context: MakeContext, phase: str, fault: Reaction, autojump_clock: MockClock
) -> None:
    peer = SmtpPeer(Behaviour({phase: [fault, ACCEPT]}), tls=server_context())
    async with road(peer=peer, tls="required") as way:
        (verdict,) = await way.send()
        if isinstance(fault, str):
            assert verdict.disposition is (Disposition.REFUSED if fault.startswith("5") else DEFERRED)
        else:
            assert verdict.disposition is (Disposition.IN_DOUBT if phase == "." else DEFERRED)
        assert (await way.send())[0].disposition is ACCEPTED


async def test_silence_inside_tls_ends_too(
    road: OpenRoad, server_context: MakeContext, autojump_clock: MockClock
) -> None:
    peer = SmtpPeer(Behaviour({".": Silence()}), tls=server_context())
    async with road(peer=peer, tls="required") as way:
        assert (await way.send())[0].disposition is Disposition.IN_DOUBT


async def test_an_alert_in_mid_session_is_a_lost_connection(road: OpenRoad, server_context: MakeContext) -> None:
    peer = TamperingPeer(tls=server_context())
    async with road(peer=peer, tls="required") as way:
        assert (await way.send())[0].disposition is ACCEPTED
        peer.tamper = True
        (verdict,) = await way.send()
        assert (verdict.disposition, verdict.status, verdict.scope) == (DEFERRED, "4.4.2", Scope.SITE)
        peer.tamper = False
        assert (await way.send())[0].disposition is ACCEPTED


class TamperingPeer(SmtpPeer):
    """Answers MAIL with an alert of its TLS, as after a record that fails its check, while `tamper` is set."""

    tamper = False

    async def serve(self, stream: trio.abc.Stream) -> None:
        outer = self

        class Tampering(Behaviour):
            def react(self, verb: str, argument: str, connection: Connection) -> Reaction:
                if verb == "MAIL" and outer.tamper:
                    stream.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # type: ignore[attr-defined]
                    os.write(stream.socket.fileno(), b"\x17\x03\x03\x00\x20" + bytes(32))  # type: ignore[attr-defined]
                    return Cut()
                return ACCEPT

        self.behaviour = Tampering()
        await super().serve(stream)


# --- Implicit TLS ---


@pytest.mark.parametrize("level", LEVELS[1:])
async def test_implicit_tls_comes_before_the_greeting(
    road: OpenRoad, server_context: MakeContext, ca_file: str, level: str
) -> None:
    more = {"ca_file": ca_file} if level == "verified" else {}
    peer = SmtpPeer(tls=server_context(), tls_at_once=True)
    async with road(peer=peer, tls=level, implicit_tls="on", **more) as way:
        (verdict,) = await way.send()
        assert (verdict.disposition, verdict.tls) == (ACCEPTED, f"{level} TLSv1.3")
        assert way.commands()[:2] == ["EHLO", "MAIL"]


@pytest.mark.parametrize("fault", [Reset(), Raw(b"220 hi\r\n"), Cut()], ids=str)
async def test_implicit_tls_never_falls_back_to_plain_text(
    road: OpenRoad, server_context: MakeContext, fault: Reaction
) -> None:
    peer = SmtpPeer(Behaviour({"TLS": [fault, ACCEPT]}), tls=server_context(), tls_at_once=True)
    async with road(peer=peer, tls="opportunistic", implicit_tls="on") as way:
        (verdict,) = await way.send()
        assert (verdict.disposition, verdict.status) == (DEFERRED, "4.7.5")
        assert len(way.peer.connections) == 1
        (verdict,) = await way.send()
        assert (verdict.disposition, verdict.tls) == (ACCEPTED, "opportunistic TLSv1.3")


async def test_tls_at_once_to_a_server_that_begins_in_plain_text_names_the_setting(
    road: OpenRoad, server_context: MakeContext, autojump_clock: MockClock
) -> None:
    async with road(peer=SmtpPeer(tls=server_context()), tls="required", implicit_tls="on", is_strict=False) as way:
        (verdict,) = await way.send()
        assert verdict.status == "4.7.5"
        assert 'set implicit_tls = "off"' in verdict.reply


async def test_plain_text_to_a_server_that_waits_for_tls_names_the_setting(
    road: OpenRoad, server_context: MakeContext, autojump_clock: MockClock
) -> None:
    peer = SmtpPeer(tls=server_context(), tls_at_once=True)
    async with road(peer=peer, tls="required", is_strict=False) as way:
        (verdict,) = await way.send()
        assert verdict.status == "4.4.2"
        assert 'set implicit_tls = "on"' in verdict.reply


async def test_a_certificate_that_is_not_good_says_nothing_of_the_way_to_begin(
    road: OpenRoad, server_context: MakeContext
) -> None:
    peer = SmtpPeer(tls=server_context("other.example"), tls_at_once=True)
    async with road(peer=peer, tls="verified", implicit_tls="on", is_strict=False) as way:
        (verdict,) = await way.send()
        assert "implicit_tls" not in verdict.reply


@pytest.mark.parametrize(
    ("tls", "implicit_tls", "port", "expected"),
    [
        ("verified", "auto", 465, True),
        ("opportunistic", "auto", 465, True),
        ("none", "auto", 465, False),
        ("verified", "auto", 587, False),
        ("verified", "off", 465, False),
        ("required", "on", 2465, True),
    ],
)
def test_tls_is_implicit_at_port_465(tls: Any, implicit_tls: Any, port: int, expected: bool) -> None:
    settings = SmtpSettings(smarthost=f"host:{port}", tls=tls, implicit_tls=implicit_tls)
    assert settings.is_tls_implicit(port) is expected


# --- A certificate of our own ---


@pytest.fixture
def ours(authority: trustme.CA, tmp_path: Path) -> dict[str, str]:
    certificate = authority.issue_cert("client.example")
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    cert.write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
    certificate.private_key_pem.write_to_path(key)
    return {"client_cert_file": str(cert), "client_key_file": str(key)}


def _asking(context: ssl.SSLContext, ca_file: str) -> ssl.SSLContext:
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(ca_file)
    return context


@pytest.mark.parametrize("implicit", [False, True])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_our_certificate_is_shown_where_it_is_asked_for(
    road: OpenRoad,
    server_context: MakeContext,
    ca_file: str,
    ours: dict[str, str],
    version: ssl.TLSVersion,
    *,
    implicit: bool,
) -> None:
    context = _asking(server_context(), ca_file)
    context.maximum_version = version
    peer = SmtpPeer(tls=context, tls_at_once=implicit)
    async with road(peer=peer, tls="required", implicit_tls="on" if implicit else "off", **ours) as way:
        assert (await way.send())[0].disposition is ACCEPTED


@pytest.mark.parametrize("shows", [False, True])
@pytest.mark.parametrize("implicit", [False, True])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_refusal_of_our_certificate_is_trouble_of_tls(
    road: OpenRoad,
    server_context: MakeContext,
    tmp_path: Path,
    ours: dict[str, str],
    version: ssl.TLSVersion,
    *,
    implicit: bool,
    shows: bool,
) -> None:
    stranger = tmp_path / "stranger.pem"
    trustme.CA().cert_pem.write_to_path(stranger)
    context = _asking(server_context(), str(stranger))
    context.maximum_version = version
    peer = SmtpPeer(tls=context, tls_at_once=implicit)
    more = ours if shows else {}
    async with road(peer=peer, tls="required", implicit_tls="on" if implicit else "off", **more) as way:
        (verdict,) = await way.send()
        assert (verdict.disposition, verdict.status, verdict.scope) == (DEFERRED, "4.7.5", Scope.SITE)
        assert verdict.reply.startswith("TLS failed: ")
        assert "alert" in verdict.reply


@pytest.mark.parametrize("goodbye", [Cut(), Reset()], ids=str)
async def test_a_server_that_leaves_without_a_word_after_seeing_our_certificate_may_not_like_it(
    road: OpenRoad, server_context: MakeContext, ours: dict[str, str], goodbye: Reaction
) -> None:
    peer = SmtpPeer(Behaviour({"CONNECT": goodbye}), tls=server_context(), tls_at_once=True)
    async with road(peer=peer, tls="required", implicit_tls="on", **ours) as way:
        (verdict,) = await way.send()
        assert verdict.status == "4.7.5"
        assert "client's certificate" in verdict.reply
    async with road(peer=peer, tls="required", implicit_tls="on") as way:
        assert (await way.send())[0].status == "4.4.2", "without one it is just a lost connection"


async def test_once_something_was_heard_over_tls_a_lost_connection_is_just_that(
    road: OpenRoad, server_context: MakeContext, ours: dict[str, str]
) -> None:
    peer = SmtpPeer(Behaviour({"EHLO": Cut()}), tls=server_context(), tls_at_once=True)
    async with road(peer=peer, tls="required", implicit_tls="on", **ours) as way:
        assert (await way.send())[0].status == "4.4.2"


def _odd_file(fault: str, path: Path) -> None:
    match fault:
        case "no file":
            pass
        case "a folder":
            path.mkdir()
        case "another key":
            trustme.CA().issue_cert("client.example").private_key_pem.write_to_path(path)
        case "only a certificate":
            trustme.CA().cert_pem.write_to_path(path)
        case "no PEM":
            path.write_text("nothing")
        case "broken":
            path.write_text(
                "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n-----BEGIN PRIVATE KEY-----\n"
            )
        case _:
            path.write_text(ENCRYPTED)


@pytest.mark.parametrize(
    ("key", "fault", "said"),
    [
        ("client_key_file", "no file", "No such file or directory"),
        ("client_key_file", "a folder", "Is a directory"),
        ("client_key_file", "another key", "is the key of another certificate than that in client_cert_file"),
        ("client_key_file", "only a certificate", "has no key in it"),
        ("client_key_file", "no PEM", "has no key in it"),
        ("client_key_file", "encrypted", "is encrypted"),
        ("client_key_file", "broken", "cannot be used"),
        ("client_cert_file", "no file", "No such file or directory"),
        ("client_cert_file", "another key", "has no certificate in it"),
        ("client_cert_file", "no PEM", "has no certificate in it"),
        ("client_cert_file", "broken", "cannot be used"),
        ("ca_file", "no file", "No such file or directory"),
        ("ca_file", "a folder", "Is a directory"),
        ("ca_file", "no PEM", "has no certificate in it"),
        ("ca_file", "broken", "cannot be used"),
    ],
)
async def test_a_file_that_cannot_be_used_is_refused_at_the_start_with_its_path_and_why(
    ours: dict[str, str], tmp_path: Path, key: str, fault: str, said: str
) -> None:
    path = tmp_path / "odd.pem"
    _odd_file(fault, path)
    settings = {"smarthost": "host", "tls": "verified", **ours, key: str(path)}
    with pytest.raises(ConfigError) as caught:
        async with smtp_transport(settings):
            pytest.fail("opened")
    assert caught.value.key == key
    assert str(path) in caught.value.problem
    assert said in caught.value.problem


@pytest.mark.parametrize(
    ("fault", "said"), [("only a certificate", "has no key in it"), ("another key", "no certificate")]
)
async def test_a_certificate_without_a_key_file_must_have_the_key_too(tmp_path: Path, fault: str, said: str) -> None:
    path = tmp_path / "odd.pem"
    _odd_file(fault, path)
    with pytest.raises(ConfigError, match=said) as caught:
        async with smtp_transport({"smarthost": "host", "client_cert_file": str(path)}):
            pytest.fail("opened")
    assert caught.value.key == "client_cert_file"


ENCRYPTED = """-----BEGIN EC PRIVATE KEY-----
Proc-Type: 4,ENCRYPTED
DEK-Info: AES-128-CBC,00112233445566778899AABBCCDDEEFF

AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA
-----END EC PRIVATE KEY-----
"""


# --- Names ---


@pytest.mark.parametrize(
    ("host", "sni"),
    [
        ("mx.example.org", "mx.example.org"),
        ("mx.example.org.", "mx.example.org"),
        ("127.0.0.1", None),
        ("[127.0.0.1]", None),
        ("[IPv6:::1]", None),
    ],
)
async def test_the_name_is_sent_and_checked_and_an_address_is_checked_but_not_sent(
    authority: trustme.CA, ca_file: str, host: str, sni: str | None
) -> None:
    seen: list[str | None] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("mx.example.org", "127.0.0.1", "::1").configure_cert(context)
    context.sni_callback = lambda _, name, __: seen.append(name)
    client, server = memory_stream_pair()
    tls = Tls(Level.VERIFIED, Certificates(ca_file))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.SSLStream(server, context, server_side=True).do_handshake)
        secured = await tls.secure(client, host, "server")
    assert seen == [sni]
    assert tls.reached(secured) == "verified TLSv1.3"


@pytest.mark.parametrize("host", [".example.org", "unix:/run/x\0"])
async def test_a_name_that_no_certificate_can_have_fails_only_where_it_is_checked(
    server_context: MakeContext, ca_file: str, host: str
) -> None:
    with pytest.raises(Trouble) as caught:
        await Tls(Level.VERIFIED, Certificates(ca_file)).secure(memory_stream_pair()[0], host, "server")
    assert caught.value.kind is Kind.TLS_FAILED
    client, server = memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.SSLStream(server, server_context(), server_side=True).do_handshake)
        await Tls(Level.REQUIRED).secure(client, host, "server")


def test_nothing_older_than_tls_1_2(ca_file: str) -> None:
    for level in (Level.OPPORTUNISTIC, Level.REQUIRED, Level.VERIFIED):
        context = Tls(level, Certificates(ca_file))._context
        assert context is not None
        assert context.minimum_version is ssl.TLSVersion.TLSv1_2


@pytest.mark.parametrize(("name", "is_good"), [("mx.example.org", True), ("example.org", False)])
async def test_an_mx_host_is_checked_by_its_own_name(
    server_context: MakeContext, ca_file: str, name: str, *, is_good: bool
) -> None:
    zone = {"example.org": {"MX": ["10 mx.example.org."]}, "mx.example.org": {"A": ["127.0.0.1"]}}
    peer, dns = SmtpPeer(tls=server_context(name)), DnsPeer(zone)
    async with dns.listening() as server, peer.listening() as (_, port):
        settings = {"port": port, "dns_servers": [server], "allow_networks": ["127.0.0.0/8"], "helo": "client.example"}
        async with smtp_transport({**settings, "tls": "verified", "ca_file": ca_file}) as transport:
            (verdict,) = await transport.deliver(make_request(["b@example.org"], domain="example.org"))
    assert verdict.disposition is (ACCEPTED if is_good else DEFERRED)
    assert is_good or "another name than mx.example.org" in verdict.reply


# --- What is told ---


@pytest.mark.parametrize("reply", [ACCEPT, "451 4.3.0 Later", "550 5.1.1 No"], ids=str)
async def test_the_level_reached_stands_in_the_log_and_in_the_event(
    server_context: MakeContext, ca_file: str, reply: Reaction
) -> None:
    peer = SmtpPeer(Behaviour({"RCPT": reply}), tls=server_context())
    async with peer.listening() as (host, port):
        out = {"plugin": "smtp", "smarthost": f"{host}:{port}", "tls": "verified", "ca_file": ca_file}
        with capture_logs() as logs:
            opened = open_test_engine(transports={"out": out}, routes=[{"transport": "out"}])
            async with opened as engine, engine.events() as events:
                await engine.send_mail(sender="a@example.com", to="b@example.org", subject="Hello", body="Hello")
                async for event in events:
                    if not isinstance(event, MessageAccepted):
                        break
    assert isinstance(event, (RecipientDelivered, RecipientDeferred, RecipientFailed))
    assert event.tls == "verified TLSv1.3"
    (line,) = [line for line in logs if line["event"] in ("delivered", "deferred", "failed")]
    assert line["tls"] == "verified TLSv1.3"


# --- Settings ---


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"smarthost": "a b"}, "smarthost"),
        ({"smarthost": "host:0"}, "smarthost"),
        ({"smarthost": "host:99999"}, "smarthost"),
        ({"smarthost": "host", "username": "u"}, "username"),
        ({"smarthost": "host", "password_env": "X"}, "username"),
        ({"username": "u", "password_env": "HOME"}, "username"),
        ({"smarthost": "host", "username": "u", "password_env": "POSTROAD_UNSET"}, "password_env"),
        ({"smarthost": "host", "username": "u", "password_file": "/nowhere"}, "password_file"),
        ({"smarthost": "host", "username": "u", "token_file": "/nowhere"}, "token_file"),
        ({"smarthost": "host", "username": "u", "token_env": "POSTROAD_UNSET"}, "token_env"),
        ({"smarthost": "host", "username": "u", "password_env": "HOME", "token_env": "HOME"}, "token_env"),
        ({"smarthost": "host", "token_env": "HOME"}, "username"),
        (
            {"smarthost": "host", "username": "u", "token_env": "HOME", "tls": "none", "login_without_tls": True},
            "tls",
        ),
        ({"smarthost": "host", "username": "u", "password_env": "HOME", "mechanisms": ["MAGIC"]}, "mechanisms"),
        ({"smarthost": "host", "username": "u", "password_env": "HOME", "mechanisms": ["XOAUTH2"]}, "mechanisms"),
        ({"smarthost": "host", "username": "u", "token_env": "HOME", "mechanisms": ["PLAIN"]}, "mechanisms"),
        ({"smarthost": "host", "mechanisms": ["PLAIN"]}, "mechanisms"),
        ({"smarthost": "host", "tls": "none", "implicit_tls": "on"}, "implicit_tls"),
        ({"smarthost": "unix:/run/x", "implicit_tls": "on"}, "implicit_tls"),
        ({"smarthost": "unix:/run/x", "username": "u", "password_env": "HOME"}, "tls"),
        ({"smarthost": "host", "tls": "required", "ca_file": "/nowhere"}, "ca_file"),
        ({"smarthost": "host", "client_cert_file": "/nowhere"}, "client_cert_file"),
        ({"smarthost": "host", "client_key_file": "/nowhere"}, "client_key_file"),
        ({"smarthost": "host", "tls": "none", "client_cert_file": "/nowhere"}, "client_cert_file"),
        ({"smarthost": "host", "username": "u", "password_env": "HOME", "tls": "none"}, "tls"),
        ({"allow_networks": ["10.0.0.1/8"]}, "allow_networks"),
        ({"dns_servers": ["::1::"]}, "dns_servers"),
        ({"smarthost": "host", "tls": "verified", "ca_file": "/nowhere"}, "ca_file"),
        ({"smarthost": "host", "tls": "sometimes"}, "tls"),
        ({"smarthost": "host", "helo": "a b"}, "helo"),
        ({"smarthost": "host", "sessions": 0}, "sessions"),
        ({"smart_host": "host"}, "smart_host"),
    ],
)
async def test_settings_that_cannot_work_are_refused_at_the_start(settings: dict[str, object], key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        async with smtp_transport(settings):
            pytest.fail("opened")
    assert caught.value.key == key
