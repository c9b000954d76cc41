"""A whole engine over two or three roads: mail goes by the next while one is down, comes back, and is never doubled by that."""

from __future__ import annotations

import random
from contextlib import asynccontextmanager, contextmanager

import pytest
import trio
from structlog.testing import capture_logs

from postroad import Filter, Submission, hookimpl
from postroad.actors.circuits import Circuits
from postroad.actors.policy import Policy
from postroad.decide.limits import Window
from postroad.store.contract import Remember
from postroad.store.memory import MemoryStore
from postroad.store.states import State
from postroad.testing import ScriptedTransport, open_test_engine
from postroad.transport import Capabilities
from postroad.verdict import Disposition, Scope, Verdict

RAW = b"From: a@example.com\r\nTo: b@example.org\r\nSubject: Hello\r\n\r\nHello.\r\n"
DOWN = Verdict.deferred("503 down", scope=Scope.SITE)
DENIED = Verdict.deferred("401 who are you", scope=Scope.TRANSPORT)


class KeptStore(MemoryStore):
    """Outlives its engines, and uses no thread: under a clock that jumps, time would pass by one."""

    @hookimpl
    def postroad_register_stores(self, register):
        register("kept", contextmanager(lambda url, *, folder: iter([self])))

    def close(self):
        pass


class Provider(ScriptedTransport):
    """Answers what `now` says."""

    def __init__(self, now=None, **fields):
        super().__init__(**fields)
        self.now = now

    async def deliver(self, request):
        verdicts = await super().deliver(request)
        return [self.now] * len(verdicts) if self.now else verdicts

    @property
    def took(self):
        return [] if self.now else sorted(address for call in self.calls for address in call.addresses)


@asynccontextmanager
async def engine_over(first, second, third=None, route=None, store=None, **sections):
    providers = {name: each for name, each in (("first", first), ("second", second), ("third", third)) if each}
    _, *further = providers
    plugins = {name: each.plugin(name) for name, each in providers.items()}
    if store is not None:
        plugins["kept"], sections["spool"] = store, {"url": "kept:"}
    async with open_test_engine(
        plugins=plugins,
        transports={name: {"plugin": name} for name in providers},
        **{"routes": [{"transport": "first", "fail_over": further, **(route or {})}], **sections},
    ) as engine:
        yield engine


def mail(number):
    return Submission(sender="a@example.com", recipients=[f"b{number}@example.org"], content=RAW)


async def delivered(engine, *submissions):
    with trio.move_on_after(3600) as wait:
        for receipt in await engine.submit_many(submissions):
            outcome = await receipt.settled()
            assert outcome.is_delivered
    assert not wait.cancelled_caught, "it waits"


async def test_what_the_first_road_cannot_take_goes_by_the_second_at_once(autojump_clock):
    first, second = Provider(DOWN), Provider()
    async with engine_over(first, second) as engine:
        begun = trio.current_time()
        await delivered(engine, mail(1))
        assert trio.current_time() - begun < 1
    assert [call.addresses for call in first.calls] == [("b1@example.org",)]
    assert second.took == ["b1@example.org"]


async def test_a_road_that_is_down_is_left_alone_and_tried_with_one_message_when_its_hold_ends(autojump_clock):
    first, second = Provider(DOWN), Provider()
    async with engine_over(first, second, windows={"start": 5, "max": 20, "trouble": 3, "hold_seconds": 60}) as engine:
        await delivered(engine, *map(mail, range(200)))
        tried = len(first.calls)
        assert tried <= 3 + 5, "those under way when the circuit opened, and no more"
        await delivered(engine, *map(mail, range(200, 300)))
        assert len(first.calls) == tried
        await trio.sleep(61)
        await delivered(engine, mail(300), mail(301), mail(302))
        assert len(first.calls) == tried + 1, "half open: one probe, which failed"
        first.now = None
        await trio.sleep(121)
        await delivered(engine, mail(400))
        await delivered(engine, *map(mail, range(401, 420)))
        assert len(first.calls) == tried + 1 + 20, "closed again"
    assert sorted(second.took) == sorted(f"b{number}@example.org" for number in [*range(303)])


