"""What now, after an attempt?  Pure: time and the random draw are given.

Temporary unless proven permanent: only REFUSED fails a recipient, and giving up after the schedule's end.  The delay grows
with the message's age, as Postfix does it: the age itself, between `first_seconds` and `max_seconds`.
"""

from __future__ import annotations

import math

from ..config import GiveUp, InDoubt, Retry
from ..message import Kind, Message
from ..store.contract import UNREADABLE, LeasedRecipient, Outcome
from ..store.states import Step
from ..verdict import Disposition, Scope, Verdict
from . import doubt

__all__ = [
    "EXPIRED",
    "delay_seconds",
    "expires_at",
    "hinted_seconds",
    "is_expired",
    "outcome",
    "untried_until",
    "wants_delay_notice",
]

_POSTPONE_SECONDS = 15.0  # local trouble passes quickly, or somebody is told
_POSTPONE_MIN_SECONDS = 1.0  # a transport that always postpones at once must not keep the ring spinning
_HINT_MIN_SECONDS = 30.0  # a server's wish below this is a storm in the making
_STAYS = (Step.DEFER, Step.DOUBT, Step.POSTPONE)
_GIVEN_UP = "given up"  # how the reason of a hold begins that ends the schedule
EXPIRED = "4.4.7"  # RFC 3463: delivery time expired


def expires_at(message: Message, retry: Retry) -> float:
    """When the message is given up, wall seconds."""
    return message.expires_at if message.expires_at is not None else message.started_at + retry.give_up_seconds


def untried_until(awake_since: float, retry: Retry) -> float:
    """A machine that has just begun or woke up may come to itself before what it could not try is given up."""
    return awake_since + retry.first_seconds


def is_expired(message: Message, now: float, jumped_at: float | None) -> bool:
    """Whether the sender's own `expires_at` has passed, so that it must not be tried any more.

    A jump of the clock alone expires nothing: what lived through one is tried first.
    """
    if message.expires_at is None or now < message.expires_at:
        return False
    return jumped_at is None or message.accepted_at >= jumped_at


def delay_seconds(age: float, retry: Retry, draw: float) -> float:
    """The delay before the next try of a message of this age; draw is a random number from 0 to 1."""
    delay = min(max(age, retry.first_seconds), retry.max_seconds)
    return delay * (1 + retry.jitter * (2 * draw - 1))


def hinted_seconds(verdict: Verdict, retry: Retry) -> float | None:
    """The peer's own wish within bounds, or None where it said none, or `hint_max_seconds` is 0."""
    if verdict.retry_after_seconds is None or not retry.hint_max_seconds:
        return None
    return min(max(verdict.retry_after_seconds, _HINT_MIN_SECONDS), retry.hint_max_seconds)


def _pause_seconds(verdict: Verdict, retry: Retry) -> float:
    """How long what was not tried waits: the transport's own wish within bounds."""
    if verdict.retry_after_seconds is None:
        return _POSTPONE_SECONDS
    return min(max(verdict.retry_after_seconds, _POSTPONE_MIN_SECONDS), max(retry.hint_max_seconds, _POSTPONE_SECONDS))


def outcome(
    verdict: Verdict,
    *,
    token: int,
    handle: int,
    message: Message,
    recipient: LeasedRecipient,
    retry: Retry,
    now: float,
    draw: float,
    delay_notice: bool = False,
    untried_until: float = 0.0,
    in_doubt: InDoubt = "send_again",
    give_up: GiveUp = "drop",
    damage: str = "",
) -> Outcome:
    """Turn one verdict into what becomes of its recipient.

    delay_notice: a notice is due if the recipient stays.  untried_until: before it, what was not tried is not given up.
    draw: a random number from 0 to 1.
    in_doubt: the choice of the route.  give_up: "hold" where nothing fails on the route: what would is held, once it was tried.
    damage: what is wrong with the content: then no later try can be right, and a recipient that stays is parked for a person.
    """
    if verdict.disposition is Disposition.ACCEPTED:
        return Outcome(
            token=token,
            handle=handle,
            number=recipient.number,
            step=Step.DELIVER,
            status=verdict.status,
            reply=verdict.reply,
            remote=verdict.remote,
        )
    is_doubt = verdict.disposition is Disposition.IN_DOUBT
    decided = doubt.step(in_doubt, is_proven=verdict.handed_over) if is_doubt else Step.DOUBT
    step, due, status = decided, 0.0, verdict.status
    if decided is Step.DOUBT:
        until = math.inf if give_up == "hold" else untried_until
        step, due, status = _step(verdict, message, retry, now, draw, until)
    reply = doubt.said(decided, verdict.reply) if is_doubt else verdict.reply
    is_kept = step is Step.FAIL and give_up == "hold"
    if is_kept:
        step, reply = Step.HOLD, f"{_GIVEN_UP}: {reply}"
    if damage and (step in _STAYS or is_kept):
        step, due, reply = Step.PARK, 0.0, f"{UNREADABLE}: {damage}"
    return Outcome(
        token=token,
        handle=handle,
        number=recipient.number,
        step=step,
        due=due,
        tried=verdict.is_tried,
        status=status,
        reply=reply,
        remote=verdict.remote,
        delay_notice=delay_notice and step in _STAYS and wants_delay_notice(message, recipient),
        in_doubt=is_doubt,
    )


def _step(
    verdict: Verdict, message: Message, retry: Retry, now: float, draw: float, untried_until: float
) -> tuple[Step, float, str]:
    match verdict.disposition:
        case Disposition.REFUSED if verdict.scope not in (Scope.TRANSPORT, Scope.LOCAL):
            return Step.FAIL, 0.0, verdict.status
        case Disposition.POSTPONED:
            return _untried(verdict, message, retry, now, draw, untried_until)
        case _:
            return _again(verdict, message, retry, now, draw)


def _untried(
    verdict: Verdict, message: Message, retry: Retry, now: float, draw: float, untried_until: float
) -> tuple[Step, float, str]:
    """It costs no try, but time passes."""
    end = max(expires_at(message, retry), untried_until)
    if now >= end:
        return Step.FAIL, 0.0, EXPIRED
    due = now + _pause_seconds(verdict, retry) * (1 + retry.jitter * draw)
    return Step.POSTPONE, min(due, end), verdict.status


def _again(verdict: Verdict, message: Message, retry: Retry, now: float, draw: float) -> tuple[Step, float, str]:
    end = expires_at(message, retry)
    if now >= end:
        return Step.FAIL, 0.0, EXPIRED
    delay = hinted_seconds(verdict, retry) or delay_seconds(now - message.started_at, retry, draw)
    step = Step.DOUBT if verdict.disposition is Disposition.IN_DOUBT else Step.DEFER
    return step, min(now + delay, end), verdict.status


def wants_delay_notice(message: Message, recipient: LeasedRecipient) -> bool:
    """Whether the sender may be told of a delay: RFC 3461 section 4.1 lets NOTIFY exclude it."""
    notify = recipient.notify or message.dsn.notify
    return message.kind is Kind.MAIL and message.sender != "" and (not notify or "delay" in notify)
