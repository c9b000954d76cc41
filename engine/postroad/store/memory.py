"""The store in memory: the executable definition of the contract, for tests and for trying things out.

What it keeps lies on a shelf (`memory_shelf.py`) that takes back every change of an `apply` that fails.  Nothing survives
the process.  `sqlite.py` must answer exactly as this does.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar, cast

from msgspec.structs import replace

from ..errors import ContentDamaged, StoreError
from . import rows
from .charges import USED, Usage
from .contract import (
    NO_ROUTE,
    Accept,
    Accepted,
    Cancel,
    Cancelled,
    ContentPlace,
    DelayReport,
    Filter,
    Hold,
    IdempotencyKey,
    IdempotencyMismatch,
    LaneDue,
    LeaseRecord,
    Move,
    Moved,
    Operation,
    Prune,
    Pruned,
    QuotaExhausted,
    Recover,
    Recovered,
    Release,
    Remember,
    Report,
    Result,
    Retry,
    Settle,
    Settled,
    StoredMessage,
    TakeAsDelivered,
    TakeLeases,
    Taken,
    TakenAsDelivered,
    Tally,
)
from .memory_shelf import Entry, Key, Shelf
from .rows import DelayNotice, Row
from .states import ENDS, LEASABLE, IllegalStep, State, Step, sources

__all__ = ["MemoryStore", "memory_store"]

_K = TypeVar("_K")
_V = TypeVar("_V")
_NAMED_DOUBTS = 1000  # contract: Recovered names at most so many


class MemoryStore:
    """A Store that lives as long as its process."""

    threaded = False

    def __init__(self) -> None:
        self._shelf = Shelf()
        self._closed = False
        self._operations: Mapping[type[Any], Callable[[Any], Result]] = {
            Accept: self._accept,
            TakeLeases: self._take_leases,
            Settle: self._settle,
            Report: self._report,
            DelayReport: self._delay_report,
            Cancel: self._cancel,
            Hold: self._hold,
            Release: self._release,
            TakeAsDelivered: self._take_as_delivered,
            Retry: self._retry,
            Move: self._move,
            Recover: self._recover,
            Prune: self._prune,
            Remember: self._remember,
        }

    def apply(self, operations: Sequence[Operation]) -> list[Result]:
        if self._closed:
            raise StoreError("the store is closed")
        with self._shelf.all_or_nothing():
            return [self._operations[type(operation)](operation) for operation in operations]

    # --- Operations ---

    def _accept(self, accept: Accept) -> Accepted | IdempotencyMismatch | QuotaExhausted:
        known = self._shelf.handles.get(accept.message.id)
        if known is not None:
            return Accepted(accept.message.id, known, duplicate=True)
        earlier = self._earlier(accept.idempotency, accept.message.accepted_at)
        if earlier is not None:
            return earlier
        if accept.charges:
            usage = Usage(self._shelf.facts.get(USED))
            exhausted = usage.take(accept.charges)
            if exhausted is not None:
                return exhausted
            self._shelf.put(self._shelf.facts, USED, usage.encoded())
        handle, self._shelf.next_handle = self._shelf.next_handle, self._shelf.next_handle + 1
        for row in rows.accepted(handle, accept):
            self._shelf.put_row(row)
        self._shelf.put_entry(
            Entry(handle, accept.message, accept.content, len(accept.recipients), len(accept.recipients))
        )
        self._shelf.put(self._shelf.handles, accept.message.id, handle)
        if isinstance(accept.content, ContentPlace):
            self._shelf.drop(self._shelf.dead_files, accept.content.name)
        if accept.idempotency:
            key = accept.idempotency
            entry = Key(key.digest, key.expires_at, accept.message.id, handle)
            self._shelf.put(self._shelf.keys, (key.sender, key.key), entry)
        self._shelf.count(1, len(accept.recipients), accept.message.size)
        return Accepted(accept.message.id, handle)

    def _earlier(self, key: IdempotencyKey | None, now: float) -> Accepted | IdempotencyMismatch | None:
        known = self._shelf.keys.get((key.sender, key.key)) if key else None
        if key is None or known is None or known.expires_at <= now:
            return None
        if known.digest != key.digest:
            return IdempotencyMismatch(known.id)
        return Accepted(known.id, known.handle, duplicate=True)

    def _take_leases(self, take: TakeLeases) -> Taken:
        leases: list[LeaseRecord] = []
        tokens, budget = iter(take.tokens), take.content_bytes
        due = sorted(self._due(take), key=_order)
        by_message: dict[int, list[Row]] = {}
        for row in due:
            by_message.setdefault(row.handle, []).append(row)
        for row in due:
            left = by_message[row.handle]
            if not left or left[0] is not row:
                continue  # leased together with an earlier one
            token = next(tokens, None)
            if token is None:
                break
            lease = self._lease(token, left[: take.recipients_per_lease], budget)
            del left[: take.recipients_per_lease]
            budget -= len(lease.content or b"")
            leases.append(lease)
        return Taken(take.lane, tuple(leases), self._next_due(take.lane))

    def _due(self, take: TakeLeases) -> Iterator[Row]:
        waiting = (self._shelf.rows[place] for place in self._shelf.leasable.get(take.lane, ()))
        return (row for row in waiting if row.due <= take.now)

    def _lease(self, token: int, chosen: list[Row], budget: int) -> LeaseRecord:
        chosen = [rows.leased(row, token) for row in chosen]
        for row in chosen:
            self._shelf.put_row(row)
        entry = self._shelf.entries[chosen[0].handle]
        fits = isinstance(entry.content, bytes) and entry.message.size <= budget
        return LeaseRecord(
            token,
            entry.handle,
            entry.message,
            tuple(rows.as_leased(row) for row in chosen),
            cast("bytes", entry.content) if fits else None,
            entry.delay is not DelayNotice.NONE,
        )

    def _next_due(self, lane: str) -> float | None:
        return min((self._shelf.rows[place].due for place in self._shelf.leasable.get(lane, ())), default=None)

    def _settle(self, settle: Settle) -> Settled:
        states: list[State | None] = []
        ended: dict[int, int] = {}
        for outcome in settle.outcomes:
            row = self._shelf.rows.get((outcome.handle, outcome.number))
            if row is None or not rows.is_owned(row, outcome):
                states.append(None)
                continue
            row = rows.settled(row, outcome, settle.now)
            self._shelf.put_row(row)
            states.append(row.state)
            if row.state in ENDS:
                ended[row.handle] = ended.get(row.handle, 0) + 1
            if outcome.delay_notice and row.state in LEASABLE:
                self._want_delay_notice(row.handle)
        return Settled(tuple(states), self._shelf.end(ended, settle.now))

    def _want_delay_notice(self, handle: int) -> None:
        entry = self._shelf.entries[handle]
        if entry.delay is DelayNotice.NONE:
            self._shelf.put_entry(replace(entry, delay=DelayNotice.WANTED))

    def _report(self, report: Report) -> Accepted | IdempotencyMismatch | QuotaExhausted | None:
        answer = self._accept(report.accept) if report.accept else None
        if isinstance(answer, IdempotencyMismatch):
            return answer
        for number in report.numbers:
            row = self._shelf.rows.get((report.handle, number))
            if row is None:
                raise IllegalStep(f"there is no recipient {number} of message {report.handle} to report on")
            self._shelf.put_row(rows.reported(row, wanted=report.accept is not None))
        if report.numbers:
            self._shelf.end({report.handle: len(report.numbers)}, report.now)
        return answer

    def _delay_report(self, report: DelayReport) -> Accepted | IdempotencyMismatch | QuotaExhausted | None:
        entry = self._shelf.entries.get(report.handle)
        if entry is None or entry.delay is not DelayNotice.WANTED:
            return None
        answer = self._accept(report.accept) if report.accept else None
        if not isinstance(answer, IdempotencyMismatch):
            self._shelf.put_entry(replace(entry, delay=DelayNotice.DONE))
        return answer

    def _cancel(self, cancel: Cancel) -> Cancelled:
        ended: dict[int, int] = {}
        named: list[tuple[int, str, str]] = []
        chosen = self._shelf.chosen(cancel.filter, sources(Step.CANCEL))
        for row in chosen:
            after = rows.cancelled(row, cancel.now)
            self._shelf.put_row(after)
            if after.state in ENDS:
                ended[row.handle] = ended.get(row.handle, 0) + 1
                named.append((row.handle, self._shelf.entries[row.handle].message.id, row.address))
        finished = self._shelf.end(ended, cancel.now)
        return Cancelled(len(named), len(chosen) - len(named), tuple(named), finished)

    def _take_as_delivered(self, take: TakeAsDelivered) -> TakenAsDelivered:
        if take.filter.in_doubt is False:
            return TakenAsDelivered()
        ended: dict[int, int] = {}
        named: list[tuple[int, str, str]] = []
        for row in self._shelf.chosen(replace(take.filter, in_doubt=True), {State.HELD}):
            self._shelf.put_row(rows.taken_as_delivered(row, take.now))
            ended[row.handle] = ended.get(row.handle, 0) + 1
            named.append((row.handle, self._shelf.entries[row.handle].message.id, row.address))
        return TakenAsDelivered(len(named), tuple(named), self._shelf.end(ended, take.now))

    def _hold(self, hold: Hold) -> Moved:
        chosen = self._shelf.chosen(hold.filter, LEASABLE)
        for row in chosen:
            self._shelf.put_row(rows.held(row, hold.reason))
        return Moved(len(chosen), held=len(chosen))

    def _release(self, release: Release) -> Moved:
        legal = {State.HELD, State.PARKED} & (set(release.filter.states) or {State.HELD})
        return self._change(self._shelf.chosen(release.filter, legal), lambda row: rows.released(row, release.now))

    def _retry(self, retry: Retry) -> Moved:
        chosen = self._shelf.chosen(retry.filter, LEASABLE)
        moved = self._change(chosen, lambda row: rows.made_due(row, retry.now, retry.untried_until))
        if not retry.untried_until:
            return moved
        self._put_back_on_the_wall(retry)
        return replace(moved, lanes=rows.lanes_of(self._shelf.rows[row.handle, row.number] for row in chosen))

    def _put_back_on_the_wall(self, retry: Retry) -> None:
        for handle in {row.handle for row in self._shelf.chosen(retry.filter, frozenset(State) - ENDS)}:
            entry = self._shelf.entries[handle]
            if not entry.message.ahead:
                continue
            for row in self._shelf.rows_of(handle):
                if row.state not in ENDS and row.settled_at is None and row.due > retry.untried_until:
                    self._shelf.put_row(rows.back_on_the_wall(row, entry.message.ahead, retry.now))
            self._shelf.put_entry(replace(entry, message=rows.message_on_the_wall(entry.message)))

    def _change(self, chosen: list[Row], change: Callable[[Row], Row]) -> Moved:
        changed = [change(row) for row in chosen]
        for row in changed:
            self._shelf.put_row(row)
        return Moved(len(changed), rows.lanes_of(changed))

    def _move(self, move: Move) -> Moved:
        legal = LEASABLE | {State.HELD}
        chosen = self._shelf.chosen(Filter(lane=move.lane), legal)
        behind = [row for row in chosen if (row.handle, row.number) > move.after]
        looked_at = behind[: move.limit]
        changed: list[Row] = []
        for row in looked_at:
            after = rows.moved(row, move.choose(self._shelf.entries[row.handle].message, row.address), move.now)
            if after is not row:
                self._shelf.put_row(after)
                changed.append(after)
        rest = (looked_at[-1].handle, looked_at[-1].number) if len(behind) > len(looked_at) > 0 else None
        held = sum(row.state is State.HELD and row.reason == NO_ROUTE for row in changed)
        return Moved(len(changed), rows.lanes_of(row for row in changed if row.state in LEASABLE), held, rest)

    def _recover(self, recover: Recover) -> Recovered:
        waiting = 0
        ended: dict[int, int] = {}
        named: dict[State, list[tuple[str, str]]] = {State.IN_DOUBT: [], State.HELD: [], State.CANCELLED: []}
        for row in self._shelf.chosen(Filter(), {State.LEASED}):
            after = rows.recovered(row, recover)
            self._shelf.put_row(after)
            if after.state is State.WAITING:
                waiting += 1
            else:
                named[after.state].append((self._shelf.entries[row.handle].message.id, row.address))
            if after.state in ENDS:
                ended[row.handle] = ended.get(row.handle, 0) + 1
        self._shelf.end(ended, recover.now)
        doubted, held, cancelled = map(tuple, named.values())
        count = len(doubted) + len(held)
        restored = self._restored() if recover.restored else 0
        return Recovered(waiting, count, doubted[:_NAMED_DOUBTS], held[:_NAMED_DOUBTS], cancelled, restored)

    def _restored(self) -> int:
        found = list(self._shelf.chosen(Filter(), rows.RESTORABLE))
        for row in found:
            self._shelf.put_row(rows.restored(row))
        return len(found)

    def _prune(self, prune: Prune) -> Pruned:
        finished = sorted(
            (entry.finished_at, handle)
            for handle, entry in self._shelf.entries.items()
            if entry.finished_at is not None
        )
        before = prune.before
        if prune.keep is not None and len(finished) > prune.keep:
            before = max(before, finished[-prune.keep][0] if prune.keep else math.inf)
        old = [each for each in finished if each[0] < before][: prune.limit]
        for _, handle in old:
            self._forget_message(self._shelf.entries[handle])
        expired = sorted(
            (key.expires_at, place) for place, key in self._shelf.keys.items() if key.expires_at <= prune.now
        )
        for _, place in expired[: prune.limit]:
            self._shelf.drop(self._shelf.keys, place)
        files = tuple(sorted(self._shelf.dead_files)[: prune.limit])
        for name in files:
            self._shelf.drop(self._shelf.dead_files, name)
        return Pruned(len(old), files)

    def _forget_message(self, entry: Entry) -> None:
        for number in range(entry.numbers):
            self._shelf.drop(self._shelf.rows, (entry.handle, number))
        self._shelf.drop(self._shelf.entries, entry.handle)
        self._shelf.drop(self._shelf.handles, entry.message.id)

    def _remember(self, remember: Remember) -> None:
        if remember.value is None:
            self._shelf.drop(self._shelf.facts, remember.name)
        else:
            self._shelf.put(self._shelf.facts, remember.name, remember.value)

    # --- Questions ---

    def tally(self) -> Tally:
        return self._shelf.tally

    def recall(self, name: str) -> bytes | None:
        return self._shelf.facts.get(name)

    def lanes(self) -> Iterator[LaneDue]:
        firsts = [(lane, self._next_due(lane)) for lane in sorted(self._shelf.leasable)]
        return iter([LaneDue(lane, due) for lane, due in firsts if due is not None])

    def message(self, id: str) -> StoredMessage | None:
        handle = self._shelf.handles.get(id)
        return None if handle is None else self._stored(handle, self._shelf.rows_of(handle))

    def content(self, handle: int) -> bytes | ContentPlace:
        entry = self._shelf.entries.get(handle)
        if entry is None or entry.content is None:
            raise ContentDamaged("its content is gone")
        return entry.content

    def failures(self, limit: int, recipients: int = 100) -> list[StoredMessage]:
        failed: dict[int, list[Row]] = {}
        for row in self._shelf.chosen(Filter(), {State.FAILED}):
            failed.setdefault(row.handle, []).append(row)
        return [self._stored(handle, found[:recipients]) for handle, found in list(failed.items())[:limit]]

    def delays(self, limit: int) -> list[StoredMessage]:
        wanted = [entry.handle for entry in self._shelf.entries.values() if entry.delay is DelayNotice.WANTED]
        return [
            self._stored(handle, [row for row in self._shelf.rows_of(handle) if row.state not in ENDS])
            for handle in sorted(wanted)[:limit]
        ]

    def find(self, filter: Filter, limit: int, after: str = "") -> list[StoredMessage]:
        meant = {self._shelf.entries[row.handle].message.id for row in self._shelf.chosen(filter, State)}
        found = sorted(id for id in meant if id > after)[:limit]
        return [self._stored(self._shelf.handles[id], self._shelf.rows_of(self._shelf.handles[id])) for id in found]

    def counts(self) -> Mapping[State, int]:
        counted: dict[State, int] = {}
        for row in self._shelf.rows.values():
            counted[row.state] = counted.get(row.state, 0) + 1
        return counted

    def doubts(self) -> int:
        return sum(row.doubted and row.state not in ENDS for row in self._shelf.rows.values())

    def content_files(self) -> frozenset[str]:
        contents = (entry.content for entry in self._shelf.entries.values())
        return frozenset(content.name for content in contents if isinstance(content, ContentPlace))

    def check(self) -> list[str]:
        return []

    def maintain(self, *, idle: bool) -> None:
        """Nothing to tidy."""

    def close(self) -> None:
        self._closed = True

    def _stored(self, handle: int, found: list[Row]) -> StoredMessage:
        entry = self._shelf.entries[handle]
        return StoredMessage(
            handle=handle,
            message=entry.message,
            recipients=tuple(rows.as_stored(row) for row in found),
            finished_at=entry.finished_at,
            delay_notice=entry.delay is DelayNotice.WANTED,
        )


def _order(row: Row) -> tuple[int, float, int, int]:
    return row.priority, row.due, row.handle, row.number


@contextmanager
def memory_store(url: str, *, folder: os.PathLike[str]) -> Generator[MemoryStore]:
    """A StoreFactory for `memory:`; both arguments are ignored, every call makes an empty store."""
    store = MemoryStore()
    try:
        yield store
    finally:
        store.close()