async def test_a_backlog_on_a_road_that_goes_down_moves_to_the_next(autojump_clock):
    """Queue leases nothing for a held site; where another road is open, what waits is let out to take it."""
    first, second = Provider(Verdict.deferred("450 later")), Provider()
    windows = {"hold_seconds": 30_000, "hold_max_seconds": 30_000}
    async with engine_over(first, second, windows=windows) as engine:
        receipts = await engine.submit_many([mail(number) for number in range(500)])
        await first.wait_ended(500)
        first.now = DENIED
        await engine.retry(Filter(id=receipts[0].id))
        with trio.move_on_after(600):
            for receipt in receipts:
                await receipt.settled()
        assert (await engine.status()).by_state == {"accepted": 500}
    assert len(first.calls) == 501
    assert len(second.took) == 500


async def test_a_credential_that_is_refused_holds_the_road_and_bounces_nothing(autojump_clock):
    first, second = Provider(DENIED), Provider()
    with capture_logs() as logs:
        async with engine_over(first, second) as engine:
            await delivered(engine, *map(mail, range(20)))
    assert len(second.took) == 20
    assert any(log["event"] == "site_held" and log["reply"] == DENIED.reply for log in logs)
    moved = [log for log in logs if log["event"] == "failed_over"]
    assert {(log["lane"], log["to"]) for log in moved} == {("first", "first~second")}
    assert len({log["recipient"] for log in moved}) == 20


async def test_with_all_roads_down_mail_waits_and_comes_home_by_the_one_that_returns(autojump_clock):
    first, second, third = Provider(DOWN), Provider(DOWN), Provider(DOWN)
    async with engine_over(first, second, third) as engine:
        receipts = await engine.submit_many([mail(number) for number in range(30)])
        await trio.sleep(5000)
        calls = len(first.calls) + len(second.calls) + len(third.calls)
        assert calls < 300, "no road is tried in a hurry"
        second.now = None
        with trio.fail_after(8000):
            for receipt in receipts:
                assert (await receipt.settled()).is_delivered
    assert {address for call in second.calls for address in call.addresses} == {f"b{n}@example.org" for n in range(30)}


@pytest.mark.parametrize("eager", [False, True])
async def test_mail_in_doubt_stays_on_its_road_unless_the_route_says_otherwise(autojump_clock, eager):
    first, second = Provider(Verdict.in_doubt("cut after the body")), Provider()
    with capture_logs() as logs:
        async with engine_over(first, second, route={"fail_over_in_doubt": eager}) as engine:
            (receipt,) = await engine.submit_many([mail(1)])
            await first.wait_ended(1)
            if not eager:
                await trio.sleep(30_000)
                assert second.calls == []
                first.now = None
            assert (await receipt.settled()).is_delivered
    assert bool(second.calls) is eager
    assert any(log["event"] == "maybe_duplicate" for log in logs)


async def test_what_is_refused_for_good_is_not_tried_elsewhere(autojump_clock):
    first = Provider(Verdict.refused("550 no such user", status="5.1.1"))
    second = Provider()
    async with engine_over(first, second) as engine:
        (receipt,) = await engine.submit_many([mail(1)])
        outcome = await receipt.settled()
        assert not outcome.is_delivered
    assert "b1@example.org" not in second.took


@pytest.mark.parametrize("held", [False, True])
async def test_mail_does_not_fail_over_to_a_road_that_cannot_carry_it(autojump_clock, held):
    """What is refused there would bounce, while it only has to wait for the road that can."""
    small = Provider(Verdict.refused("552 too large"), capabilities=Capabilities(message_bytes=10))
    able = Provider(DENIED if held else DOWN)
    async with engine_over(small, able) as engine:
        receipts = await engine.submit_many([mail(1), mail(2)])
        await trio.sleep(60)
        able.now = None
        assert all([(await receipt.settled()).is_delivered for receipt in receipts])
    assert not small.calls


