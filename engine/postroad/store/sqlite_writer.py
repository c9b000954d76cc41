"""The operations of the SQLite store inside one open transaction.

A Writer lives for one `apply`: whatever it counts is thrown away with the transaction when that fails.  It reads rows,
has `rows.py` decide what becomes of them, and writes them back; it never begins or commits.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import groupby
from typing import Any, TypeAlias, cast

from msgspec.structs import replace

from ..message import Message
from . import rows, sql
from .charges import USED, Usage
from .contract import (
    NO_ROUTE,
    UNREADABLE,
    Accept,
    Accepted,
    Cancel,
    Cancelled,
    Charge,
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
    TakeAsDelivered,
    TakeLeases,
    Taken,
    TakenAsDelivered,
    Tally,
)
from .rows import PRIORITIES, DelayNotice, Row
from .sqlite_damage import is_tally
from .sqlite_port import Columns, Database
from .sqlite_rows import (
    Contradiction,
    Unreadable,
    change_of,
    flaw_of,
    handle_of,
    insert_of,
    message_of,
    pack,
    place_of,
    record_of,
    row_of,
)
from .states import ENDS, LEASABLE, IllegalStep, State, Step, advance, sources

__all__ = ["Writer"]

Answer: TypeAlias = Accepted | IdempotencyMismatch | QuotaExhausted

_NAMED_DOUBTS = 1000  # contract: Recovered names at most so many
_LEASED = int(sql.only_target(Step.LEASE, LEASABLE))
_PARKED = int(sql.only_target(Step.PARK, LEASABLE))
_HELD = int(sql.only_target(Step.HOLD, LEASABLE))
_MISSING: Columns = (0, "?", "", 0, b"", None, 0)  # recipients whose message is not there
_MISSING_TO_LEASE: Columns = ("?", b"", b"", 0, 0, 0, None, None)
_UNKNOWN_LETTER = "\ufffd"  # stands where a damaged address was mended; no address holds it
_RELEASED = {State.HELD: Step.RELEASE, State.PARKED: Step.SALVAGE}


class Writer:
    """One transaction's operations."""

    def __init__(self, connection: Database) -> None:
        self._execute = connection.execute
        self._executemany = connection.executemany
        self._connection = connection
        found = self._one(sql.SPOOL)
        if found is None or not is_tally(found):
            raise Unreadable("the spool has lost its counters")
        self._messages, self._recipients, self._content_bytes, self._next_handle = found
        self._began_with = self._counters()
        self._usage: Usage | None = None  # of quotas; read when the first message is charged

    def run(self, operations: Sequence[Operation]) -> list[Result]:
        """Answer the operations in their order; neighbouring Accepts are stored together."""
        results: list[Result] = []
        for kind, run in groupby(operations, type):
            if kind is Accept:
                results.extend(self._accept(cast("list[Accept]", list(run))))
            else:
                results.extend(_OPERATIONS[kind](self, operation) for operation in run)
        if self._counters() != self._began_with:
            self._execute(sql.SET_SPOOL, self._counters())
        if self._usage and self._usage.is_changed:
            self._execute(sql.SET_FACT, (USED, self._usage.encoded()))
        return results

    def tally(self) -> Tally:
        return Tally(self._messages, self._recipients, self._content_bytes)

    def _counters(self) -> tuple[int, int, int, int]:
        return self._messages, self._recipients, self._content_bytes, self._next_handle

    def _one(self, statement: str, *values: Any) -> Columns | None:
        return self._execute(statement, values).fetchone()

    def _message(self, handle: int) -> Columns:
        """A message's MESSAGE columns, made up where recipients have lost theirs."""
        return self._one(sql.MESSAGE_BY_HANDLE, handle) or _MISSING

    def _first(self, statement: str, *values: Any) -> Any:
        """The first column of the only row, None where there is none."""
        return self._execute(statement, values).get

    # --- Accepting ---

    def _accept(self, accepts: Sequence[Accept]) -> list[Answer]:
        known: dict[str, int] = dict(self._execute(sql.KNOWN_IDS, (pack([a.message.id for a in accepts]),)))
        answers: list[Answer] = []
        fresh: list[tuple[int, Accept]] = []
        for accept in accepts:
            answer = self._duplicate(accept, known) or self._charge(accept.charges)
            if answer is None:
                answer = self._admit(accept)
                known[answer.id] = answer.handle
                fresh.append((answer.handle, accept))
            answers.append(answer)
        self._insert(fresh)
        return answers

    def _duplicate(self, accept: Accept, known: Mapping[str, int]) -> Answer | None:
        handle = known.get(accept.message.id)
        if handle is not None:
            return Accepted(accept.message.id, handle, duplicate=True)
        return self._earlier(accept.idempotency, accept.message.accepted_at) if accept.idempotency else None

    def _earlier(self, key: IdempotencyKey, now: float) -> Answer | None:
        for digest, expires_at, id, handle in self._execute(sql.KEY, (key.sender, key.key)):
            if not (isinstance(digest, bytes) and isinstance(expires_at, float) and isinstance(handle, int)):
                raise Unreadable("an idempotency key")
            if expires_at > now:
                return Accepted(id, handle, duplicate=True) if digest == key.digest else IdempotencyMismatch(id)
        return None

    def _charge(self, charges: Sequence[Charge]) -> QuotaExhausted | None:
        if not charges:
            return None
        self._usage = self._usage or Usage(self._first(sql.FACT, USED))
        return self._usage.take(charges)

    def _admit(self, accept: Accept) -> Accepted:
        """Give a handle; the key is written at once, for the next one in the batch to find."""
        handle = self._next_handle
        self._next_handle += 1
        key = accept.idempotency
        if key:
            values = (key.sender, key.key, key.digest, key.expires_at, accept.message.id, handle)
            self._execute(sql.ADD_KEY, values)
        self._messages += 1
        self._recipients += len(accept.recipients)
        self._content_bytes += accept.message.size
        return Accepted(accept.message.id, handle)

    def _insert(self, fresh: Sequence[tuple[int, Accept]]) -> None:
        self._executemany(sql.ADD_MESSAGE, [_message_columns(handle, accept) for handle, accept in fresh])
        self._executemany(
            sql.ADD_RECIPIENT, [insert_of(row) for handle, accept in fresh for row in rows.accepted(handle, accept)]
        )
        self._executemany(
            sql.ADD_CONTENT,
            [(handle, accept.content) for handle, accept in fresh if isinstance(accept.content, bytes)],
        )
        files = [accept.content.name for _, accept in fresh if isinstance(accept.content, ContentPlace)]
        self._executemany(sql.DROP_DEAD_FILE, [(name,) for name in files])  # a name that is used again

    # --- Leasing ---

    def _take_leases(self, take: TakeLeases) -> Taken:
        leases: list[LeaseRecord] = []
        parked: dict[int, str] = {}
        budget = take.content_bytes
        tokens = iter(take.tokens)
        token = next(tokens, None)
        for priority in PRIORITIES:
            while token is not None and (
                handles := self._due_messages(take, priority, len(take.tokens) - len(leases), parked)
            ):
                for handle in handles:
                    assert token is not None, "no more messages than tokens"
                    lease = self._lease(take, token, handle, budget, parked)
                    if lease:
                        leases.append(lease)
                        budget -= len(lease.content or b"")
                        token = next(tokens, None)
        return Taken(
            take.lane, tuple(leases), self._first(sql.NEXT_DUE, take.lane), tuple(dict.fromkeys(parked.values()))
        )

    def _due_messages(self, take: TakeLeases, priority: int, count: int, parked: Container[int]) -> list[int]:
        """The first messages with something due, once for each lease they make, at most `count`; reads no further."""
        handles: list[int] = []
        seen: Counter[int] = Counter()
        for (place,) in self._execute(sql.DUE_PLACES, (take.lane, priority, take.now)):
            handle = handle_of(place)
            if handle in parked:  # by an index that was not told
                continue
            if seen[handle] % take.recipients_per_lease == 0:
                handles.append(handle)
            if len(handles) == count:
                break
            seen[handle] += 1
        return handles

    def _lease(
        self, take: TakeLeases, token: int, handle: int, budget: int, parked: dict[int, str]
    ) -> LeaseRecord | None:
        found = self._one(sql.MESSAGE_TO_LEASE, handle, budget) or _MISSING_TO_LEASE
        id, sender, record, delay, size, octets, file, content = found
        if not isinstance(file, str | None):
            raise Contradiction("a message does not tell where its content is")
        try:
            message, chosen = message_of(record), self._due_rows(take, handle)
            if flaw := flaw_of(id, sender, size, octets, message):
                raise Unreadable(flaw)
        except Unreadable as error:
            self._execute(sql.PARK_MESSAGE, (handle, _PARKED, f"{UNREADABLE}: {error}"))
            parked[handle] = id
            return None
        self._executemany(sql.LEASE, [(_LEASED, token, place_of(handle, row.number)) for row in chosen])
        return LeaseRecord(
            token,
            handle,
            message,
            tuple(map(rows.as_leased, chosen)),
            content,
            delay != DelayNotice.NONE,
        )

    def _due_rows(self, take: TakeLeases, handle: int) -> list[Row]:
        due = self._execute(sql.DUE_OF_MESSAGE, (handle, take.lane, take.now, take.recipients_per_lease))
        try:
            found = [row_of(columns) for columns in due]
        except UnicodeDecodeError as error:
            raise Unreadable(f"a recipient: {error}") from error
        if not found:
            raise Unreadable("its recipients are not as their index says")
        for row in found:
            if rows.is_torn(row):
                raise Contradiction("a recipient waits, and an attempt has it")
            if not row.address or _UNKNOWN_LETTER in row.address or "\0" in row.address:
                raise Unreadable(f"a recipient was damaged: {row.address!r}")
        return found

    # --- Settling ---

    def _settle(self, settle: Settle) -> Settled:
        known = self._rows_at(place_of(outcome.handle, outcome.number) for outcome in settle.outcomes)
        states: list[State | None] = []
        changed: dict[int, Row] = {}
        for outcome in settle.outcomes:
            place = place_of(outcome.handle, outcome.number)
            row = known.get(place)
            if row is None or not rows.is_owned(row, outcome):
                states.append(None)
                continue
            row = known[place] = changed[place] = rows.settled(row, outcome, settle.now)
            states.append(row.state)
            if outcome.delay_notice and row.state in LEASABLE:
                self._execute(sql.WANT_DELAY_NOTICE, (row.handle,))
        return Settled(tuple(states), self._change(changed.values(), settle.now))

    def _rows_at(self, places: Iterable[int]) -> dict[int, Row]:
        found = self._execute(sql.ROWS_AT, (pack(list(places)),))
        return {columns[0]: row_of(columns) for columns in found}

    def _change(self, changed: Iterable[Row], now: float) -> tuple[int, ...]:
        """Write rows back; return the messages that finished with that."""
        ended: dict[int, int] = {}
        values: list[Columns] = []
        for row in changed:
            values.append(change_of(row))
            if row.state in ENDS:
                ended[row.handle] = ended.get(row.handle, 0) + 1
        self._executemany(sql.CHANGE, values)
        return self._end(ended, now) if ended else ()

    def _end(self, ended: Mapping[int, int], now: float) -> tuple[int, ...]:
        """Count ended recipients by message; close the messages that have none left and return their handles."""
        counters: list[Columns] = []
        closed: dict[int, str | None] = {}
        found = self._execute(sql.COUNTERS_OF, (pack(list(ended)),)).fetchall()
        left_of = self._left(found, ended)
        for handle, _, size, delay, file in found:
            left = left_of[handle]
            self._recipients -= ended[handle]
            if not left:
                closed[handle] = file
                self._messages -= 1
                self._content_bytes -= size
                delay = DelayNotice.DONE if delay == DelayNotice.WANTED else delay
            counters.append((left, delay, None if left else now, handle))
        self._executemany(sql.SET_COUNTERS, counters)
        self._executemany(sql.DROP_CONTENT, [(handle,) for handle in closed])
        self._executemany(sql.ADD_DEAD_FILE, [(file,) for file in closed.values() if file])
        return tuple(handle for handle in ended if handle in closed)

    def _left(self, found: Iterable[Columns], ended: Mapping[int, int]) -> dict[int, int]:
        """How many recipients of each message are unfinished; counted where none should be, for nothing that is not finished
        may go with its content, whatever a counter says."""
        left_of: dict[int, int] = {}
        for handle, unfinished, size, delay, file in found:
            if type(unfinished) is not int or type(size) is not int or type(delay) is not int:
                raise Unreadable("the counters of a message")
            if not isinstance(file, str | None):
                raise Contradiction("a message does not tell where its content is")
            left_of[handle] = unfinished - ended[handle]
            if left_of[handle] < 0:
                raise Unreadable("a message counts fewer unfinished recipients than it had")
        none_left = [handle for handle, left in left_of.items() if not left]
        left_of.update(self._execute(sql.UNFINISHED_OF, (pack(none_left),)))
        return left_of

    # --- Reporting ---

    def _report(self, report: Report) -> Answer | None:
        answer = self._accept([report.accept])[0] if report.accept else None
        if isinstance(answer, IdempotencyMismatch):
            return answer
        known = self._rows_at(place_of(report.handle, number) for number in report.numbers)
        if len(known) != len(report.numbers):
            raise IllegalStep(
                f"not all of recipients {report.numbers} of message {report.handle} are there to report on"
            )
        self._change([rows.reported(row, wanted=report.accept is not None) for row in known.values()], report.now)
        return answer

    def _delay_report(self, report: DelayReport) -> Answer | None:
        if self._first(sql.DELAY_OF, report.handle) != DelayNotice.WANTED:
            return None
        answer = self._accept([report.accept])[0] if report.accept else None
        if not isinstance(answer, IdempotencyMismatch):
            self._execute(sql.SET_DELAY, (int(DelayNotice.DONE), report.handle))
        return answer

    # --- Operating ---

    def _cancel(self, cancel: Cancel) -> Cancelled:
        texts, values = _meant(cancel.filter, sources(Step.CANCEL) - {State.LEASED})
        found = self._execute(sql.filtered(sql.ROWS_MEANT, texts), values)
        ended = [rows.cancelled(row_of(columns), cancel.now) for columns in found]
        named = self._named(ended)
        finished = self._change(ended, cancel.now)
        texts, values = _meant(cancel.filter, {State.LEASED})
        self._execute(sql.filtered(sql.MARK_CANCELLING, texts), values)
        marked, lost = self._connection.changes(), 0
        if cancel.filter == Filter(id=cancel.filter.id):
            lost, closed = self._give_up_lost(cancel.filter.id, cancel.now)
            finished += closed
        return Cancelled(len(ended), marked, named, finished, lost)

    def _give_up_lost(self, id: str | None, now: float) -> tuple[int, tuple[int, ...]]:
        """Count no recipients but those that are there; return how many had no end, and what finished with that."""
        handle, numbers, unfinished, real, left = self._one(sql.NUMBERS_OF, id) or (0, 0, 0, 0, 0)
        if type(numbers) is not int or type(unfinished) is not int:
            raise Unreadable("the counters of a message")
        if numbers <= real:
            return 0, ()
        lost = max(0, unfinished - left)
        closed = self._end({handle: lost}, now) if lost else ()
        self._execute(sql.SET_NUMBERS, (real, handle))
        self._messages, octets, self._recipients = self._one(sql.REAL_TALLY) or (0, 0, 0)
        self._content_bytes = int(octets)
        return lost, closed

    def _named(self, ended: Iterable[Row]) -> tuple[tuple[int, str, str], ...]:
        return tuple((row.handle, self._message(row.handle)[1], row.address) for row in ended)

    def _take_as_delivered(self, take: TakeAsDelivered) -> TakenAsDelivered:
        if take.filter.in_doubt is False:
            return TakenAsDelivered()
        texts, values = _meant(replace(take.filter, in_doubt=True), {State.HELD})
        found = self._execute(sql.filtered(sql.ROWS_MEANT, texts), values).fetchall()
        ended = [rows.taken_as_delivered(row_of(columns), take.now) for columns in found]
        named = self._named(ended)
        return TakenAsDelivered(len(ended), named, self._change(ended, take.now))

    def _hold(self, hold: Hold) -> Moved:
        texts, values = _meant(hold.filter, LEASABLE)
        self._execute(sql.filtered(sql.HOLD_MEANT, texts), {**values, "target": _HELD, "reason": hold.reason})
        count = self._connection.changes()
        return Moved(count, held=count)

    def _release(self, release: Release) -> Moved:
        found: list[Columns] = []
        for state, step in _RELEASED.items():
            if state is State.HELD or state in release.filter.states:
                texts, values = _meant(release.filter, {state})
                values |= {"target": int(advance(state, step)), "now": release.now}
                found += self._execute(sql.filtered(sql.LANES_TO_RELEASE, texts), values)
                self._execute(sql.filtered(sql.RELEASE_MEANT, texts), values)
        return _made_due(found)

    def _retry(self, retry: Retry) -> Moved:
        texts, values = _meant(retry.filter, LEASABLE)
        values |= {"now": retry.now, "untried_until": retry.untried_until}
        found = self._execute(sql.filtered(sql.LANES_TO_RETRY, texts), values).fetchall()
        self._execute(sql.filtered(sql.RETRY_MEANT, texts), values)
        return _made_due([*found, *self._put_back_on_the_wall(retry)] if retry.untried_until else found)

    def _put_back_on_the_wall(self, retry: Retry) -> Iterator[Columns]:
        """Yields lanes and their earliest due times, as `_made_due` takes them."""
        texts, values = _meant(retry.filter, frozenset(State) - ENDS)
        for handle, message in list(self._ahead(sql.filtered(sql.RECORDS_MEANT, texts), values)):
            times = {"handle": handle, "ahead": message.ahead, "now": retry.now, "until": retry.untried_until}
            self._execute(sql.PUT_BACK_ON_THE_WALL, times)
            self._execute(sql.SET_RECORD, (record_of(rows.message_on_the_wall(message)), handle))
            yield from self._execute(sql.LANES_OF, (handle,))

    def _ahead(self, statement: str, values: Mapping[str, Any]) -> Iterator[tuple[int, Message]]:
        """The messages that were accepted while the clock was ahead of the wall; most never were."""
        for handle, record in self._execute(statement, values):
            with suppress(Unreadable):  # leasing parks it
                message = message_of(record)
                if message.ahead:
                    yield handle, message

    def _move(self, move: Move) -> Moved:
        found = self._execute(sql.TO_MOVE, (move.lane, place_of(*move.after), move.limit + 1)).fetchall()
        looked_at = [row_of(columns) for columns in found[: move.limit]]
        changed: list[Row] = []
        for row in looked_at:
            message = self._readable(row.handle)
            after = rows.moved(row, move.choose(message, row.address), move.now) if message else row
            if after is not row:
                changed.append(after)
        self._change(changed, move.now)
        rest = (looked_at[-1].handle, looked_at[-1].number) if len(found) > len(looked_at) > 0 else None
        held = sum(row.state is State.HELD and row.reason == NO_ROUTE for row in changed)
        return Moved(len(changed), rows.lanes_of(row for row in changed if row.state in LEASABLE), held, rest)

    def _readable(self, handle: int) -> Message | None:
        """A message's record, None where leasing will park it."""
        try:
            return message_of(self._message(handle)[4])
        except Unreadable:
            return None

    # --- Starting, forgetting, remembering ---

    def _recover(self, recover: Recover) -> Recovered:
        left = map(row_of, self._execute(sql.ROWS_LEASED).fetchall())
        changed = [rows.recovered(row, recover) for row in left]
        self._change(changed, recover.now)
        waiting = sum(row.state is State.WAITING for row in changed)
        doubted = [row for row in changed if row.state is State.IN_DOUBT]
        held = [row for row in changed if row.state is State.HELD]
        cancelled = [row for row in changed if row.state is State.CANCELLED]
        restored = self._restored() if recover.restored else 0
        return Recovered(
            waiting,
            len(doubted) + len(held),
            self._pairs(doubted[:_NAMED_DOUBTS]),
            self._pairs(held[:_NAMED_DOUBTS]),
            self._pairs(cancelled),
            restored,
        )

    def _restored(self) -> int:
        self._execute(sql.RESTORE, {"target": _HELD, "reason": rows.HELD_SINCE})
        return self._connection.changes()

    def _pairs(self, some: Iterable[Row]) -> tuple[tuple[str, str], ...]:
        return tuple((id, address) for _, id, address in self._named(some))

    def _prune(self, prune: Prune) -> Pruned:
        before = prune.before
        if prune.keep is not None:
            before = max(before, self._first(sql.FINISHED_LAST, prune.keep - 1) or before if prune.keep else math.inf)
        old = self._execute(sql.FINISHED_BEFORE, (before, prune.limit)).fetchall()
        self._executemany(sql.DROP_RECIPIENTS, old)
        self._executemany(sql.DROP_MESSAGE, old)
        self._execute(sql.DROP_KEYS, (prune.now, prune.limit))
        files = self._execute(sql.DEAD_FILES, (prune.limit,)).fetchall()
        self._executemany(sql.DROP_DEAD_FILE, files)
        return Pruned(len(old), tuple(name for (name,) in files if isinstance(name, str)))  # not what is damaged

    def _remember(self, remember: Remember) -> None:
        if remember.value is None:
            self._execute(sql.DROP_FACT, (remember.name,))
        else:
            self._execute(sql.SET_FACT, (remember.name, remember.value))


