"""Six settings of TLS against everything that can be wrong with a server's TLS: one table, which docs/smtp.md shows too."""

from __future__ import annotations

import datetime
import ssl
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trustme
from smtp_road import OpenRoad, Road
from trio.testing import MockClock

from postroad.testing.smtp_peer import Behaviour, Raw, Reaction, Reset, Silence, SmtpPeer
from postroad.verdict import Disposition, Scope, Verdict

EXPECTED = """
| the server's TLS | none | opportunistic | required | verified | verified, `ca_file` | verified, `ca_file`, implicit |
|---|---|---|---|---|---|---|
| is not offered | plain text | plain text | deferred 4.7.4 | deferred 4.7.4 | deferred 4.7.4 | deferred 4.7.5 |
| STARTTLS is refused (454 4.7.0) | plain text | plain text | deferred 4.7.0 | deferred 4.7.0 | deferred 4.7.0 | deferred 4.7.5 |
| nonsense in the handshake | plain text | plain text | deferred 4.7.5 | deferred 4.7.5 | deferred 4.7.5 | deferred 4.7.5 |
| reset in the handshake | plain text | plain text | deferred 4.7.5 | deferred 4.7.5 | deferred 4.7.5 | deferred 4.7.5 |
| silence in the handshake | plain text | plain text | deferred 4.4.2 | deferred 4.4.2 | deferred 4.4.2 | deferred 4.4.2 |
| TLS 1.1 at most | plain text | plain text | deferred 4.7.5 | deferred 4.7.5 | deferred 4.7.5 | deferred 4.7.5 |
| words behind the 220 | plain text | deferred 4.7.0 | deferred 4.7.0 | deferred 4.7.0 | deferred 4.7.0 | deferred 4.7.5 |
| certificate of an unknown authority | plain text | TLS | TLS | deferred 4.7.5 | deferred 4.7.5 | deferred 4.7.5 |
| certificate of an authority that only the system trusts | plain text | TLS | TLS | TLS | deferred 4.7.5 | deferred 4.7.5 |
| certificate for another name | plain text | TLS | TLS | deferred 4.7.5 | deferred 4.7.5 | deferred 4.7.5 |
| certificate that has expired | plain text | TLS | TLS | deferred 4.7.5 | deferred 4.7.5 | deferred 4.7.5 |
| nothing is wrong | plain text | TLS | TLS | TLS | TLS | TLS |
"""


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


_HEAD, _, *_ROWS = EXPECTED.strip().splitlines()
SETTINGS = _cells(_HEAD)[1:]
TABLE = {row[0]: dict(zip(SETTINGS, row[1:], strict=True)) for row in map(_cells, _ROWS)}
WORDS = {
    "certificate of an unknown authority": "authority is not among the trusted ones",
    "certificate of an authority that only the system trusts": "authority is not among the trusted ones",
    "certificate for another name": "it is for another address than 127.0.0.1",
    "certificate that has expired": "it has expired",
}
REMEMBERED = {"nonsense in the handshake", "reset in the handshake", "silence in the handshake", "TLS 1.1 at most"}


class Authorities:
    """ours: in `ca_file`, and trusted by the system.  other: trusted by the system alone.  stranger: trusted by nobody."""

    def __init__(self, ours: trustme.CA) -> None:
        self.ours, self.other, self.stranger = ours, trustme.CA(), trustme.CA()

    def write_system_file(self, path: Path) -> str:
        path.write_bytes(self.ours.cert_pem.bytes() + self.other.cert_pem.bytes())
        return str(path)


@pytest.fixture(scope="module")
def authorities(authority: trustme.CA) -> Authorities:
    return Authorities(authority)


def _context(authority: trustme.CA, name: str = "127.0.0.1", **more: Any) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name, **more).configure_cert(context)
    return context


def _old(context: ssl.SSLContext) -> ssl.SSLContext:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    return context


