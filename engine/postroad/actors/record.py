"""Writes down what was committed: one log line per recipient and step, an event where somebody listens, receipts poked.

The log alone tells a message's story by its id: accepted, delivered / deferred / failed, reported.  No content, no secrets;
what servers said is made printable and cut here once more, whatever a transport did.
"""

from __future__ import annotations

from typing import Any

from ..events import (
    AttemptInDoubt,
    MessageAccepted,
    RecipientCancelled,
    RecipientDeferred,
    RecipientDelivered,
    RecipientFailed,
    RecipientHeld,
)
from ..log import get_logger
from ..store.contract import TAKEN, Accept, Outcome
from ..store.states import LEASABLE, State
from .notes import Lease
from .ports import Ports

__all__ = ["Recorder"]

_log = get_logger()

_NAMES = {state: state.name.lower() for state in State} | {State.ACCEPTED: "delivered", State.WAITING: "deferred"}
_FINAL = frozenset({State.ACCEPTED, State.FAILED, State.CANCELLED})


class Recorder:
    def __init__(self, ports: Ports) -> None:
        self._observers = ports.observers
        self._waiters = ports.waiters

    def accepted(self, accept: Accept, now: float) -> None:
        message = accept.message
        count = len(accept.recipients)
        _log.info("accepted", id=message.id, sender=message.sender, recipients=count, size=message.size)
        if self._observers.is_active:
            self._observers.publish(
                MessageAccepted(at=now, id=message.id, sender=message.sender, recipients=count, size=message.size)
            )
        for recipient in accept.recipients:
            if recipient.state is State.HELD:
                self._held(message.id, recipient.address, recipient.lane, recipient.reason, now)

    def settled(self, lease: Lease, outcome: Outcome, index: int, state: State, now: float) -> None:
        """index: the recipient's, among those of the lease."""
        recipient = lease.recipients[index]
        name = _NAMES[state]
        attempts = recipient.attempts + outcome.tried
        due = outcome.due if state in LEASABLE else None
        about: dict[str, Any] = {
            "id": lease.message.id,
            "recipient": recipient.address,
            "lane": outcome.lane or lease.lane,
            "status": outcome.status,
            "reply": outcome.reply,
            "remote": outcome.remote,
            "attempts": attempts,
            "tls": lease.verdicts[index].tls if lease.verdicts else "",
        }
        if recipient.in_doubt or outcome.leaves_doubt:
            about["in_doubt"] = True
        if state is State.PARKED:
            _log.error(name, hint="see `postroad check --spool`", **about)
        elif state is State.HELD:
            _log.warning(name, **about)  # it waits for somebody
        elif due is None:
            _log.info(name, **about)
        else:
            _log.info(name, due_in=max(0.0, round(due - now, 3)), **about)
        if state in _FINAL:
            self._waiters.poke(lease.message.id)
        if self._observers.is_active:
            self._publish(state, about, due, now)

    def _publish(self, state: State, about: dict[str, Any], due: float | None, now: float) -> None:
        match state:
            case State.ACCEPTED:
                self._observers.publish(RecipientDelivered(at=now, **about))
            case State.WAITING:
                self._observers.publish(RecipientDeferred(at=now, due=due or now, **about))
            case State.IN_DOUBT:
                self._observers.publish(AttemptInDoubt(at=now, due=due or now, **about))
            case State.FAILED:
                self._observers.publish(RecipientFailed(at=now, **about))
            case State.HELD:
                self._observers.publish(RecipientHeld(at=now, **about))
            case State.CANCELLED:
                self._observers.publish(RecipientCancelled(at=now, **about))
            case _:
                pass

    def cancelled(self, id: str, recipient: str, now: float) -> None:
        _log.info("cancelled", id=id, recipient=recipient)
        self._waiters.poke(id)
        if self._observers.is_active:
            self._observers.publish(RecipientCancelled(at=now, id=id, recipient=recipient))

    def gave_up(self, id: str, recipients: int) -> None:
        """Recipients that damage took away, so that nobody knows their names."""
        _log.warning("given_up", id=id, recipients=recipients, reason="lost by damage, and the message was cancelled")
        self._waiters.poke(id)

    def taken_as_delivered(self, id: str, recipient: str, now: float) -> None:
        _log.info("delivered", id=id, recipient=recipient, reply=TAKEN, in_doubt=True)
        self._waiters.poke(id)
        if self._observers.is_active:
            self._observers.publish(RecipientDelivered(at=now, id=id, recipient=recipient, reply=TAKEN, in_doubt=True))

    def _held(self, id: str, recipient: str, lane: str, reason: str, now: float) -> None:
        _log.warning("held", id=id, recipient=recipient, reason=reason)
        if self._observers.is_active:
            self._observers.publish(RecipientHeld(at=now, id=id, recipient=recipient, lane=lane, reply=reason))
