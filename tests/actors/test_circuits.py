"""The kept holds of roads: whatever became of their fact, an engine starts, and no road stays closed."""

from __future__ import annotations

from postroad.actors.circuits import Circuits
from postroad.config import Config, Route
from postroad.decide.limits import Window, is_half_open, room
from postroad.decide.routing import RoutingTable

NOW = 1_700_000_000.0
UNTIL = NOW + 600
HELD = Window(size=1, trouble=5, hold_until=UNTIL, hold_seconds=120.0, failed_at=NOW, reason="503 na\u00efve")
CONFIG = Config(
    transports={name: {"plugin": "scripted"} for name in ("first", "second")},
    routes=(
        Route(transport="first", name="plain", recipients="*@plain.example"),
        Route(transport="first", fail_over=("second",)),
    ),
)
TABLE = RoutingTable(CONFIG, {})
ROAD = TABLE.roads["first"]


def test_a_hold_is_found_again_and_half_open_for_as_long_as_its_next_would_take():
    kept = Circuits().note("first", "first", HELD, NOW)
    (circuit,) = Circuits(kept).held(TABLE, NOW + 1)
    assert (circuit.site, circuit.lane, circuit.window) == ("first", "first", HELD)
    (circuit,) = Circuits(kept).held(TABLE, UNTIL)
    assert is_half_open(circuit.window, ROAD.windows, UNTIL)
    assert list(Circuits(kept).held(TABLE, UNTIL + 120)) == []


def test_a_road_that_was_found_to_work_is_not_held_again():
    circuits = Circuits()
    circuits.note("first", "first", HELD, NOW)
    assert list(Circuits(circuits.note("first", "first", Window(size=2), UNTIL)).held(TABLE, UNTIL)) == []


def test_a_hold_that_mail_of_a_route_without_other_roads_brought_is_found_again():
    kept = Circuits().note("first", "plain", HELD, NOW)
    assert [circuit.lane for circuit in Circuits(kept).held(TABLE, NOW)] == ["plain"]


def test_what_has_ended_is_not_kept_for_ever():
    circuits = Circuits()
    for number in range(100):
        kept = circuits.note(f"site{number}", "first", HELD, NOW)
    later = Window(size=1, hold_until=UNTIL + 600)
    assert len(circuits.note("first", "first", later, UNTIL + 120)) < len(kept) / 50


def test_a_fact_with_any_bit_turned_stops_no_start_and_closes_no_road():
    kept = Circuits().note("first", "first", HELD, NOW)
    for bit in range(8 * len(kept)):
        octets = bytearray(kept)
        octets[bit // 8] ^= 1 << bit % 8
        for circuit in Circuits(bytes(octets)).held(TABLE, NOW):
            window = circuit.window
            assert room(window, UNTIL + ROAD.windows.hold_max_seconds) == 2
            assert window.trouble == ROAD.windows.trouble
            assert ROAD.windows.hold_seconds <= window.hold_seconds <= ROAD.windows.hold_max_seconds
