"""What a store has promised, noted from what it was told and what it answered: message by message, recipient by recipient.

It knows neither SQL nor `memory.py` nor `rows.py`, only what `store/contract.py` says in words.  Each answer is compared
with what was promised before it; the state table is not followed but checked: a step that it does not know breaks a promise.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from promise import (
    AFTER,
    DUE,
    FOREVER,
    OVER,
    Letter,
    Promise,
    is_meant,
    is_over,
    name_of,
    place_of,
    promise_of,
    recovered,
    restored,
    urgency,
)

from postroad.store.contract import (
    NO_ROUTE,
    UNROUTED,
    Accept,
    Accepted,
    Cancel,
    Cancelled,
    ContentPlace,
    DelayReport,
    Filter,
    Hold,
    IdempotencyMismatch,
    LaneDue,
    LeaseRecord,
    Move,
    Moved,
    Operation,
    Outcome,
    Prune,
    Pruned,
    Recover,
    Recovered,
    Release,
    Remember,
    Report,
    Retry,
    Settle,
    Settled,
    TakeAsDelivered,
    TakeLeases,
    Taken,
    TakenAsDelivered,
    Tally,
)
from postroad.store.states import State, Step

__all__ = ["Promised", "states_of"]


class Promised:
    """Everything promised so far.  `answered` for each operation with its answer; what is wrong is an AssertionError."""

    def __init__(self) -> None:
        self.letters: dict[str, Letter] = {}
        self.keys: dict[tuple[str, str], tuple[float, bytes, str, int]] = {}  # until when, of what, which message
        self.facts: dict[str, bytes] = {}
        self.dead_files: set[str] = set()
        self.handles: set[int] = set()  # ever given

    def answered(self, operation: Operation, answer: Any) -> None:
        _OPERATIONS[type(operation)](self, operation, answer)

    # --- what is there ---

    def all(self) -> Iterator[Promise]:
        return (promise for letter in self.letters.values() for promise in letter.promises)

    def meant(self, filter: Filter, legal: Iterable[State]) -> list[Promise]:
        return [promise for promise in self.all() if promise.state in legal and is_meant(promise, filter)]

    def of(self, handle: int) -> Letter | None:
        return next((letter for letter in self.letters.values() if letter.handle == handle), None)

    def earliest(self, promises: Iterable[Promise]) -> dict[str, float]:
        """By lane, the first due time."""
        found: dict[str, float] = {}
        for promise in promises:
            found[promise.lane] = min(promise.due, found.get(promise.lane, FOREVER))
        return found

    def tally(self) -> Tally:
        open_letters = [letter for letter in self.letters.values() if letter.finished_at is None]
        recipients = sum(promise.state not in OVER for promise in self.all())
        return Tally(len(open_letters), recipients, sum(letter.message.size for letter in open_letters))

    def _finished(self, now: float) -> tuple[int, ...]:
        """Who has nothing left to come: from here on nothing more is promised than to remember it."""
        done = [letter for letter in self.letters.values() if letter.finished_at is None and is_over(letter)]
        for letter in done:
            letter.finished_at = now
            letter.is_delay_done = letter.is_delay_done or letter.is_delay_asked
            if isinstance(letter.content, ContentPlace):
                self.dead_files.add(letter.content.name)
        return tuple(letter.handle for letter in done)

    # --- accepting ---

    def accept(self, accept: Accept, answer: object) -> None:
        expected = self._expected(accept)
        if expected is not None:
            assert answer == expected
            return
        assert isinstance(answer, Accepted)
        assert (answer.id, answer.duplicate) == (accept.message.id, False)
        assert answer.handle not in self.handles
        self.handles.add(answer.handle)
        letter = self.letters[answer.id] = Letter(accept.message, answer.handle, accept.content)
        letter.promises += [promise_of(letter, number, new) for number, new in enumerate(accept.recipients)]
        if isinstance(accept.content, ContentPlace):
            self.dead_files.discard(accept.content.name)
        if accept.idempotency:
            key = accept.idempotency
            self.keys[key.sender, key.key] = (key.expires_at, key.digest, answer.id, answer.handle)

    def _expected(self, accept: Accept) -> Accepted | IdempotencyMismatch | None:
        """What was said before and holds on: None where the message is new."""
        if accept.message.id in self.letters:
            return Accepted(accept.message.id, self.letters[accept.message.id].handle, duplicate=True)
        key = accept.idempotency
        until, digest, id, handle = (
            self.keys.get((key.sender, key.key), (0.0, b"", "", 0)) if key else (0.0, b"", "", 0)
        )
        if key is None or until <= accept.message.accepted_at:
            return None
        return Accepted(id, handle, duplicate=True) if digest == key.digest else IdempotencyMismatch(id)

    # --- leasing and settling ---

    def take(self, take: TakeLeases, answer: Taken) -> None:
        on_lane = [each for each in self.all() if each.lane == take.lane and each.state in DUE and each.due <= take.now]
        self._park(answer.parked, on_lane)
        tokens = [lease.token for lease in answer.leases]
        assert tokens == list(take.tokens[: len(tokens)]), "the tokens come in their order, each once"
        first = [self._leased(take, lease) for lease in answer.leases]
        assert first == sorted(first), "by priority, then by due time"
        left = [urgency(each) for each in on_lane if each.state in DUE]
        assert not left or len(tokens) == len(take.tokens), "something due was left, and tokens, too"
        assert not left or not first or first[-1] <= min(left), "something more urgent was left"
        assert answer.lane == take.lane
        assert answer.next_due == self._next_due(take.lane)

    def _park(self, parked: tuple[str, ...], on_lane: list[Promise]) -> None:
        assert len(set(parked)) == len(parked)
        for id in parked:
            letter = self.letters[id]
            assert letter.is_damaged, f"{id} can be read, and was parked"
            assert any(promise.letter is letter for promise in on_lane)
            for promise in letter.promises:
                if promise.state in DUE:
                    promise.goes_to(State.PARKED)

    def _leased(self, take: TakeLeases, lease: LeaseRecord) -> tuple[int, float]:
        letter = self.of(lease.handle)
        assert letter is not None
        assert lease.message == letter.message
        assert not letter.is_damaged
        assert 1 <= len(lease.recipients) <= take.recipients_per_lease
        assert lease.delay_noticed == (letter.is_delay_asked or letter.is_delay_done)
        assert lease.content in (None, letter.content)
        orders: list[tuple[int, float]] = []
        for told in lease.recipients:
            promise = letter.promises[told.number]
            assert promise.lane == take.lane
            assert promise.due <= take.now, "not due yet"
            assert (told.address, told.attempts) == (promise.address, promise.attempts)
            assert told.in_doubt == promise.is_doubted
            orders.append(urgency(promise))
            promise.goes_to(State.LEASED)
            promise.token = lease.token
        return min(orders)

    def _next_due(self, lane: str) -> float | None:
        return min((each.due for each in self.all() if each.lane == lane and each.state in DUE), default=None)

    def settle(self, settle: Settle, answer: Settled) -> None:
        assert answer.states == tuple(self._settled(outcome) for outcome in settle.outcomes)
        assert set(answer.finished) == set(self._finished(settle.now))

    def _settled(self, outcome: Outcome) -> State | None:
        letter = self.of(outcome.handle)
        promise = letter.promises[outcome.number] if letter and outcome.number < len(letter.promises) else None
        if letter is None or promise is None or promise.state is not State.LEASED or promise.token != outcome.token:
            return None  # whose lease is over has nothing to say
        is_withdrawn = promise.is_cancelling and outcome.step is not Step.DELIVER
        promise.goes_to(State.CANCELLED if is_withdrawn else AFTER[outcome.step])
        promise.is_cancelling, promise.tried_before = False, True
        promise.attempts += outcome.tried
        promise.is_doubted = promise.is_doubted or outcome.in_doubt or outcome.step is Step.DOUBT
        promise.lane = outcome.lane or promise.lane
        if promise.state in DUE:
            promise.due = outcome.due
            letter.is_delay_asked = letter.is_delay_asked or outcome.delay_notice
        if promise.state is State.HELD:
            promise.reason = outcome.reply
        return promise.state

    # --- reporting ---

    def report(self, report: Report, answer: object) -> None:
        if report.accept is not None:
            self.accept(report.accept, answer)
        else:
            assert answer is None
        if isinstance(answer, IdempotencyMismatch):
            return
        letter = self.of(report.handle)
        assert letter is not None
        for number in report.numbers:
            letter.promises[number].goes_to(State.REPORTED if report.accept else State.UNREPORTED)
        self._finished(report.now)

    def delay_report(self, report: DelayReport, answer: object) -> None:
        letter = self.of(report.handle)
        if letter is None or letter.is_delay_done or not letter.is_delay_asked:
            assert answer is None, "one notice of delay at most"
            return
        if report.accept is not None:
            self.accept(report.accept, answer)
        letter.is_delay_done = not isinstance(answer, IdempotencyMismatch)

    # --- operating ---

    def cancel(self, cancel: Cancel, answer: Cancelled) -> None:
        marked = self.meant(cancel.filter, {State.LEASED})
        ended = self.meant(cancel.filter, {*DUE, State.HELD, State.PARKED})
        for promise in marked:
            promise.is_cancelling = True
        for promise in ended:
            promise.goes_to(State.CANCELLED)
        assert (answer.recipients, answer.marked) == (len(ended), len(marked))
        assert sorted(answer.cancelled) == sorted(name_of(promise) for promise in ended)
        assert set(answer.finished) == set(self._finished(cancel.now))

    def hold(self, hold: Hold, answer: Moved) -> None:
        meant = self.meant(hold.filter, DUE)
        for promise in meant:
            promise.goes_to(State.HELD)
            promise.reason = hold.reason
        assert answer == Moved(len(meant), held=len(meant))

    def release(self, release: Release, answer: Moved) -> None:
        meant = self.meant(release.filter, {State.HELD})
        if State.PARKED in release.filter.states:
            meant += self.meant(release.filter, {State.PARKED})
        for promise in meant:
            promise.goes_to(State.WAITING)
            promise.becomes_due(release.now)
        assert answer == Moved(len(meant), self._lanes(meant))

    def take_as_delivered(self, take: TakeAsDelivered, answer: TakenAsDelivered) -> None:
        meant = [promise for promise in self.meant(take.filter, {State.HELD}) if promise.is_doubted]
        for promise in meant:
            promise.goes_to(State.ACCEPTED)
        assert sorted(answer.taken) == sorted(name_of(promise) for promise in meant)
        assert answer.recipients == len(meant)
        assert set(answer.finished) == set(self._finished(take.now))

    def retry(self, retry: Retry, answer: Moved) -> None:
        meant = self.meant(retry.filter, DUE)
        for promise in meant:
            promise.due = min(promise.due, retry.now) if promise.tried_before else promise.due
        assert answer == Moved(len(meant), self._lanes(meant))

    def move(self, move: Move, answer: Moved) -> None:
        there = [each for each in self.all() if each.lane == move.lane and each.state in {*DUE, State.HELD}]
        behind = sorted((each for each in there if place_of(each) > move.after), key=place_of)
        looked_at = behind[: move.limit]
        moved = [promise for promise in looked_at if not promise.letter.is_damaged and self._moved(promise, move)]
        assert answer.recipients == len(moved)
        assert answer.lanes == self._lanes(each for each in moved if each.state in DUE)
        assert answer.rest == (place_of(looked_at[-1]) if len(behind) > len(looked_at) else None)

    def _moved(self, promise: Promise, move: Move) -> bool:
        lane = move.choose(promise.letter.message, promise.address)
        if lane is None and promise.state in DUE:
            promise.goes_to(State.HELD)
            promise.lane, promise.reason = UNROUTED, NO_ROUTE
            return True
        if lane is not None and promise.state is State.HELD and promise.reason.startswith(NO_ROUTE):
            promise.goes_to(State.WAITING)
            promise.becomes_due(move.now)
            promise.lane = lane
            return True
        is_other = lane not in (None, promise.lane)
        promise.lane = lane if is_other and lane is not None else promise.lane
        return is_other

    def _lanes(self, promises: Iterable[Promise]) -> tuple[LaneDue, ...]:
        return tuple(LaneDue(lane, due) for lane, due in sorted(self.earliest(promises).items()))

    # --- starting, forgetting, remembering ---

    def recover(self, recover: Recover, answer: Recovered) -> None:
        """An engine died: what had begun to be handed over may have arrived, and only that."""
        left = [promise for promise in self.all() if promise.state is State.LEASED]
        for promise in left:
            recovered(promise, recover)
        self._finished(recover.now)
        by_state = {state: [each for each in left if each.state is state] for state in State}
        doubted, held = by_state[State.IN_DOUBT], by_state[State.HELD]
        assert (answer.waiting, answer.doubted) == (len(by_state[State.WAITING]), len(doubted) + len(held))
        assert sorted(answer.in_doubt) == sorted(name_of(promise)[1:] for promise in doubted)
        assert sorted(answer.held) == sorted(name_of(promise)[1:] for promise in held)
        assert sorted(answer.cancelled) == sorted(name_of(promise)[1:] for promise in by_state[State.CANCELLED])
        if recover.restored:
            for promise in self.all():
                restored(promise)

    def prune(self, prune: Prune, answer: Pruned) -> None:
        finished = sorted((letter.finished_at, letter.handle, id) for id, letter in self.letters.items()
                          if letter.finished_at is not None)  # fmt: skip
        before = prune.before
        if prune.keep is not None and len(finished) > prune.keep:
            before = max(before, finished[-prune.keep][0] if prune.keep else FOREVER)
        old = [id for at, _, id in finished if at < before][: prune.limit]
        for id in old:
            del self.letters[id]
        over = sorted((kept[0], key) for key, kept in self.keys.items() if kept[0] <= prune.now)
        for _, key in over[: prune.limit]:
            del self.keys[key]
        assert answer.messages == len(old)
        assert set(answer.content_files) <= self.dead_files, "a content that is needed was given up"
        assert len(answer.content_files) == min(prune.limit, len(self.dead_files))
        self.dead_files -= set(answer.content_files)

    def remember(self, remember: Remember, answer: object) -> None:
        assert answer is None
        if remember.value is None:
            self.facts.pop(remember.name, None)
        else:
            self.facts[remember.name] = remember.value


_OPERATIONS: dict[type, Callable[[Promised, Any, Any], None]] = {
    Accept: Promised.accept,
    TakeLeases: Promised.take,
    Settle: Promised.settle,
    Report: Promised.report,
    DelayReport: Promised.delay_report,
    Cancel: Promised.cancel,
    Hold: Promised.hold,
    Release: Promised.release,
    TakeAsDelivered: Promised.take_as_delivered,
    Retry: Promised.retry,
    Move: Promised.move,
    Recover: Promised.recover,
    Prune: Promised.prune,
    Remember: Promised.remember,
}


def states_of(promised: Promised) -> Counter[State]:
    return Counter(promise.state for promise in promised.all())
