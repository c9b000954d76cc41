"""The rules: everything that an engine does to its store, drawn at random, and crashes of the engine at any moment.

After each rule the store must say what `promised.py` expects, and nothing that has ended may ever end otherwise.  How a store
is opened, and what is left of it when its process is killed, the subclasses say.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from promise import DUE, OVER, Letter, Promise, place_of
from promised import Promised, states_of

from postroad.message import Kind, Message
from postroad.store.contract import (
    Accept,
    Cancel,
    ContentPlace,
    DelayReport,
    Filter,
    Hold,
    IdempotencyKey,
    LaneDue,
    Move,
    NewRecipient,
    Operation,
    Outcome,
    Prune,
    Recover,
    Release,
    Remember,
    Report,
    Retry,
    Settle,
    Store,
    StoredMessage,
    TakeAsDelivered,
    TakeLeases,
)
from postroad.store.states import IllegalStep, State, Step

__all__ = ["EXAMPLES", "StoreMachine", "bounded"]

EXAMPLES = int(os.environ.get("POSTROAD_MODEL_EXAMPLES", "0"))
LANES = ("out/a.example", "out/b.example", "?")
ADDRESSES = ("a@x.example", "B@X.example", "c@sub.x.example", "d@y.example")
SENDERS = ("s@x.example", "t@y.example")
FACTS = ("incarnation", "learnt")
_STEPS = (Step.DELIVER, Step.DEFER, Step.POSTPONE, Step.DOUBT, Step.FAIL, Step.FAIL, Step.HOLD)
_OPERATED: dict[type[Any], tuple[State, ...]] = {
    Cancel: (State.LEASED, State.PARKED, State.HELD, State.WAITING, State.IN_DOUBT),
    Hold: (State.WAITING, State.IN_DOUBT),
    Release: (State.HELD, State.PARKED),
    TakeAsDelivered: (State.HELD,),
    Retry: (State.WAITING, State.IN_DOUBT),
}
_IMPOSSIBLE = Report(1 << 40, (0,), None, 0.0)

Draw: TypeAlias = Callable[[st.SearchStrategy[Any]], Any]

lanes, addresses = st.sampled_from(LANES), st.sampled_from(ADDRESSES)


def bounded(examples: int, steps: int) -> settings:
    """examples: in the suite, the same each time.  POSTROAD_MODEL_EXAMPLES asks for others, shortened where they fail."""
    return settings(
        max_examples=EXAMPLES or examples,
        stateful_step_count=steps,
        deadline=None,
        derandomize=not EXAMPLES,
        phases=(Phase.reuse, Phase.generate, *((Phase.shrink,) if EXAMPLES else ())),
        suppress_health_check=list(HealthCheck),
    )


class StoreMachine(RuleBasedStateMachine):
    """leases: (token, handle, number) of all that were ever granted."""

    store: Store

    def __init__(self) -> None:
        super().__init__()
        self.promised = Promised()
        self.now = 1000.0
        self.tokens = 0
        self.ids = 0
        self.leases: dict[tuple[int, int, int], None] = {}
        self.ended: dict[tuple[str, int], State] = {}

    def killed(self) -> None:
        """The process is gone, and a new one opens what it left."""
        raise NotImplementedError

    # --- applying ---

    def apply(self, *operations: Operation) -> None:
        answers = self.store.apply(operations)
        assert len(answers) == len(operations)
        for operation, answer in zip(operations, answers, strict=True):
            self.promised.answered(operation, answer)
        self.leases.update(dict.fromkeys(self._live()))

    def _live(self) -> list[tuple[int, int, int]]:
        return [(each.token, *place_of(each)) for each in self._in({State.LEASED})]

    def token(self) -> int:
        self.tokens += 1
        return self.tokens

    # --- operations, as an engine would draw them ---

    def accepting(self, draw: Draw, *, kind: Kind = Kind.MAIL) -> Accept:
        if draw(st.integers(0, 9)) < 9:
            self.ids += 1
        id = f"m{max(1, self.ids):04}"
        sender = "" if kind is Kind.REPORT else draw(st.sampled_from(SENDERS))
        content = draw(st.sampled_from([b"x" * 10, b"y" * 5000, None]))
        size = 300_000 if content is None else len(content)
        priority = draw(st.sampled_from([5, 5, 0, 9]))
        message = Message(id=id, sender=sender, accepted_at=self.now, size=size, priority=priority, kind=kind)
        place = ContentPlace(id) if content is None else content
        key = None if kind is Kind.REPORT else self._key(draw, sender)
        return Accept(message, self._recipients(draw), place, key)

    def _key(self, draw: Draw, sender: str) -> IdempotencyKey | None:
        if draw(st.integers(0, 2)):
            return None
        key, digest, seconds = (
            draw(st.sampled_from("kl")),
            draw(st.sampled_from([b"1", b"2"])),
            draw(st.sampled_from([5, 100])),
        )
        return IdempotencyKey(sender, key, digest, self.now + seconds)

    def _recipients(self, draw: Draw) -> tuple[NewRecipient, ...]:
        token = self.token() if draw(st.booleans()) else 0
        people: list[NewRecipient] = []
        for address in draw(st.lists(addresses, min_size=1, max_size=4, unique=True)):
            lane, kind = draw(lanes), draw(st.sampled_from(["due", "due", "due", "later", "held"]))
            if kind == "held":
                people.append(NewRecipient(address, lane, self.now, state=State.HELD, reason="no route: x"))
            else:
                is_leased = token and lane == LANES[0] and kind == "due"
                due = self.now + (10.0 if kind == "later" else 0.0)
                people.append(NewRecipient(address, lane, due, lease=token if is_leased else 0))
        return tuple(people)

    def taking(self, draw: Draw) -> TakeLeases:
        """Mostly from a lane with something due."""
        ready = [lane for lane, due in self.promised.earliest(self._in(DUE)).items() if due <= self.now]
        lane = draw(st.sampled_from(ready)) if ready and draw(st.integers(0, 9)) < 9 else draw(lanes)
        tokens = tuple(self.token() for _ in range(draw(st.integers(1, 4))))
        return TakeLeases(
            lane, self.now, tokens, draw(st.sampled_from([0, 100, 10_000])), draw(st.sampled_from([100, 1, 2]))
        )

    def settling(self, draw: Draw) -> Settle:
        """What is leased; now and then what was settled before, or whose engine died."""
        live = self._live()
        outcomes: list[Outcome] = []
        for _ in range(draw(st.integers(1, 5))):
            chosen = live if live and draw(st.integers(0, 9)) < 9 else list(self.leases) or [(1, 1, 0)]
            outcomes.append(self._outcome(draw, draw(st.sampled_from(chosen))))
        return Settle(tuple(outcomes), self.now)

    def _outcome(self, draw: Draw, lease: tuple[int, int, int]) -> Outcome:
        words = draw(st.sampled_from(["no such user", ""]))
        return Outcome(
            *lease,
            draw(st.sampled_from(_STEPS)),
            due=self.now + draw(st.sampled_from([0.0, 0.0, -3.0, 1.0, 10.0])),
            tried=draw(st.booleans()),
            status=words and "4.0.0",
            reply=words,
            delay_notice=draw(st.booleans()),
            in_doubt=draw(st.booleans()),
            lane=draw(st.sampled_from(["", "", LANES[1]])),
        )

    def reporting(self, draw: Draw) -> Report | DelayReport:
        """As the bounce actor does; what it asks has to be what is owed."""
        failures, delays = self.store.failures(5, 2), self.store.delays(5)
        accept = self.accepting(draw, kind=Kind.REPORT) if draw(st.booleans()) else None
        if not failures or (delays and draw(st.booleans())):
            handles = [one.handle for one in delays] or [letter.handle for letter in self.promised.letters.values()]
            return DelayReport(draw(st.sampled_from(handles or [1])), accept, self.now)
        one = draw(st.sampled_from(failures))
        return Report(one.handle, tuple(recipient.number for recipient in one.recipients), accept, self.now)

    def operating(self, draw: Draw) -> Operation:
        """An operator's command, for a few recipients that it fits and now and then for anybody."""
        kind = draw(st.sampled_from(list(_OPERATED)))
        filter, now = self._filter(draw, _OPERATED[kind]), self.now
        return (
            Hold(filter, draw(st.sampled_from(["an operator", "no route: x"])), now)
            if kind is Hold
            else kind(filter, now)
        )

    def _filter(self, draw: Draw, states: tuple[State, ...]) -> Filter:
        present = [state for state in states if self._in({state})]
        one = draw(st.sampled_from(self._in({draw(st.sampled_from(present))}))) if present else None
        if one is None or draw(st.integers(0, 9)) == 9:
            return Filter(recipient=draw(st.none() | addresses), states=(draw(st.sampled_from(states)),))
        conditions: dict[str, Any] = {
            "id": one.letter.message.id,
            "recipient": one.address,
            "domain": one.address.rpartition("@")[2].upper(),
            "lane": one.lane,
            "sender": one.letter.message.sender,
            "in_doubt": one.is_doubted,
        }
        names = draw(st.lists(st.sampled_from(list(conditions)), min_size=1, max_size=3, unique=True))
        is_narrow = one.state is State.PARKED or draw(st.booleans())
        return Filter(**{name: conditions[name] for name in names}, states=(one.state,) if is_narrow else ())

    def moving(self, draw: Draw) -> Move:
        roads = draw(st.dictionaries(addresses, lanes, min_size=1, max_size=4))
        after = (draw(st.sampled_from([0, 0, 3])), draw(st.integers(0, 2)))
        return Move(draw(lanes), lambda _, address: roads.get(address), self.now, draw(st.integers(1, 4)), after)

    def pruning(self, draw: Draw) -> Prune:
        before = self.now - draw(st.sampled_from([-1.0, 5.0, 50.0]))
        return Prune(before, self.now, draw(st.sampled_from([1, 2, 100])), draw(st.sampled_from([None, None, 0, 1, 3])))

    def remembering(self, draw: Draw) -> Remember:
        return Remember(draw(st.sampled_from(FACTS)), draw(st.none() | st.just(b"1")))

    def _in(self, states: Iterable[State]) -> list[Promise]:
        return [promise for promise in self.promised.all() if promise.state in states]

    # --- rules ---

    @initialize(data=st.data())
    def begin(self, data: st.DataObject) -> None:
        self.apply(*(self.accepting(data.draw) for _ in range(5)))

    @rule(data=st.data())
    def accept(self, data: st.DataObject) -> None:
        self.apply(*(self.accepting(data.draw) for _ in range(data.draw(st.integers(1, 3)))))

    @rule(data=st.data())
    def take(self, data: st.DataObject) -> None:
        self.apply(self.taking(data.draw))

    @rule(data=st.data())
    def settle(self, data: st.DataObject) -> None:
        self.apply(self.settling(data.draw))

    @rule(data=st.data())
    def turn(self, data: st.DataObject) -> None:
        """One commit of the queue, and what the bounce actor makes of it."""
        self.apply(self.settling(data.draw), self.accepting(data.draw), self.taking(data.draw))
        if self.store.failures(1) or self.store.delays(1):
            self.apply(self.reporting(data.draw))

    @rule(data=st.data())
    def report(self, data: st.DataObject) -> None:
        self.apply(self.reporting(data.draw))

    @rule(data=st.data())
    def operate(self, data: st.DataObject) -> None:
        self.apply(*(self.operating(data.draw) for _ in range(data.draw(st.integers(1, 3)))))

    @rule(data=st.data())
    def move(self, data: st.DataObject) -> None:
        self.apply(self.moving(data.draw))

    @rule(data=st.data())
    def prune(self, data: st.DataObject) -> None:
        self.apply(self.pruning(data.draw), self.remembering(data.draw))

    @rule(data=st.data())
    def commit_anything(self, data: st.DataObject) -> None:
        self.apply(*self._several(data.draw))

    @rule(data=st.data())
    def fail_in_the_middle(self, data: st.DataObject) -> None:
        """Nothing of it is stored."""
        with pytest.raises(IllegalStep):
            self.store.apply([*self._several(data.draw), _IMPOSSIBLE])

    def _several(self, draw: Draw) -> list[Operation]:
        kinds = (self.accepting, self.taking, self.settling, self.operating, self.pruning, self.moving)
        return [kind(draw) for kind in draw(st.lists(st.sampled_from(kinds), min_size=2, max_size=4))]

    @rule(data=st.data())
    def report_what_did_not_fail(self, data: st.DataObject) -> None:
        others = [promise for promise in self.promised.all() if promise.state is not State.FAILED]
        if others:
            one = data.draw(st.sampled_from(others))
            report = Report(one.letter.handle, (one.number,), self.accepting(data.draw, kind=Kind.REPORT), self.now)
            with pytest.raises(IllegalStep):
                self.store.apply([report])

    @rule(seconds=st.sampled_from([1.0, 10.0, 60.0, -8.0]))
    def clock(self, seconds: float) -> None:
        self.now += seconds

    @rule(data=st.data(), rebooted=st.booleans(), held=st.sets(lanes, max_size=2), is_restored=st.booleans())
    def crash(self, data: st.DataObject, rebooted: bool, held: set[str], is_restored: bool) -> None:
        """The next engine recovers with the marks that it finds; a route may ask for a decision on doubts; a backup is one."""
        leased = sorted({promise.token for promise in self._in({State.LEASED})})
        marked = data.draw(st.sets(st.sampled_from(leased))) if leased else ()
        self.killed()
        self.apply(
            Recover(
                frozenset(marked),
                rebooted,
                self.now,
                lambda lane: Step.HOLD if lane in held else Step.DOUBT,
                restored=is_restored,
            )
        )

    # --- what must be true at all times ---

    @invariant()
    def everything_promised_is_there(self) -> None:
        found = {one.message.id: one for one in self.store.find(Filter(), 10_000)}
        assert found.keys() == self.promised.letters.keys(), "I1: a message is lost, or one is there that nobody sent"
        for id, letter in self.promised.letters.items():
            self._is_as_promised(letter, found[id])
            self._has_one_end(found[id])

    def _is_as_promised(self, letter: Letter, found: StoredMessage) -> None:
        assert found.handle == letter.handle
        assert letter.is_damaged or found.message == letter.message
        assert found.finished_at == letter.finished_at
        assert found.delay_notice == (letter.is_delay_asked and not letter.is_delay_done)
        assert len(found.recipients) == len(letter.promises)
        for promise, told in zip(letter.promises, found.recipients, strict=True):
            assert told.state is promise.state, f"{told.address} of {letter.message.id}"
            assert (told.number, told.address, told.lane) == (promise.number, promise.address, promise.lane)
            assert (told.attempts, told.in_doubt) == (promise.attempts, promise.is_doubted)
            assert told.reason.startswith(promise.reason)
            assert promise.state not in DUE or told.due == promise.due
        if letter.finished_at is None:
            assert self.store.content(letter.handle) == letter.content, "I1: a content is lost"

    def _has_one_end(self, found: StoredMessage) -> None:
        for told in found.recipients:
            if told.state in OVER:
                assert self.ended.setdefault((found.message.id, told.number), told.state) is told.state, "I3"

    @invariant()
    def the_counters_agree(self) -> None:
        promised, doubted = self.promised, [each for each in self.promised.all() if each.is_doubted]
        assert self.store.tally() == promised.tally()
        assert self.store.counts() == states_of(promised)
        assert self.store.doubts() == sum(each.state not in OVER for each in doubted)

    @invariant()
    def nothing_due_is_hidden(self) -> None:
        due = self.promised.earliest(promise for promise in self.promised.all() if promise.state in DUE)
        assert list(self.store.lanes()) == [LaneDue(lane, due[lane]) for lane in sorted(due)]

    @invariant()
    def what_is_owed_to_senders_is_named(self) -> None:
        failed = [promise for promise in self.promised.all() if promise.state is State.FAILED]
        owed = [(one.handle, recipient.number) for one in self.store.failures(10_000) for recipient in one.recipients]
        assert owed == sorted((promise.letter.handle, promise.number) for promise in failed)
        late = [
            each.handle for each in self.promised.letters.values() if each.is_delay_asked and not each.is_delay_done
        ]
        assert [one.handle for one in self.store.delays(10_000)] == sorted(late)

    @invariant()
    def facts_are_kept(self) -> None:
        assert {name: self.store.recall(name) for name in FACTS} == {
            name: self.promised.facts.get(name) for name in FACTS
        }

    @precondition(lambda self: any(letter.is_damaged for letter in self.promised.letters.values()))
    @rule()
    def repair(self) -> None:
        for letter in self.promised.letters.values():
            if letter.is_damaged:
                self.put_right(letter)
                letter.is_damaged = False

    def put_right(self, letter: Letter) -> None:
        raise NotImplementedError
