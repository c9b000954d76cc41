"""Events reach every listener in order; who is too slow is told how much was missed, and where."""

from __future__ import annotations

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

from postroad.events import LaneResumed, Missed
from postroad.observers import Observers, Subscription


def event(number):
    return LaneResumed(at=float(number), lane=str(number))


async def read(subscription, count):
    return [await anext(subscription) for _ in range(count)]


def test_nobody_listens_at_first():
    observers = Observers(10)
    assert not observers.is_active
    observers.publish(event(1))
    with observers.subscribed():
        assert observers.is_active
    assert not observers.is_active
    assert Observers(10, lambda event: None).is_active


async def test_every_listener_and_the_plugins_get_every_event_in_order():
    told = []
    observers = Observers(10, told.append)
    with observers.subscribed() as one, observers.subscribed() as two:
        events = [event(number) for number in range(5)]
        for each in events:
            observers.publish(each)
        assert await read(one, 5) == await read(two, 5) == told == events


async def test_a_listener_waits_for_news():
    observers, got = Observers(10), []

    async def listen(subscription):
        got.append(await anext(subscription))

    with observers.subscribed() as subscription:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(listen, subscription)
            await wait_all_tasks_blocked()
            assert not got
            observers.publish(event(1))
    assert got == [event(1)]


async def test_who_subscribes_later_hears_only_what_comes_later():
    observers = Observers(10)
    with observers.subscribed():
        observers.publish(event(1))
        with observers.subscribed() as late:
            observers.publish(event(2))
            assert await read(late, 1) == [event(2)]


async def test_what_was_missed_is_said_in_its_place():
    subscription = Subscription(3)
    for number in range(5):
        subscription.put(event(number))
    assert await read(subscription, 2) == [event(0), event(1)]
    subscription.put(event(5))
    assert await read(subscription, 3) == [event(2), Missed(at=4.0, count=2), event(5)]


@given(st.lists(st.sampled_from(["put", "read"]), max_size=80), st.integers(1, 5))
def test_nothing_is_lost_unsaid_and_the_buffer_stays_bounded(story, limit):
    async def main():
        subscription, put, seen = Subscription(limit), 0, 0
        for chapter in [*story, *["read"] * (limit + 1)]:
            if chapter == "put":
                subscription.put(event(put))
                put += 1
            elif subscription._events:
                got = await anext(subscription)
                if isinstance(got, Missed):
                    assert got.at == float(seen + got.count - 1)
                    seen += got.count
                else:
                    assert got == event(seen)
                    seen += 1
            assert len(subscription._events) <= limit + 1
        assert seen == put

    trio.run(main)


async def test_the_iteration_ends_after_what_was_told_before_the_close():
    observers = Observers(10)
    with observers.subscribed() as subscription:
        observers.publish(event(1))
        observers.close()
        assert [each async for each in subscription] == [event(1)]


async def test_closing_wakes_a_listener():
    observers = Observers(10)

    async def listen(subscription):
        with pytest.raises(StopAsyncIteration):
            await anext(subscription)

    with observers.subscribed() as subscription:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(listen, subscription)
            await wait_all_tasks_blocked()
            observers.close()
