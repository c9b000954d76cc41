"""Attempts that their transport begins at once: no task of delivery's, and every duty of one."""

from __future__ import annotations

import time

import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import wait_all_tasks_blocked

from postroad.actors.delivery import Delivery
from postroad.actors.inbox import Inbox
from postroad.actors.notes import Attempt
from postroad.errors import StoreError
from postroad.testing.fakes import ACCEPTED, ScriptedTransport
from postroad.verdict import Disposition, Verdict

SECONDS = 60.0
DOUBT_SECONDS = 20.0
GRACE_SECONDS = 5.0


class Starter(ScriptedTransport):
    """Begins what it is given.  commits: says so at once; is_back: what taking back answers, or raises.

    begun: pairs of a request and its `done`; taken: requests that were taken back.
    """

    def __init__(self, *, commits=False, is_back=True, begins=True):
        super().__init__()
        self.commits = commits
        self.is_back = is_back
        self.begins = begins
        self.begun = []
        self.taken = []

    def begin_delivery(self, request, done):
        if not self.begins:
            return None
        if self.commits:
            request.committing()
        self.begun.append((request, done))

        def withdraw():
            self.taken.append((request.message.id, trio.current_time()))
            if isinstance(self.is_back, Exception):
                raise self.is_back
            return self.is_back

        return withdraw


def dispositions(*leases):
    return [lease.verdicts and lease.verdicts[0].disposition for lease in leases]


async def test_its_verdicts_come_back_by_done(mock_clock, bay, parts):
    async with bay(Starter()) as delivery:
        lease = parts.lease(17)
        await delivery.send(lease)
        ((request, done),) = delivery.transport.begun
        assert (request.id, request.domain, request.deadline) == ("m17/11", "example.org", SECONDS)
        assert delivery.back() == []
        done([ACCEPTED])
        (note,) = delivery.back()
        assert (note.lease, lease.verdicts, delivery.transport.calls) == (lease, [ACCEPTED], [])


async def test_what_cannot_begin_at_once_is_delivered(mock_clock, bay, parts):
    async with bay(Starter(begins=False)) as delivery:
        lease = parts.lease()
        await delivery.send(lease)
        assert (lease.verdicts, len(delivery.transport.calls), len(delivery.back())) == ([ACCEPTED], 1, 1)


async def test_who_said_that_he_cannot_begin_has_no_say(mock_clock, bay, parts):
    class Fickle(Starter):
        def begin_delivery(self, request, done):
            super().begin_delivery(request, done)

    async with bay(Fickle()) as delivery:
        lease = parts.lease()
        await delivery.send(lease)
        ((_, done),) = delivery.transport.begun
        done([Verdict.deferred("451 too late")])
        assert (lease.verdicts, len(delivery.back())) == ([ACCEPTED], 1)


async def test_done_may_come_before_it_has_begun(mock_clock, bay, parts):
    class Quick(Starter):
        def begin_delivery(self, request, done):
            done([ACCEPTED])

    async with bay(Quick()) as delivery:
        lease = parts.lease()
        await delivery.send(lease)
        assert (lease.verdicts, len(delivery.back()), delivery.transport.calls) == ([ACCEPTED], 1, [])


async def test_the_first_answer_counts(mock_clock, bay, parts):
    async with bay(Starter()) as delivery:
        lease = parts.lease()
        await delivery.send(lease)
        ((_, done),) = delivery.transport.begun
        done([ACCEPTED])
        done([Verdict.deferred("451 on second thoughts")])
        assert (lease.verdicts, len(delivery.back())) == ([ACCEPTED], 1)


@pytest.mark.parametrize("where", ["begin", "done", "nonsense"])
async def test_trouble_defers_that_message_alone(mock_clock, bay, parts, where):
    class Raising(Starter):
        def begin_delivery(self, request, done):
            if where == "begin" and request.message.id == "m1":
                raise ValueError("a bug")
            return super().begin_delivery(request, done)

    async with bay(Raising()) as delivery:
        first, second = leases = [parts.lease(token) for token in (1, 2)]
        with capture_logs() as logs:
            await delivery.send(*leases)
            for request, done in delivery.transport.begun:
                bad = ValueError("a bug") if where == "done" else "nonsense"
                done(bad if request.message.id == "m1" else [ACCEPTED])
        assert [log["event"] for log in logs] == ["transport_failed"]
        assert dispositions(first, second) == [Disposition.DEFERRED, Disposition.ACCEPTED]
        assert len(delivery.back()) == 2


