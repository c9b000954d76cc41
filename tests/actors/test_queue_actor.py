"""Queue: one commit a turn, leases within credits and room, and nothing lost when the store fails."""

from __future__ import annotations

import gc
from contextlib import asynccontextmanager

import pytest
import trio
from msgspec.structs import replace
from structlog.testing import capture_logs
from trio.testing import wait_all_tasks_blocked

from postroad.actors.inbox import Inbox
from postroad.actors.notes import Drain, FailuresWaiting, Leased, Room, Settled
from postroad.actors.queue import Queue
from postroad.config import Windows
from postroad.decide.routing import RoutingTable
from postroad.errors import StoreBroken, StoreError
from postroad.intake import Entry
from postroad.store.contract import Accept, Cancel, DelayReport, Filter, Hold, Release, Report, TakeLeases
from postroad.store.states import State, Step

ORG, NET = "out/example.org", "out/example.net"


class Office:
    """A queue actor at work: mail comes in, leases go out, settlements come back."""

    def __init__(self, parts, boxes, *, leases=20, **sections):
        self.parts = parts
        self.ports = parts.ports(in_flight={"leases": leases}, **sections)
        self.store = self.ports.executor.store
        self.inbox = Inbox(10_000)
        self.policy, self.bounce = boxes.policy, boxes.bounce
        self.queue = Queue(self.ports, self.inbox, boxes.policy, boxes.bounce)
        self.ports.intake.ring_bell = self.queue.ring_bell
        self.nursery = None

    async def put(self, *operations):
        """Put them as one caller each, in any order; gives what each was answered."""
        answers = {}

        async def put(index, operation):
            try:
                (answers[index],) = await self.ports.intake.put([operation])
            except Exception as error:
                answers[index] = error

        for index, operation in enumerate(operations):
            self.nursery.start_soon(put, index, operation)
        await wait_all_tasks_blocked()
        return answers

    async def lose_patience(self):
        """Let the moments pass for which fresh mail waits at the intake for room at a quick destination."""
        await wait_all_tasks_blocked()
        for _ in range(10):
            if not len(self.ports.intake):
                break
            trio.lowlevel.current_clock().jump(0.01)
            await wait_all_tasks_blocked()

    async def put_in_order(self, *operations):
        """Put them as one caller."""
        self.nursery.start_soon(self.ports.intake.put, operations)
        await wait_all_tasks_blocked()

    async def give(self, *notes):
        for note in notes:
            self.inbox.put(note)
        await wait_all_tasks_blocked()

    async def settle(self, *leases, step=Step.DELIVER, **fields):
        await self.give(*[Settled(lease, self.parts.outcomes(lease, step, **fields)) for lease in leases])

    def leased(self):
        return [lease for note in self.policy.take(Leased) for lease in note.leases]

    def states(self):
        return {state: count for state, count in self.store.counts().items() if count}


@pytest.fixture
def office(parts, boxes):
    @asynccontextmanager
    async def open_office(before=None, **sections):
        office = Office(parts, boxes, **sections)
        if before:
            office.store.apply(before)
        async with trio.open_nursery() as nursery:
            office.nursery = nursery
            nursery.start_soon(office.queue.run)
            await wait_all_tasks_blocked()
            yield office
            nursery.cancel_scope.cancel()

    return open_office


# --- accepting and leasing ---


@pytest.mark.parametrize(("answered", "seconds", "rests"), [(2, 0.004, 0.001), (2, 1.0, 0.002), (1, 1.0, 0.0)])
async def test_who_was_answered_with_others_may_come_again_before_the_next_commit(
    mock_clock, office, parts, answered, seconds, rests
):
    """A quarter of the commit's time, two milliseconds at the most; a lone submitter waits for nobody."""
    async with office() as queue:
        queue.store.fault = lambda operations: mock_clock.jump(seconds)  # what a commit takes
        await queue.put(*[parts.accept(id=f"m{number}") for number in range(answered)])
        queue.store.applied.clear()
        queue.store.fault = lambda operations: None
        await queue.put(parts.accept(id="next"))
        if rests:
            mock_clock.jump(rests * 0.99)
            await queue.put(parts.accept(id="just in time"))
            assert queue.store.applied == []
            mock_clock.jump(rests * 0.02)
            await wait_all_tasks_blocked()
        assert len(queue.store.applied) == 1
        assert len(queue.store.applied[0]) == (2 if rests else 1)


