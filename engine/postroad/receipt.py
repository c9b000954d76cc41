"""What `submit` returns: a message's id, and later its outcome, read from the spool so that it survives restarts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Mapping
from contextlib import contextmanager

import msgspec
import trio

from .store.contract import StoredMessage
from .store.states import State

__all__ = ["FINAL_NAMES", "Outcome", "Receipt", "RecipientOutcome", "Waiters", "outcome_of"]

FINAL_NAMES: Mapping[State, str] = {
    State.ACCEPTED: "accepted",
    State.FAILED: "failed",
    State.REPORTED: "failed",
    State.UNREPORTED: "failed",
    State.CANCELLED: "cancelled",
}


class RecipientOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one recipient.

    state: "accepted" (the next hop took responsibility), "failed" or "cancelled"; while unsettled "waiting", "leased",
    "in_doubt", "held" or "parked".  attempts: how often it was tried.
    in_doubt: an attempt may have delivered it unseen, whatever the state is by now.
    """

    state: str
    status: str = ""
    reply: str = ""
    remote: str = ""
    attempts: int = 0
    in_doubt: bool = False

    @property
    def is_settled(self) -> bool:
        return self.state in ("accepted", "failed", "cancelled")


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a message, by recipient address."""

    id: str
    recipients: Mapping[str, RecipientOutcome]

    @property
    def is_settled(self) -> bool:
        return all(recipient.is_settled for recipient in self.recipients.values())

    @property
    def is_delivered(self) -> bool:
        """Whether the next hop accepted the message for every recipient."""
        return all(recipient.state == "accepted" for recipient in self.recipients.values())


def outcome_of(stored: StoredMessage) -> Outcome:
    return Outcome(
        id=stored.message.id,
        recipients={
            recipient.address: RecipientOutcome(
                state=FINAL_NAMES.get(recipient.state, recipient.state.name.lower()),
                status=recipient.status,
                reply=recipient.reply,
                remote=recipient.remote,
                attempts=recipient.attempts,
                in_doubt=recipient.in_doubt,
            )
            for recipient in stored.recipients
        },
    )


class Waiters:
    """Tasks that wait for something to happen to a message.  Only used by tasks of the engine."""

    def __init__(self) -> None:
        self._events: dict[str, set[trio.Event]] = {}

    @contextmanager
    def waiting(self, id: str) -> Generator[trio.Event]:
        event = trio.Event()
        self._events.setdefault(id, set()).add(event)
        try:
            yield event
        finally:
            events = self._events[id]
            events.discard(event)
            if not events:
                del self._events[id]

    def poke(self, id: str) -> None:
        """Something final happened to a recipient of this message."""
        for event in self._events.get(id, ()):
            event.set()

    def poke_all(self) -> None:
        for events in self._events.values():
            for event in events:
                event.set()


class Receipt:
    """Proof that a message is safely in the spool.  id: names it from now on, also after a restart."""

    __slots__ = ("_read", "_waiters", "id")

    def __init__(self, id: str, waiters: Waiters, read: Callable[[str], Awaitable[Outcome]]) -> None:
        self.id = id
        self._waiters = waiters
        self._read = read

    def __repr__(self) -> str:
        return f"Receipt({self.id!r})"

    async def outcome(self) -> Outcome:
        """What is known now.  Raises UnknownMessage when the history has forgotten it."""
        return await self._read(self.id)

    async def settled(self) -> Outcome:
        """Wait until every recipient is accepted, failed or cancelled, and return what became of each.

        That may take as long as the route's `give_up_seconds` (5 days by default): put a time-out around it.  Raises
        UnknownMessage when the history has forgotten the message, EngineClosed when the engine closes first.
        """
        while True:
            with self._waiters.waiting(self.id) as something:
                outcome = await self._read(self.id)
                if outcome.is_settled:
                    return outcome
                await something.wait()
