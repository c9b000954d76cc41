"""What a store does: apply operations in one durable transaction, and answer questions about what is committed.

A store is synchronous and knows no trio: the queue actor alone calls `apply`, through `store/executor.py`, which runs a
threaded store in one worker thread of its own.  It keeps and finds; it decides nothing.  `memory.py` is the executable
definition of this contract, `postroad.testing.check_store` tries any store against it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol, TypeAlias

import msgspec

from ..message import Message
from .states import State, Step

__all__ = [
    "CLOCK",
    "CRASHED",
    "IN_DOUBT",
    "NO_ROUTE",
    "RESTORED",
    "TAKEN",
    "UNROUTED",
    "Accept",
    "Accepted",
    "Cancel",
    "Cancelled",
    "Charge",
    "ContentPlace",
    "DelayReport",
    "Filter",
    "Hold",
    "IdempotencyKey",
    "IdempotencyMismatch",
    "LaneDue",
    "LeaseRecord",
    "LeasedRecipient",
    "Move",
    "Moved",
    "NewRecipient",
    "Operation",
    "Outcome",
    "Prune",
    "Pruned",
    "QuotaExhausted",
    "Recover",
    "Recovered",
    "Release",
    "Remember",
    "Report",
    "Result",
    "Retry",
    "Settle",
    "Settled",
    "Store",
    "StoreFactory",
    "StoredMessage",
    "StoredRecipient",
    "TakeAsDelivered",
    "TakeLeases",
    "Taken",
    "TakenAsDelivered",
    "Tally",
]


CLOCK = "clock"  # the fact that says, in Unix seconds, how far the engine's clock had come
UNROUTED = "?"  # the lane of what came in while no engine ran, and of what has no route
NO_ROUTE = "no route"  # how the reason of a hold begins that ends by itself when routing finds a lane
CRASHED = "the engine ended before the answer was known"  # why something is in doubt after Recover
RESTORED = "restored from a backup, may have been delivered since"  # why all is in doubt after Recover(restored=True)
IN_DOUBT = "in doubt"  # how the reason of a hold begins that waits for a decision on a doubt
UNREADABLE = "cannot be read"  # how the reason of a parked recipient begins
TAKEN = "in doubt, taken as delivered"  # how the last word begins of what was


class ContentPlace(msgspec.Struct, frozen=True, gc=False):
    """Content that already lies, synced, in a file of the spool's content folder; `name` is relative to that folder."""

    name: str


class NewRecipient(msgspec.Struct, frozen=True, gc=False):
    """A recipient as it is accepted.  lease: the token of a lease that begins with this very commit, or 0.

    due: wall seconds, not before.  state: WAITING, or HELD (with a reason) where no route fits.
    """

    address: str
    lane: str
    due: float
    lease: int = 0
    state: State = State.WAITING
    reason: str = ""
    notify: tuple[str, ...] = ()
    orcpt: str = ""


class IdempotencyKey(msgspec.Struct, frozen=True):
    """Unique per sender until `expires_at`; digest covers what the caller gave."""

    sender: str
    key: str
    digest: bytes
    expires_at: float


class Charge(msgspec.Struct, frozen=True, gc=False):
    """What a message takes of a quota: `amount` of the `limit` that its window has.

    quota: its name.  start: when the window begins, whole wall seconds.  seconds: how long it lasts.
    """

    quota: str
    amount: int
    limit: int
    start: int
    seconds: int


# --- Operations.  All of one `apply` are committed together, in the order given. ---


class Accept(msgspec.Struct, frozen=True, gc=False):
    """Store a message.  A message whose id is already there was accepted before: the answer says `duplicate`.

    charges: counted in the same transaction; where one does not fit, none is counted and nothing is stored.  A duplicate
    costs nothing.
    """

    message: Message
    recipients: tuple[NewRecipient, ...]
    content: bytes | ContentPlace
    idempotency: IdempotencyKey | None = None
    charges: tuple[Charge, ...] = ()


class Accepted(msgspec.Struct, frozen=True, gc=False):
    """Answer to Accept: `id` is that of the earlier message if this one is a duplicate.  handle: the store's own key."""

    id: str
    handle: int
    duplicate: bool = False


class IdempotencyMismatch(msgspec.Struct, frozen=True):
    """Answer to Accept: the key belongs to another submission; nothing was stored."""

    id: str


class QuotaExhausted(msgspec.Struct, frozen=True):
    """Answer to Accept: this charge does not fit beside what is used of its quota; nothing was stored."""

    charge: Charge
    used: int