@pytest.mark.parametrize("commits", [False, True])
async def test_done_on_another_thread_is_trouble_of_the_transport_and_reaches_nobody_else(bay, parts, commits):
    async with bay(Starter(commits=commits)) as delivery:
        lease, other = parts.lease(1), parts.lease(2)
        await delivery.send(lease)
        await delivery.send(other)
        (_, done), (_, done_other) = delivery.transport.begun
        with capture_logs() as logs:
            await trio.to_thread.run_sync(done, [ACCEPTED])
            await wait_all_tasks_blocked()
        done_other([ACCEPTED])
        assert dispositions(lease, other) == [
            Disposition.IN_DOUBT if commits else Disposition.DEFERRED,
            Disposition.ACCEPTED,
        ]
        (said,) = [log for log in logs if log["event"] == "transport_failed"]
        assert "another thread" in str(said["exc_info"])
        assert len(delivery.back()) == 2


async def test_what_takes_nothing_back_is_told_at_once(mock_clock, bay, parts):
    class Odd(Starter):
        def begin_delivery(self, request, done):
            return True

    async with bay(Odd()) as delivery:
        lease = parts.lease()
        with capture_logs() as logs:
            await delivery.send(lease)
        assert dispositions(lease) == [Disposition.DEFERRED]
        (said,) = [log for log in logs if log["event"] == "transport_failed"]
        assert "begin_delivery returned a bool" in str(said["exc_info"])


async def test_local_trouble_is_no_try(mock_clock, bay, parts):
    async with bay(Starter()) as delivery:
        lease = parts.lease()
        await delivery.send(lease)
        delivery.transport.begun[0][1](MemoryError())
        assert dispositions(lease) == [Disposition.POSTPONED]


@pytest.mark.parametrize(
    ("commits", "expected"), [(False, Disposition.DEFERRED), (True, Disposition.IN_DOUBT)], ids=["before", "after"]
)
async def test_each_meets_its_own_deadline(mock_clock, bay, parts, commits, expected):
    async with bay(Starter(commits=commits)) as delivery:
        first, second, third = [parts.lease(token) for token in (1, 2, 3)]
        await delivery.send(first)
        mock_clock.jump(10)
        await delivery.send(second, third)
        delivery.transport.begun[1][1]([ACCEPTED])
        mock_clock.jump(49.9)
        await wait_all_tasks_blocked()
        assert delivery.transport.taken == []
        mock_clock.jump(0.1)
        await wait_all_tasks_blocked()
        assert delivery.transport.taken == [("m1", 60.0)]
        mock_clock.jump(10)
        await wait_all_tasks_blocked()
        assert delivery.transport.taken[1:] == [("m3", 70.0)]
        assert dispositions(first, second, third) == [expected, Disposition.ACCEPTED, expected]
        assert "no answer within 60 s" in first.verdicts[0].reply


async def test_what_begins_after_a_pause_is_watched_again(mock_clock, bay, parts):
    async with bay(Starter()) as delivery:
        await delivery.send(parts.lease(1))
        mock_clock.jump(SECONDS)
        await wait_all_tasks_blocked()
        mock_clock.jump(1000)
        await delivery.send(parts.lease(2))
        mock_clock.jump(SECONDS)
        await wait_all_tasks_blocked()
        assert [id for id, _ in delivery.transport.taken] == ["m1", "m2"]


async def test_the_answer_to_what_was_handed_over_is_believed_behind_the_deadline(mock_clock, bay, parts):
    async with bay(Starter(commits=True, is_back=False)) as delivery:
        lease = parts.lease()
        await delivery.send(lease)
        mock_clock.jump(SECONDS)
        await wait_all_tasks_blocked()
        mock_clock.jump(DOUBT_SECONDS)
        await wait_all_tasks_blocked()
        assert delivery.back() == []
        delivery.transport.begun[0][1]([ACCEPTED])
        assert (lease.verdicts, len(delivery.back())) == ([ACCEPTED], 1)


async def test_a_transport_that_never_answers_does_not_keep_a_lease(mock_clock, bay, parts):
    async with bay(Starter(commits=True, is_back=False)) as delivery:
        lease = parts.lease()
        await delivery.send(lease)
        for seconds in (SECONDS, DOUBT_SECONDS + GRACE_SECONDS):
            mock_clock.jump(seconds)
            await wait_all_tasks_blocked()
        mock_clock.autojump_threshold = 0  # should it wait on
        assert (dispositions(lease), len(delivery.back())) == ([Disposition.IN_DOUBT], 1)
        delivery.transport.begun[0][1]([ACCEPTED])  # it is nobody's any more
        assert delivery.back() == []