YESTERDAY = datetime.datetime.now(tz=datetime.UTC) - datetime.timedelta(days=1)
CONTEXTS: dict[str, Callable[[Authorities], ssl.SSLContext | None]] = {
    "is not offered": lambda _: None,
    "TLS 1.1 at most": lambda known: _old(_context(known.ours)),
    "certificate of an unknown authority": lambda known: _context(known.stranger),
    "certificate of an authority that only the system trusts": lambda known: _context(known.other),
    "certificate for another name": lambda known: _context(known.ours, "192.0.2.1"),
    "certificate that has expired": lambda known: _context(known.ours, not_after=YESTERDAY),
}
REPLIES: dict[str, dict[str, Reaction]] = {
    "STARTTLS is refused (454 4.7.0)": {"STARTTLS": "454 4.7.0 Not now"},
    "nonsense in the handshake": {"TLS": Raw(b"\x15\x03\x01this is no TLS\r\n")},
    "reset in the handshake": {"TLS": Reset()},
    "silence in the handshake": {"TLS": Silence()},
    "words behind the 220": {"STARTTLS": Raw(b"220 go\r\n250-evil\r\n250 AUTH PLAIN\r\n")},
}
IMPLICIT: dict[str, dict[str, Reaction]] = {  # where there is no STARTTLS, what comes nearest
    "STARTTLS is refused (454 4.7.0)": {"TLS": Raw(b"454 4.7.0 Not now\r\n")},
    "words behind the 220": {"TLS": Raw(b"220 go\r\n250-evil\r\n250 AUTH PLAIN\r\n")},
}


def _peer(fault: str, known: Authorities, *, is_implicit: bool) -> SmtpPeer:
    context = CONTEXTS.get(fault, lambda known: _context(known.ours))(known)
    replies = {**REPLIES, **(IMPLICIT if is_implicit else {})}.get(fault)
    return SmtpPeer(Behaviour(replies), tls=context, tls_at_once=is_implicit and context is not None)


def _heal(peer: SmtpPeer, known: Authorities, *, is_implicit: bool) -> None:
    peer.behaviour, peer.tls, peer.tls_at_once = Behaviour(), _context(known.ours), is_implicit


def _settings(setting: str, ca_file: str) -> dict[str, Any]:
    level, *more = setting.split(", ")
    settings: dict[str, Any] = {"tls": level, "messages_per_session": 1}
    if "`ca_file`" in more:
        settings["ca_file"] = ca_file
    if "implicit" in more:
        settings["implicit_tls"] = "on"
    return settings


def _outcome(verdict: Verdict) -> str:
    if verdict.disposition is Disposition.ACCEPTED:
        return "plain text" if verdict.tls == "none" else "TLS"
    return f"{verdict.disposition.value} {verdict.status}"


def _assert_nothing_in_the_open(way: Road, *, is_implicit: bool) -> None:
    """At levels above opportunistic nothing but the way to TLS is said in plain text."""
    for connection in way.peer.connections:
        if not connection.is_tls:
            heard = b"".join(connection.reads)
            assert b"MAIL" not in heard
            assert b"AUTH" not in heard
            assert is_implicit or {command.split(" ")[0] for command in connection.commands} <= {"EHLO", "STARTTLS"}


@pytest.mark.parametrize("fault", TABLE)
@pytest.mark.parametrize("setting", SETTINGS)
async def test_settings_against_faults(
    road: OpenRoad,
    authorities: Authorities,
    ca_file: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    autojump_clock: MockClock,
    setting: str,
    fault: str,
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", authorities.write_system_file(tmp_path / "system.pem"))
    level, is_implicit = setting.split(",")[0], setting.endswith("implicit")
    peer = _peer(fault, authorities, is_implicit=is_implicit)
    async with road(peer=peer, is_strict=False, **_settings(setting, ca_file)) as way:
        (verdict,) = await way.send()
        assert _outcome(verdict) == TABLE[fault][setting], verdict
        assert verdict.tls in ("none", f"{level} TLSv1.3")
        if verdict.disposition is not Disposition.ACCEPTED:
            assert verdict.scope is Scope.SITE
            assert WORDS.get(fault, "") in verdict.reply or fault == "nothing is wrong"
        if level not in ("none", "opportunistic"):
            _assert_nothing_in_the_open(way, is_implicit=is_implicit)
        _heal(peer, authorities, is_implicit=is_implicit)
        (verdict,) = await way.send()
        assert verdict.disposition is Disposition.ACCEPTED
        is_plain = level == "none" or (level == "opportunistic" and fault in REMEMBERED)
        assert verdict.tls == ("none" if is_plain else f"{level} TLSv1.3")


def test_the_table_is_shown_in_the_docs() -> None:
    page = Path(__file__).resolve().parents[2] / "docs" / "smtp.md"
    assert EXPECTED in page.read_text(encoding="utf-8")


def test_every_fault_of_the_table_is_made() -> None:
    assert {*CONTEXTS, *REPLIES, "nothing is wrong"} == set(TABLE)
    assert len(SETTINGS) == 6
