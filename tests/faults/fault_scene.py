"""Mail through the real SMTP transport to the scripted server: a fresh or a kept connection, with or without PIPELINING and TLS.

A scene sends a message into a fault and another one behind it.  It also holds what is true whatever the fault: the server has
nothing against what was said, no verdict holds an unprintable character, and what was accepted arrived exactly once.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import trio
import trustme
from fault_case import DELIVERED, Seen, told

from postroad.testing import make_request
from postroad.testing.smtp_behaviour import EXTENSIONS
from postroad.testing.smtp_peer import ACCEPT, Behaviour, Reaction, SmtpPeer
from postroad.transport import Transport
from postroad.verdict import Disposition, Verdict
from postroad_smtp import smtp_transport

__all__ = ["HUGE", "ONE_BY_ONE", "SMALL", "Scene", "play", "play_two", "send", "server_context"]

SMALL = b"From: a@example.com\r\nSubject: Hello\r\n\r\nHello\r\n.\r\n..dots\r\n"
HUGE = SMALL + b".a line that begins with a dot\r\n" * 500_000  # 16 MB: more than the buffers of two sockets hold
ONE_BY_ONE = {"pipelining": "off"}


@cache
def authority() -> trustme.CA:
    return trustme.CA()


def server_context(issuer: trustme.CA | None = None, name: str = "127.0.0.1", **more: Any) -> ssl.SSLContext:
    """A server's context with a certificate; by default a good one."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    (issuer or authority()).issue_cert(name, **more).configure_cert(context)
    return context


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What the server does, and how it is spoken to.

    replies: by command, as for `Behaviour`; the first message of a kept connection is not among them.
    dialogues: instead of them, one for each connection.
    recipients, content: of the message that meets the fault.  is_kept: it comes second, over a connection that carried one
    before; first: what becomes of that one.  has_login: with AUTH, in plain text if need be.
    is_tls: STARTTLS, and required; offers_tls: only offered; context: the server's, other than a good one.
    is_before_content: the fault comes before any content, so that no hand-over may have been announced.
    may_complain: the server's misbehaviour may make it find fault with what is said.
    tells_tls: whether the level reached is a fact.  look: facts from the peer, once all is over.
    """

    replies: Mapping[str, Sequence[Reaction] | Reaction] = field(default_factory=dict)
    dialogues: Sequence[str] = ()
    extensions: Sequence[str] = EXTENSIONS
    recipients: Sequence[str] = ("b@example.org",)
    content: bytes = SMALL
    is_kept: bool = False
    first: str = DELIVERED
    has_login: bool = False
    is_tls: bool = False
    offers_tls: bool = False
    context: ssl.SSLContext | None = None
    tells_tls: bool = False
    is_before_content: bool = False
    may_complain: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)
    look: Callable[[SmtpPeer], tuple[str, ...]] = lambda peer: ()
    is_followed: bool = True


_FIRST, _NEXT = "first@example.org", "next@example.org"
_CLOSING_SECONDS = 5.0  # for QUIT on every connection, where no final dot is out
_OF_EACH_MESSAGE = frozenset({"MAIL", "RCPT", "DATA", "."})


def _behaviour(scene: Scene) -> Behaviour:
    logins = {"user": "secret"} if scene.has_login else None
    return Behaviour(_replies(scene), extensions=scene.extensions, logins=logins)


def _replies(scene: Scene) -> dict[str, Sequence[Reaction] | Reaction]:
    """The scene's replies, behind those to the first message."""
    if not scene.is_kept:
        return dict(scene.replies)
    return {
        command: [ACCEPT, *_as_list(value)] if command in _OF_EACH_MESSAGE else value
        for command, value in scene.replies.items()
    }


def _as_list(value: Sequence[Reaction] | Reaction) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _peer(scene: Scene) -> SmtpPeer:
    tls = (scene.context or server_context()) if scene.is_tls or scene.offers_tls else None
    if scene.dialogues:
        return SmtpPeer(dialogue=scene.dialogues, tls=tls)
    return SmtpPeer(_behaviour(scene), tls=tls)


async def play(scene: Scene) -> Seen:
    """Send the message, and another one behind it."""
    peer = _peer(scene)
    with TemporaryDirectory() as folder:
        async with peer.listening() as (host, port), smtp_transport(_table(scene, host, port, folder)) as transport:
            commits: list[str] = []
            verdicts, seconds = await _meet(scene, transport, lambda: commits.append("."))
            following = await send(transport, _NEXT) if scene.is_followed else ()
            closing = trio.current_time()
    assert trio.current_time() - closing <= _CLOSING_SECONDS
    _check(scene, peer, verdicts)
    _check_commits(scene, commits, verdicts)
    return Seen(
        outcomes=tuple(map(told, verdicts)),
        seconds=seconds,
        is_next_delivered=[told(verdict) for verdict in following] == [DELIVERED] if scene.is_followed else None,
        facts=(*_tls(scene, verdicts), *scene.look(peer)),
    )


