"""Who may go on by another road, and when: never what the first road may have taken."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.config import Config, Route
from postroad.decide.failover import may_change, may_go_on
from postroad.decide.routing import RoutingTable, route_of_lane
from postroad.errors import ConfigError
from postroad.store.contract import LeasedRecipient
from postroad.verdict import Scope, Verdict

NAMES = ("first", "second", "mx")
TRANSPORTS = {name: {"plugin": "scripted"} for name in NAMES}
DOWN = Verdict.deferred("503", scope=Scope.SITE)


def table(**route):
    config = Config(transports=TRANSPORTS, routes=(Route(transport="first", **route),))
    return RoutingTable(config, {name: name == "mx" for name in NAMES})


def someone(attempts=0, in_doubt=False):
    return LeasedRecipient(0, "b@example.org", attempts=attempts, in_doubt=in_doubt)


def test_a_route_has_a_road_by_each_of_its_transports_in_order():
    routing = table(fail_over=("second", "mx"))
    assert [(road.label, road.transport, road.others) for road in routing.roads.values()] == [
        ("first", "first", ("first~second", "first~mx")),
        ("first~second", "second", ("first~mx", "first")),
        ("first~mx", "mx", ("first", "first~second")),
    ]
    assert routing.lane("a@example.com", "b@example.org") == "first"
    assert routing.lane_by("first~mx", "b@Example.org") == "first~mx/example.org"
    assert routing.road_of("first~mx/example.org").transport == "mx"
    assert route_of_lane("first~mx/example.org") == "first"


def test_a_route_with_one_transport_has_no_others():
    (road,) = table().roads.values()
    assert road.others == ()
    assert not may_change(road, someone())
    assert not may_go_on(road, someone(), DOWN)


@given(st.lists(st.integers(0, 5), min_size=3, max_size=3).filter(any))
def test_weights_share_the_recipients_and_one_always_goes_the_same_way(weights):
    routing = table(fail_over=("second", "mx"), weights=tuple(weights))
    lanes = [routing.lane("a@example.com", f"b{number}@example.org") for number in range(600)]
    assert lanes == [routing.lane("c@example.com", f"B{number}@EXAMPLE.org") for number in range(600)]
    for label, weight in zip(("first", "first~second", "first~mx/example.org"), weights, strict=True):
        share = lanes.count(label) / 600
        assert abs(share - weight / sum(weights)) < 0.1
        assert weight or not share


def test_the_generation_changes_with_the_transports_and_the_weights():
    plain, more = table(), table(fail_over=("second",))
    assert len({plain.generation, more.generation, table(fail_over=("second",), weights=(1, 1)).generation}) == 3
    assert more.generation == table(fail_over=("second",)).generation


@pytest.mark.parametrize(
    ("verdict", "goes_on"),
    [
        (DOWN, True),
        (Verdict.deferred("401", scope=Scope.TRANSPORT), True),
        (Verdict.refused("535 wrong password", scope=Scope.TRANSPORT), True),
        (Verdict.deferred("450 mailbox full"), False),
        (Verdict.deferred("raised", scope=Scope.LOCAL), False),
        (Verdict.refused("550 nobody"), False),
        (Verdict.refused("550 never", scope=Scope.SITE), False),
        (Verdict.in_doubt("cut"), False),
        (Verdict.accepted("250"), False),
        (Verdict.postponed("no descriptors"), False),
    ],
)
def test_only_trouble_of_the_site_sends_somebody_on(verdict, goes_on):
    road = table(fail_over=("second",)).roads["first"]
    assert may_go_on(road, someone(), verdict) is goes_on


def test_a_doubt_keeps_a_recipient_on_its_road_unless_the_route_would_rather_have_it_twice():
    careful, eager = (table(fail_over=("second",), fail_over_in_doubt=eager).roads["first"] for eager in (False, True))
    assert not may_change(careful, someone(in_doubt=True))
    assert not may_go_on(careful, someone(in_doubt=True), DOWN)
    assert may_change(eager, someone(in_doubt=True))
    assert may_go_on(eager, someone(in_doubt=True), DOWN)
    assert may_go_on(eager, someone(), Verdict.in_doubt("cut"))


@pytest.mark.parametrize(
    ("route", "key"),
    [
        ({"fail_over": ("nowhere",)}, r"routes\[0\].fail_over\[0\]"),
        ({"fail_over": ("second", "first")}, r"routes\[0\].fail_over\[1\]"),
        ({"fail_over": ("second",), "weights": (1,)}, r"routes\[0\].weights"),
        ({"weights": (1, 1)}, r"routes\[0\].weights"),
        ({"fail_over": ("second",), "weights": (0, 0)}, r"routes\[0\].weights"),
        ({"fail_over": ("second",), "weights": (2, -1)}, r"routes\[0\].weights"),
    ],
)
def test_a_route_that_contradicts_itself_is_refused(route, key):
    with pytest.raises(ConfigError, match=key):
        Config(transports=TRANSPORTS, routes=(Route(transport="first", **route),))
