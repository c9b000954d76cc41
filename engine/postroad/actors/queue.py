"""Queue keeps time and memory, and decides nothing.  It alone writes to the store.

Each turn of its loop is one commit: what policy settled, what waits at the intake, and new leases, in one transaction.  While
the commit is under way, the next batch gathers.  A fresh message is leased by the very commit that accepts it.
Notes in: Wake, Room, Settled, Learnt, Drain.  Notes out: Leased (to policy), FailuresWaiting (to bounce).
"""

from __future__ import annotations

import math
from typing import TypeAlias, assert_never

import trio

from ..checksum import content_flaw
from ..errors import StoreFull
from ..intake import COMMIT_ENTRIES, COMMIT_OCTETS
from ..log import get_logger
from ..store.contract import Remember, Settle, Store, TakeLeases, Taken
from ..store.contract import Settled as SettleAnswer
from ..store.states import LEASABLE, State
from .batch import Batch
from .bounce import BounceNote
from .inbox import Inbox, Outbox
from .intake_parts import IntakeParts
from .lanes import TURNING_SECONDS, LaneBook
from .leases import LeaseBook
from .notes import Drain, FailuresWaiting, Learnt, Lease, Leased, Room, Settled, Wake
from .policy import PolicyNote
from .ports import Ports
from .record import Recorder

__all__ = ["Queue", "QueueNote"]

QueueNote: TypeAlias = Wake | Room | Settled | Learnt | Drain

_SICK_SECONDS, _SICK_MAX_SECONDS = 1.0, 30.0  # between tries to settle while the store refuses
_GATHERING, _GATHERING_MOST_SECONDS = 0.25, 0.002  # of the last commit's time; see `_gather`
_READ_ALONG_OCTETS = 4_000_000  # contents read by one commit's leases

_log = get_logger()


