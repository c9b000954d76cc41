"""What waits at the intake, as parts of queue's next commit.  Only used by the queue actor.

Acceptances get leases in the same commit where a credit is free, the lane has room and nothing older is due on it.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import msgspec

from ..intake import Entry
from ..store.contract import (
    Accept,
    Accepted,
    Cancel,
    Cancelled,
    DelayReport,
    LeasedRecipient,
    Moved,
    Report,
    TakeAsDelivered,
    TakenAsDelivered,
)
from ..store.states import State
from .batch import Batch
from .lanes import LaneBook
from .leases import LeaseBook
from .notes import Lease
from .ports import Ports
from .record import Recorder

__all__ = ["IntakeParts"]


_PATIENCE_SECONDS = 0.05  # the longest that a submission waits for room; the disk's own sync takes 1 to 10 ms


class _FreshLease(msgspec.Struct, gc=False):
    """A lease that begins with the acceptance of its message."""

    token: int
    lane: str
    recipients: list[LeasedRecipient] = []


class _Acceptance(msgspec.Struct):
    """A part of the commit: one acceptance, and the leases that it grants.

    The garbage collector must see it: an error that is told to several refers to the commit, and so to each of them.
    """

    parts: IntakeParts
    entry: Entry
    accept: Accept
    fresh: list[_FreshLease]
    now: float

    def done(self, answer: Any) -> None:
        if isinstance(answer, Accepted) and not answer.duplicate:
            self.parts.stored(self.accept, self.fresh, answer.handle, self.now)
        else:
            self.parts.give_back(self.fresh, self.now)
        self.entry.finish(answer)

    def failed(self, error: Exception) -> None:
        self.entry.fail(error)
        self.parts.give_back(self.fresh, self.now)


class IntakeParts:
    """Adds parts to batches.

    begun: where leases go that a commit granted.  accepted: how many submissions the last batch has.
    """

    def __init__(self, ports: Ports, leases: LeaseBook, lanes: LaneBook, recorder: Recorder) -> None:
        self._ports = ports
        self._leases = leases
        self._lanes = lanes
        self._recorder = recorder
        self.begun: list[Lease] = []
        self.accepted = 0

    def add(
        self, batch: Batch, begun: list[Lease], now: float, credits: int | None, entries: int, octets: int
    ) -> list[Entry]:
        """Take what waits, and return what waits on, for room.

        credits: how many fresh leases may be used; None while nothing is leased at all, so that nothing waits for it.
        """
        self.begun = begun
        self.accepted = 0
        held: list[Entry] = []
        for entry in self._ports.intake.take(entries, octets):
            if not isinstance(entry.operation, Accept):
                self._add_other(batch, entry, now)
            elif self._ports.reserve.is_missing:
                entry.fail(self._ports.reserve.refusal())
            elif credits is None:
                self._add_accept(batch, entry, entry.operation, now, 0)
            elif self._waits_for_room(entry, entry.operation, now):
                held.append(entry)
            else:
                credits -= self._add_accept(batch, entry, entry.operation, now, credits)
        self._ports.intake.put_back(held)
        return held

    # --- acceptances ---

    def _waits_for_room(self, entry: Entry, accept: Accept, now: float) -> bool:
        """Whether a submission had better wait a moment, so that it is leased by the commit that accepts it.

        Taken at once it would be written, read again and leased by a commit of its own; and submitters that outrun a
        quick destination would build a backlog that every later message has to pass through.
        """
        first = accept.recipients[0]
        if first.due > now or not self._lanes.is_turning(first.lane, now):
            return False
        if not entry.held_until:
            entry.held_until = now + _PATIENCE_SECONDS
        return now < entry.held_until

    def _add_accept(self, batch: Batch, entry: Entry, accept: Accept, now: float, credits: int) -> int:
        self.accepted += 1
        fresh = self._reserve(accept, now, credits)
        operation = _with_leases(accept, fresh) if fresh else accept
        part = _Acceptance(self, entry, accept, fresh, now)
        batch.add(operation, part.done, part.failed)
        return len(fresh)

    def stored(self, accept: Accept, fresh: list[_FreshLease], handle: int, now: float) -> None:
        """The commit is through: its leases begin."""
        self._begin(accept, fresh, handle, now)
        self._recorder.accepted(accept, now)

    def _reserve(self, accept: Accept, now: float, credits: int) -> list[_FreshLease]:
        fresh: list[_FreshLease] = []
        open_for: dict[str, _FreshLease | None] = {}  # lanes of this message: the lease that takes more, or none
        for number, recipient in enumerate(accept.recipients):
            if recipient.due > now or recipient.state is not State.WAITING:
                continue
            lane = recipient.lane
            lease = open_for.get(lane)
            if lease is None and lane in open_for:
                continue
            if lease is None or len(lease.recipients) >= self._per_lease(lane):
                lease = None
                if len(fresh) < credits and self._lanes.take_fresh(lane, now):
                    lease = _FreshLease(self._leases.reserve(), lane)
                    fresh.append(lease)
                open_for[lane] = lease
            if lease is not None:
                lease.recipients.append(
                    LeasedRecipient(number, recipient.address, notify=recipient.notify, orcpt=recipient.orcpt)
                )
        return fresh

    def _per_lease(self, lane: str) -> int:
        road = self._ports.table.road_of(lane)
        return road.recipients_per_call if road else 100

    def give_back(self, fresh: list[_FreshLease], now: float) -> None:
        """Nothing was stored."""
        for lease in fresh:
            self._leases.give_back(lease.token)
            self._lanes.give_back(lease.lane, now)

    def _begin(self, accept: Accept, fresh: list[_FreshLease], handle: int, now: float) -> None:
        left = len(accept.recipients)
        for plan in fresh:
            left -= len(plan.recipients)
            lease = Lease(
                token=plan.token,
                handle=handle,
                lane=plan.lane,
                message=accept.message,
                recipients=tuple(plan.recipients),
                content=self._ports.content_of(handle, accept.message),
            )
            self._leases.begin(lease)
            self.begun.append(lease)
        if fresh and isinstance(accept.content, bytes):
            self._ports.cache.put(handle, accept.content)
        if left:
            self._note_due(accept, {recipient.number for plan in fresh for recipient in plan.recipients}, now)

    def _note_due(self, accept: Accept, but: Collection[int], now: float) -> None:
        for number, recipient in enumerate(accept.recipients):
            if number not in but and recipient.state is State.WAITING:
                self._lanes.note_due(recipient.lane, recipient.due, now)

    # --- everything else ---

    def _add_other(self, batch: Batch, entry: Entry, now: float) -> None:
        def done(answer: Any) -> None:
            self._take_note(entry, answer, now)
            entry.finish(answer)

        batch.add(entry.operation, done, entry.fail)

    def _take_note(self, entry: Entry, answer: Any, now: float) -> None:
        match entry.operation, answer:
            case (Report() | DelayReport()) as reported, Accepted() if reported.accept is not None:
                self._recorder.accepted(reported.accept, now)
                self._note_due(reported.accept, (), now)
            case Cancel() as cancel, Cancelled():
                for _, id, address in answer.cancelled:
                    self._recorder.cancelled(id, address, now)
                if answer.lost and cancel.filter.id is not None:
                    self._recorder.gave_up(cancel.filter.id, answer.lost)
            case TakeAsDelivered(), TakenAsDelivered():
                for _, id, address in answer.taken:
                    self._recorder.taken_as_delivered(id, address, now)
            case _, Moved():
                for lane in answer.lanes:
                    self._lanes.note_due(lane.lane, lane.due, now)
            case _:
                pass


def _with_leases(accept: Accept, fresh: list[_FreshLease]) -> Accept:
    recipients = list(accept.recipients)
    for lease in fresh:
        for leased in lease.recipients:
            recipients[leased.number] = msgspec.structs.replace(recipients[leased.number], lease=lease.token)
    return msgspec.structs.replace(accept, recipients=tuple(recipients))
