"""What follows from a doubt: the route's choice, and nothing is taken as delivered that is not known to have left."""

from __future__ import annotations

import pytest

from postroad.config import Route
from postroad.decide import doubt
from postroad.store.contract import NO_ROUTE
from postroad.store.states import Step


@pytest.mark.parametrize(
    ("choice", "is_proven", "step"),
    [
        ("send_again", True, Step.DOUBT),
        ("send_again", False, Step.DOUBT),
        ("hold", True, Step.HOLD),
        ("hold", False, Step.HOLD),
        ("take_as_delivered", True, Step.DELIVER),
        ("take_as_delivered", False, Step.HOLD),
    ],
)
def test_the_routes_choice_says_what_follows(choice, is_proven, step):
    assert doubt.step(choice, is_proven=is_proven) is step


def test_after_a_crash_nothing_is_proven_and_the_lane_tells_the_route():
    after = doubt.after_crash(
        [
            Route(transport="mx", name="out", in_doubt="hold"),
            Route(transport="file", in_doubt="take_as_delivered"),
            Route(transport="relay"),
        ]
    )
    lanes = ["out/example.org", "file", "relay", "gone/example.org", "?"]
    assert [after(lane) for lane in lanes] == [Step.HOLD, Step.HOLD, Step.DOUBT, Step.DOUBT, Step.DOUBT]


def test_what_was_said_tells_the_decision_and_never_reads_like_a_hold_for_want_of_a_route():
    assert doubt.said(Step.DOUBT, "cut") == "cut"
    assert doubt.said(Step.HOLD, "no route to host") == "in doubt: no route to host"
    assert doubt.said(Step.DELIVER, "cut") == "in doubt, taken as delivered: cut"
    assert not doubt.said(Step.HOLD, f"{NO_ROUTE} to host").startswith(NO_ROUTE)
