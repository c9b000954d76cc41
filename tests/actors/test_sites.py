"""Policy's memory of sites: a lane is its own site until a verdict says otherwise, and idle ones are forgotten."""

from __future__ import annotations

from postroad.actors import sites as module
from postroad.actors.notes import Room
from postroad.actors.sites import Sites
from postroad.config import Windows
from postroad.decide import limits

WINDOWS = Windows()


def test_a_lane_is_a_site_of_its_own_until_it_is_learnt():
    sites = Sites()
    alone = sites.of("out/a.example", WINDOWS)
    assert alone.name == "out/a.example"
    assert sites.of("out/a.example", WINDOWS) is alone
    assert sites.learn("out/a.example", "mx.example")
    assert sites.learn("out/b.example", "mx.example")
    assert sites.of("out/a.example", WINDOWS) is sites.of("out/b.example", WINDOWS)


def test_learning_tells_only_what_is_new():
    sites = Sites()
    assert not sites.learn("a", "")
    assert not sites.learn("a", "a")
    assert sites.learn("a", "mx")
    assert not sites.learn("a", "mx")
    assert sites.learn("a", "a")


def test_the_lanes_of_a_transport_that_does_not_work_by_domain_lead_to_the_same_servers():
    sites = Sites()
    assert sites.learn("bulk", "smart.example", "outbound")
    assert sites.of("news", WINDOWS, "outbound") is sites.of("bulk", WINDOWS, "outbound")
    assert not sites.learn("news", "smart.example", "outbound")
    assert sites.of("other", WINDOWS, "elsewhere").name == "elsewhere"
    assert sites.of("out/a.example", WINDOWS).name == "out/a.example"


def test_queue_is_told_of_room_only_when_it_changed():
    site = Sites().of("a", WINDOWS)
    assert site.room_note(0.0) is None
    site.window = limits.after_failure(site.window, WINDOWS, 0.0, "down", hold_now=True)
    assert site.room_note(0.0) == Room("a", 0)
    assert site.room_note(0.0) is None
    assert site.room_note(60.0) == Room("a", 2)


def test_a_site_is_open_while_its_window_has_room_and_no_hold_runs():
    site = Sites().of("a", WINDOWS)
    site.in_flight = 4
    assert site.is_open(0.0)
    site.in_flight = 5
    assert not site.is_open(0.0)
    site.in_flight, site.window = 0, limits.after_failure(site.window, WINDOWS, 0.0, "down", hold_now=True)
    assert not site.is_open(59.0)
    assert site.is_open(60.0)


def test_the_sites_idle_for_longest_are_forgotten_and_queue_is_told(monkeypatch):
    monkeypatch.setattr(module, "_REMEMBERED", 3)
    sites = Sites()
    for name in "abcde":
        sites.of(name, WINDOWS)
    sites.of("a", WINDOWS)
    busy = sites.of("b", WINDOWS)
    busy.in_flight = 1
    for name in "cdea":
        sites.of(name, WINDOWS)
    assert sites.forget_idle(0.0) == [Room("c", 10)]  # b has an attempt under way
    assert sites.of("b", WINDOWS) is busy


def test_learnt_lanes_are_bounded(monkeypatch):
    monkeypatch.setattr(module, "_REMEMBERED", 3)
    sites = Sites()
    for number in range(10):
        sites.learn(f"lane{number}", "mx")
    assert sites.of("lane9", WINDOWS).name == "mx"
    assert sites.of("lane0", WINDOWS).name == "lane0"