_OPERATIONS: Mapping[type[Any], Callable[[Writer, Any], Result]] = {
    TakeLeases: Writer._take_leases,  # pyright: ignore[reportPrivateUsage]
    Settle: Writer._settle,  # pyright: ignore[reportPrivateUsage]
    Report: Writer._report,  # pyright: ignore[reportPrivateUsage]
    DelayReport: Writer._delay_report,  # pyright: ignore[reportPrivateUsage]
    Cancel: Writer._cancel,  # pyright: ignore[reportPrivateUsage]
    Hold: Writer._hold,  # pyright: ignore[reportPrivateUsage]
    TakeAsDelivered: Writer._take_as_delivered,  # pyright: ignore[reportPrivateUsage]
    Release: Writer._release,  # pyright: ignore[reportPrivateUsage]
    Retry: Writer._retry,  # pyright: ignore[reportPrivateUsage]
    Move: Writer._move,  # pyright: ignore[reportPrivateUsage]
    Recover: Writer._recover,  # pyright: ignore[reportPrivateUsage]
    Prune: Writer._prune,  # pyright: ignore[reportPrivateUsage]
    Remember: Writer._remember,  # pyright: ignore[reportPrivateUsage]
}


def _message_columns(handle: int, accept: Accept) -> Columns:
    message, count = accept.message, len(accept.recipients)
    file = accept.content.name if isinstance(accept.content, ContentPlace) else None
    return handle, message.id, message.sender, message.size, record_of(message), count, count, file


def _made_due(found: Iterable[Columns]) -> Moved:
    """The answer from rows of lane, earliest due time and number of recipients; a lane may come twice."""
    earliest: dict[str, float] = {}
    count = 0
    for lane, due, number in found:
        earliest[lane] = min(due, earliest.get(lane, due))
        count += number
    return Moved(count, tuple(LaneDue(lane, due) for lane, due in sorted(earliest.items())))


def _meant(filter: Filter, legal: Iterable[State]) -> tuple[list[str], dict[str, Any]]:
    return sql.conditions(filter, rows.state_filter(filter, frozenset(legal)))