async def test_the_state_survives_a_restart(autojump_clock):
    """The next engine does not begin with the broken road, and what was on the second stays there."""
    store = KeptStore()
    windows = {"hold_seconds": 3000, "hold_max_seconds": 3000}
    first, second = Provider(DENIED), Provider(Verdict.deferred("450 later"))
    async with engine_over(first, second, store=store, windows=windows) as engine:
        await engine.submit(mail(1))
        await second.wait_ended(1)
    tried = len(first.calls)
    second.now = None
    with capture_logs() as logs:
        async with engine_over(first, second, store=store, windows=windows) as engine:
            (waiting,) = await engine.find(Filter())
            assert [(row.state, row.lane) for row in waiting.recipients] == [(State.WAITING, "first~second")]
            await delivered(engine, mail(2))
            assert len(first.calls) == tried
            assert any(log["event"] == "site_held" for log in logs)
            await engine.retry(Filter())
            await (await engine.receipt(waiting.message.id)).settled()
    assert second.took[-1:] == ["b2@example.org"]


async def test_a_clock_that_was_set_back_does_not_keep_a_road_held(autojump_clock):
    store = KeptStore()
    first, second = Provider(DENIED), Provider()
    async with engine_over(first, second, store=store) as engine:
        await delivered(engine, mail(1))
    first.now = None
    async with engine_over(first, second, store=store, start=1_000_000_000.0) as engine:
        await delivered(engine, mail(2))
    assert "b2@example.org" in first.took


async def test_two_routes_over_one_transport_share_its_circuit(autojump_clock):
    first, second = Provider(DENIED), Provider()
    routes = [
        {"transport": "first", "name": "bulk", "recipients": "*@bulk.example", "fail_over": ["second"]},
        {"transport": "first", "fail_over": ["second"]},
    ]
    async with open_test_engine(
        plugins={"first": first.plugin("first"), "second": second.plugin("second")},
        transports={"first": {"plugin": "first"}, "second": {"plugin": "second"}},
        routes=routes,
    ) as engine:
        await delivered(engine, mail(1))
        bulk = Submission(sender="a@example.com", recipients=["c@bulk.example"], content=RAW)
        await delivered(engine, bulk)
    assert len(first.calls) == 1


async def test_a_road_that_mail_without_other_roads_found_down_is_left_by_the_mail_that_has_them(autojump_clock):
    """One transport carries a route without fail-over, too; the hold of their site concerns both."""
    store = KeptStore()
    first, second = Provider(DENIED), Provider()
    routes = [
        {"transport": "first", "name": "bulk", "recipients": "*@bulk.example"},
        {"transport": "first", "fail_over": ["second"]},
    ]
    bulk = [Submission(sender="a@example.com", recipients=["c@bulk.example"], content=RAW) for _ in range(30)]
    windows = {"hold_seconds": 1800}
    for number in (1, 2):  # the second engine finds it held
        async with engine_over(first, second, store=store, windows=windows, routes=routes) as engine:
            await engine.submit_many(bulk)
            await first.wait_ended(1)
            await trio.sleep(1)
            tried, begun = len(first.calls), trio.current_time()
            await delivered(engine, mail(number))
            assert trio.current_time() - begun < 1
            assert len(first.calls) == tried
    assert second.took == ["b1@example.org", "b2@example.org"]


async def test_mail_in_doubt_that_may_not_leave_a_held_road_keeps_nobody_else_there(autojump_clock):
    first, second = Provider(Verdict.in_doubt("cut")), Provider()
    windows = {"start": 20, "hold_seconds": 30_000, "hold_max_seconds": 30_000}
    async with engine_over(first, second, windows=windows) as engine:
        await engine.submit_many([mail(number) for number in range(20)])
        await first.wait_ended(20)
        await trio.sleep(1000)  # all became due, and were put off until the hold ends
        begun = trio.current_time()
        await delivered(engine, mail(100))
        assert trio.current_time() - begun < 1
    assert second.took == ["b100@example.org"]
    assert len(first.calls) == 20