class TakeLeases(msgspec.Struct, frozen=True):
    """Lease what is due on one lane: by priority, then due time; one lease is one message, at most 100 recipients.

    tokens: one per lease that may be taken; they are unique for the store's life.
    content_bytes: contents up to this many octets in all are read along (the rest has content None).
    """

    lane: str
    now: float
    tokens: tuple[int, ...]
    content_bytes: int = 0
    recipients_per_lease: int = 100


class LeasedRecipient(msgspec.Struct, frozen=True, gc=False):
    """A recipient in a lease.  number: its place within the message.  in_doubt: it may have been delivered before."""

    number: int
    address: str
    attempts: int = 0
    in_doubt: bool = False
    notify: tuple[str, ...] = ()
    orcpt: str = ""


class LeaseRecord(msgspec.Struct, frozen=True, gc=False):
    """One lease as the store grants it."""

    token: int
    handle: int
    message: Message
    recipients: tuple[LeasedRecipient, ...]
    content: bytes | None
    delay_noticed: bool = False


class Taken(msgspec.Struct, frozen=True):
    """Answer to TakeLeases.

    next_due: the earliest due time of what is left leasable on the lane (it may be past), or None where nothing is.
    parked: ids of messages whose rows could not be read and are PARKED now.
    """

    lane: str
    leases: tuple[LeaseRecord, ...]
    next_due: float | None
    parked: tuple[str, ...] = ()


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """What became of one leased recipient.

    step: DELIVER, DEFER, POSTPONE, DOUBT, FAIL, HOLD, PARK.  due: when to try again, for the steps that lead to a leasable state.
    tried: whether this counts as an attempt.  delay_notice: the sender is to be told of the delay, once per message.
    lane: the lane to wait on from now on, "" for the same.  in_doubt: it may have been delivered unseen, whatever the step;
    DOUBT alone says so, too.
    """

    token: int
    handle: int
    number: int
    step: Step
    due: float = 0.0
    tried: bool = True
    status: str = ""
    reply: str = ""
    remote: str = ""
    delay_notice: bool = False
    lane: str = ""
    in_doubt: bool = False

    @property
    def leaves_doubt(self) -> bool:
        return self.in_doubt or self.step is Step.DOUBT


class Settle(msgspec.Struct, frozen=True):
    """Settle leased recipients.  An outcome with a stale token changes nothing.

    A recipient that was cancelled while leased becomes CANCELLED on every step but DELIVER.
    """

    outcomes: tuple[Outcome, ...]
    now: float


class Settled(msgspec.Struct, frozen=True):
    """Answer to Settle.

    states: the state after each outcome, None for a stale one.
    finished: handles of messages with no unfinished recipient left (FAILED counts as unfinished until it is reported).
    """

    states: tuple[State | None, ...]
    finished: tuple[int, ...] = ()


class Report(msgspec.Struct, frozen=True):
    """Commit the report on failed recipients of one message and mark them, in one transaction.

    accept: the report to store, or None where nobody wants one (then the recipients become UNREPORTED).
    """

    handle: int
    numbers: tuple[int, ...]
    accept: Accept | None
    now: float


class DelayReport(msgspec.Struct, frozen=True):
    """Commit the one notice of delay of a message (or, with accept None, note that none is wanted)."""

    handle: int
    accept: Accept | None
    now: float


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """Which recipients an operator means.  All given conditions must hold; an empty filter means all."""

    id: str | None = None
    recipient: str | None = None
    lane: str | None = None
    sender: str | None = None
    domain: str | None = None
    states: tuple[State, ...] = ()
    in_doubt: bool | None = None  # StoredRecipient.in_doubt


class Cancel(msgspec.Struct, frozen=True):
    """Withdraw recipients by name.  A leased one is marked, and cancelled when its attempt ends without success.

    A filter that is an id and nothing else means the whole message: recipients that were lost by damage are given up with it.
    """

    filter: Filter
    now: float


class Hold(msgspec.Struct, frozen=True):
    """Hold leasable recipients until released.  Leased ones are not touched."""

    filter: Filter
    reason: str
    now: float


class Release(msgspec.Struct, frozen=True):
    """End holds: HELD recipients become WAITING and due now.  PARKED ones too where the filter's states name PARKED.

    One that was never settled keeps a due time in the future: scheduled mail never leaves before its send_at.
    """

    filter: Filter
    now: float