async def test_nothing_stays_of_submissions_that_a_failing_store_refused(mock_clock, office, parts):
    """Their error knows the commit, which knows them: a circle that the garbage collector must be able to see."""
    async with office() as queue:
        queue.store.fault = lambda operations: StoreError("disk full")
        with pytest.raises(StoreError):
            await queue.ports.intake.put([parts.accept(f"m{number}") for number in range(5)])
    del queue
    gc.collect()
    assert not [each for each in gc.get_objects() if type(each) is Entry]


async def test_a_fresh_message_is_leased_by_the_commit_that_accepts_it(mock_clock, office, parts):
    async with office() as queue:
        queue.store.applied.clear()
        await queue.put(parts.accept(to=("b@example.org", "c@example.org")))
        (lease,) = queue.leased()
        assert len(queue.store.applied) == 1
        assert [recipient.address for recipient in lease.recipients] == ["b@example.org", "c@example.org"]
        assert (lease.lane, lease.message.id) == (ORG, "m1")
        assert lease.content.read_nowait() == b"Hello"
        assert queue.states() == {State.LEASED: 2}


async def test_a_lease_holds_no_more_recipients_than_the_transport_takes_at_once(mock_clock, boxes, parts):
    """Neither a fresh one nor one of mail that was deferred."""
    queue = Office(parts, boxes)
    config = queue.ports.config
    queue.ports.table = RoutingTable(config, {"out": True}, {"out": 2})
    async with trio.open_nursery() as nursery:
        queue.nursery = nursery
        nursery.start_soon(queue.queue.run)
        await queue.put(parts.accept(to=[f"u{number}@example.org" for number in range(5)]))
        for due in (None, parts.START + 60):
            if due is not None:
                mock_clock.jump(60)
                await wait_all_tasks_blocked()
            leases = queue.leased()
            assert [len(lease.recipients) for lease in leases] == [2, 2, 1]
            await queue.settle(*leases, step=Step.DEFER, due=parts.START + 60)
        nursery.cancel_scope.cancel()


async def test_mail_that_is_routed_anew_is_leased_on_its_new_lane(mock_clock, office, parts):
    async with office() as queue:
        await queue.put(parts.accept())
        await queue.settle(*queue.leased(), step=Step.POSTPONE, due=parts.START, lane=NET)
        (lease,) = queue.leased()
        assert lease.lane == NET


async def test_lanes_behind_the_same_servers_share_their_room(mock_clock, office, parts):
    async with office() as queue:
        await queue.give(Room("mx.example", 3), Room("mx.example", 3, ORG), Room("mx.example", 3, NET))
        await queue.put(*[parts.accept(f"m{number}", lane) for number in range(5) for lane in (ORG, NET)])
        await queue.lose_patience()
        assert len(queue.leased()) == 3


async def test_what_waits_for_room_leaves_when_a_lease_ends(mock_clock, office, parts):
    async with office() as queue:
        await queue.put(*[parts.accept(f"m{number}") for number in range(12)])
        await queue.lose_patience()
        leases = queue.leased()
        assert len(leases) == 10  # twice the window of a new site
        await queue.settle(*leases[:2])
        assert len(queue.leased()) == 2


async def test_a_content_is_kept_in_memory_no_longer_than_its_lease(mock_clock, office, parts):
    async with office() as queue:
        free = queue.ports.cache.free
        await queue.put(parts.accept())
        (lease,) = queue.leased()
        assert queue.ports.cache.free < free
        await queue.settle(lease)
        assert queue.ports.cache.free == free


