"""What outlasts the cancellation of its call: for so long as it may, and not longer."""

from __future__ import annotations

import pytest
import trio

from postroad.outlasting import outlast


async def cancelled_after(seconds, work, grace_seconds):
    """What `outlast` returned to a call that is cancelled then, and how long it took."""
    async with trio.open_nursery() as nursery:
        began = trio.current_time()
        with trio.move_on_after(seconds):
            answer = await outlast(nursery, work, lambda: grace_seconds)
        return answer, trio.current_time() - began


async def answer_after_ten():
    await trio.sleep(10)
    return "answer"


@pytest.mark.parametrize(
    ("cancelled", "grace", "expected"),
    [(50, 0, ("answer", 10)), (3, 20, ("answer", 10)), (3, 4, (None, 7)), (3, 0, (None, 3))],
)
async def test_it_goes_on_for_its_grace(autojump_clock, cancelled, grace, expected):
    assert await cancelled_after(cancelled, answer_after_ten, grace) == expected


async def test_an_answer_that_is_there_at_once_is_returned(autojump_clock):
    async def at_once():
        return "answer"

    assert await cancelled_after(1, at_once, 0) == ("answer", 0)


async def test_what_it_raises_is_raised_to_the_caller_alone(autojump_clock):
    async def fail():
        await trio.sleep(1)
        raise ValueError("wrong")

    async with trio.open_nursery() as nursery:
        with pytest.raises(ValueError, match="wrong"):
            await outlast(nursery, fail, lambda: 0.0)
        assert await outlast(nursery, answer_after_ten, lambda: 0.0) == "answer"
