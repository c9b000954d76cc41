"""Turns over lanes, against a model: never more leases than a site has room for, and nobody who could lease starves."""

from __future__ import annotations

import math

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from postroad.actors.lanes import LaneBook

LANES = [f"out/{letter}.example" for letter in "abcdef"]
SITES = ["mx1", "mx2"]
DEFAULT = 4


def book_of(default=DEFAULT):
    return LaneBook(lambda lane: default)


class Turns(RuleBasedStateMachine):
    """What queue, store and policy do with the book; `mail` is what the store has: due times by lane."""

    def __init__(self):
        super().__init__()
        self.book = book_of()
        self.now = 0.0
        self.mail = {lane: [] for lane in LANES}
        self.leased = dict.fromkeys(LANES, 0)
        self.site_of = {lane: lane for lane in LANES}
        self.limits = dict.fromkeys([*LANES, *SITES], DEFAULT)
        self.taking = False

    def used(self, site):
        return sum(count for lane, count in self.leased.items() if self.site_of[lane] == site)

    def room(self, lane):
        return self.limits[self.site_of[lane]] - self.used(self.site_of[lane])

    def begin(self, lane, count):
        assert count <= max(0, self.room(lane)), "a site's room was exceeded"
        self.leased[lane] += count

    @rule(lane=st.sampled_from(LANES), ahead=st.sampled_from([0.0, 1.0, 5.0]))
    def mail_arrives(self, lane, ahead):
        self.mail[lane].append(self.now + ahead)
        self.book.note_due(lane, self.now + ahead, self.now)

    @rule(lane=st.sampled_from(LANES), is_stored=st.booleans())
    def fresh_mail_arrives(self, lane, is_stored):
        if not self.book.take_fresh(lane, self.now):
            if is_stored:
                self.mail[lane].append(self.now)
                self.book.note_due(lane, self.now, self.now)
            return
        assert not any(due <= self.now for due in self.mail[lane]), "older mail on the lane was overtaken"
        self.begin(lane, 1)
        if not is_stored:
            self.leased[lane] -= 1
            self.book.give_back(lane, 0.0)

    @rule(credits=st.integers(1, 12))
    def turns_are_taken(self, credits):
        turns = self.book.take_turns(self.now, credits)
        assert sum(count for _, count in turns) <= credits
        assert len({lane for lane, _ in turns}) == len(turns)
        for lane, count in turns:
            assert count > 0
            self.begin(lane, count)
        for lane, count in turns:
            due = sorted(time for time in self.mail[lane] if time <= self.now)[:count]
            for time in due:
                self.mail[lane].remove(time)
            self.leased[lane] -= count - len(due)
            self.book.took(lane, count - len(due), min(self.mail[lane], default=None), self.now)

    @precondition(lambda self: any(self.leased.values()))
    @rule(data=st.data())
    def a_lease_ends(self, data):
        lane = data.draw(st.sampled_from([lane for lane, count in self.leased.items() if count]))
        self.leased[lane] -= 1
        self.book.give_back(lane, 0.0)

    @rule(lane=st.sampled_from(LANES), room=st.integers(0, 6))
    def policy_sets_room(self, lane, room):
        site = self.site_of[lane]
        self.limits[site] = room
        self.book.set_room(site, room, lane if site != lane else "")

    @rule(lane=st.sampled_from(LANES), site=st.sampled_from(SITES), room=st.integers(0, 6))
    def policy_learns_a_site(self, lane, site, room):
        self.site_of[lane] = site
        self.limits[site] = room
        self.book.set_room(site, room, lane)

    @rule(seconds=st.floats(0.1, 10))
    def time_passes(self, seconds):
        self.now += seconds

    @invariant()
    def who_has_due_mail_and_room_is_ready(self):
        sites = {
            self.site_of[lane]
            for lane in LANES
            if self.room(lane) > 0 and any(due <= self.now for due in self.mail[lane])
        }
        assert self.book.is_ready(self.now) or not sites, sites

    @invariant()
    def the_next_timer_is_not_later_than_the_next_mail(self):
        self.book.is_ready(self.now)
        future = [
            due for lane in LANES for due in self.mail[lane] if not any(time <= self.now for time in self.mail[lane])
        ]
        assert self.book.next_due() <= min(future, default=math.inf)

    def teardown(self):
        """All of it is leased in the end, if rooms open and leases end."""
        for site in {*self.site_of.values()}:
            self.limits[site] = 3
        for lane in LANES:
            self.book.set_room(self.site_of[lane], 3, lane if self.site_of[lane] != lane else "")
        self.now += 100
        for _ in range(400):
            if not any(self.mail.values()):
                break
            self.turns_are_taken(12)
            for lane in LANES:
                for _ in range(self.leased[lane]):
                    self.book.give_back(lane, 0.0)
                self.leased[lane] = 0
        assert not any(self.mail.values()), "mail starved"
        for lane in LANES:
            for _ in range(self.leased[lane]):
                self.book.give_back(lane, 0.0)
        self.book.is_ready(self.now + 1000)
        assert len(self.book) == 0, "idle lanes are forgotten"


