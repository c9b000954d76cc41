"""Queue's memory of the lanes: when something on each is due, how much room its site has, whose turn it is.

It knows lanes, not messages: its size follows the number of lanes with mail, not the backlog.  Only used by the queue actor.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Callable

__all__ = ["LaneBook"]

_FOREVER = math.inf
_LANES_AT_ONCE = 64  # lanes asked in one commit: bounds the commit's length
_SHARE = 20  # leases a lane may take in one turn, so that the turns stay short


class _Site:
    __slots__ = ("blocked", "default", "leased", "limit")

    def __init__(self, default: int) -> None:
        self.default = default
        self.limit = default
        self.leased = 0
        self.blocked: dict[str, None] = {}  # lanes that wait for room, first come first

    @property
    def room(self) -> int:
        return self.limit - self.leased


class _Lane:
    __slots__ = ("due", "is_asked", "is_ready", "leased", "name", "site", "timer")

    def __init__(self, name: str, site: _Site) -> None:
        self.name = name
        self.site = site
        self.due = _FOREVER  # nothing leasable on the lane is due before
        self.timer = _FOREVER  # the earliest entry in the heap
        self.leased = 0
        self.is_ready = False
        self.is_asked = False  # a TakeLeases for it is under way


class LaneBook:
    """Which lane may lease, and how many.  default_room: of a lane, as long as policy said nothing of its site."""

    def __init__(self, default_room: Callable[[str], int]) -> None:
        self._default_room = default_room
        self._lanes: dict[str, _Lane] = {}
        self._sites: dict[str, _Site] = {}
        self._ready: deque[_Lane] = deque()
        self._timers: list[tuple[float, str]] = []

    def __len__(self) -> int:
        return len(self._lanes)

    def _lane(self, name: str) -> _Lane:
        lane = self._lanes.get(name)
        if lane is None:
            lane = self._lanes[name] = _Lane(name, self._site(name))
        return lane

    def _site(self, name: str) -> _Site:
        site = self._sites.get(name)
        if site is None:
            site = self._sites[name] = _Site(self._default_room(name))
        return site

    def set_room(self, site_name: str, leases: int, lane_name: str = "") -> None:
        """Policy says how many leases a site's lanes may have; a lane that is named belongs to it from now on."""
        site = self._site(site_name)
        site.limit = leases
        lane = self._lanes.get(lane_name)
        if lane is not None and lane.site is not site:
            self._move(lane, site)
        self._unblock(site)
        self._forget_site(site_name)

    def _move(self, lane: _Lane, site: _Site) -> None:
        old, was_blocked = lane.site, lane.name in lane.site.blocked
        old.blocked.pop(lane.name, None)
        old.leased -= lane.leased
        site.leased += lane.leased
        lane.site = site
        if was_blocked:
            site.blocked[lane.name] = None
        self._unblock(old)
        self._forget_site(lane.name)

    def _unblock(self, site: _Site) -> None:
        for name in list(site.blocked)[: max(0, site.room)]:
            del site.blocked[name]
            self._make_ready(self._lanes[name])

    def note_due(self, name: str, due: float, now: float) -> None:
        """Something on the lane became leasable at that time."""
        lane = self._lane(name)
        if due < lane.due:
            lane.due = due
            self._arrange(lane, now)

    def _arrange(self, lane: _Lane, now: float) -> None:
        if lane.is_ready or lane.is_asked or lane.name in lane.site.blocked:
            return
        if lane.due <= now:
            if lane.site.room > 0:
                self._make_ready(lane)
            else:
                lane.site.blocked[lane.name] = None
        elif lane.due < lane.timer:
            lane.timer = lane.due
            heapq.heappush(self._timers, (lane.due, lane.name))

    def _make_ready(self, lane: _Lane) -> None:
        if not lane.is_ready:
            lane.is_ready = True
            self._ready.append(lane)

    def _ring_timers(self, now: float) -> None:
        while self._timers and self._timers[0][0] <= now:
            _, name = heapq.heappop(self._timers)
            lane = self._lanes.get(name)
            if lane is not None:
                lane.timer = _FOREVER
                self._arrange(lane, now)

    def is_ready(self, now: float) -> bool:
        """Whether some lane has something due and room for it."""
        self._ring_timers(now)
        return bool(self._ready)

    def next_due(self) -> float:
        """When the next timer rings, wall seconds; infinity where none is set."""
        return self._timers[0][0] if self._timers else _FOREVER

    def take_turns(self, now: float, credits: int) -> list[tuple[str, int]]:
        """Whose turn it is: lanes, and how many leases each may take.  Each must be answered with `took`."""
        self._ring_timers(now)
        turns: list[tuple[str, int]] = []
        share = max(1, min(_SHARE, credits // max(1, len(self._ready))))
        while self._ready and credits > 0 and len(turns) < _LANES_AT_ONCE:
            lane = self._ready.popleft()
            lane.is_ready = False
            count = min(lane.site.room, share, credits)
            if count <= 0 or lane.due > now:
                self._arrange(lane, now)
                continue
            lane.is_asked = True
            lane.leased += count
            lane.site.leased += count
            credits -= count
            turns.append((lane.name, count))
        return turns

    def took(self, name: str, unused: int, next_due: float | None, now: float) -> None:
        """A turn is over: `unused` of its leases were not taken; next_due: what is left on the lane."""
        lane = self._lanes[name]
        lane.is_asked = False
        lane.due = _FOREVER if next_due is None else next_due
        self._arrange(lane, now)
        self._give_back(lane, unused)

    def take_fresh(self, name: str, now: float) -> bool:
        """Take one lease for mail that is just being accepted, if the lane has room and nothing older is due on it."""
        lane = self._lane(name)
        if lane.site.room <= 0 or lane.due <= now:
            return False
        lane.leased += 1
        lane.site.leased += 1
        return True

    def give_back(self, name: str) -> None:
        """A lease ended."""
        self._give_back(self._lanes[name], 1)

    def _give_back(self, lane: _Lane, count: int) -> None:
        lane.leased -= count
        lane.site.leased -= count
        if lane.site.blocked:
            self._unblock(lane.site)
        if not lane.leased and lane.due == _FOREVER and not lane.is_asked and not lane.is_ready:
            self._forget(lane)

    def _forget(self, lane: _Lane) -> None:
        lane.site.blocked.pop(lane.name, None)
        del self._lanes[lane.name]
        self._forget_site(lane.name)

    def _forget_site(self, name: str) -> None:
        """Drop a site that is as one never heard of; policy says it again when mail comes."""
        site = self._sites.get(name)
        if site is None or site.leased or site.blocked or site.limit != site.default:
            return
        lane = self._lanes.get(name)
        if lane is None or lane.site is not site:
            del self._sites[name]
