"""Policy: may it leave now, and what follows?  Queue and delivery are boxes that collect its notes."""

from __future__ import annotations

from contextlib import asynccontextmanager

import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import wait_all_tasks_blocked

from postroad.actors.inbox import Inbox
from postroad.actors.notes import Attempt, Attempted, Leased, Room, Settled
from postroad.actors.policy import Policy
from postroad.events import LaneHeld, LaneResumed
from postroad.store.states import Step
from postroad.verdict import Scope, Verdict

DOWN = Verdict.deferred("421 down", scope=Scope.SITE)
OK = Verdict.accepted("250 ok")
LANE = "out/example.org"


class Desk:
    """A policy actor at work: gives it notes, reads what it answers."""

    def __init__(self, parts, boxes, **sections):
        self.parts = parts
        self.ports = parts.ports(**sections)
        self.inbox = Inbox(10_000)
        self.queue, self.delivery = boxes.queue, boxes.delivery
        self.policy = Policy(self.ports, self.inbox, boxes.queue, boxes.delivery)
        self.tokens = 0

    def lease(self, lane=LANE, **fields):
        self.tokens += 1
        return self.parts.lease(self.tokens, lane, **fields)

    async def leave(self, *leases):
        self.inbox.put(Leased(list(leases)))
        await wait_all_tasks_blocked()

    async def come_back(self, attempt, *verdicts):
        attempt.lease.verdicts = list(verdicts)
        self.inbox.put(Attempted(attempt.lease))
        await wait_all_tasks_blocked()

    def attempts(self):
        return [attempt for notes in self.delivery.take(list) for attempt in notes]

    def settled(self):
        return self.queue.take(Settled)

    def rooms(self):
        return self.queue.take(Room)

    async def fail(self, times=5, lane=LANE):
        for _ in range(times):
            await self.leave(self.lease(lane))
            for attempt in self.attempts():
                await self.come_back(attempt, DOWN)
        return self.settled()


@pytest.fixture
def desk(parts, boxes):
    @asynccontextmanager
    async def open_desk(**sections):
        desk = Desk(parts, boxes, **sections)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(desk.policy.run)
            yield desk
            nursery.cancel_scope.cancel()

    return open_desk


async def test_a_lease_leaves_by_its_route(mock_clock, desk):
    async with desk(in_flight={"attempt_seconds": 77}) as policy:
        lease = policy.lease()
        await policy.leave(lease)
        assert policy.attempts() == [Attempt(lease, "out", "example.org", 77)]
        assert policy.settled() == []


async def test_leases_of_several_lanes_that_come_together_leave_each_by_its_own(mock_clock, desk):
    lanes = ["out/a.example", "out/a.example", "gone/b.example", "out/b.example", "out/a.example"]
    async with desk(windows={"start": 1, "max": 1}, in_flight={"attempt_seconds": 60}) as policy:
        leases = [policy.lease(lane) for lane in lanes]
        await policy.leave(*leases)
        assert policy.attempts() == [
            Attempt(leases[0], "out", "a.example", 60),
            Attempt(leases[3], "out", "b.example", 60),
        ]
        assert [note.lease for note in policy.settled()] == [leases[2]]  # routed anew, alone
        await policy.come_back(Attempt(leases[0], "out", "a.example", 60), OK)
        assert [attempt.lease for attempt in policy.attempts()] == [leases[1]]  # the others wait for the window


async def test_every_recipient_is_settled_by_its_own_verdict(mock_clock, desk):
    async with desk() as policy:
        lease = policy.lease(to=("b@example.org", "c@example.org", "d@example.org"))
        await policy.leave(lease)
        await policy.come_back(*policy.attempts(), OK, Verdict.refused("550"), Verdict.deferred("451"))
        (note,) = policy.settled()
        assert note.lease is lease
        assert [(outcome.number, outcome.step) for outcome in note.outcomes] == [
            (0, Step.DELIVER),
            (1, Step.FAIL),
            (2, Step.DEFER),
        ]


