"""An inbox is bounded, read by the handful, and keeps only the latest of what replaces itself."""

from __future__ import annotations

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from postroad.actors.inbox import Inbox


async def test_everything_at_hand_is_taken_in_order():
    inbox = Inbox(3)
    for note in "abc":
        inbox.put(note)
    assert await inbox.take_all() == ["a", "b", "c"]
    assert inbox.take_nowait() == []


async def test_a_waiting_reader_gets_all_that_was_put_before_it_ran():
    inbox, taken = Inbox(3), []

    async def read():
        taken.append(await inbox.take_all())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        await wait_all_tasks_blocked()
        inbox.put("a")
        inbox.put("b")
        inbox.put_latest("k", "c")
    assert taken == [["a", "b", "c"]]


async def test_what_was_taken_without_waiting_wakes_nobody_later():
    inbox, taken = Inbox(3), []

    async def read():
        taken.append(await inbox.take_all())

    inbox.put("a")
    assert inbox.take_nowait() == ["a"]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        await wait_all_tasks_blocked()
        assert taken == []
        inbox.put("b")
    assert taken == [["b"]]


async def test_an_overfull_inbox_crashes_loudly():
    inbox = Inbox(2)
    with pytest.raises(trio.WouldBlock):
        for note in range(5):
            inbox.put(note)


async def test_of_notes_that_replace_each_other_the_latest_waits_and_needs_no_room():
    inbox = Inbox(1)
    for number in range(1000):
        inbox.put_latest(number % 3, number)
    inbox.put("other")
    assert await inbox.take_all() == ["other", 997, 998, 999]
    inbox.put_latest("k", "again")
    assert await inbox.take_all() == ["again"]


async def test_a_note_put_anew_stands_behind_those_put_meanwhile():
    inbox = Inbox(1)
    for key, note in (("a", 1), ("b", 2), ("a", 3)):
        inbox.put_latest(key, note)
    assert inbox.take_nowait() == [2, 3]


async def test_a_cancelled_reader_loses_nothing():
    inbox = Inbox(2)
    with trio.move_on_after(0):
        await inbox.take_all()
    inbox.put("a")
    inbox.put_latest("k", "b")
    with trio.move_on_after(0):
        await inbox.take_all()
    assert inbox.take_nowait() == ["a", "b"]
