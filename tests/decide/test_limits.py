"""Windows and holds of a site, over any sequence of successes and failures."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.config import Windows
from postroad.decide.limits import after_failure, after_success, fresh, is_answer, is_site_trouble, room
from postroad.verdict import Disposition, Scope, Verdict

DEFAULT = Windows()


@st.composite
def settings(draw):
    start = draw(st.integers(1, 10))
    first = draw(st.floats(1, 100))
    return Windows(
        start=start,
        max=start + draw(st.integers(0, 20)),
        trouble=draw(st.integers(1, 6)),
        hold_seconds=first,
        hold_max_seconds=first * draw(st.floats(1, 50)),
    )


def grown(settings=DEFAULT, successes=1000):
    window = fresh(settings)
    for _ in range(successes):
        window = after_success(window, settings)
    return window


@given(settings(), st.lists(st.sampled_from(["good", "bad", "worst", "wait"]), max_size=80))
def test_a_window_and_its_holds_stay_within_their_bounds(windows, story):
    window, now = fresh(windows), 1000.0
    for chapter in story:
        before = window
        if chapter == "good":
            window = after_success(window, windows)
        elif chapter == "wait":
            now = max(now, window.hold_until) + 1
        else:
            window = after_failure(window, windows, now, "broken", hold_now=chapter == "worst")
        assert 1 <= window.size <= windows.max
        assert window.hold_until - now <= windows.hold_max_seconds + 1e-6
        assert room(window, now) in (0, 2 * window.size)
        if chapter == "good":
            assert before.size <= window.size <= before.size + 1
            assert window.trouble == 0
        if chapter == "worst":
            assert window.hold_until > now


@given(settings())
def test_holds_double_up_to_the_maximum_while_the_site_stays_down(windows):
    window, now, holds = fresh(windows), 1000.0, []
    for _ in range(windows.trouble):
        window = after_failure(window, windows, now, "down")
    for _ in range(8):
        holds.append(window.hold_until - now)
        now = window.hold_until
        window = after_failure(window, windows, now, "still down")  # the probe
    assert holds[0] == pytest.approx(windows.hold_seconds)
    for shorter, longer in itertools.pairwise(holds):
        assert longer == pytest.approx(min(2 * shorter, windows.hold_max_seconds))


@given(settings())
def test_a_site_that_works_again_gets_its_window_back(windows):
    window, now = grown(windows), 1000.0
    assert window.size == windows.max
    window = after_failure(window, windows, now, "down", hold_now=True)
    assert room(window, now) == 0
    assert room(window, window.hold_until) == 2  # one probe, and the next at hand
    for _ in range(2 * windows.max * windows.max):
        window = after_success(window, windows)
    assert window.size == windows.max
    assert window.hold_seconds == windows.hold_seconds


def test_a_new_site_starts_with_five_and_grows_to_twenty_by_full_rounds():
    window, successes = fresh(DEFAULT), 0
    assert (window.size, room(window, 0.0)) == (5, 10)
    while window.size < 20:
        size = window.size
        for _ in range(size):
            window = after_success(window, DEFAULT)
        successes += size
        assert window.size == size + 1
    assert after_success(window, DEFAULT) is window


def test_each_failure_shrinks_the_window_and_the_fifth_in_a_row_holds():
    window = grown()
    for expected in (19, 18, 17, 16):
        window = after_failure(window, DEFAULT, 10.0, "421 too many")
        assert (window.size, room(window, 10.0)) == (expected, 2 * expected)
    window = after_failure(window, DEFAULT, 10.0, "421 too many")
    assert (window.size, window.hold_until, room(window, 10.0)) == (1, 70.0, 0)
    assert window.reason == "421 too many"


def test_a_success_between_failures_starts_the_count_anew():
    window = grown()
    for _ in range(20):
        window = after_failure(window, DEFAULT, 10.0, "flaky")
        window = after_success(window, DEFAULT)
        assert window.hold_until == 0.0


def test_a_window_of_one_stays_one_when_its_trouble_is_over():
    one = Windows(start=1, max=1)
    window = after_failure(fresh(one), one, 10.0, "flaky")
    assert after_success(window, one).size == 1


def test_an_attempt_that_began_before_the_hold_does_not_lengthen_it():
    held = after_failure(fresh(DEFAULT), DEFAULT, 10.0, "down", hold_now=True)
    later = after_failure(held, DEFAULT, 20.0, "down too")
    assert (later.hold_until, later.hold_seconds) == (held.hold_until, held.hold_seconds)
    assert (later.failed_at, later.reason) == (20.0, "down too")


def test_one_failed_probe_holds_again():
    held = after_failure(fresh(DEFAULT), DEFAULT, 0.0, "down", hold_now=True)
    again = after_failure(held, DEFAULT, 60.0, "down")
    assert again.hold_until == 60.0 + 120.0


@pytest.mark.parametrize(
    ("verdict", "trouble", "answer"),
    [
        (Verdict.accepted("250 ok"), False, True),
        (Verdict.deferred("451 greylisted"), False, True),
        (Verdict.refused("550 unknown"), False, True),
        (Verdict.deferred("452 too large now", scope=Scope.MESSAGE), False, True),
        (Verdict.deferred("421 down", scope=Scope.SITE), True, False),
        (Verdict.refused("535 wrong password", scope=Scope.TRANSPORT), True, False),
        (Verdict.in_doubt("cut"), True, False),
        (Verdict.postponed("no descriptors"), False, False),
        (Verdict.deferred("the transport raised", scope=Scope.LOCAL), False, False),
        (Verdict(disposition=Disposition.POSTPONED, scope=Scope.SITE), False, False),
    ],
)
def test_what_a_verdict_says_of_the_site(verdict, trouble, answer):
    assert is_site_trouble(verdict) is trouble
    assert is_answer(verdict) is answer