async def test_taking_back_may_fail(mock_clock, bay, parts):
    async with bay(Starter(is_back=ValueError("a bug"))) as delivery:
        lease = parts.lease()
        await delivery.send(lease)
        with capture_logs() as logs:
            mock_clock.jump(SECONDS)
            await wait_all_tasks_blocked()
        assert [log["event"] for log in logs] == ["transport_failed"]
        assert (dispositions(lease), len(delivery.back())) == ([Disposition.DEFERRED], 1)


@pytest.mark.parametrize("committed", [False, True])
async def test_the_end_of_a_shutdowns_grace_brings_all_home(mock_clock, bay, parts, committed):
    async with bay(Starter(commits=committed)) as delivery:
        leases = [parts.lease(token) for token in range(5)]
        await delivery.send(*leases)
        delivery.delivery.end_attempts()
        expected = Disposition.IN_DOUBT if committed else Disposition.POSTPONED
        assert set(dispositions(*leases)) == {expected}
        assert all(lease.is_cut for lease in leases)
        late = parts.lease(7)
        await delivery.send(late)
        assert (dispositions(late), len(delivery.transport.begun)) == ([Disposition.POSTPONED], 5)


async def test_who_is_asked_for_his_answer_at_the_end_has_his_time_and_no_more(mock_clock, bay, parts):
    async with bay(Starter(commits=True, is_back=False)) as delivery:
        lease = parts.lease()
        await delivery.send(lease)
        delivery.delivery.end_attempts()
        mock_clock.jump(DOUBT_SECONDS)
        await wait_all_tasks_blocked()
        assert delivery.back() == []
        mock_clock.jump(GRACE_SECONDS)
        await wait_all_tasks_blocked()
        assert (dispositions(lease), len(delivery.back())) == ([Disposition.IN_DOUBT], 1)


async def test_a_ring_that_ends_waits_for_the_answers_alone(mock_clock, bay, parts):
    """After a crash the leases are settled by what they know: a 250 that comes now must be in them."""
    kept, answered = [parts.lease(token) for token in (1, 2)]
    transport = Starter(commits=True, is_back=False)

    async def answer():
        await trio.sleep(DOUBT_SECONDS)
        transport.begun[1][1]([ACCEPTED])

    async with trio.open_nursery() as nursery, bay(transport) as delivery:
        await delivery.send(kept, answered)
        nursery.start_soon(answer)
        await wait_all_tasks_blocked()
        mock_clock.autojump_threshold = 0
    assert answered.verdicts == [ACCEPTED]
    assert dispositions(kept) == [Disposition.IN_DOUBT]
    assert trio.current_time() == DOUBT_SECONDS + GRACE_SECONDS


async def test_a_ring_that_ends_waits_no_longer_than_for_the_last_answer(mock_clock, bay, parts):
    leases = [parts.lease(token) for token in (1, 2)]
    transport = Starter(commits=True, is_back=False)

    async def answer():
        for seconds, (_, done) in zip((1.0, 2.0), transport.begun, strict=True):
            await trio.sleep(seconds)
            done([ACCEPTED])

    async with trio.open_nursery() as nursery:
        async with bay(transport) as delivery:
            await delivery.send(*leases)
            nursery.start_soon(answer)
            await wait_all_tasks_blocked()
            mock_clock.autojump_threshold = 0
        assert trio.current_time() == 1.0 + 2.0
    assert [lease.verdicts for lease in leases] == [[ACCEPTED], [ACCEPTED]]


async def test_a_ring_that_ends_takes_all_back_at_once(mock_clock, bay, parts):
    """Not only when the calls of `deliver` have ended: one of those may wait for an answer of its own."""

    class Patient(Starter):
        def begin_delivery(self, request, done):
            return super().begin_delivery(request, done) if request.message.id == "m1" else None

        async def deliver(self, request):
            with trio.CancelScope(shield=True):
                await trio.sleep(DOUBT_SECONDS)
            return [ACCEPTED]

    transport = Patient(commits=True, is_back=False)
    async with bay(transport) as delivery:
        await delivery.send(parts.lease(1), parts.lease(2))
        mock_clock.autojump_threshold = 0
    assert transport.taken == [("m1", 0.0)]
    assert trio.current_time() == DOUBT_SECONDS + GRACE_SECONDS