class TakeAsDelivered(msgspec.Struct, frozen=True):
    """Decide on doubts: recipients that are HELD and in doubt become ACCEPTED.  No others are touched."""

    filter: Filter
    now: float


class Retry(msgspec.Struct, frozen=True):
    """Make leasable recipients due now.

    One that was never settled keeps a due time in the future: scheduled mail never leaves before its send_at.
    untried_until: those with a due time up to this one are made due, too: it had come, by a clock that was set back since.
    Then what was given while the clock was ahead of the wall (`Message.ahead`) goes back to the wall's moments, held mail too:
    the messages that the filter means, and the later due times of what was never settled.
    """

    filter: Filter
    now: float
    untried_until: float = 0.0


class Move(msgspec.Struct, frozen=True):
    """Move up to `limit` leasable or held recipients of a lane to other lanes; None holds them on UNROUTED.

    choose: called with (message, address) for each; it must be a pure function.  Held ones that get a lane are released
    only if they were held for want of a route (`reason` begins with NO_ROUTE).  after: (handle, number) behind which to
    look, from `Moved.rest` of the call before.
    """

    lane: str
    choose: Callable[[Message, str], str | None]
    now: float
    limit: int = 1000
    after: tuple[int, int] = (0, 0)


def sent_again(lane: str) -> Step:
    """What becomes of a doubt where no route asks."""
    return Step.DOUBT


class Recover(msgspec.Struct, frozen=True):
    """What a new engine does first: settle what an earlier one left LEASED.

    marked: tokens that had begun to hand over.  rebooted: the machine was restarted since, so no mark can be trusted:
    every lease is in doubt.  doubt: called with the lane of each that is, it names the step, DOUBT or HOLD; it must be a pure
    function.  restored: the store is older than what was done with it.  So behind all that everything is in doubt that could be
    delivered again (leasable, held, parked); what is leasable is held for it, and so is what was held for want of a route.
    """

    marked: frozenset[int]
    rebooted: bool
    now: float
    doubt: Callable[[str], Step] = sent_again
    restored: bool = False


class Recovered(msgspec.Struct, frozen=True):
    """Answer to Recover.  doubted: how many are in doubt, those included that are held.

    in_doubt, held: (message id, address) pairs of those that became IN_DOUBT and HELD, at most 1,000 of each named.
    cancelled: of all that were cancelled while leased and ended by that.  restored: how many are in doubt since `restored`.
    """

    waiting: int
    doubted: int
    in_doubt: tuple[tuple[str, str], ...] = ()
    held: tuple[tuple[str, str], ...] = ()
    cancelled: tuple[tuple[str, str], ...] = ()
    restored: int = 0


class Prune(msgspec.Struct, frozen=True):
    """Forget messages that finished before `before`, or that are not among the `keep` last; and keys past their time.

    At most `limit` of each.  Messages that finished at the same moment as the last one kept are kept, too.
    """

    before: float
    now: float
    limit: int = 1000
    keep: int | None = None


class Pruned(msgspec.Struct, frozen=True):
    messages: int
    content_files: tuple[str, ...] = ()  # names that may be deleted now


class Remember(msgspec.Struct, frozen=True):
    """Keep a small fact under a name (the incarnation, the rules for doors, what was learnt); None forgets it."""

    name: str
    value: bytes | None


class Cancelled(msgspec.Struct, frozen=True):
    """Answer to Cancel.

    recipients: how many became CANCELLED now; marked: how many are leased and will be when their attempt ends.
    cancelled: (handle, message id, address) of those that ended now.  finished: as in Settled.  lost: how many were given up
    that had no end and are not there any more.
    """

    recipients: int
    marked: int
    cancelled: tuple[tuple[int, str, str], ...] = ()
    finished: tuple[int, ...] = ()
    lost: int = 0


class TakenAsDelivered(msgspec.Struct, frozen=True):
    """Answer to TakeAsDelivered: how many, and (handle, message id, address) of each.  finished: as in Settled."""

    recipients: int = 0
    taken: tuple[tuple[int, str, str], ...] = ()
    finished: tuple[int, ...] = ()


class Moved(msgspec.Struct, frozen=True):
    """Answer to Hold, Release, Retry and Move: how many recipients it meant, and their lanes with the earliest due time.

    rest: where Move reached its limit, the place to go on from (`Move.after`); None where it has seen all.
    """

    recipients: int
    lanes: tuple[LaneDue, ...] = ()
    held: int = 0
    rest: tuple[int, int] | None = None