async def test_all_who_wait_share_one_commit(mock_clock, office, parts):
    async with office(leases=100, windows=Windows(start=25, max=25)) as queue:
        queue.store.applied.clear()
        await queue.put(*[parts.accept(f"m{number}", f"out/{number}.example") for number in range(50)])
        assert len(queue.store.applied) == 1
        assert queue.store.tally().messages == 50


async def test_leases_never_exceed_the_credits_or_the_sites_room(mock_clock, office, parts):
    async with office(leases=12) as queue:
        await queue.put(*[parts.accept(f"m{number}") for number in range(30)])
        assert len(queue.leased()) == 10  # twice the window of a new site
        await queue.put(*[parts.accept(f"n{number}", NET) for number in range(30)])
        assert len(queue.leased()) == 2
        assert queue.queue.leases.free == 0


async def test_a_slow_lane_does_not_take_the_credits_of_the_others(mock_clock, office, parts):
    slow = [parts.accept(f"slow{number}") for number in range(300)]
    async with office(before=slow, leases=40) as queue:
        assert len(queue.leased()) == 10
        for number in range(100):
            await queue.put(parts.accept(f"quick{number}", f"out/{number}.example"))
            (lease,) = queue.leased()
            assert lease.message.id == f"quick{number}"
            await queue.settle(lease)


async def test_turns_are_fair_over_lanes(mock_clock, office, parts):
    lanes = [f"out/{letter}.example" for letter in "abcde"]
    backlog = [parts.accept(f"{lane}{number}", lane) for number in range(20) for lane in lanes]
    async with office(before=backlog, leases=10) as queue:
        leases = queue.leased()
        assert sorted(lease.lane for lease in leases) == sorted(lanes * 2)
        served = []
        for _ in range(30):
            await queue.settle(*leases)
            leases = queue.leased()
            served += [lease.lane for lease in leases]
            if len(served) == 90:
                break
        assert {lane: served.count(lane) for lane in lanes} == dict.fromkeys(lanes, 18)


async def test_priority_orders_within_a_lane_and_then_age(mock_clock, office, parts):
    backlog = [parts.accept(f"m{number}", priority=priority) for number, priority in enumerate([5, 9, 0, 5, 0])]
    async with office(before=backlog, leases=1) as queue:
        order = []
        for _ in backlog:
            (lease,) = queue.leased()
            order.append(lease.message.id)
            await queue.settle(lease)
        assert order == ["m2", "m4", "m0", "m3", "m1"]


async def test_fresh_mail_does_not_overtake_older_mail_of_its_lane(mock_clock, office, parts):
    async with office(before=[parts.accept("old1"), parts.accept("old2")], leases=1) as queue:
        (lease,) = queue.leased()
        await queue.put(parts.accept("fresh"))
        order = [lease.message.id]
        for _ in range(2):
            await queue.settle(lease)
            (lease,) = queue.leased()
            order.append(lease.message.id)
        assert order == ["old1", "old2", "fresh"]


async def test_fresh_mail_leaves_half_of_the_free_credits_to_older_mail(mock_clock, office, parts):
    async with office(leases=8) as queue:
        await queue.give(Room(ORG, 0))
        await queue.put(*[parts.accept(f"old{number}") for number in range(10)])
        queue.ports.intake.ring_bell = lambda: None  # both are there when queue awakes
        await queue.put(*[parts.accept(f"fresh{number}", NET) for number in range(10)])
        await queue.give(Room(ORG, 10))
        assert sorted(lease.lane for lease in queue.leased()) == [NET] * 4 + [ORG] * 4


async def test_fresh_mail_waits_for_room_at_a_quick_site_and_is_leased_by_its_own_commit(mock_clock, office, parts):
    async with office() as queue:
        answers = await queue.put(*[parts.accept(f"m{number}") for number in range(12)])
        first, *others = queue.leased()
        assert (len(others), len(answers)) == (9, 10)
        await queue.settle(first, *others)
        assert len(queue.leased()) == 2
        assert len(answers) == 12
        assert not any(isinstance(op, TakeLeases) for batch in queue.store.applied for op in batch)


