"""The first route that fits takes a recipient; lanes name it; the generation tells when they must be chosen anew."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.config import Config, Retry, Route, Windows
from postroad.decide.routing import RoutingTable, domain_of_lane, route_of_lane

TRANSPORTS = {"mx": {"plugin": "smtp"}, "relay": {"plugin": "smtp"}, "file": {"plugin": "file"}}


def table(*routes, by_domain=("mx",), per_call=None, hook=None, **sections):
    config = Config(transports=TRANSPORTS, routes=tuple(Route(**route) for route in routes), **sections)
    return RoutingTable(config, {name: name in by_domain for name in TRANSPORTS}, per_call, hook)


def test_the_first_route_that_fits_wins():
    routing = table(
        {"transport": "file", "recipients": "*@test.example"},
        {"transport": "relay", "recipients": "*@*.example"},
        {"transport": "mx"},
    )
    assert routing.lane("a@example.com", "b@test.example") == "file"
    assert routing.lane("a@example.com", "b@other.example") == "relay"
    assert routing.lane("a@example.com", "b@example.org") == "mx/example.org"


def test_no_route_is_no_lane():
    assert table().lane("a@example.com", "b@example.org") is None
    assert table({"transport": "mx", "recipients": "*@example.net"}).lane("a@example.com", "b@example.org") is None


@pytest.mark.parametrize(
    ("pattern", "sender", "fits"),
    [
        ("*", "", True),
        ("<>", "", True),
        ("<>", "a@example.com", False),
        ("*@example.com", "a@example.com", True),
        ("*@example.com", "", False),
        ("a@example.com", "b@example.com", False),
    ],
)
def test_a_route_may_be_for_some_senders_or_for_reports(pattern, sender, fits):
    lane = table({"transport": "relay", "senders": pattern}).lane(sender, "b@example.org")
    assert (lane == "relay") is fits


def test_a_route_may_be_for_a_tag():
    routing = table({"transport": "relay", "name": "bulk", "tag": "newsletter"}, {"transport": "relay"})
    assert routing.lane("a@example.com", "b@example.org", ("newsletter", "x")) == "bulk"
    assert routing.lane("a@example.com", "b@example.org", ("x",)) == "relay"


def test_all_conditions_of_a_route_must_hold():
    routing = table({"transport": "relay", "recipients": "*@example.org", "senders": "a@example.com", "tag": "x"})
    assert routing.lane("a@example.com", "b@example.org", ("x",)) == "relay"
    assert routing.lane("a@example.com", "b@example.org") is None
    assert routing.lane("c@example.com", "b@example.org", ("x",)) is None
    assert routing.lane("a@example.com", "b@example.net", ("x",)) is None


@given(st.sampled_from(["example.org", "EXAMPLE.org", "xn--bcher-kva.example", "[192.0.2.1]", "[IPv6:2001:db8::1]"]))
def test_a_lane_by_domain_names_the_domain_in_lower_case(domain):
    routing = table({"transport": "mx", "name": "out"})
    lane = routing.lane("a@example.com", f"b@{domain}")
    assert lane is not None
    assert (route_of_lane(lane), domain_of_lane(lane)) == ("out", domain.lower())
    assert routing.road_of(lane) is routing.roads["out"]


def test_a_lane_without_domain_is_the_routes_label():
    routing = table({"transport": "relay"}, per_call={"relay": 7})
    assert routing.lane("a@example.com", "b@example.org") == "relay"
    assert domain_of_lane("relay") is None
    road = routing.road_of("relay")
    assert road is not None
    assert (road.transport, road.by_domain, road.recipients_per_call) == ("relay", False, 7)


def test_a_route_has_settings_of_its_own_or_the_common_ones():
    own = Retry(first_seconds=1)
    routing = table(
        {"transport": "relay", "retry": own, "in_doubt": "hold"},
        {"transport": "mx"},
        windows=Windows(start=2, max=3),
        retry=Retry(jitter=0),
    )
    assert routing.roads["relay"].retry is own
    assert (routing.roads["relay"].in_doubt, routing.roads["mx"].in_doubt) == ("hold", "send_again")
    assert routing.roads["mx"].retry == Retry(jitter=0)
    assert routing.roads["relay"].windows == Windows(start=2, max=3)


def test_a_lane_of_a_route_that_is_gone_or_works_otherwise_has_no_road():
    routing = table({"transport": "mx"}, {"transport": "relay"})
    assert routing.road_of("gone") is None
    assert routing.road_of("?") is None
    assert routing.road_of("mx") is None
    assert routing.road_of("relay/example.org") is None
    assert routing.road_of("mx/example.org") is not None


def test_a_plugins_answer_comes_before_the_rules_and_must_name_a_route():
    named = {"b@example.org": "relay", "c@example.org": "nonsense"}
    routing = table(
        {"transport": "mx"}, {"transport": "relay"}, hook=lambda sender, recipient, tags: named.get(recipient)
    )
    assert routing.lane("a@example.com", "b@example.org") == "relay"
    assert routing.lane("a@example.com", "c@example.org") is None
    assert routing.lane("a@example.com", "d@example.org") == "mx/example.org"


ROUTE = {"transport": "mx", "name": "out", "recipients": "*", "senders": "*", "tag": ""}


@pytest.mark.parametrize(
    "change",
    [{"name": "other"}, {"recipients": "*@example.org"}, {"senders": "<>"}, {"tag": "x"}],
)
def test_the_generation_changes_with_what_lanes_depend_on(change):
    assert table(ROUTE).generation != table({**ROUTE, **change}).generation


def test_the_generation_changes_with_the_order_and_the_transports_ways():
    second = {**ROUTE, "name": "second"}
    assert table(ROUTE, second).generation != table(second, ROUTE).generation
    assert table(ROUTE).generation != table(ROUTE, by_domain=()).generation
    assert table().generation != table(ROUTE).generation


def test_the_generation_stays_when_only_schedules_change():
    assert table(ROUTE).generation == table({**ROUTE, "retry": Retry(jitter=0)}).generation
    again = table(msgspec.json.decode(msgspec.json.encode(ROUTE)))
    assert table(ROUTE).generation == again.generation
