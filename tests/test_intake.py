"""The line before the queue's commit: bounded, first come first served, and nobody waits for ever."""

from __future__ import annotations

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

from postroad.config import Limits
from postroad.errors import EngineClosed, StoreError
from postroad.intake import Entry, Intake
from postroad.message import Message
from postroad.store.contract import Accept, ContentPlace, NewRecipient, Remember

FEW = Limits(intake_messages=3, intake_bytes=65_536)


def operation(name, octets=0):
    if not octets:
        return Remember(name, b"x")
    message = Message(id=name, sender="a@example.com", accepted_at=0.0, size=octets)
    return Accept(message, (NewRecipient("b@example.org", "out", 0.0),), bytes(octets))


def names(entries):
    return [getattr(entry.operation, "name", "") or entry.operation.message.id for entry in entries]


def take(intake, count, octets):
    """Take without putting anything back, as queue does where nothing has to wait for room."""
    taken = intake.take(count, octets)
    intake.put_back(())
    return taken


def finish(entries):
    for entry in entries:
        entry.finish(None)


async def put_all(intake, nursery, *operations):
    """Let tasks put them one after the other; returns what each was answered, by index."""
    answers = {}

    async def put(index, one):
        try:
            answers[index] = await intake.put([one])
        except Exception as error:
            answers[index] = error

    for index, one in enumerate(operations):
        nursery.start_soon(put, index, one)
        await wait_all_tasks_blocked()
    return answers


async def test_whoever_puts_waits_for_the_answer_and_the_bell_is_rung():
    intake, bells = Intake(Limits()), []
    intake.ring_bell = lambda: bells.append(len(intake))
    async with trio.open_nursery() as nursery:
        answers = await put_all(intake, nursery, operation("a"))
        assert (bells, answers) == ([1], {})
        (entry,) = take(intake, 10, 1000)
        assert len(intake) == 0
        entry.finish("stored")
    assert answers == {0: ["stored"]}


async def test_it_is_bounded_and_first_come_first_served():
    intake, order = Intake(FEW), []
    async with trio.open_nursery() as nursery:
        answers = await put_all(intake, nursery, *[operation(str(number)) for number in range(20)])
        for _ in range(20):
            assert len(intake) <= 3
            taken = take(intake, 2, 1000)
            order += names(taken)
            finish(taken)
    assert order == [str(number) for number in range(20)]
    assert len(answers) == 20


async def test_a_later_caller_does_not_overtake_those_who_wait_in_line():
    intake = Intake(FEW)
    async with trio.open_nursery() as nursery:
        await put_all(intake, nursery, *[operation(name) for name in "abcd"])
        first = take(intake, 3, 1000)
        await put_all(intake, nursery, operation("e"))
        second = take(intake, 10, 1000)
        assert (names(first), names(second)) == (["a", "b", "c"], ["d", "e"])
        finish(first + second)


async def test_octets_are_bounded_but_one_too_large_still_gets_in_alone():
    intake = Intake(FEW)
    async with trio.open_nursery() as nursery:
        await put_all(intake, nursery, operation("big", 100_000), operation("small", 10), operation("mid", 60_000))
        assert len(intake) == 1
        taken = take(intake, 10, 10**9)
        assert names(taken) == ["big"]
        assert len(intake) == 2
        taken += take(intake, 10, 50_000)
        assert names(taken) == ["big", "small"]
        taken += take(intake, 10, 50_000)
        assert names(taken) == ["big", "small", "mid"]
        finish(taken)


def test_content_in_a_file_of_its_own_takes_no_octets():
    message = Message(id="m", sender="", accepted_at=0.0, size=10**9)
    assert Entry(Accept(message, (), ContentPlace("m"))).size == 0


async def test_several_operations_are_answered_together_in_order():
    intake, answers = Intake(Limits()), []

    async def put():
        answers.extend(await intake.put([operation("a"), operation("b")]))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(put)
        await wait_all_tasks_blocked()
        first, second = take(intake, 10, 1000)
        second.finish(2)
        await wait_all_tasks_blocked()
        assert not answers
        first.finish(1)
    assert answers == [1, 2]