async def test_a_password_that_is_refused_for_good_sends_mail_on_at_once(autojump_clock):
    first, second = Provider(Verdict.refused("535 no", scope=Scope.TRANSPORT)), Provider()
    async with engine_over(first, second) as engine:
        begun = trio.current_time()
        await delivered(engine, mail(1))
        assert trio.current_time() - begun < 1
    assert second.took == ["b1@example.org"]


async def test_a_damaged_note_of_held_roads_keeps_no_engine_from_starting(autojump_clock):
    store = KeptStore()
    first, second = Provider(Verdict.deferred("503 na\u00efve", scope=Scope.TRANSPORT)), Provider()
    async with engine_over(first, second, store=store) as engine:
        await delivered(engine, mail(1))
    kept = store.recall("circuits")
    assert kept is not None
    store.apply([Remember("circuits", kept.replace(b"\xc3", b"\x43"))])
    async with engine_over(first, second, store=store) as engine:
        await delivered(engine, mail(2))


async def test_recipients_of_one_message_part_ways_by_what_became_of_each(autojump_clock):
    class Mixed(Provider):
        async def deliver(self, request):
            await super().deliver(request)
            answers = {"ok": Verdict.accepted("250"), "down": DOWN, "cut": Verdict.in_doubt("cut")}
            return [answers[recipient.address.partition("@")[0]] for recipient in request.recipients]

    first, second = Mixed(), Provider(capabilities=Capabilities(recipients_per_call=1))
    async with engine_over(first, second) as engine:
        everybody = ["ok@example.org", "down@example.org", "cut@example.org"]
        await engine.submit(Submission(sender="a@example.com", recipients=everybody, content=RAW))
        await second.wait_ended(1)
        await trio.sleep(1)
        (found,) = await engine.find(Filter())
        assert [row.lane for row in found.recipients] == ["first", "first~second", "first"]
    assert second.took == ["down@example.org"]
    assert first.calls[0].verdicts is not None
    assert {verdict.disposition for verdict in first.calls[0].verdicts} == {Disposition.ACCEPTED}


@pytest.mark.parametrize("puts_off", ["first", "second"])
async def test_an_earlier_try_that_failed_for_another_reason_takes_no_road_away(autojump_clock, puts_off):
    """A mailbox that was full is no round of the roads."""
    providers = {"first": Provider(), "second": Provider()}
    providers[puts_off].now = Verdict.deferred("450 mailbox full")
    other = "second" if puts_off == "first" else "first"
    async with engine_over(*providers.values(), route={"weights": [1, 0] if puts_off == "first" else [0, 1]}) as engine:
        (receipt,) = await engine.submit_many([mail(1)])
        await providers[puts_off].wait_ended(1)
        providers[puts_off].now = DOWN
        begun = trio.current_time()
        await engine.retry(Filter())
        with trio.fail_after(3600):
            assert (await receipt.settled()).is_delivered
        assert trio.current_time() - begun < 1
    assert len(providers[other].calls) == 1


async def test_a_round_asks_each_road_once_and_counts_each_call_as_an_attempt(autojump_clock):
    providers = [Provider(DOWN), Provider(DOWN), Provider(DOWN)]
    windows = {"trouble": 100}
    retry, start, begun = {"first_seconds": 300, "jitter": 0}, 1_800_000_000.0, trio.current_time()
    async with engine_over(*providers, windows=windows, retry=retry, start=start) as engine:
        await engine.submit(mail(1))
        for round in range(1, 5):
            await trio.sleep(1)
            assert [len(each.calls) for each in providers] == [round] * 3
            (found,) = await engine.find(Filter())
            assert [row.attempts for row in found.recipients] == [3 * round]
            due = found.recipients[0].due - start - (trio.current_time() - begun)
            assert due == pytest.approx(300, abs=10), "the schedule goes by the message's age, not by the attempts"
            await engine.retry(Filter())