async def test_recipients_that_are_deferred_together_are_due_together(mock_clock, desk):
    """Else a message to a hundred would come back as a hundred transactions."""
    addresses = [f"r{number}@example.org" for number in range(5)]
    later = Verdict.deferred("451 4.7.1 later", status="4.7.1")
    async with desk() as policy:
        await policy.leave(policy.lease(to=tuple(addresses)))
        (attempt,) = policy.attempts()
        await policy.come_back(attempt, *[later] * len(addresses))
        (settled,) = policy.settled()
    assert len({outcome.due for outcome in settled.outcomes}) == 1
    assert len(settled.outcomes) == len(addresses)


async def test_a_sites_window_bounds_its_attempts_and_the_others_wait_in_order(mock_clock, desk):
    async with desk() as policy:
        leases = [policy.lease() for _ in range(8)]
        await policy.leave(*leases)
        first = policy.attempts()
        assert [attempt.lease for attempt in first] == leases[:5]
        await policy.come_back(first[0], OK)
        await policy.come_back(first[1], Verdict.deferred("451 greylisted"))
        assert [attempt.lease for attempt in policy.attempts()] == leases[5:7]


async def test_another_sites_mail_is_not_held_up(mock_clock, desk):
    async with desk() as policy:
        await policy.leave(*[policy.lease() for _ in range(9)])
        policy.attempts()
        other = policy.lease("out/example.net")
        await policy.leave(other)
        assert [attempt.lease for attempt in policy.attempts()] == [other]


async def test_a_window_grows_with_success_and_queue_is_told_of_twice_as_much_room(mock_clock, desk):
    async with desk() as policy:
        for _ in range(400):
            await policy.leave(policy.lease())
            await policy.come_back(*policy.attempts(), OK)
        told = [room.leases for room in policy.rooms()]
        assert told == [2 * size for size in range(6, 21)]
        await policy.leave(*[policy.lease() for _ in range(30)])
        assert len(policy.attempts()) == 20


async def test_a_transport_that_raises_or_hangs_neither_grows_nor_shrinks_the_window(mock_clock, desk):
    async with desk() as policy:
        for _ in range(50):
            await policy.leave(policy.lease())
            await policy.come_back(*policy.attempts(), Verdict.deferred("it raised", scope=Scope.LOCAL))
        assert policy.rooms() == []
        assert {outcome.step for note in policy.settled() for outcome in note.outcomes} == {Step.DEFER}


async def test_a_site_in_trouble_is_held_and_its_mail_postponed_without_a_try(mock_clock, desk):
    async with desk() as policy:
        waiting = [policy.lease() for _ in range(12)]
        await policy.leave(*waiting)
        for attempt in policy.attempts():
            await policy.come_back(attempt, DOWN)
        for attempt in policy.attempts():
            await policy.come_back(attempt, DOWN)
        start = policy.ports.clock.now()
        outcomes = [outcome for note in policy.settled() for outcome in note.outcomes]
        assert len(outcomes) == 12
        tried = [outcome for outcome in outcomes if outcome.tried]
        assert {outcome.step for outcome in tried} == {Step.DEFER}
        postponed = [outcome for outcome in outcomes if not outcome.tried]
        assert {outcome.step for outcome in postponed} == {Step.POSTPONE}
        assert all(start + 60 <= outcome.due <= start + 66 for outcome in postponed)
        assert {outcome.reply for outcome in postponed} == {"held: 421 down"}
        assert policy.rooms()[-1] == Room(LANE, 0)
        await policy.leave(policy.lease())
        assert policy.attempts() == []
        assert policy.settled()[0].outcomes[0].step is Step.POSTPONE


async def test_after_a_hold_one_probe_goes_first(mock_clock, desk):
    async with desk() as policy:
        await policy.fail()
        assert policy.rooms()[-1].leases == 0
        mock_clock.jump(60)
        await wait_all_tasks_blocked()
        assert policy.rooms() == [Room(LANE, 2)]
        await policy.leave(policy.lease(), policy.lease())
        (probe,) = policy.attempts()
        await policy.come_back(probe, DOWN)
        assert [outcome.step for note in policy.settled() for outcome in note.outcomes] == [Step.DEFER, Step.POSTPONE]
        assert policy.rooms() == [Room(LANE, 0)]
        mock_clock.jump(119)
        await wait_all_tasks_blocked()
        assert policy.rooms() == []
        mock_clock.jump(1)
        await wait_all_tasks_blocked()
        assert policy.rooms() == [Room(LANE, 2)]