Operation: TypeAlias = (
    Accept
    | TakeLeases
    | Settle
    | Report
    | DelayReport
    | Cancel
    | Hold
    | Release
    | TakeAsDelivered
    | Retry
    | Move
    | Recover
    | Prune
    | Remember
)
Result: TypeAlias = (
    Accepted
    | IdempotencyMismatch
    | QuotaExhausted
    | Taken
    | Settled
    | Cancelled
    | TakenAsDelivered
    | Moved
    | Recovered
    | Pruned
    | None
)


# --- Answers to questions ---


class LaneDue(msgspec.Struct, frozen=True, gc=False):
    """A lane with something leasable, and the earliest time that any of it is due."""

    lane: str
    due: float


class StoredRecipient(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A recipient as questions show it.  in_doubt: an attempt may have delivered it unseen; once true it stays true."""

    number: int
    address: str
    lane: str
    state: State
    due: float
    attempts: int
    status: str = ""
    reply: str = ""
    remote: str = ""
    settled_at: float | None = None
    reason: str = ""  # why it is held
    notify: tuple[str, ...] = ()
    orcpt: str = ""
    in_doubt: bool = False


class StoredMessage(msgspec.Struct, frozen=True, kw_only=True):
    handle: int
    message: Message
    recipients: tuple[StoredRecipient, ...]
    finished_at: float | None = None
    delay_notice: bool = False  # a notice of delay is to be written


class Tally(msgspec.Struct, frozen=True):
    """What is unfinished in the spool, kept up to date by every commit (never counted by a scan)."""

    messages: int = 0
    recipients: int = 0
    content_bytes: int = 0


class Store(Protocol):
    """A durable store.  `apply` is called by one thread at a time; the questions may come from another thread.

    threaded: whether calls may block (disk, network) and must run in a worker thread.
    """

    threaded: bool

    def apply(self, operations: Sequence[Operation]) -> list[Result]:
        """Commit all operations durably in one transaction and answer each; on any exception nothing was stored.

        Raises StoreError when the storage fails.  Accept answers IdempotencyMismatch or QuotaExhausted instead of raising.
        """
        ...

    def maintain(self, *, idle: bool) -> None:
        """Tidy up off the commit path; cheap when there is nothing to do.

        Called by the thread that applies, after each commit (idle False) and when there is nothing to do (idle True).
        """
        ...

    def tally(self) -> Tally:
        """What is unfinished, as of the last commit.  Cheap, and safe from any thread."""
        ...

    def recall(self, name: str) -> bytes | None:
        """What Remember kept under this name."""
        ...

    def lanes(self) -> Iterator[LaneDue]:
        """Every lane with something leasable.  Costs per lane, not per recipient."""
        ...

    def message(self, id: str) -> StoredMessage | None:
        """A message with all its recipients, or None."""
        ...

    def content(self, handle: int) -> bytes | ContentPlace:
        """A message's content.  Raises ContentDamaged where it is gone, or has another size than it had."""
        ...

    def failures(self, limit: int, recipients: int = 100) -> list[StoredMessage]:
        """Messages with FAILED recipients: only those recipients, at most `recipients` each; oldest first."""
        ...

    def delays(self, limit: int) -> list[StoredMessage]:
        """Messages whose notice of delay is to be written, with their unfinished recipients."""
        ...

    def find(self, filter: Filter, limit: int, after: str = "") -> list[StoredMessage]:
        """Messages with a recipient that the filter means, by id, beginning behind the id `after`."""
        ...

    def counts(self) -> Mapping[State, int]:
        """Recipients by state, counted by a scan: for people, not for the engine."""
        ...

    def doubts(self) -> int:
        """How many unfinished recipients are in doubt, counted by a scan."""
        ...

    def content_files(self) -> frozenset[str]:
        """Names of the content files that unfinished messages need, by a scan.  Raises StoreError where one cannot be read."""
        ...

    def check(self) -> list[str]:
        """Problems found by reading everything: one sentence each, none when sound."""
        ...

    def close(self) -> None: ...


class StoreFactory(Protocol):
    """Opens a store: called with the URL behind its scheme and the folder for content files.

    Raises SpoolForeign, SpoolInUse, SpoolTooNew or StoreError.  The context manager closes the store.
    """

    def __call__(self, url: str, *, folder: os.PathLike[str]) -> AbstractContextManager[Store]: ...
