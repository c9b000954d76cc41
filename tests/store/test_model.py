"""Random operations, applied to the memory store and to SQLite side by side: all answers and questions must agree."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, rule

from postroad.errors import StoreError
from postroad.message import DsnOptions, Message
from postroad.store.contract import (
    Accept,
    Accepted,
    Cancel,
    ContentPlace,
    DelayReport,
    Filter,
    Hold,
    IdempotencyKey,
    LeaseRecord,
    Move,
    NewRecipient,
    Operation,
    Outcome,
    Prune,
    Recover,
    Release,
    Remember,
    Report,
    Result,
    Retry,
    Settle,
    TakeAsDelivered,
    TakeLeases,
    Taken,
)
from postroad.store.memory import MemoryStore
from postroad.store.sqlite import SqliteStore, sqlite_store
from postroad.store.states import IllegalStep, State, Step

_QUICK = "/dev/shm"  # synced at no cost; this test is not about power failures
IDS = [f"m{number:02}" for number in range(25)]
LANES = ["out/a.example", "out/b.example", ""]
ADDRESSES = ["a@x.example", "B@X.example", "c@sub.x.example", "d@y.example", "\u00e9@\u00fc.example"]
SENDERS = ["", "s@x.example", "t@y.example"]

times = st.integers(0, 7).map(float)  # few, so that they meet
ids = st.sampled_from(IDS)
lanes = st.sampled_from(LANES)
conditions: dict[str, st.SearchStrategy[Any]] = {
    "id": ids,
    "recipient": st.sampled_from(ADDRESSES),
    "lane": lanes,
    "sender": st.sampled_from(SENDERS),
    "domain": st.sampled_from(["x.EXAMPLE", "y.example", "\u00fc.example", ""]),
    "in_doubt": st.booleans(),
    "states": st.lists(st.sampled_from(State), min_size=1, max_size=3).map(tuple),
}
filters = st.sets(st.sampled_from(sorted(conditions)), max_size=2).flatmap(
    lambda names: st.builds(Filter, **{name: conditions[name] for name in sorted(names)})
)
keys = st.builds(
    IdempotencyKey,
    st.sampled_from(SENDERS),
    st.sampled_from(["k", "l"]),
    st.sampled_from([b"1", b"2"]),
    times,
)
new_recipients = st.builds(
    NewRecipient,
    st.sampled_from(ADDRESSES),
    lanes,
    times,
    state=st.sampled_from([State.WAITING, State.WAITING, State.HELD]),
    reason=st.sampled_from(["", "no route: x", "an operator"]),
    notify=st.sampled_from([(), ("never",), ("failure", "delay")]),
    orcpt=st.sampled_from(["", "rfc822;x"]),
)


@st.composite
def accepts(draw: st.DrawFn, tokens: list[int]) -> Accept:
    people = draw(st.lists(new_recipients, min_size=1, max_size=5))
    if draw(st.booleans()):
        tokens[0] += 1
        people = [
            NewRecipient(p.address, p.lane, p.due, lease=tokens[0]) if p.state is State.WAITING else p for p in people
        ]
    content = draw(st.sampled_from([b"", b"x" * 10, b"y" * 5000, ContentPlace("file"), ContentPlace("other")]))
    message = Message(
        id=draw(ids),
        sender=draw(st.sampled_from(SENDERS)),
        accepted_at=draw(times),
        size=len(content) if isinstance(content, bytes) else 300_000,
        priority=draw(st.sampled_from([0, 5, 5, 9])),
        tags=draw(st.sampled_from([(), ("a", "b")])),
        dsn=draw(st.sampled_from([DsnOptions(), DsnOptions(notify=("delay",), envid="e")])),
    )
    return Accept(message, tuple(people), content, draw(st.none() | keys))


def settle_steps() -> st.SearchStrategy[Step]:
    return st.sampled_from([Step.DELIVER, Step.DEFER, Step.POSTPONE, Step.DOUBT, Step.FAIL, Step.FAIL, Step.HOLD])


class Stores(RuleBasedStateMachine):
    """Applies everything twice."""

    leases: Bundle[tuple[int, int, int]] = Bundle("leases")

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.tokens = [0]
        self.handles: set[int] = set()
        self.folder = self.stack.enter_context(
            tempfile.TemporaryDirectory(dir=_QUICK if Path(_QUICK).is_dir() else None)
        )
        self.memory = MemoryStore()

    @initialize(data=st.data())
    def open(self, data: st.DataObject) -> None:
        self.sqlite: SqliteStore = self.stack.enter_context(self._open())
        self.both(*data.draw(st.lists(accepts(self.tokens), min_size=5, max_size=10)))

    def _open(self) -> Any:
        return sqlite_store(f"{self.folder}/spool.db", folder=self.folder)

    def teardown(self) -> None:
        if hasattr(self, "sqlite"):
            self._compare_all()
            assert self.sqlite.check() == []
        self.stack.close()

    def both(self, *operations: Operation) -> list[Result] | None:
        """Apply to both; None where both refused."""
        answers = [self._apply(store, operations) for store in (self.memory, self.sqlite)]
        assert answers[0] == answers[1]
        for answer in answers[0] or ():
            if isinstance(answer, Accepted):
                self.handles.add(answer.handle)
        return answers[0]

    def _apply(self, store: MemoryStore | SqliteStore, operations: tuple[Operation, ...]) -> list[Result] | None:
        try:
            return store.apply(operations)
        except IllegalStep:
            return None

    # --- Operations ---

    @rule(target=leases, data=st.data())
    def accept(self, data: st.DataObject) -> Any:
        batch = data.draw(st.lists(accepts(self.tokens), min_size=1, max_size=4))
        answers = self.both(*batch)
        assert answers is not None
        return multiple(
            *(
                (new.lease, answer.handle, number)
                for operation, answer in zip(batch, answers, strict=True)
                for number, new in enumerate(operation.recipients)
                if isinstance(answer, Accepted) and not answer.duplicate and new.lease
            )
        )

    @rule(target=leases, lane=lanes, now=times, count=st.integers(0, 4), content=st.sampled_from([0, 100, 10000]),
          each=st.integers(1, 3))  # fmt: skip
    def take(self, lane: str, now: float, count: int, content: int, each: int) -> Any:
        tokens = tuple(range(self.tokens[0] + 1, self.tokens[0] + count + 1))
        self.tokens[0] += count
        answers = self.both(TakeLeases(lane, now, tokens, content, each))
        assert answers is not None
        assert isinstance(answers[0], Taken)
        return multiple(*_places(answers[0].leases))

    @rule(data=st.data(), now=times)
    def settle(self, data: st.DataObject, now: float) -> None:
        places = data.draw(st.lists(self.leases, max_size=6)) if self.tokens[0] else []
        self.both(Settle(tuple(self._outcome(data, place) for place in places), now))

    def _outcome(self, data: st.DataObject, place: tuple[int, int, int]) -> Outcome:
        words = data.draw(st.sampled_from(["", "later", "no such user"]))
        return Outcome(
            *place,
            data.draw(settle_steps()),
            due=data.draw(times),
            tried=data.draw(st.booleans()),
            status=words and "4.0.0",
            reply=words,
            remote="mx.example",
            delay_notice=data.draw(st.booleans()),
            in_doubt=data.draw(st.booleans()),
            lane=data.draw(st.sampled_from(["", "", "out/b.example"])),
        )

    @rule(data=st.data(), now=times, reports=st.booleans(), numbers=st.lists(st.integers(0, 4), max_size=2))
    def report(self, data: st.DataObject, now: float, reports: bool, numbers: list[int]) -> None:
        failures = self.memory.failures(3)
        accept = data.draw(accepts(self.tokens)) if reports else None
        if failures and not numbers:
            one = data.draw(st.sampled_from(failures))
            self.both(Report(one.handle, tuple(row.number for row in one.recipients), accept, now))
        else:
            handle = data.draw(st.sampled_from(sorted(self.handles))) if self.handles else 99
            self.both(Report(handle, tuple(numbers), accept, now))

    @rule(data=st.data(), now=times, reports=st.booleans())
    def delay_report(self, data: st.DataObject, now: float, reports: bool) -> None:
        accept = data.draw(accepts(self.tokens)) if reports else None
        handles = [one.handle for one in self.memory.delays(5)] or [1]
        self.both(DelayReport(data.draw(st.sampled_from(handles)), accept, now))

    @rule(filter=filters, now=times)
    def cancel(self, filter: Filter, now: float) -> None:
        self.both(Cancel(filter, now))

    @rule(filter=filters, reason=st.sampled_from(["an operator", "no route: x"]), now=times)
    def hold(self, filter: Filter, reason: str, now: float) -> None:
        self.both(Hold(filter, reason, now))

    @rule(filter=filters, now=times)
    def release(self, filter: Filter, now: float) -> None:
        self.both(Release(filter, now))

    @rule(filter=filters, now=times)
    def take_as_delivered(self, filter: Filter, now: float) -> None:
        self.both(TakeAsDelivered(filter, now))

    @rule(filter=filters, now=times)
    def retry(self, filter: Filter, now: float) -> None:
        self.both(Retry(filter, now))

    @rule(lane=lanes, now=times, limit=st.integers(1, 5), after=st.tuples(st.integers(0, 5), st.integers(0, 3)),
          roads=st.dictionaries(st.sampled_from(ADDRESSES), lanes))  # fmt: skip
    def move(self, lane: str, now: float, limit: int, after: tuple[int, int], roads: dict[str, str]) -> None:
        self.both(Move(lane, lambda message, address: roads.get(address), now, limit, after))

    @rule(marked=st.frozensets(st.integers(1, 30)), rebooted=st.booleans(), now=times,
          held=st.sets(lanes), restored=st.booleans())  # fmt: skip
    def recover(self, marked: frozenset[int], rebooted: bool, now: float, held: set[str], restored: bool) -> None:
        self.both(Recover(marked, rebooted, now, lambda lane: Step.HOLD if lane in held else Step.DOUBT, restored))

    @rule(before=times, now=times, limit=st.integers(1, 4))
    def prune(self, before: float, now: float, limit: int) -> None:
        self.both(Prune(before, now, limit))

    @rule(name=st.sampled_from("ab"), value=st.none() | st.binary(max_size=3))
    def remember(self, name: str, value: bytes | None) -> None:
        self.both(Remember(name, value))
        assert self.memory.recall(name) == self.sqlite.recall(name) == value

    @rule(data=st.data(), filter=filters)
    def fail_in_the_middle(self, data: st.DataObject, filter: Filter) -> None:
        batch = data.draw(st.lists(accepts(self.tokens), max_size=2))
        impossible = Report(1 << 40, (0,), None, 0.0)
        assert self.both(*batch, Cancel(filter, 1.0), Prune(9.0, 9.0), impossible) is None

    @rule()
    def reopen(self) -> None:
        self.sqlite.close()
        self.sqlite = self.stack.enter_context(self._open())

    # --- Questions ---

    @invariant()
    def the_same_tally_and_lanes(self) -> None:
        if hasattr(self, "sqlite"):
            assert self.memory.tally() == self.sqlite.tally()
            assert list(self.memory.lanes()) == list(self.sqlite.lanes())

    @rule(filter=filters, limit=st.integers(1, 5), after=st.sampled_from(["", *IDS]))
    def find(self, filter: Filter, limit: int, after: str) -> None:
        assert self.memory.find(filter, limit, after) == self.sqlite.find(filter, limit, after)

    @rule(limit=st.integers(1, 3), recipients=st.integers(1, 3))
    def look_at_failures(self, limit: int, recipients: int) -> None:
        assert self.memory.failures(limit, recipients) == self.sqlite.failures(limit, recipients)
        assert self.memory.delays(limit) == self.sqlite.delays(limit)

    def _compare_all(self) -> None:
        for id in IDS:
            assert self.memory.message(id) == self.sqlite.message(id)
        for handle in self.handles:
            assert _content(self.memory, handle) == _content(self.sqlite, handle)
        assert self.memory.counts() == self.sqlite.counts()
        assert self.memory.doubts() == self.sqlite.doubts()


def _places(leases: tuple[LeaseRecord, ...]) -> list[tuple[int, int, int]]:
    return [(lease.token, lease.handle, row.number) for lease in leases for row in lease.recipients]


def _content(store: MemoryStore | SqliteStore, handle: int) -> bytes | ContentPlace | None:
    try:
        return store.content(handle)
    except StoreError:
        return None


TestStores = Stores.TestCase
TestStores.settings = settings(
    max_examples=100,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