async def test_what_waited_behind_a_hold_does_not_come_all_at_once(mock_clock, desk):
    async with desk() as policy:
        await policy.fail()
        await policy.leave(*[policy.lease() for _ in range(30)])
        dues = [outcome.due for note in policy.settled() for outcome in note.outcomes]
        assert len(set(dues)) == 30


@pytest.mark.parametrize(("slept", "step"), [(299.0, Step.POSTPONE), (301.0, Step.FAIL)])
async def test_what_a_machine_that_just_began_cannot_try_is_not_given_up_yet(mock_clock, desk, parts, slept, step):
    async with desk() as policy:
        mock_clock.jump(slept)
        await policy.leave(policy.lease(accepted_at=parts.START - 10 * 86_400))
        (attempt,) = policy.attempts()
        await policy.come_back(attempt, Verdict.postponed("no descriptors"))
        assert policy.settled()[0].outcomes[0].step is step


@pytest.mark.parametrize(("choice", "step"), [("send_again", Step.DOUBT), ("hold", Step.HOLD)])
async def test_the_route_decides_on_a_doubt(mock_clock, desk, choice, step):
    async with desk(routes=[{"transport": "out", "in_doubt": choice}]) as policy:
        await policy.leave(policy.lease())
        (attempt,) = policy.attempts()
        await policy.come_back(attempt, Verdict.in_doubt("no reply"))
        assert policy.settled()[0].outcomes[0].step is step


async def test_holds_are_told_to_observers_when_they_begin_and_when_they_end(mock_clock, desk):
    async with desk() as policy:
        with policy.ports.observers.subscribed() as events:
            await policy.fail()
            start = policy.ports.clock.now()
            assert await anext(events) == LaneHeld(
                at=start,
                site=LANE,
                lane=LANE,
                transport="out",
                until=start + 60,
                reason="site trouble",
                status="4.0.0",
                reply="421 down",
            )
            mock_clock.jump(60)
            await wait_all_tasks_blocked()
            assert await anext(events) == LaneResumed(at=start + 60, site=LANE, lane=LANE)


async def test_a_hold_that_ends_by_a_late_success_is_told_once(mock_clock, desk):
    async with desk() as policy:
        with policy.ports.observers.subscribed() as events:
            await policy.leave(policy.lease())
            (slow,) = policy.attempts()
            await policy.leave(policy.lease())
            await policy.come_back(*policy.attempts(), Verdict.deferred("down", scope=Scope.TRANSPORT))
            await policy.come_back(slow, OK)
            assert policy.rooms()[-1].leases > 0
            mock_clock.jump(600)
            await wait_all_tasks_blocked()
            policy.ports.observers.close()
            assert [type(event) for event in [event async for event in events]] == [LaneHeld, LaneResumed]


async def test_wrong_credentials_hold_at_once_and_bounce_nothing(mock_clock, desk):
    async with desk() as policy:
        await policy.leave(policy.lease())
        await policy.come_back(*policy.attempts(), Verdict.refused("535 wrong password", scope=Scope.TRANSPORT))
        assert policy.rooms() == [Room(LANE, 0)]
        assert policy.settled()[0].outcomes[0].step is Step.DEFER


BAD_LOGIN = Verdict.refused("535 5.7.8 wrong password", status="5.7.8", scope=Scope.TRANSPORT, site="smart.example:587")