@pytest.mark.parametrize("seconds", [0.011, 0.05])
async def test_fresh_mail_waits_no_longer_than_a_moment(mock_clock, office, parts, seconds):
    """A site whose leases do not end is not quick, and patience is short."""
    async with office() as queue:
        answers = await queue.put(*[parts.accept(f"m{number}") for number in range(12)])
        assert len(answers) == 10
        mock_clock.jump(seconds)
        await wait_all_tasks_blocked()
        assert len(answers) == 12


async def test_fresh_mail_joins_a_real_backlog_at_once(mock_clock, office, parts):
    old = [parts.accept(f"old{number}") for number in range(100)]
    async with office(before=old) as queue:
        for _ in range(4):
            await queue.settle(*queue.leased())
            await queue.put(parts.accept(f"fresh{trio.current_time()}"))
            mock_clock.jump(0.6)
            await wait_all_tasks_blocked()
        await queue.settle(*queue.leased())
        assert len(await queue.put(parts.accept("now"))) == 1


async def test_mail_waits_for_its_send_at(mock_clock, office, parts):
    async with office() as queue:
        await queue.put(parts.accept("later", due=parts.START + 3600), parts.accept("now"))
        assert [lease.message.id for lease in queue.leased()] == ["now"]
        mock_clock.jump(3599)
        await wait_all_tasks_blocked()
        assert queue.leased() == []
        mock_clock.jump(1)
        await wait_all_tasks_blocked()
        assert [lease.message.id for lease in queue.leased()] == ["later"]


async def test_a_deferred_recipient_is_leased_again_when_it_is_due(mock_clock, office, parts):
    async with office() as queue:
        await queue.put(parts.accept())
        (lease,) = queue.leased()
        await queue.settle(lease, step=Step.DEFER, due=parts.START + 300)
        mock_clock.jump(300)
        await wait_all_tasks_blocked()
        (again,) = queue.leased()
        assert again.recipients[0].attempts == 1
        assert again.token != lease.token
        assert await again.content.read() == b"Hello"


async def test_a_held_site_leases_nothing_until_it_has_room(mock_clock, office, parts):
    async with office() as queue:
        await queue.give(Room(ORG, 0))
        await queue.put_in_order(*[parts.accept(f"m{number}") for number in range(5)])
        assert queue.leased() == []
        await queue.give(Room(ORG, 2))
        assert [lease.message.id for lease in queue.leased()] == ["m0", "m1"]


async def test_a_message_for_several_lanes_gets_a_lease_for_each(mock_clock, office, parts):
    accept = parts.accept(to=("b@example.org", "c@example.org"))
    other = parts.accept(lane=NET, to=("d@example.net",))
    both = Accept(accept.message, accept.recipients + other.recipients, b"Hello")
    async with office() as queue:
        await queue.put(both)
        leases = {lease.lane: [recipient.number for recipient in lease.recipients] for lease in queue.leased()}
        assert leases == {ORG: [0, 1], NET: [2]}


async def test_a_lease_holds_at_most_a_hundred_recipients(mock_clock, office, parts):
    async with office() as queue:
        await queue.put(parts.accept(to=tuple(f"{number}@example.org" for number in range(250))))
        assert [len(lease.recipients) for lease in queue.leased()] == [100, 100, 50]


async def test_a_duplicate_gets_no_lease_and_gives_its_credits_back(mock_clock, office, parts):
    async with office(leases=2) as queue:
        answers = await queue.put(parts.accept(), parts.accept())
        assert sorted(answer.duplicate for answer in answers.values()) == [False, True]
        assert len(queue.leased()) == 1
        assert queue.queue.leases.free == 1


async def test_a_restart_finds_its_mail_without_reading_the_backlog(mock_clock, office, parts):
    backlog = [parts.accept(f"m{number}") for number in range(50)]
    async with office(before=backlog) as queue:
        assert len(queue.leased()) == 10
        assert len(queue.queue._lanes) == 1