class Slow(Provider):
    """While `is_hanging`, keeps its calls until `answer` is set."""

    is_hanging = False

    def __init__(self, *args, **fields):
        super().__init__(*args, **fields)
        self.answer = trio.Event()
        self.hanging = 0
        self.is_asked = trio.Event()

    async def deliver(self, request):
        if self.is_hanging:
            self.hanging += 1
            self.is_asked.set()
            await self.answer.wait()
        return await super().deliver(request)


async def test_while_a_probe_is_under_way_the_other_mail_of_its_road_takes_another(autojump_clock):
    first, second = Slow(DENIED), Provider()
    async with engine_over(first, second, windows={"hold_seconds": 60}) as engine:
        await delivered(engine, mail(1))
        await trio.sleep(61)
        first.is_hanging, first.now = True, None
        receipts = await engine.submit_many([mail(number) for number in range(100, 200)])
        await trio.sleep(1)
        assert first.hanging == 1, "half open: one probe"
        assert len(second.took) == 1 + 99, "who waited for it although the second road was well"
        first.answer.set()
        for receipt in receipts:
            assert (await receipt.settled()).is_delivered
        first.is_hanging = False
        await delivered(engine, *map(mail, range(200, 220)))
    assert len(first.calls) == 1 + 1 + 20, "closed again"


@pytest.mark.parametrize("works", [True, False])
async def test_a_half_open_road_is_offered_to_one_of_a_backlog_and_to_all_once_it_works(autojump_clock, works):
    first, second = Provider(Verdict.deferred("450 later")), Slow(Verdict.deferred("450 later"))
    windows = {"hold_seconds": 3000, "hold_max_seconds": 3000, "trouble": 1}
    retry = {"first_seconds": 5, "max_seconds": 20}
    async with engine_over(first, second, windows=windows, retry=retry, route={"weights": [1, 1]}) as engine:
        receipts = await engine.submit_many([mail(number) for number in range(100)])
        await trio.sleep(1)
        second.now = DENIED
        await trio.sleep(60)
        first.now = DENIED
        await trio.sleep(60)  # now all wait, each on its road, for a hold to end; the second's ends first
        second.is_hanging, second.now = True, None if works else DENIED
        with trio.fail_after(3000):
            await second.is_asked.wait()
        with capture_logs() as logs:
            await trio.sleep(20)
        assert second.hanging == 1
        assert [log for log in logs if log["event"] == "failed_over"] == [], "the backlog stays where it is"
        second.is_hanging = False
        probed = trio.current_time()
        second.answer.set()
        if not works:
            await trio.sleep(20)
            assert sum(call.verdicts == [DENIED] for call in second.calls) <= 2 + 5
            assert (await engine.status()).by_state == {"waiting": 100}
            return
        for receipt in receipts:
            assert (await receipt.settled()).is_delivered
        assert trio.current_time() - probed < 30, "nobody waits for its own road's hold"


async def test_a_restart_finds_a_half_open_road_half_open(autojump_clock):
    """The hold had ended, and nothing was tried since: one probe goes first, and what follows doubles on."""
    store = KeptStore()
    first, second = Provider(DENIED), Provider()
    windows = {"hold_seconds": 60, "hold_max_seconds": 3000, "trouble": 5}
    start = 1_800_000_000.0
    async with engine_over(first, second, store=store, windows=windows, start=start) as engine:
        await delivered(engine, mail(1))
        await trio.sleep(61)
    first.now = DOWN
    with capture_logs() as logs:
        async with engine_over(first, second, store=store, windows=windows, start=start + 61) as engine:
            await delivered(engine, *map(mail, range(100, 120)))
    assert len(first.calls) == 1 + 1, "one probe"
    assert [log["seconds"] for log in logs if log["event"] == "site_held"] == [120]