async def test_one_refused_login_holds_all_that_goes_to_the_same_servers(mock_clock, desk):
    async with desk() as policy:
        leases = [policy.lease() for _ in range(8)]
        await policy.leave(*leases)
        first, *others = policy.attempts()
        with policy.ports.observers.subscribed() as events, capture_logs() as logs:
            await policy.come_back(first, BAD_LOGIN)
            held = await anext(events)
        assert (held.site, held.lane, held.transport) == ("smart.example:587", LANE, "out")
        assert (held.reason, held.status, held.reply) == ("transport trouble", "5.7.8", "535 5.7.8 wrong password")
        (line,) = [log for log in logs if log["event"] == "site_held"]
        assert {name: line[name] for name in ("site", "lane", "transport", "reason", "status", "reply", "seconds")} == {
            **{name: getattr(held, name) for name in ("site", "lane", "transport", "reason", "status", "reply")},
            "seconds": 60.0,
        }
        await policy.leave(policy.lease())
        assert policy.attempts() == [], "what waited, and what comes, stays until the hold ends"
        assert len([note for note in policy.settled() if note.outcomes[0].step is Step.POSTPONE]) == 4
        assert Room("smart.example:587", 0) in policy.rooms()
        for attempt in others:
            await policy.come_back(attempt, BAD_LOGIN)
        assert policy.attempts() == []


ROUTES = [{"name": "bulk", "tag": "bulk", "transport": "out"}, {"transport": "out"}]


async def test_a_refused_login_holds_the_other_routes_of_the_same_transport(mock_clock, desk):
    async with desk(routes=ROUTES, by_domain=False) as policy:
        await policy.leave(policy.lease("bulk"))
        await policy.come_back(*policy.attempts(), BAD_LOGIN)
        await policy.leave(policy.lease("out"))
        assert policy.attempts() == []
        assert policy.rooms()[-1] == Room("smart.example:587", 0, "out")


async def test_old_mail_behind_a_held_site_is_all_given_up_and_young_mail_left_alone(mock_clock, desk, parts):
    async with desk() as policy:
        old = parts.START - 5 * 86_400
        await policy.fail()
        assert policy.rooms()[-1] == Room(LANE, 0)
        await policy.leave(policy.lease(accepted_at=old))
        assert policy.rooms() == [Room(LANE, 10)], "where one was too old there may be more"
        await policy.leave(*[policy.lease(accepted_at=old) for _ in range(10)])
        assert policy.rooms() == []
        await policy.leave(*[policy.lease() for _ in range(10)])
        assert policy.rooms()[-1] == Room(LANE, 0)
        assert policy.attempts() == []


async def test_mail_that_runs_out_of_time_during_the_hold_comes_before_younger_mail(mock_clock, desk, parts):
    async with desk() as policy:
        await policy.fail()
        await policy.leave(policy.lease(accepted_at=parts.START - 5 * 86_400 + 10))
        assert policy.settled()[0].outcomes[0].due == parts.START + 10


async def test_a_notice_of_delay_is_wanted_behind_a_held_site_too(mock_clock, desk, parts):
    async with desk(reports={"hostname": "engine.test", "delay_notice_seconds": 100}) as policy:
        await policy.fail()
        policy.rooms()
        await policy.leave(policy.lease(accepted_at=parts.START - 100))
        assert policy.settled()[0].outcomes[0].delay_notice
        assert policy.rooms() == [Room(LANE, 10)]
        await policy.leave(policy.lease(accepted_at=parts.START - 99))
        assert not policy.settled()[0].outcomes[0].delay_notice
        assert policy.rooms() == [Room(LANE, 9)]


async def test_lanes_behind_the_same_servers_share_one_window(mock_clock, desk):
    async with desk() as policy:
        for lane in (LANE, "out/example.net"):
            await policy.leave(policy.lease(lane))
            await policy.come_back(*policy.attempts(), Verdict.accepted("250", site="mx.example"))
        assert policy.rooms() == [Room("mx.example", 10, LANE), Room("mx.example", 10, "out/example.net")]
        await policy.leave(*[policy.lease(lane) for lane in (LANE, "out/example.net") for _ in range(5)])
        assert len(policy.attempts()) == 5


async def test_many_holds_that_end_at_once_need_no_room_in_queues_inbox(mock_clock, parts, boxes):
    policy = Desk(parts, boxes, in_flight={"leases": 4})
    queue = Inbox(16)
    policy.policy = Policy(policy.ports, policy.inbox, queue, policy.delivery)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(policy.policy.run)
        for number in range(3000):
            lease = policy.lease(f"out/{number}.example")
            await policy.leave(lease)
            await policy.come_back(*policy.attempts(), Verdict.deferred("down", scope=Scope.TRANSPORT))
            queue.take_nowait()
        mock_clock.jump(60)
        await wait_all_tasks_blocked()
        assert len(queue.take_nowait()) == 3000
        nursery.cancel_scope.cancel()