async def test_operators_commands_go_the_same_road(mock_clock, office, parts):
    async with office(leases=1) as queue:
        await queue.put_in_order(parts.accept("m1"), parts.accept("m2"), parts.accept("m3"))
        (lease,) = queue.leased()
        with queue.ports.waiters.waiting("m3") as poked, capture_logs() as logs:
            await queue.put(Hold(Filter(id="m2"), "by hand", parts.START), Cancel(Filter(id="m3"), parts.START))
        assert [(log["event"], log["id"]) for log in logs] == [("cancelled", "m3")]
        assert poked.is_set()
        await queue.settle(lease)
        assert queue.leased() == []
        await queue.put(Release(Filter(id="m2"), parts.START))
        assert [lease.message.id for lease in queue.leased()] == ["m2"]
        assert queue.states() == {State.ACCEPTED: 1, State.CANCELLED: 1, State.LEASED: 1}


async def test_bounce_is_told_of_failures_and_of_those_of_an_earlier_life(mock_clock, office, parts):
    async with office() as queue:
        await queue.put(parts.accept())
        assert queue.bounce.take(FailuresWaiting) == [FailuresWaiting()]
        (lease,) = queue.leased()
        await queue.settle(lease, step=Step.FAIL)
        assert queue.bounce.take(FailuresWaiting) == [FailuresWaiting()]


async def test_a_report_is_leased_like_mail_and_told_only_when_it_was_stored(mock_clock, office, parts):
    async with office() as queue:
        await queue.put(parts.accept())
        (lease,) = queue.leased()
        await queue.settle(lease, step=Step.FAIL)
        with capture_logs() as logs:
            await queue.put(DelayReport(lease.handle, parts.accept("late", NET, sender=""), parts.START))
            assert queue.leased() == []
            await queue.put(Report(lease.handle, (0,), parts.accept("report", NET, sender=""), parts.START))
        assert [(log["event"], log["id"]) for log in logs] == [("accepted", "report")]
        assert [lease.message.id for lease in queue.leased()] == ["report"]


async def test_a_burst_of_failures_while_bounce_is_busy_fits_into_its_inbox(mock_clock, parts, boxes):
    boxes.bounce = Inbox(1)
    queue = Office(parts, boxes)
    async with trio.open_nursery() as nursery:
        queue.nursery = nursery
        nursery.start_soon(queue.queue.run)
        for number in range(50):
            await queue.put(parts.accept(f"m{number}"))
            await queue.settle(*queue.leased(), step=Step.FAIL)
        assert boxes.bounce.take_nowait() == [FailuresWaiting()]
        assert queue.states() == {State.FAILED: 50}
        nursery.cancel_scope.cancel()


async def test_each_recipient_of_a_lease_is_written_down_with_its_own_outcome(mock_clock, office, parts):
    addresses = ("b@example.org", "c@example.org", "d@example.org")
    async with office() as queue:
        await queue.put(parts.accept(to=addresses))
        (lease,) = queue.leased()
        outcomes = [replace(outcome, reply=f"said of {outcome.number}") for outcome in parts.outcomes(lease)]
        with capture_logs() as logs:
            await queue.give(Settled(lease, tuple(outcomes)))
    said = [(log["recipient"], log["reply"]) for log in logs if log["event"] == "delivered"]
    assert said == [(address, f"said of {number}") for number, address in enumerate(addresses)]


async def test_a_stale_settlement_changes_nothing(mock_clock, office, parts):
    async with office() as queue:
        await queue.put(parts.accept())
        (lease,) = queue.leased()
        stale = parts.outcomes(lease, Step.FAIL)[0]
        outcome = type(stale)(**{**{name: getattr(stale, name) for name in stale.__struct_fields__}, "token": 999})
        with capture_logs() as logs:
            await queue.give(Settled(lease, (outcome,)))
        assert "stale_settlement" in [log["event"] for log in logs]
        assert queue.states() == {State.LEASED: 1}


