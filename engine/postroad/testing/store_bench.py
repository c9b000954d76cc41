"""What the cases of `check_store` are written with: short ways to make operations and to look at answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from ..errors import StoreError
from ..message import Kind, Message
from ..store.contract import (
    Accept,
    Accepted,
    ContentPlace,
    IdempotencyKey,
    LeaseRecord,
    NewRecipient,
    Operation,
    Outcome,
    Prune,
    Pruned,
    Result,
    Settle,
    Settled,
    Store,
    StoredMessage,
    StoredRecipient,
    TakeLeases,
    Taken,
)
from ..store.states import State, Step

__all__ = [
    "CONTENT",
    "NONE",
    "NOW",
    "NO_LANES",
    "Bench",
    "Unmet",
    "accept",
    "expect",
    "key",
    "lanes_of",
    "recipient",
    "sure",
]

_T = TypeVar("_T")
NOW = 1_700_000_000.0
CONTENT = b"Subject: test\r\n\r\nHello\r\n"
NONE: list[Any] = []
NO_LANES: dict[str, float] = {}


class Unmet(AssertionError):
    """A store did not do what a case expects."""


def expect(found: object, wanted: object, what: str) -> None:
    if found != wanted:
        raise Unmet(f"{what}: expected {wanted!r}, found {found!r}")


def sure(found: object, what: str) -> None:
    if not found:
        raise Unmet(f"expected {what}")


def recipient(address: str = "anna@example.org", lane: str = "out/example.org", **more: Any) -> NewRecipient:
    fields: dict[str, Any] = {"address": address, "lane": lane, "due": NOW, **more}
    return NewRecipient(**fields)


def key(
    name: str, digest: bytes = b"digest", sender: str = "app@example.com", until: float = NOW + 60
) -> IdempotencyKey:
    return IdempotencyKey(sender, name, digest, until)


def accept(
    id: str,
    *recipients: NewRecipient,
    content: bytes | ContentPlace = CONTENT,
    idempotency: IdempotencyKey | None = None,
    **message: Any,
) -> Accept:
    size = len(content) if isinstance(content, bytes) else 300_000
    fields: dict[str, Any] = {
        "sender": "app@example.com",
        "accepted_at": NOW,
        "size": size,
        "kind": Kind.MAIL,
        **message,
    }
    return Accept(Message(id=id, **fields), recipients or (recipient(),), content, idempotency)


def lanes_of(store: Store) -> dict[str, float]:
    """The lanes with something leasable and their earliest due times."""
    return {lane.lane: lane.due for lane in store.lanes()}


class Bench:
    """A store and its tokens; each call is one `apply`."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._token = 0

    def do(self, operation: Operation, answer: type[_T]) -> _T:
        """Apply one operation and see that the answer is of the right kind."""
        (found,) = self.store.apply([operation])
        return self.kind(found, answer)

    def kind(self, found: Result, answer: type[_T]) -> _T:
        if not isinstance(found, answer):
            raise Unmet(f"expected {answer.__name__} as an answer, found {found!r}")
        return found

    def accept(self, id: str, *recipients: NewRecipient, **more: Any) -> int:
        """Accept a message that is new; return its handle."""
        answer = self.do(accept(id, *recipients, **more), Accepted)
        sure(not answer.duplicate, f"{id} to be new")
        return answer.handle

    def token(self) -> int:
        self._token += 1
        return self._token

    def take(
        self,
        count: int = 10,
        *,
        lane: str = "out/example.org",
        now: float = NOW,
        content_bytes: int = 0,
        each: int = 100,
    ) -> Taken:
        tokens = tuple(self.token() for _ in range(count))
        return self.do(TakeLeases(lane, now, tokens, content_bytes, each), Taken)

    def lease(self, **more: Any) -> LeaseRecord:
        """Take the one lease that there is."""
        leases = self.take(**more).leases
        expect(len(leases), 1, "number of leases to be had")
        return leases[0]

    def settle(self, lease: LeaseRecord, step: Step, *, now: float = NOW + 1, **more: Any) -> Settled:
        """One outcome for all recipients of a lease."""
        outcomes = tuple(Outcome(lease.token, lease.handle, leased.number, step, **more) for leased in lease.recipients)
        return self.do(Settle(outcomes, now), Settled)

    def lease_and(self, step: Step, **more: Any) -> LeaseRecord:
        """Take the one lease that there is and settle it; what stays is due again at once."""
        lease = self.lease()
        self.settle(lease, step, due=NOW, **more)
        return lease

    def forget(self) -> None:
        """Forget everything that is finished."""
        self.do(Prune(before=NOW + 1e6, now=NOW), Pruned)

    def message(self, id: str) -> StoredMessage:
        found = self.store.message(id)
        if found is None:
            raise Unmet(f"the message {id} is not there")
        return found

    def row(self, id: str, number: int = 0) -> StoredRecipient:
        return self.message(id).recipients[number]

    def states(self, id: str) -> list[State]:
        return [found.state for found in self.message(id).recipients]

    def content_is_gone(self, handle: int) -> None:
        """See that a content that nobody needs is no longer there."""
        try:
            found = self.store.content(handle)
        except StoreError:
            return
        raise Unmet(f"expected no content of message {handle}, found {found!r}")

    def refused(self, operations: Sequence[Operation], what: str) -> None:
        """See that an impossible batch is refused."""
        try:
            self.store.apply(operations)
        except Exception:  # any: the contract names none for a caller's bug
            return
        raise Unmet(f"{what}: expected an exception, found none")