async def test_the_first_error_of_several_is_raised():
    intake = Intake(Limits())

    async def put():
        with pytest.raises(StoreError, match="full"):
            await intake.put([operation("a"), operation("b")])

    async with trio.open_nursery() as nursery:
        nursery.start_soon(put)
        await wait_all_tasks_blocked()
        first, second = take(intake, 10, 1000)
        first.finish(None)
        second.fail(StoreError("full"))


@pytest.mark.parametrize("waiting", [1, 5])
async def test_cancellation_withdraws_what_was_not_taken(waiting):
    """Both of those whose turn has come and of those in line behind them."""
    intake = Intake(FEW)
    async with trio.open_nursery() as nursery:
        answers = await put_all(intake, nursery, *[operation(str(number)) for number in range(waiting)])
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as other:
                other.start_soon(intake.put, [operation("gone"), operation("gone too")])
                await wait_all_tasks_blocked()
                scope.cancel()
        await put_all(intake, nursery, operation("last"))
        taken = [entry for _ in range(5) for entry in take(intake, 10, 1000)]
        assert names(taken) == [*[str(number) for number in range(waiting)], "last"]
        finish(taken)
    assert len(answers) == waiting


async def test_cancellation_makes_room_for_those_in_line():
    intake = Intake(FEW)
    async with trio.open_nursery() as nursery:
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as other:
                await put_all(intake, other, *[operation(name) for name in "abc"])
                await put_all(intake, nursery, operation("d"))
                assert len(intake) == 3
                scope.cancel()
        taken = take(intake, 10, 1000)
        assert names(taken) == ["d"]
        finish(taken)


async def test_what_was_taken_is_committed_though_its_caller_is_cancelled():
    intake = Intake(Limits())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(intake.put, [operation("a"), operation("b")])
        await wait_all_tasks_blocked()
        (entry,) = take(intake, 1, 1000)
        nursery.cancel_scope.cancel()
    assert len(intake) == 0
    entry.finish(None)


async def test_closing_fails_whoever_waits_and_whoever_comes():
    intake = Intake(FEW)
    async with trio.open_nursery() as nursery:
        answers = await put_all(intake, nursery, *[operation(str(number)) for number in range(6)])
        intake.close()
    assert len(answers) == 6
    assert all(isinstance(answer, EngineClosed) for answer in answers.values())
    with pytest.raises(EngineClosed):
        await intake.put([operation("late")])
    assert take(intake, 10, 1000) == []


@settings(deadline=None)
@given(
    st.lists(st.integers(0, 40_000), max_size=30),
    st.lists(st.tuples(st.integers(1, 5), st.integers(1, 100_000)), min_size=40, max_size=40),
)
def test_the_order_holds_for_any_sizes_and_any_takes(sizes, takes):
    async def main():
        intake, order = Intake(FEW), []
        async with trio.open_nursery() as nursery:
            answers = await put_all(intake, nursery, *[operation(f"n{n}", size) for n, size in enumerate(sizes)])
            for count, octets in takes:
                taken = take(intake, count, octets)
                assert len(taken) <= count
                assert len(taken) <= 1 or sum(entry.size for entry in taken) <= octets
                order.extend(names(taken))
                finish(taken)
        assert order == [f"n{number}" for number in range(len(sizes))]
        assert len(answers) == len(sizes)

    trio.run(main)


async def test_what_is_put_back_comes_first_again_and_stays_within_the_limit():
    intake = Intake(FEW)
    async with trio.open_nursery() as nursery:
        answers = await put_all(intake, nursery, *[operation(str(number)) for number in range(6)])
        for _ in range(5):
            taken = intake.take(2, 1000)
            assert names(taken) == ["0", "1"]
            intake.put_back(taken)
            assert len(intake) <= 3
        finish(take(intake, 3, 1000))
        finish(take(intake, 3, 1000))
    assert len(answers) == 6


async def test_what_was_put_back_is_withdrawn_when_its_task_is_cancelled():
    intake = Intake(Limits())
    async with trio.open_nursery() as nursery:
        await put_all(intake, nursery, operation("a"))
        intake.put_back(intake.take(1, 1000))
        nursery.cancel_scope.cancel()
    assert len(intake) == 0