# --- draining ---


async def test_draining_leases_no_more_and_says_when_all_is_home(mock_clock, office, parts):
    async with office(leases=1) as queue:
        await queue.put(parts.accept("m1"), parts.accept("m2"))
        (lease,) = queue.leased()
        await queue.give(Drain())
        assert not queue.ports.home.is_set()
        answers = await queue.put(parts.accept("m3"))
        await queue.lose_patience()
        assert answers[0].id == "m3"  # still accepted: it waits for the next start
        await queue.settle(lease)
        assert queue.ports.home.is_set()
        assert queue.leased() == []


async def test_draining_with_nothing_under_way_ends_at_once(mock_clock, office):
    async with office() as queue:
        await queue.give(Drain())
        assert queue.ports.home.is_set()


async def test_mail_that_comes_in_while_draining_is_not_leased(mock_clock, office, parts):
    """Nor by the commit that accepts it, though there is a free credit and room on its lane."""
    async with office(leases=2) as queue:
        await queue.put(parts.accept("m1"))
        (lease,) = queue.leased()
        await queue.give(Drain())
        answers = await queue.put(parts.accept("m2", NET))
        assert answers[0].id == "m2"
        assert queue.leased() == []
        await queue.settle(lease)
        assert queue.states() == {State.ACCEPTED: 1, State.WAITING: 1}


# --- a store that fails ---


async def test_a_failing_store_refuses_acceptance_with_a_clear_error(mock_clock, office, parts):
    async with office(leases=5) as queue:
        queue.store.fault = lambda operations: StoreError("disk full")
        answers = await queue.put(parts.accept("m1"), parts.accept("m2"))
        assert [str(answer) for answer in answers.values()] == ["disk full"] * 2
        assert all(isinstance(answer, StoreError) for answer in answers.values())
        assert queue.leased() == []
        assert queue.queue.leases.free == 5
        queue.store.fault = lambda operations: None
        answers = await queue.put(parts.accept("m1"))
        assert answers[0].id == "m1"
        assert len(queue.leased()) == 1


async def test_settlements_are_kept_and_retried_while_the_store_fails(mock_clock, office, parts):
    async with office() as queue:
        await queue.put(parts.accept("m1"), parts.accept("m2"))
        leases = queue.leased()
        tries = []
        queue.store.fault = lambda operations: tries.append(trio.current_time()) or StoreError("I/O error")
        begun = trio.current_time()
        await queue.settle(*leases)
        for _ in range(200):
            mock_clock.jump(1)
            await wait_all_tasks_blocked()
        assert queue.states() == {State.LEASED: 2}
        assert len(queue.queue.leases.live) == 2
        pauses = sorted({time - begun for time in tries})
        assert pauses[:6] == [0, 1, 3, 7, 15, 31]
        assert pauses[6:] == [61, 91, 121, 151, 181]
        queue.store.fault = lambda operations: None
        mock_clock.jump(30)
        await wait_all_tasks_blocked()
        assert queue.states() == {State.ACCEPTED: 2}
        assert queue.queue.leases.is_home


async def test_a_disk_too_full_for_new_mail_still_settles_and_leases(mock_clock, office, parts):
    """What is refused at the intake must not hold up what was accepted."""
    async with office(leases=3) as queue:
        await queue.put(*[parts.accept(f"m{number}") for number in range(30)])
        queue.store.fault = lambda operations: (
            StoreError("disk full") if any(isinstance(operation, Accept) for operation in operations) else None
        )
        delivered = 0
        for number in range(12):
            answers = await queue.put(parts.accept(f"refused{number}"))
            mock_clock.jump(0.05)  # it may wait for room that long
            await wait_all_tasks_blocked()
            assert isinstance(answers[0], StoreError)
            leases = queue.leased()
            await queue.settle(*leases)
            delivered += len(leases)
        assert delivered == 30
        assert queue.states() == {State.ACCEPTED: 30}


