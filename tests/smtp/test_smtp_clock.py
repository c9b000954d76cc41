"""One clock for the deadlines of all sessions: it rings in time, and for nobody who is over; who waits when it closes is told."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio
from trio.testing import MockClock

from postroad_smtp import clock as clock_module
from postroad_smtp.clock import Clock


class _Alarm:
    """A session and its deadline in one."""

    def __init__(self, due: float) -> None:
        self.due = due
        self.rings = float("inf")
        self.sleeper: _Alarm | None = self
        self.overdue_at = list[float]()
        self.was_unwatched = False

    def overdue(self) -> None:
        self.overdue_at.append(trio.current_time())

    def unwatched(self) -> None:
        self.was_unwatched = True


@asynccontextmanager
async def _clock() -> AsyncIterator[Clock]:
    async with trio.open_nursery() as nursery:
        yield Clock(nursery)
        nursery.cancel_scope.cancel()


async def test_each_is_told_when_it_is_due(autojump_clock: MockClock) -> None:
    alarms = [_Alarm(due) for due in (5.0, 2.0, 9.0)]
    async with _clock() as clock:
        for each in alarms:
            assert clock.watch(each)
            await trio.lowlevel.checkpoint()
        await trio.sleep(20)
    assert [each.overdue_at for each in alarms] == [[5.0], [2.0], [9.0]]


async def test_a_deadline_that_moved_away_is_kept_where_it_is_now(autojump_clock: MockClock) -> None:
    async with _clock() as clock:
        clock.watch(alarm := _Alarm(5.0))
        await trio.sleep(1)
        alarm.due = 30.0
        await trio.sleep(40)
    assert alarm.overdue_at == [30.0]


async def test_a_deadline_that_comes_nearer_is_told_once(autojump_clock: MockClock) -> None:
    async with _clock() as clock:
        clock.watch(alarm := _Alarm(30.0))
        await trio.sleep(1)
        alarm.due = 5.0
        clock.watch(alarm)
        await trio.sleep(40)
    assert alarm.overdue_at == [5.0]


async def test_others_run_between_so_many_that_are_told(autojump_clock: MockClock) -> None:
    turns: list[str] = []

    class Told(_Alarm):
        def overdue(self) -> None:
            turns.append("told")

    async with _clock() as clock:
        for _ in range(100):
            clock.watch(Told(5.0))
        await trio.sleep_until(5.0)
        while turns.count("told") < 100:
            turns.append("other")
            await trio.lowlevel.checkpoint()
    longest = max(len(run) for run in "".join(turn[0] for turn in turns).split("o"))
    assert longest <= 2 * clock_module._AT_ONCE  # trio runs what is ready in any order: one may be last, and then first


async def test_who_is_forgotten_is_not_told(autojump_clock: MockClock) -> None:
    async with _clock() as clock:
        clock.watch(alarm := _Alarm(5.0))
        clock.forget(alarm)
        await trio.sleep(10)
    assert alarm.overdue_at == []
    assert not alarm.was_unwatched


async def test_what_is_forgotten_is_not_kept(autojump_clock: MockClock) -> None:
    """A connection for each message leaves a deadline behind each, minutes away."""
    async with _clock() as clock:
        clock.watch(kept := _Alarm(5.0))
        for number in range(10_000):
            clock.watch(alarm := _Alarm(300.0 + number))
            clock.forget(alarm)
        assert len(clock._line) <= 2 * clock_module._STALE_MOST + 2
        await trio.sleep(10)
    assert kept.overdue_at == [5.0]


async def test_a_clock_that_is_closed_tells_all_and_watches_nobody(autojump_clock: MockClock) -> None:
    async with _clock() as clock:
        clock.watch(alarm := _Alarm(5.0))
        await trio.sleep(1)
    assert alarm.was_unwatched
    assert alarm.overdue_at == []
    assert not clock.watch(_Alarm(6.0))