async def test_what_outlived_the_senders_end_fails_untried(mock_clock, desk, parts):
    async with desk() as policy:
        await policy.leave(policy.lease(expires_at=parts.START + 60))
        assert len(policy.attempts()) == 1
        mock_clock.jump(60)
        await policy.leave(policy.lease(expires_at=parts.START + 60))
        assert policy.attempts() == []
        (outcome,) = policy.settled()[-1].outcomes
        assert (outcome.step, outcome.status, outcome.tried) == (Step.FAIL, "4.4.7", False)


async def test_what_runs_out_of_time_while_its_site_is_held_is_given_up(mock_clock, desk, parts):
    async with desk() as policy:
        old = parts.START - 5 * 86_400
        await policy.fail()
        await policy.leave(policy.lease(accepted_at=old), policy.lease())
        given_up, postponed = [note.outcomes[0] for note in policy.settled()]
        assert (given_up.step, given_up.status, given_up.reply) == (Step.FAIL, "4.4.7", "given up: 421 down")
        assert postponed.step is Step.POSTPONE


async def test_a_jump_of_the_clock_alone_gives_nothing_up(mock_clock, desk, parts):
    async with desk() as policy:
        await policy.fail()
        policy.settled()
        policy.ports.clock.jumped_at = policy.ports.clock.now() + 1  # after the site was seen last
        await policy.leave(policy.lease(accepted_at=parts.START - 9 * 86_400))
        assert policy.settled()[0].outcomes[0].step is Step.POSTPONE


async def test_mail_on_a_lane_that_is_gone_is_routed_anew_or_held_loudly(mock_clock, desk):
    async with desk(routes=[{"transport": "out", "recipients": "*@example.org"}]) as policy:
        await policy.leave(policy.lease("old", to=("b@example.org", "c@example.net")))
        moved, held = policy.settled()[0].outcomes
        assert (moved.step, moved.lane, moved.tried) == (Step.POSTPONE, "out/example.org", False)
        assert moved.due == policy.ports.clock.now()
        assert (held.step, held.lane) == (Step.HOLD, "?")
        assert held.reply.startswith("no route")
        assert policy.attempts() == []


@pytest.mark.parametrize(("age", "wanted"), [(99.0, False), (100.0, True)])
async def test_a_notice_of_delay_is_wanted_once_after_its_time(mock_clock, desk, parts, age, wanted):
    async with desk(reports={"hostname": "engine.test", "delay_notice_seconds": 100}) as policy:
        lease, noticed = (policy.lease(accepted_at=parts.START - age) for _ in range(2))
        noticed.delay_noticed = True
        await policy.leave(lease, noticed)
        for attempt in policy.attempts():
            await policy.come_back(attempt, Verdict.deferred("451"))
        assert [note.outcomes[0].delay_notice for note in policy.settled()] == [wanted, False]


async def test_the_end_of_a_hold_lets_go_what_may_take_that_road_and_looks_at_nothing_else(mock_clock, desk):
    """With a hold for each of many domains, a walk over all of them at each end would be a walk for each domain."""
    route = {"transport": "out", "fail_over": ["alt"]}
    domains = [f"d{number}.example" for number in range(30)]
    async with desk(names=("out", "alt"), routes=[route], windows={"trouble": 1}) as policy:
        for lane in [f"{road}/{domain}" for road in ("out", "out~alt") for domain in domains]:
            mock_clock.jump(0.5)
            await policy.fail(1, lane)
        policy.rooms()
        for site in policy.policy._sites._sites.values():
            site.clearing = site.told = 0  # what could leave has left
        mock_clock.jump(60 - 30 + 0.75)
        await wait_all_tasks_blocked()
        assert {room.site for room in policy.rooms()} == {"out/d0.example", "out~alt/d0.example"}