async def test_a_road_that_works_again_is_open_after_a_restart(autojump_clock):
    store = KeptStore()
    first, second = Provider(DENIED), Provider()
    async with engine_over(first, second, store=store) as engine:
        await delivered(engine, mail(1))
        await trio.sleep(61)
        first.now = None
        await delivered(engine, mail(2))
    kept = store.recall("circuits")
    assert Circuits(kept).note("", "", Window(size=1), 0.0) == Circuits().note("", "", Window(size=1), 0.0)


async def test_what_a_crashed_ring_brings_home_goes_on_by_the_next_road_at_once(autojump_clock, monkeypatch):
    first, second = Provider(DOWN), Provider()
    take = Policy._return

    def crash_once(self, note, now):
        monkeypatch.setattr(Policy, "_return", take)
        raise RuntimeError("a bug of the ring")

    monkeypatch.setattr(Policy, "_return", crash_once)
    async with engine_over(first, second) as engine:
        begun = trio.current_time()
        await delivered(engine, mail(1))
        assert trio.current_time() - begun < 1
    assert len(first.calls) == len(second.calls) == 1


class Weather(Provider):
    """Answers by chance, some of it late; notes who was tried here, and what was said."""

    def __init__(self, name, chance, log):
        super().__init__()
        self.name, self.chance, self.log = name, chance, log
        self.answers = [Verdict.accepted("250")]

    def turn(self):
        bad = self.chance.choice([DOWN, DENIED, Verdict.in_doubt("cut"), Verdict.deferred("450 later")])
        self.answers = self.chance.choice([[bad], [bad, Verdict.accepted("250")], [Verdict.accepted("250")]])

    async def deliver(self, request):
        await super().deliver(request)
        await trio.sleep(self.chance.choice([0, 0, 1, 50]))
        verdicts = [self.chance.choice(self.answers) for _ in request.recipients]
        self.log += [(self.name, each.address, said) for each, said in zip(request.recipients, verdicts, strict=True)]
        return verdicts


@pytest.mark.parametrize("eager", [False, True])
@pytest.mark.parametrize("seed", range(4))
async def test_in_any_weather_all_mail_arrives_once_and_no_doubt_changes_its_road(autojump_clock, seed, eager):
    """Roads that are down, flap, are slow or lose answers, weights of 0, and restarts in the midst of it."""
    chance, log, store = random.Random(seed), [], KeptStore()
    roads = [Weather(name, chance, log) for name in ("first", "second", "third")]
    weights = chance.choice([[], [1, 0, 0], [1, 1, 0], [2, 3, 4]])
    route = {"fail_over_in_doubt": eager, "weights": weights}
    start, begun = 1_800_000_000.0, trio.current_time()
    for life in range(6):
        now = start + trio.current_time() - begun
        async with engine_over(*roads, store=store, start=now, route=route, windows={"trouble": 2}) as engine:
            if not life:
                await engine.submit_many([mail(number) for number in range(40)])
            for _ in range(20):
                await trio.sleep(chance.choice([1, 20, 400]))
                for road in roads:
                    road.turn()
            if life == 5:
                for road in roads:
                    road.answers = [Verdict.accepted("250")]
                await trio.sleep(10_000)
                assert (await engine.status()).by_state == {"accepted": 40}
    for number in range(40):
        story = [(name, said) for name, address, said in log if address == f"b{number}@example.org"]
        assert [said.disposition for _, said in story].count(Disposition.ACCEPTED) == 1
        assert len(story) < 150, "nothing is tried in a hurry"
        doubts = [place for place, (_, said) in enumerate(story) if said.disposition is Disposition.IN_DOUBT]
        if doubts and not eager:
            assert len({name for name, _ in story[doubts[0] :]}) == 1