def _tls(scene: Scene, verdicts: Sequence[Verdict]) -> tuple[str, ...]:
    if not scene.tells_tls or verdicts[0].disposition is not Disposition.ACCEPTED:
        return ()
    return ("in plain text",) if verdicts[0].tls == "none" else ("under TLS",)


async def play_two(replies: Mapping[str, Sequence[Reaction] | Reaction]) -> Seen:
    """Send two messages at once over one session; the outcomes are one for each."""
    peer = SmtpPeer(Behaviour(replies))
    got: dict[str, Verdict] = {}

    async def send_to(transport: Transport, name: str) -> None:
        (got[name],) = await send(transport, name)

    async with peer.listening() as (host, port):
        table = {"smarthost": f"{host}:{port}", "helo": "client.example", "sessions": 1}
        async with smtp_transport(table) as transport, trio.open_nursery() as nursery:
            for name in (_FIRST, _NEXT):
                nursery.start_soon(send_to, transport, name)
                await trio.lowlevel.checkpoint()  # so that they are in this order
    assert any(b"\r\n.\r\nMAIL FROM:" in read for read in peer.connections[0].reads)
    assert peer.faults == []
    taken = [name for each in peer.transactions for name in each.recipients]
    assert taken == [name for name in (_FIRST, _NEXT) if got[name].disposition is Disposition.ACCEPTED]
    return Seen(outcomes=(told(got[_FIRST]), told(got[_NEXT])))


async def _meet(scene: Scene, transport: Transport, commit: Callable[[], None]) -> tuple[Sequence[Verdict], float]:
    if scene.is_kept:
        (first,) = await send(transport, _FIRST)
        assert told(first) == scene.first
    begun = trio.current_time()
    verdicts = await send(transport, *scene.recipients, content=scene.content, commit=commit)
    return verdicts, trio.current_time() - begun


def _table(scene: Scene, host: str, port: int, folder: str) -> dict[str, Any]:
    table = {"smarthost": f"{host}:{port}", "helo": "client.example", **scene.settings}
    if scene.is_tls:
        table["tls"] = "required"
    if table.get("tls") == "verified":
        table["ca_file"] = str(Path(folder) / "ca.pem")
        authority().cert_pem.write_to_path(table["ca_file"])
    if scene.has_login:
        password = Path(folder) / "password"
        password.write_text("secret", encoding="ascii")
        table.update(username="user", password_file=str(password), login_without_tls=True)
    return table


async def send(
    transport: Transport, *recipients: str, content: bytes = SMALL, commit: Callable[[], None] = lambda: None
) -> Sequence[Verdict]:
    """One message, with all the time of RFC 5321."""
    deadline = trio.current_time() + 3600
    return await transport.deliver(make_request(recipients, content=content, deadline=deadline, commit=commit))


def _check(scene: Scene, peer: SmtpPeer, verdicts: Sequence[Verdict]) -> None:
    assert scene.may_complain or peer.faults == []
    for verdict in verdicts:
        assert verdict.reply.isprintable()
        assert verdict.remote.isprintable()
        assert len(verdict.reply) <= 700
    if scene.dialogues:
        return
    taken = [name for each in peer.transactions for name in each.recipients if name not in (_FIRST, _NEXT)]
    fates = dict(zip(scene.recipients, (verdict.disposition for verdict in verdicts), strict=True))
    assert len(taken) == len(set(taken)), f"the server has {taken}"
    for name, fate in fates.items():
        if fate is not Disposition.IN_DOUBT:
            assert (name in taken) is (fate is Disposition.ACCEPTED), (
                f"the server has {taken}, the client was told {fates}"
            )
    assert all(each.content in (scene.content, SMALL) for each in peer.transactions)


def _check_commits(scene: Scene, commits: Sequence[str], verdicts: Sequence[Verdict]) -> None:
    """The hand-over is announced before it may succeed, and not where it never began."""
    fates = {verdict.disposition for verdict in verdicts}
    if fates & {Disposition.ACCEPTED, Disposition.IN_DOUBT}:
        assert commits, "handed over without a word before"
    elif scene.is_before_content:
        assert not commits, "announced although nothing was handed over"