class Queue:
    """The queue actor.

    leases: every lease of the ring, read by supervision after a crash.
    """

    def __init__(
        self, ports: Ports, inbox: Inbox[QueueNote], policy: Outbox[PolicyNote], bounce: Outbox[BounceNote]
    ) -> None:
        self._ports = ports
        self._inbox = inbox
        self._policy = policy
        self._bounce = bounce
        self.leases = LeaseBook(ports.config.in_flight.leases, ports.tokens)
        self._lanes = LaneBook(self._default_room)
        self._recorder = Recorder(ports)
        self._intake_parts = IntakeParts(ports, self.leases, self._lanes, self._recorder)
        self._settled: list[Settled] = []  # not committed yet
        self._learnt: dict[str, Learnt] = {}  # not committed yet
        self._begun: list[Lease] = []  # leases that the commit under way grants
        self._is_rung = False
        self._is_draining = False
        self._has_news = True  # something may have changed for what waits at the intake
        self._held_until = math.inf  # when to look again whether what waits there for room shall wait on
        self._has_failures = True  # an earlier life may have left some
        self._is_settling_apart = False  # a settlement failed: the next ones shall not share its fate
        self._is_sick = False  # the commit under way could not settle or lease
        self._sick_until = 0.0
        self._commit_seconds = 0.0  # of the last commit
        self._sick_seconds = _SICK_SECONDS

    def _default_room(self, lane: str) -> int:
        road = self._ports.table.road_of(lane)
        return 2 * (road.windows if road else self._ports.config.windows).start

    def ring_bell(self) -> None:
        """Something waits at the intake or in the store.  At most one Wake is pending."""
        if not self._is_rung:
            self._is_rung = True
            self._inbox.put(Wake())

    async def run(self) -> None:
        await self._load_lanes()
        while True:
            await self._gather()
            notes = await self._wait_for_work()
            now = self._ports.clock.now()
            for note in notes:
                self._take(note, now)
            await self._commit()

    async def _load_lanes(self) -> None:
        """Learn which lanes have mail: as many steps as there are lanes, whatever the backlog."""

        def ask(store: Store) -> list[tuple[str, float]]:
            return [(lane.lane, lane.due) for lane in store.lanes()]

        now = self._ports.clock.now()
        for lane, due in await self._ports.executor.ask(ask):
            self._lanes.note_due(lane, due, now)

    # --- waiting ---

    async def _gather(self) -> None:
        """Rest a moment after a commit that answered several submissions: who was answered mostly has another one, and without
        this those would come while the others' commit is under way, for ever by turns."""
        if self._intake_parts.accepted > 1:
            await trio.sleep(min(_GATHERING * self._commit_seconds, _GATHERING_MOST_SECONDS))

    async def _wait_for_work(self) -> list[QueueNote]:
        now = self._ports.clock.now()
        if self._has_work(now):
            return self._inbox.take_nowait()
        with trio.move_on_at(self._ports.clock.deadline(self._next_time())):
            return await self._inbox.take_all()
        return []

    def _has_work(self, now: float) -> bool:
        if self._has_failures or (len(self._ports.intake) and (self._has_news or now >= self._held_until)):
            return True
        if now < self._sick_until:
            return False
        return bool(self._settled or self._learnt) or self._may_lease(now)

    def _may_lease(self, now: float) -> bool:
        return not self._is_draining and self.leases.free > 0 and self._lanes.is_ready(now)

    def _next_time(self) -> float:
        return min(self._held_until, self._next_lease_time())

    def _next_lease_time(self) -> float:
        sick = self._sick_until if self._settled else math.inf
        if self._is_draining or not self.leases.free:
            return sick
        return max(min(self._lanes.next_due(), sick), self._sick_until)

    def _take(self, note: QueueNote, now: float) -> None:
        match note:
            case Settled():
                self._settled.append(note)
                self._lanes.give_back(
                    note.lease.lane, now
                )  # its attempt is over: the next commit may lease in its place
                self._has_news = True
            case Room():
                self._has_news = True
                self._lanes.set_room(note.site, note.leases, note.lane)
            case Wake():
                self._is_rung = False  # re-arm the bell, then look
                self._has_news = True
            case Learnt():
                self._learnt[note.name] = note
            case Drain():
                self._is_draining = True
            case _:
                assert_never(note)

    # --- committing ---

    async def _commit(self) -> None:
        now = self._ports.clock.now()
        batch = Batch()
        self._is_sick = False
        if now >= self._sick_until:
            self._add_settlements(batch, now)
            self._add_learnt(batch)
        self._add_intake(batch, now)
        if now >= self._sick_until and self._may_lease(now):
            self._add_turns(batch, now)
        if batch:
            began = trio.current_time()
            await batch.commit(self._ports.executor)
            self._commit_seconds = trio.current_time() - began
            if now >= self._sick_until:
                self._judge_store(now)
        else:
            await trio.lowlevel.checkpoint()  # whatever woke it, the others come next
        self._pass_on()

    def _add_intake(self, batch: Batch, now: float) -> None:
        credits = self._credits_for_fresh(now)
        held = self._intake_parts.add(batch, self._begun, now, credits, COMMIT_ENTRIES, COMMIT_OCTETS)
        self._has_news = len(self._ports.intake) > len(held)
        self._held_until = min([now + TURNING_SECONDS, *(entry.held_until for entry in held)]) if held else math.inf

    def _credits_for_fresh(self, now: float) -> int | None:
        """Fresh mail takes at most half of what is free while older mail waits for its turn; None: nothing is leased."""
        if self._is_draining or now < self._sick_until:
            return None
        free = self.leases.free
        return free // 2 if self._lanes.is_ready(now) else free

    def _judge_store(self, now: float) -> None:
        """Rest where settling or leasing failed.  A failed acceptance was told its submitter, and holds up nobody else."""
        if not self._is_sick:
            self._sick_seconds = _SICK_SECONDS
            return
        self._sick_until = now + self._sick_seconds
        self._sick_seconds = min(self._sick_seconds * 2, _SICK_MAX_SECONDS)
        _log.error("store_failed", unsettled=len(self._settled), again_in=self._sick_until - now)

    def _pass_on(self) -> None:
        if self._begun:
            self._policy.put(Leased(self._begun))
            self._begun = []
        if self._has_failures:
            self._has_failures = False
            self._bounce.put_latest(FailuresWaiting, FailuresWaiting())
        if self._is_draining and self.leases.is_home and not self._settled:
            self._ports.home.set()

    def _add_learnt(self, batch: Batch) -> None:
        """A fact that could not be kept is given up: it only saves the next engine some attempts."""

        def failed(error: Exception) -> None:
            _log.warning("fact_not_kept", error=repr(error))

        for note in self._learnt.values():
            batch.add(Remember(note.name, note.value), lambda answer: None, failed)
        self._learnt = {}

    # --- settlements ---

    def _add_settlements(self, batch: Batch, now: float) -> None:
        if not self._settled:
            return
        notes, self._settled = self._settled, []
        parts = [[note] for note in notes] if self._is_settling_apart else [notes]
        self._is_settling_apart = False
        for part in parts:
            self._add_settlement(batch, part, now)

    def _add_settlement(self, batch: Batch, notes: list[Settled], now: float) -> None:
        outcomes = tuple([outcome for note in notes for outcome in note.outcomes])

        def done(answer: SettleAnswer) -> None:
            self._settle(notes, answer.states, now)

        def failed(error: Exception) -> None:
            self._settled += notes
            self._is_sick = self._is_settling_apart = True
            if isinstance(error, StoreFull):
                self._ports.reserve.give_up()  # settling goes before accepting
            _log.error("settling_failed", error=repr(error), leases=len(notes))

        batch.add(Settle(outcomes, now), done, failed)

    def _settle(self, notes: list[Settled], states: tuple[State | None, ...], now: float) -> None:
        answers = iter(states)
        for note in notes:
            lease = note.lease
            for index, outcome in enumerate(note.outcomes):
                state = next(answers)
                if state is None:
                    _log.warning("stale_settlement", id=lease.message.id, token=outcome.token, number=outcome.number)
                    continue
                self._recorder.settled(lease, outcome, index, state, now)
                if state in LEASABLE:
                    self._lanes.note_due(outcome.lane or lease.lane, outcome.due, now)
                if state is State.FAILED or outcome.delay_notice:
                    self._has_failures = True
            self.leases.end(lease.token)
            self._ports.cache.drop(lease.handle)

    # --- leases ---

    def _add_turns(self, batch: Batch, now: float) -> None:
        turns = self._lanes.take_turns(now, self.leases.free)
        octets = min(self._ports.cache.free, _READ_ALONG_OCTETS) // max(1, len(turns))
        for lane, count in turns:
            self._add_turn(batch, lane, count, octets, now)

    def _add_turn(self, batch: Batch, lane: str, count: int, octets: int, now: float) -> None:
        tokens = tuple(self.leases.reserve() for _ in range(count))
        road = self._ports.table.road_of(lane)
        take = TakeLeases(
            lane=lane,
            now=now,
            tokens=tokens,
            content_bytes=octets,
            recipients_per_lease=road.recipients_per_call if road else 100,
        )

        def done(taken: Taken) -> None:
            self._begin(taken, tokens, now)

        def failed(error: Exception) -> None:
            for token in tokens:
                self.leases.give_back(token)
            self._lanes.took(lane, count, now + self._sick_seconds, now)
            self._is_sick = True
            _log.error("leasing_failed", error=repr(error), lane=lane)

        batch.add(take, done, failed)

    def _begin(self, taken: Taken, tokens: tuple[int, ...], now: float) -> None:
        for id in taken.parked:
            _log.error("parked", id=id, lane=taken.lane, hint="its row cannot be read; see `postroad check`")
        used = {record.token for record in taken.leases}
        for token in tokens:
            if token not in used:
                self.leases.give_back(token)
        for record in taken.leases:
            if record.content is not None and not content_flaw(record.message, record.content):
                self._ports.cache.put(record.handle, record.content)
            lease = Lease(
                token=record.token,
                handle=record.handle,
                lane=taken.lane,
                message=record.message,
                recipients=record.recipients,
                content=self._ports.content_of(record.handle, record.message),
                delay_noticed=record.delay_noticed,
            )
            self.leases.begin(lease)
            self._begun.append(lease)
        self._lanes.took(taken.lane, len(tokens) - len(used), taken.next_due, now)