Turns.TestCase.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
TestTurns = Turns.TestCase


@given(st.integers(1, 6), st.integers(2, 9), st.data())
@settings(deadline=None)
def test_lanes_that_share_a_site_all_get_their_turn_however_its_room_opens(room, count, data):
    lanes = [f"out/{number}.example" for number in range(count)]
    book = book_of()
    for lane in lanes:
        book.set_room("mx", 0, lane)
        book.note_due(lane, 0.0, 0.0)
    book.set_room("mx", room)
    served = []
    for _ in range(count * 4):
        turns = book.take_turns(0.0, 100)
        for lane, _ in turns:
            book.took(lane, 0, 0.0, 0.0)  # there is always more
        served += [lane for lane, _ in turns]
        ends = [lane for lane, taken in turns for _ in range(taken)]
        for lane in data.draw(st.permutations(ends)):
            book.give_back(lane, 0.0)
    assert set(served) == set(lanes)


def test_turns_go_round_and_are_short():
    book = book_of(1000)
    for lane in LANES[:3]:
        book.note_due(lane, 0.0, 0.0)
    assert book.take_turns(0.0, 90) == [(lane, 20) for lane in LANES[:3]]
    for lane in LANES[:3]:
        book.took(lane, 0, 0.0, 0.0)
    assert [lane for lane, _ in book.take_turns(0.0, 2)] == LANES[:2]
    assert [lane for lane, _ in book.take_turns(0.0, 2)] == LANES[2:3]


def test_one_commit_asks_a_bounded_number_of_lanes():
    book = book_of()
    for number in range(500):
        book.note_due(f"out/{number}.example", 0.0, 0.0)
    assert len(book.take_turns(0.0, 10_000)) == 64


def test_fresh_mail_does_not_overtake_a_lane_of_its_site_that_waits_for_room():
    book = book_of()
    for lane in ("a", "b"):
        book.set_room("mx", 1, lane)
    assert book.take_fresh("a", 0.0)
    book.note_due("b", 0.0, 0.0)
    for _ in range(5):
        book.give_back("a", 0.0)
        assert not book.take_fresh("a", 0.0)
        assert book.take_turns(0.0, 10) == [("b", 1)]
        book.took("b", 0, 0.0, 0.0)
        assert not book.take_fresh("a", 0.0)
        book.give_back("b", 0.0)
        assert book.take_turns(0.0, 10) == [("b", 1)]
        book.took("b", 1, None, 0.0)
        assert book.take_fresh("a", 0.0)
        book.note_due("b", 0.0, 0.0)


def test_a_held_site_leases_nothing_until_it_has_room_again():
    book = book_of()
    book.note_due("a", 0.0, 0.0)
    book.set_room("a", 0)
    assert book.take_turns(0.0, 10) == []
    assert not book.is_ready(0.0)
    assert not book.take_fresh("a", 0.0)
    book.set_room("a", 2)
    assert book.take_turns(0.0, 10) == [("a", 2)]


def test_a_lane_that_was_idle_is_still_known_to_share_its_site():
    book = book_of()
    book.set_room("mx", 3, "a")
    book.set_room("mx", 3, "b")
    assert all(book.take_fresh("b", 0.0) for _ in range(3))
    assert not book.take_fresh("a", 0.0)


def test_refused_fresh_mail_leaves_no_trace():
    book = book_of(0)
    for number in range(100):
        assert not book.take_fresh(f"out/{number}.example", 0.0)
    assert len(book) == 0
    assert not book._sites


def test_memory_follows_the_lanes_with_mail():
    book = book_of()
    for number in range(20_000):
        lane = f"out/{number}.example"
        book.set_room(f"mx{number}", 8, lane)
        assert book.take_fresh(lane, 0.0)
        book.give_back(lane, 0.0)
    assert len(book) == 0
    assert len(book._sites) == len(book._site_of) == len(book._shared) == 10_000


def test_timers_do_not_pile_up():
    book = book_of()
    for due in range(100, 50, -1):
        book.note_due("a", float(due), 0.0)
    assert book.take_turns(51.0, 1) == [("a", 1)]
    book.took("a", 0, 1000.0, 51.0)
    for now in range(52, 102):
        assert not book.is_ready(float(now))
    assert book._timers == [(1000.0, "a")]


def test_timers_of_one_lane_do_not_pile_up_behind_a_far_one():
    book = book_of()
    book.note_due("a", 1e9, 0.0)
    for now in range(1, 5000):
        book.note_due("a", now + 0.5, float(now))
        for lane, count in book.take_turns(now + 0.6, 1):
            book.took(lane, count, 1e9, now + 0.6)
    assert len(book._timers) < 200
    assert book.next_due() <= 1e9