async def test_a_shutdown_may_come_before_a_ring_runs(parts, boxes):
    delivery = Delivery(parts.ports(transports={"out": Starter()}), Inbox(10), boxes.policy)
    delivery.end_attempts()  # does not raise
    await wait_all_tasks_blocked()


async def test_a_shutdown_may_come_while_a_ring_ends_and_after(mock_clock, bay, parts):
    lease = parts.lease()

    async def shut_down(delivery):
        for _ in range(3):
            await trio.sleep(DOUBT_SECONDS / 2)
            delivery.end_attempts()

    async with trio.open_nursery() as nursery:
        async with bay(Starter(commits=True, is_back=False)) as delivery:
            await delivery.send(lease)
            ring = delivery.delivery
            nursery.start_soon(shut_down, ring)
            await wait_all_tasks_blocked()
            mock_clock.autojump_threshold = 0
        assert trio.current_time() == DOUBT_SECONDS + GRACE_SECONDS
    assert dispositions(lease) == [Disposition.IN_DOUBT]


async def test_taking_one_back_may_end_another(mock_clock, bay, parts):
    """As where a transport gathers several in one call to its peer."""

    class Gathering(Starter):
        def begin_delivery(self, request, done):
            super().begin_delivery(request, done)

            def withdraw():
                for _, each in self.begun:
                    each([Verdict.deferred("451 all of them")])
                return False

            return withdraw

    async with bay(Gathering()) as delivery:
        leases = [parts.lease(token) for token in (1, 2, 3)]
        await delivery.send(*leases)
        mock_clock.jump(SECONDS)
        await wait_all_tasks_blocked()
        assert [lease.verdicts[0].reply for lease in leases] == ["451 all of them"] * 3
        await delivery.send(parts.lease(4), parts.lease(5))
        delivery.delivery.end_attempts()
        assert len(delivery.back()) == 5


async def test_what_ends_the_program_is_no_answer(mock_clock, parts, boxes):
    """And the others are taken back."""

    class Ending(Starter):
        def begin_delivery(self, request, done):
            if request.message.id == "m2":
                raise SystemExit
            return super().begin_delivery(request, done)

    transport, inbox = Ending(), Inbox(10)
    delivery = Delivery(parts.ports(transports={"out": transport}), inbox, boxes.policy)
    first, second = parts.lease(1), parts.lease(2)
    inbox.put([Attempt(lease, "out", "example.org", SECONDS) for lease in (first, second)])
    with pytest.RaisesGroup(SystemExit, flatten_subgroups=True):
        await delivery.run()
    assert (transport.taken, second.verdicts) == ([("m1", 0.0)], None)


async def test_octets_are_held_until_it_is_over(mock_clock, bay, parts):
    async with bay(Starter(), content_bytes=70_000) as delivery:
        await delivery.send(*[parts.lease(token, content=b"x" * 40_000) for token in (1, 2)])
        ((_, done),) = delivery.transport.begun
        assert delivery.transport.calls == []
        done([ACCEPTED])
        await wait_all_tasks_blocked()
        assert len(delivery.transport.calls) == 1  # it waited in a task of its own
        await delivery.send(parts.lease(3, content=b"x" * 40_000))
        assert len(delivery.transport.begun) == 2


async def test_a_call_that_keeps_the_thread_is_named(mock_clock, bay, parts, monkeypatch):
    monkeypatch.setattr("postroad.actors.begun.SLOW_SECONDS", 0.02)

    class Busy(Starter):
        def begin_delivery(self, request, done):
            time.sleep(0.05)
            return super().begin_delivery(request, done)

    async with bay(Busy()) as delivery:
        with capture_logs() as logs:
            await delivery.send(parts.lease())
        assert [(log["event"], log["transport"]) for log in logs] == [("transport_slow", "out")]


async def test_what_fails_in_the_ring_is_no_affair_of_the_transport(mock_clock, parts):
    class Full:
        def put(self, note):
            raise StoreError("a bug of the ring")

    transport, inbox = Starter(), Inbox(10)
    delivery = Delivery(parts.ports(transports={"out": transport}), inbox, Full())
    with pytest.RaisesGroup(StoreError, flatten_subgroups=True):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(delivery.run)
            inbox.put([Attempt(parts.lease(), "out", "example.org", SECONDS)])
            await wait_all_tasks_blocked()
            transport.begun[0][1]([ACCEPTED])  # does not raise
            await wait_all_tasks_blocked()
