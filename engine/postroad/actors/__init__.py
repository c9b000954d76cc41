"""The ring: four actors in one nursery, their inboxes, and what happens when one of them fails.

At most `in_flight.leases` leases exist, each in exactly one place, and every inbox has room for all of them, so nothing inside
the ring ever waits for room.  An exception in an actor means that the engine's picture may be wrong: the ring stops, settles
what its leases already know, gives the others back and starts again on the same store.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable

import trio

from ..decide import doubt
from ..errors import EngineCrashed, StoreError
from ..events import RingRestarted
from ..log import get_logger
from ..recovery import recovery, tell_recovered
from ..store.contract import Outcome, Recovered, Settle, Settled
from ..store.states import Step
from ..strangers import is_theirs, words_for
from .bounce import RETURNED_AT_ONCE, Bounce, BounceNote
from .delivery import Delivery
from .detours import Detours
from .inbox import Inbox
from .notes import Attempt, Drain, Lease, Returned
from .policy import HOLDS_PER_TURN, Policy, PolicyNote, judge
from .ports import Ports
from .queue import Queue, QueueNote
from .record import Recorder
from .sites import Sites

__all__ = ["Ring", "supervise"]

_RESERVED = 16  # one slot each for Wake, Drain and FailuresWaiting, with room to spare
_RESTARTS, _WITHIN_SECONDS = 3, 60.0

_log = get_logger()


class Ring:
    """One life of the four actors."""

    def __init__(self, ports: Ports) -> None:
        credits = ports.config.in_flight.leases
        # Per lease queue may get one Settled and three Rooms at once (on the way out, on the way in, forgotten sites).
        self._queue_inbox: Inbox[QueueNote] = Inbox(4 * credits + HOLDS_PER_TURN + _RESERVED)
        policy: Inbox[PolicyNote] = Inbox(2 * credits + _RESERVED)
        delivery: Inbox[list[Attempt]] = Inbox(credits + _RESERVED)
        self._bounce_inbox: Inbox[BounceNote] = Inbox(RETURNED_AT_ONCE + _RESERVED)
        self.queue = Queue(ports, self._queue_inbox, policy, self._bounce_inbox)
        self._policy = Policy(ports, policy, self._queue_inbox, delivery)
        self._delivery = Delivery(ports, delivery, policy)
        self._bounce = Bounce(ports, self._bounce_inbox)
        self._returned: list[Returned] = []  # at most as many as the application may hand over at once

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.queue.run)
            nursery.start_soon(self._policy.run)
            nursery.start_soon(self._delivery.run)
            nursery.start_soon(self._bounce.run)

    def drain(self) -> None:
        """Lease no more."""
        self._queue_inbox.put(Drain())

    def end_attempts(self) -> None:
        """Cancel the attempts under way; their leases come home."""
        self._delivery.end_attempts()

    def give_returned(self, note: Returned) -> None:
        self._returned = [*self.unread(), note]
        self._bounce_inbox.put(note)

    def unread(self) -> list[Returned]:
        """Returned mail that was not read yet (after a crash): somebody waits for that."""
        return [note for note in self._returned if not note.done.is_set()]


async def supervise(ports: Ports, started: Callable[[Ring], None]) -> None:
    """Run the ring, and again after a crash; `started` is told of each new one before it runs.

    Raises EngineCrashed after three crashes within 60 s, or at any failure of the store; and what shall end the program
    (KeyboardInterrupt, SystemExit), once the leases are settled.
    """
    crashes: deque[float] = deque(maxlen=_RESTARTS)
    unread: list[Returned] = []
    while True:
        ring = Ring(ports)
        started(ring)
        for note in unread:
            ring.give_returned(note)
        crash = await _run_until_crash(ring)
        _log.error("ring_crashed", exc_info=crash)
        if crash.subgroup(StoreError) is not None:
            raise EngineCrashed("the store failed; what was accepted is in the spool") from crash
        try:
            await _bring_home(ring, ports)
        except Exception as error:
            raise EngineCrashed("the leases of crashed actors could not be settled; they are in the spool") from error
        if not is_theirs(crash):
            raise crash
        unread = ring.unread()
        crashes.append(trio.current_time())
        if len(crashes) == _RESTARTS and crashes[-1] - crashes[0] < _WITHIN_SECONDS:
            raise EngineCrashed(f"the actors failed {_RESTARTS} times within {_WITHIN_SECONDS:g} s") from crash
        ports.observers.publish(RingRestarted(at=ports.clock.now(), reason=words_for(crash.exceptions[0])))


async def _run_until_crash(ring: Ring) -> BaseExceptionGroup[BaseException]:
    try:
        await ring.run()
    except BaseExceptionGroup as crash:  # noqa: ASYNC103  # but for the end of the ring itself
        if trio.current_effective_deadline() == -math.inf:
            raise
        return crash
    return BaseExceptionGroup("the ring stopped", [RuntimeError("an actor ended by itself")])


async def _bring_home(ring: Ring, ports: Ports) -> None:
    """Settle what the leases of a crashed ring know: a received 250 is not thrown away.

    What a commit leased before the crash could come between it and the ring is nobody's: it is recovered as by a new engine.
    """
    leases = list(ring.queue.leases.live.values())
    now = ports.clock.now()
    outcomes = {lease.token: _outcomes_after_crash(lease, ports, now) for lease in leases}
    flat = tuple(outcome for part in outcomes.values() for outcome in part)
    recover = recovery(ports.marks, ports.config.all_routes, now)
    answer, recovered = await ports.executor.apply([Settle(flat, now), recover])
    assert isinstance(answer, Settled)
    assert isinstance(recovered, Recovered)
    tell_recovered(recovered)
    states = iter(answer.states)
    recorder = Recorder(ports)
    for lease in leases:
        ports.cache.drop(lease.handle)
        for index, outcome in enumerate(outcomes[lease.token]):
            state = next(states)
            if state is not None:
                recorder.settled(lease, outcome, index, state, now)
    ports.waiters.poke_all()  # of what was committed, and not told any more


def _outcomes_after_crash(lease: Lease, ports: Ports, now: float) -> tuple[Outcome, ...]:
    road = ports.table.road_of(lease.lane)
    if lease.verdicts is not None and road is not None:
        judged = judge(lease, lease.verdicts, road, ports, now)
        # Which roads are held the next ring knows, and sends on what comes by one of them.
        return Detours(ports.table, Sites()).taken(lease, road, lease.verdicts, judged, now)
    step, due = Step.POSTPONE, now
    if lease.marked:
        step = doubt.step(road.in_doubt if road else "send_again", is_proven=False)
        due = now + ports.config.retry.first_seconds
    return tuple(
        Outcome(
            token=lease.token,
            handle=lease.handle,
            number=recipient.number,
            step=step,
            due=due,
            tried=lease.marked,
            reply=doubt.said(step, "the engine restarted its actors"),
            in_doubt=lease.marked,
        )
        for recipient in lease.recipients
    )