async def test_one_settlement_that_cannot_be_stored_does_not_hold_up_the_others(mock_clock, office, parts):
    async with office() as queue:
        await queue.put(*[parts.accept(f"m{number}") for number in range(5)])
        leases = queue.leased()
        poison = leases[2].token

        def fault(operations):
            outcomes = [outcome for operation in operations for outcome in getattr(operation, "outcomes", ())]
            return ValueError("cannot be encoded") if any(outcome.token == poison for outcome in outcomes) else None

        queue.store.fault = fault
        await queue.settle(*leases)
        assert queue.states() == {State.LEASED: 5}
        mock_clock.jump(1)
        await wait_all_tasks_blocked()
        assert queue.states() == {State.LEASED: 1, State.ACCEPTED: 4}
        await queue.put(parts.accept("more"))
        mock_clock.jump(30)
        await wait_all_tasks_blocked()
        assert [lease.message.id for lease in queue.leased()] == ["more"]


async def test_leasing_rests_while_the_store_refuses_to_lease(mock_clock, office, parts):
    async with office() as queue:
        asked = []

        def fault(operations):
            if any(isinstance(operation, TakeLeases) for operation in operations):
                asked.append(trio.current_time())
                return StoreError("I/O error")
            return None

        queue.store.fault = fault
        await queue.give(Room(ORG, 0))
        await queue.put(parts.accept())
        begun = trio.current_time()
        await queue.give(Room(ORG, 2))
        for _ in range(20):
            mock_clock.jump(1)
            await wait_all_tasks_blocked()
        assert sorted({time - begun for time in asked}) == [0, 1, 3, 7, 15]
        queue.store.fault = lambda operations: None
        assert queue.queue.leases.free == 20, "what could not be leased gives its credits back"
        mock_clock.jump(30)
        await wait_all_tasks_blocked()
        assert len(queue.leased()) == 1


async def test_after_a_store_has_recovered_the_pauses_begin_anew(mock_clock, office, parts):
    async with office() as queue:
        for id in ("m1", "m2"):
            await queue.put(parts.accept(id))
            leases, tries = queue.leased(), []
            queue.store.fault = lambda operations, tries=tries: (
                tries.append(trio.current_time()) or StoreError("I/O error")
            )
            begun = trio.current_time()
            await queue.settle(*leases)
            for _ in range(8):
                mock_clock.jump(1)
                await wait_all_tasks_blocked()
            assert sorted({time - begun for time in tries}) == [0, 1, 3, 7], id
            queue.store.fault = lambda operations: None
            mock_clock.jump(30)
            await wait_all_tasks_blocked()
        assert queue.states() == {State.ACCEPTED: 2}


async def test_mail_that_became_due_while_queue_rests_is_leased_afterwards(mock_clock, office, parts):
    async with office(leases=2) as queue:
        await queue.put(parts.accept("m1"))
        (lease,) = queue.leased()
        queue.store.fault = lambda operations: StoreError("I/O error") if parts.settles(operations) else None
        await queue.settle(lease)
        await queue.put(parts.accept("m2", NET))
        assert queue.leased() == []
        queue.store.fault = lambda operations: None
        mock_clock.jump(1)
        await wait_all_tasks_blocked()
        assert [lease.message.id for lease in queue.leased()] == ["m2"]


@pytest.mark.parametrize("is_settling", [False, True])
async def test_a_broken_store_stops_the_actor_loudly(mock_clock, parts, boxes, is_settling):
    queue = Office(parts, boxes)
    with pytest.RaisesGroup(StoreBroken):
        async with trio.open_nursery() as nursery:
            queue.nursery = nursery
            nursery.start_soon(queue.queue.run)
            await queue.put(parts.accept("m1"))
            queue.store.fault = lambda operations: StoreBroken("sync failed")
            if is_settling:
                await queue.settle(*queue.leased())
            else:
                await queue.put(parts.accept("m2"))
    assert len(queue.queue.leases.live) == 1  # supervision finds what was under way
