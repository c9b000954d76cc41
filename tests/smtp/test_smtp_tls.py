"""Levels of TLS against faults of TLS, logins, and what is forgotten after STARTTLS."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
import trio
import trustme
from smtp_road import OpenRoad
from trio.testing import MockClock

from postroad.errors import ConfigError
from postroad.testing.smtp_peer import ACCEPT, Behaviour, Cut, Raw, Reaction, Reset, Silence, SmtpPeer
from postroad.verdict import Disposition, Scope
from postroad_smtp import smtp_transport

ACCEPTED, DEFERRED = Disposition.ACCEPTED, Disposition.DEFERRED
LEVELS = ["none", "opportunistic", "required", "verified"]


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="session")
def ca_file(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("tls") / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return str(path)


def _context(authority: trustme.CA, name: str = "127.0.0.1") -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context


@pytest.mark.parametrize("level", LEVELS)
async def test_good_tls_is_used_at_every_level_that_wants_it(
    road: OpenRoad, authority: trustme.CA, ca_file: str, level: str
) -> None:
    more = {"ca_file": ca_file} if level == "verified" else {}
    async with road(peer=SmtpPeer(tls=_context(authority)), tls=level, **more) as way:
        for _ in range(2):
            (verdict,) = await way.send()
            assert verdict.disposition is ACCEPTED
            assert verdict.tls == ("none" if level == "none" else f"{level} TLSv1.3")
        assert [each.is_tls for each in way.peer.transactions] == [level != "none"] * 2
        expected = ["EHLO"] if level == "none" else ["EHLO", "STARTTLS", "EHLO"]
        assert way.commands()[: len(expected) + 1] == [*expected, "MAIL"]


FAULTS = [
    "not offered",
    "refused",
    "handshake broken",
    "connection reset",
    "stranger's",
    "wrong name",
]
FINE = {
    "none": set(FAULTS),
    "opportunistic": set(FAULTS),
    "required": {"stranger's", "wrong name"},
    "verified": set[str](),
}


def _faulty(fault: str, authority: trustme.CA) -> SmtpPeer:
    replies: dict[str, Reaction] = {
        "refused": "454 4.7.0 Not now",
        "handshake broken": Raw(b"220 go\r\n", then_cut=True),
        "connection reset": Reset(),
    }
    tls = {
        "not offered": None,
        "stranger's": _context(trustme.CA()),
        "wrong name": _context(authority, "other.example"),
    }
    behaviour = Behaviour({"STARTTLS": replies[fault]} if fault in replies else None)
    return SmtpPeer(behaviour, tls=tls.get(fault, _context(authority)))


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("level", LEVELS)
async def test_levels_against_faults(
    road: OpenRoad, authority: trustme.CA, ca_file: str, level: str, fault: str
) -> None:
    more = {"ca_file": ca_file} if level == "verified" else {}
    async with road(peer=_faulty(fault, authority), tls=level, is_strict=False, **more) as way:
        (verdict,) = await way.send()
        if fault == "connection reset" and level == "opportunistic":
            assert verdict.disposition is DEFERRED  # a lost connection is no failed handshake
        elif fault in FINE[level]:
            assert verdict.disposition is ACCEPTED
            assert verdict.tls.startswith(
                "none" if level == "none" or fault not in ("stranger's", "wrong name") else level
            )
        else:
            assert verdict.disposition is DEFERRED
            assert verdict.scope is Scope.SITE
            assert verdict.status.startswith("4.")
            assert way.peer.transactions == []


async def test_broken_tls_is_given_up_once_and_remembered(road: OpenRoad, authority: trustme.CA) -> None:
    async with road(peer=_faulty("handshake broken", authority), messages_per_session=1, is_strict=False) as way:
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


async def test_words_behind_the_220_end_the_connection(road: OpenRoad, authority: trustme.CA) -> None:
    dialogue = r"""
        S: 220 hi
        C: EHLO *
        S: 250-hi
        S: 250 STARTTLS
        C: STARTTLS
        !raw 220 go\r\n250-evil\r\n250 AUTH PLAIN\r\n
        !close
    """
    async with road(peer=SmtpPeer(dialogue=dialogue, tls=_context(authority))) as way:
        (verdict,) = await way.send()
        assert (verdict.disposition, verdict.status) == (DEFERRED, "4.7.0")
        assert len(way.peer.connections) == 1


async def test_what_was_offered_before_tls_is_forgotten(road: OpenRoad, authority: trustme.CA) -> None:
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
    async with road(peer=SmtpPeer(dialogue=dialogue, tls=_context(authority))) as way:
        assert (await way.send())[0].disposition is ACCEPTED


@pytest.mark.parametrize("fault", [Cut(), Reset(), "421 4.3.2 Bye", "451 4.3.0 Later", "550 5.7.1 No"], ids=str)
@pytest.mark.parametrize("phase", ["MAIL", "RCPT", "DATA", "."])
async def test_faults_inside_tls_are_as_outside(
    road: OpenRoad, authority: trustme.CA, phase: str, fault: Reaction, autojump_clock: MockClock
) -> None:
    peer = SmtpPeer(Behaviour({phase: [fault, ACCEPT]}), tls=_context(authority))
    async with road(peer=peer, tls="required") as way:
        (verdict,) = await way.send()
        if isinstance(fault, str):
            assert verdict.disposition is (Disposition.REFUSED if fault.startswith("5") else DEFERRED)
        else:
            assert verdict.disposition is (Disposition.IN_DOUBT if phase == "." else DEFERRED)
        assert (await way.send())[0].disposition is ACCEPTED


async def test_silence_inside_tls_ends_too(road: OpenRoad, authority: trustme.CA, autojump_clock: MockClock) -> None:
    peer = SmtpPeer(Behaviour({".": Silence()}), tls=_context(authority))
    async with road(peer=peer, tls="required") as way:
        assert (await way.send())[0].disposition is Disposition.IN_DOUBT


# --- Login ---


@pytest.fixture
def password(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("POSTROAD_TEST_PASSWORD", "s3cret w\u00f6rd")
    return "s3cret w\u00f6rd"


LOGIN = {"username": "user", "password_env": "POSTROAD_TEST_PASSWORD"}


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
async def test_logs_in_under_tls(road: OpenRoad, authority: trustme.CA, password: str, mechanism: str) -> None:
    behaviour = Behaviour(logins={"user": password}, mechanisms=("X-UNKNOWN", mechanism))
    async with road(peer=SmtpPeer(behaviour, tls=_context(authority)), tls="required", **LOGIN) as way:
        (verdict,) = await way.send()
        assert verdict.disposition is ACCEPTED
        assert way.peer.connections[0].login == ("user", password)


async def test_a_refused_login_holds_the_transport_and_bounces_nothing(
    road: OpenRoad, authority: trustme.CA, password: str
) -> None:
    peer = SmtpPeer(Behaviour(logins={"user": "another"}), tls=_context(authority))
    async with road(peer=peer, tls="required", **LOGIN) as way:
        (verdict,) = await way.send()
        assert (verdict.disposition, verdict.scope, verdict.status) == (DEFERRED, Scope.TRANSPORT, "4.7.8")
        assert password not in repr(verdict)


@pytest.mark.parametrize("login_without_tls", [False, True])
async def test_no_login_without_tls_unless_allowed(road: OpenRoad, password: str, *, login_without_tls: bool) -> None:
    peer = SmtpPeer(Behaviour(logins={"user": password}))
    async with road(peer=peer, login_without_tls=login_without_tls, **LOGIN) as way:
        (verdict,) = await way.send()
        assert verdict.disposition is (ACCEPTED if login_without_tls else DEFERRED)
        assert verdict.scope is (Scope.RECIPIENT if login_without_tls else Scope.TRANSPORT)
        assert ("AUTH" in way.commands()) is login_without_tls


async def test_a_server_without_a_known_login_holds_the_transport(
    road: OpenRoad, authority: trustme.CA, password: str
) -> None:
    async with road(peer=SmtpPeer(tls=_context(authority)), tls="required", **LOGIN) as way:
        (verdict,) = await way.send()
        assert (verdict.disposition, verdict.scope) == (DEFERRED, Scope.TRANSPORT)


async def test_the_password_may_be_in_a_file(road: OpenRoad, authority: trustme.CA, tmp_path: Path) -> None:
    path = tmp_path / "password"
    path.write_text("from a file\nsecond line\n")
    peer = SmtpPeer(Behaviour(logins={"user": "from a file"}), tls=_context(authority))
    async with road(peer=peer, tls="required", username="user", password_file=str(path)) as way:
        assert (await way.send())[0].disposition is ACCEPTED


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
