"""What a server's TLS can do wrong, at each level of `tls`: rows 49 and 50."""

from __future__ import annotations

import datetime
import ssl
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import trustme
from fault_case import DELIVERED, Case, Expected
from fault_scene import Scene, play, server_context

__all__ = ["cases"]

LEVELS = ("none", "opportunistic", "required", "verified")
PLAIN, SECURE, NOT_OFFERED = "in plain text", "under TLS", "deferred 4.7.4 (site)"
REFUSED, FAILED, INJECTED = "deferred 4.7.0 (site)", "deferred 4.7.5 (site)", "deferred 4.7.0 (site)"

_TO_TLS = """
    S: 220 peer.example ESMTP
    C: EHLO *
    S: 250-peer.example
    S: 250 STARTTLS
    C: STARTTLS
"""
_BROKEN = f"{_TO_TLS}\nS: 220 Go\n!delay 1\n!raw this is no TLS\\r\\n\n!delay 1"
_INJECTED = rf"{_TO_TLS}\n!raw 220 go\r\n250-evil\r\n250 AUTH PLAIN\r\n".replace(r"\n!raw", "\n!raw") + "\n!close"
_MESSAGE = """
    C: MAIL FROM:<a@example.com>
    S: 250 Ok
    C: RCPT TO:<*
    S: 250 Ok
    C: DATA
    S: 354 Go on
    !content
    S: 250 Ok
"""
_PLAIN = f"S: 220 peer.example ESMTP\nC: EHLO *\nS: 250-peer.example\nS: 250 STARTTLS\n{_MESSAGE}\nC: QUIT\nS: 221 Bye"
_FORGETFUL = f"""
    S: 220 peer.example ESMTP
    C: EHLO *
    S: 250-peer.example
    S: 250-SIZE 10
    S: 250-PIPELINING
    S: 250 STARTTLS
    C: STARTTLS
    S: 220 Go
    !tls
    C: EHLO *
    S: 250 peer.example
    {_MESSAGE}
    C: QUIT
    S: 221 Bye
"""


def cases() -> Iterator[Case]:
    yield from _injections()
    for fault, (scene, outcomes) in _matrix().items():
        for level, outcome in zip(LEVELS, outcomes, strict=True):
            yield _case("50", fault, level, partial(scene, level), outcome)


def _case(row: str, what: str, level: str, scene: Callable[[], Scene], outcome: str) -> Case:
    arrives = outcome in (PLAIN, SECURE)
    return Case(
        row=row,
        what=what,
        variant=level,
        meet=lambda: play(scene()),
        expected=Expected(
            outcomes=(DELIVERED,) if arrives else (outcome,),
            facts=(outcome,) if arrives else (),
            seconds=(0.0, 3.0),
            is_next_delivered=None,
        ),
    )


def _injections() -> Iterator[Case]:
    for level in LEVELS[1:]:
        scene = Scene(dialogues=(_INJECTED,), is_followed=False, offers_tls=True, settings={"tls": level})
        yield _case("49", "replies behind the 220, in one write with it", level, lambda scene=scene: scene, INJECTED)
    scene = Scene(dialogues=(_FORGETFUL,), is_followed=False, is_tls=True, tells_tls=True)
    yield _case(
        "49", "what was offered before TLS is not offered after it, and not used", "required", lambda: scene, SECURE
    )


def _matrix() -> dict[str, tuple[Callable[[str], Scene], tuple[str, ...]]]:
    """By fault: the scene at a level, and what comes of it at each of LEVELS."""
    always, never = PLAIN, FAILED
    return {
        "not offered": (_offering(None), (always, PLAIN, NOT_OFFERED, NOT_OFFERED)),
        "454 to STARTTLS": (_replying("454 4.7.0 Not now"), (always, PLAIN, REFUSED, REFUSED)),
        "501 to STARTTLS": (
            _replying("501 5.5.2 What?"),
            (always, PLAIN, "deferred 4.5.2 (site)", "deferred 4.5.2 (site)"),
        ),
        "nonsense in the handshake": (_broken, (always, PLAIN, never, never)),
        "certificate of an unknown authority": (_offering(_unknown), (always, SECURE, SECURE, never)),
        "certificate for another name": (_offering(_misnamed), (always, SECURE, SECURE, never)),
        "expired certificate": (_offering(_expired), (always, SECURE, SECURE, never)),
        "nothing wrong": (_offering(server_context), (always, SECURE, SECURE, SECURE)),
    }


def _unknown() -> ssl.SSLContext:
    return server_context(trustme.CA())


def _misnamed() -> ssl.SSLContext:
    return server_context(name="other.example")


def _expired() -> ssl.SSLContext:
    return server_context(not_after=datetime.datetime.now(tz=datetime.UTC) - datetime.timedelta(days=1))


def _offering(make: Callable[[], ssl.SSLContext] | None) -> Callable[[str], Scene]:
    def scene(level: str) -> Scene:
        return _scene(level, offers_tls=make is not None, context=make() if make is not None else None)

    return scene


def _replying(reply: str) -> Callable[[str], Scene]:
    return lambda level: _scene(level, offers_tls=True, replies={"STARTTLS": reply})


def _broken(level: str) -> Scene:
    return _scene(level, offers_tls=True, dialogues=(_PLAIN,) if level == "none" else (_BROKEN, _PLAIN))


def _scene(level: str, **more: Any) -> Scene:
    return Scene(settings={"tls": level}, tells_tls=True, is_followed=False, **more)
