"""The wall clock: it follows trio's clock, notices jumps, and is not disturbed by small drift."""

from __future__ import annotations

import math

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from postroad.clock import Clock

START = 1_750_000_000.0


class Wall:
    """A wall clock that goes with trio's, until somebody sets it."""

    def __init__(self):
        self.offset = START - trio.current_time()

    def __call__(self):
        return trio.current_time() + self.offset


async def test_a_clock_for_tests_reads_the_wall_once_and_follows_trio(mock_clock: MockClock):
    asked = []
    clock = Clock(follow_wall=False, wall=lambda: asked.append(1) or START)
    mock_clock.jump(5 * 86_400)
    assert clock.now() == START + 5 * 86_400
    assert clock.jumped_at is None
    assert len(asked) == 1


async def test_time_goes_on_evenly_with_the_wall(mock_clock: MockClock):
    clock = Clock(wall=Wall())
    for _ in range(10):
        mock_clock.jump(3600)
    assert clock.now() == START + 36_000
    assert clock.jumped_at is None


@pytest.mark.parametrize("back", [3600.0, 365 * 86_400.0, 2.5])
async def test_a_wall_that_is_set_back_freezes_nothing(mock_clock: MockClock, back):
    wall = Wall()
    clock = Clock(wall=wall)
    wall.offset -= back
    assert clock.now() == START
    assert clock.ahead_seconds == pytest.approx(back)
    mock_clock.jump(50)
    assert clock.now() == START + 50
    assert clock.jumped_at is None
    wall.offset += back
    assert clock.now() == START + 50
    assert clock.ahead_seconds == 0


@pytest.mark.parametrize("jump", [3600.0, 10 * 86_400.0, 2.5])
async def test_a_jump_is_noticed_and_followed(mock_clock: MockClock, jump):
    wall = Wall()
    clock = Clock(wall=wall)
    mock_clock.jump(100)
    clock.now()
    wall.offset += jump
    assert clock.now() == START + 100 + jump
    assert clock.jumped_at == START + 100 + jump
    mock_clock.jump(50)
    assert clock.now() == START + 150 + jump
    assert clock.jumped_at == START + 100 + jump


async def test_the_machines_sleep_is_a_jump(mock_clock: MockClock):
    wall = Wall()
    clock = Clock(wall=wall)
    wall.offset += 8 * 3600  # the monotonic clock stood still
    clock.now()
    assert clock.jumped_at == START + 8 * 3600


@pytest.mark.parametrize("drift", [1.9, -1.9, 0.001])
async def test_small_drift_is_no_jump_and_time_does_not_go_back(mock_clock: MockClock, drift):
    wall = Wall()
    clock = Clock(wall=wall)
    before = clock.now()
    wall.offset += drift
    assert clock.now() >= before
    assert clock.jumped_at is None


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(-1.9, 1.9)), max_size=30))
def test_between_jumps_time_never_goes_back(steps):
    clock_of_trio = MockClock()

    async def main():
        wall = Wall()
        offset = wall.offset
        clock = Clock(wall=wall)
        last = clock.now()
        for seconds, jitter in steps:
            clock_of_trio.jump(seconds)
            wall.offset = offset + jitter
            now = clock.now()
            assert now >= last
            last = now
        assert clock.jumped_at is None

    trio.run(main, clock=clock_of_trio)


async def test_a_deadline_is_trios_time_of_a_wall_time(mock_clock: MockClock):
    clock = Clock(follow_wall=False, wall=lambda: START)
    assert clock.deadline(START + 90) == trio.current_time() + 90
    assert clock.deadline(START - 90) == trio.current_time()
    assert clock.deadline(math.inf) == math.inf


async def test_a_sleeper_looks_at_the_wall_once_a_minute(mock_clock: MockClock):
    clock = Clock(wall=Wall())
    assert clock.deadline(START + 30) == pytest.approx(trio.current_time() + 30)
    assert clock.deadline(START + 3600) == trio.current_time() + 60
    assert clock.deadline(math.inf) == trio.current_time() + 60
