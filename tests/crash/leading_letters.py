"""What is submitted: letters of all kinds, or mostly those that lead to a point.

What becomes of a recipient follows from its domain, by what the other side (`other_side.py`) and the operator
(`engine_under_fire.py`) do with it.  Letters that lead to a point leave first, however much other mail waits.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping

from kill_points import KillPoint, Transition

import postroad
from postroad.store.states import State, Step

__all__ = ["DOMAINS", "LEADING", "letter"]

SENDER, DEAF_SENDER = "sender@example.com", "deaf@no.example"  # reports to the latter are refused
NEVER = postroad.DsnOptions(notify=("never",))
LARGE_LINES = 300  # with 1,000 octets each, more than [spool] content_file_bytes: a file of its own
LEADING_SHARE = 0.75  # of the letters of a life that is bound for a point
FIRST = 0  # the priority that goes before all others

_MANY = ["ok.example"] * 40 + ["no.example", "later.example", "hold.example", "cancel.example", "file.example"] * 2
_KINDS = (
    ["ok.example"],
    ["ok.example", "no.example", "later.example"],
    ["file.example", "ok.example"],
    ["doubt.example"],
    ["recall.example"],
    ["ask.example"],
    ["hold.example"],
    ["cancel.example"],
)
DOMAINS = sorted(set[str]().union(*_KINDS))  # but for that of the reports

LEADING: Mapping[Transition, str] = {  # whose recipients come to a step
    (State.WAITING, Step.LEASE): "ok.example",
    (State.WAITING, Step.HOLD): "hold.example",
    (State.WAITING, Step.CANCEL): "cancel.example",
    (State.WAITING, Step.PARK): "cancel.example",
    (State.IN_DOUBT, Step.LEASE): "doubt.example",
    (State.IN_DOUBT, Step.HOLD): "doubt.example",
    (State.IN_DOUBT, Step.CANCEL): "recall.example",
    (State.IN_DOUBT, Step.PARK): "doubt.example",
    (State.LEASED, Step.DELIVER): "ok.example",
    (State.LEASED, Step.DEFER): "cancel.example",
    (State.LEASED, Step.POSTPONE): "doubt.example",
    (State.LEASED, Step.DOUBT): "doubt.example",
    (State.LEASED, Step.FAIL): "no.example",
    (State.LEASED, Step.HOLD): "ask.example",
    (State.LEASED, Step.CANCEL): "cancel.example",
    (State.HELD, Step.RELEASE): "hold.example",
    (State.HELD, Step.DELIVER): "ask.example",
    (State.HELD, Step.CANCEL): "cancel.example",
    (State.PARKED, Step.CANCEL): "cancel.example",
    (State.PARKED, Step.SALVAGE): "cancel.example",
    (State.FAILED, Step.REPORT): "no.example",
    (State.FAILED, Step.SILENCE): "no.example",
}


def letter(draw: random.Random, name: str, point: KillPoint | None) -> tuple[postroad.Submission, str]:
    """A submission, and what names its body.  Without a point, it is of any kind."""
    content, body = _content(name, is_large=draw.random() < 0.05)
    if point and draw.random() < LEADING_SHARE:
        return _leading(point.transition, content), body
    submission = postroad.Submission(
        sender=DEAF_SENDER if draw.random() < 0.1 else SENDER,
        recipients=_recipients(draw),
        content=content,
        dsn=NEVER if draw.random() < 0.1 else postroad.DsnOptions(),
    )
    return submission, body


def _leading(transition: Transition, content: bytes) -> postroad.Submission:
    return postroad.Submission(
        sender=SENDER,
        recipients=[f"r0@{LEADING[transition]}"],
        content=content,
        dsn=NEVER if transition[1] is Step.SILENCE else postroad.DsnOptions(),
        priority=FIRST,
    )


def _recipients(draw: random.Random) -> list[str]:
    """What a letter is like, by the domains that the other side treats in their own way."""
    return [
        f"r{number}@{domain}" for number, domain in enumerate(_MANY if draw.random() < 0.03 else draw.choice(_KINDS))
    ]


def _content(name: str, *, is_large: bool) -> tuple[bytes, str]:
    body = f"letter {name}\r\n".encode() + (b"x" * 998 + b"\r\n") * (LARGE_LINES if is_large else 1)
    head = f"From: {SENDER}\r\nTo: many@example.org\r\nSubject: {name}\r\n\r\n"
    return head.encode() + body, hashlib.sha256(body).hexdigest()[:24]
