"""Queue's memory of the lanes: when something on each is due, how much room its site has, whose turn it is.

It knows lanes, not messages: its size follows the number of lanes with mail, not the backlog.  Only used by the queue actor.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter, OrderedDict, deque
from collections.abc import Callable

__all__ = ["TURNING_SECONDS", "LaneBook"]

_FOREVER = math.inf
_STALE_TIMERS = 64  # entries of the heap beyond twice the lanes, before it is made anew
_LANES_AT_ONCE = 64  # lanes asked in one commit: bounds the commit's length
TURNING_SECONDS = 0.01  # since a site's last lease ended, for it to count as quick: a hundred a second or more
_BEHIND_SECONDS = 1.0  # after which what is due is a backlog
_SHARE = 20  # leases a lane may take in one turn, so that the turns stay short
_REMEMBERED = 10_000  # idle lanes whose site is remembered, as policy does


class _Site:
    """Lanes that share room.  ready: how many of its lanes are in the line of turns; a place is kept for each."""

    __slots__ = ("blocked", "default", "lanes", "leased", "limit", "name", "ready", "turned_at")

    def __init__(self, name: str, default: int) -> None:
        self.name = name
        self.default = default
        self.limit = default
        self.leased = 0
        self.lanes = 0
        self.ready = 0
        self.turned_at = 0.0  # when a lease ended last, wall seconds
        self.blocked: dict[str, None] = {}  # lanes that wait for room, first come first

    @property
    def room(self) -> int:
        """Leases that may begin and are not kept for a lane that is ready."""
        return self.limit - self.leased - self.ready


class _Lane:
    __slots__ = ("behind_since", "due", "is_asked", "is_ready", "leased", "name", "site", "timer")

    def __init__(self, name: str, site: _Site) -> None:
        self.name = name
        self.site = site
        self.due = _FOREVER  # nothing leasable on the lane is due before
        self.timer = _FOREVER  # the heap's entry that counts; others are stale
        self.behind_since = (
            0.0  # since when something due has been waiting, as far as fresh mail was kept waiting for it
        )
        self.leased = 0
        self.is_ready = False
        self.is_asked = False  # a TakeLeases for it is under way

    @property
    def is_idle(self) -> bool:
        return not self.leased and self.due == _FOREVER and not self.is_asked and not self.is_ready


class LaneBook:
    """Which lane may lease, and how many.  default_room: of a lane, as long as policy said nothing of its site."""

    def __init__(self, default_room: Callable[[str], int]) -> None:
        self._default_room = default_room
        self._lanes: dict[str, _Lane] = {}
        self._sites: dict[str, _Site] = {}
        self._site_of: OrderedDict[str, str] = OrderedDict()  # of lanes that are no site of their own
        self._shared: Counter[str] = Counter()  # how many of those name a site
        self._ready: deque[_Lane] = deque()
        self._timers: list[tuple[float, str]] = []

    def __len__(self) -> int:
        return len(self._lanes)

    def _lane(self, name: str) -> _Lane:
        lane = self._lanes.get(name)
        if lane is None:
            lane = self._lanes[name] = _Lane(name, self._site(self._site_of.get(name, name)))
            lane.site.lanes += 1
        return lane

    def _site(self, name: str) -> _Site:
        site = self._sites.get(name)
        if site is None:
            site = self._sites[name] = _Site(name, self._default_room(name))
        return site

    # --- room ---

    def set_room(self, site_name: str, leases: int, lane_name: str = "") -> None:
        """Policy says how many leases a site's lanes may have; a lane that is named belongs to it from now on."""
        site = self._site(site_name)
        site.limit = leases
        if lane_name:
            self._join(lane_name, site)
        self._unblock(site)
        self._forget_site(site)

    def _join(self, lane_name: str, site: _Site) -> None:
        self._remember(lane_name, site.name)
        lane = self._lanes.get(lane_name)
        if lane is not None and lane.site is not site:
            self._move(lane, site)

    def _remember(self, lane_name: str, site_name: str) -> None:
        known = self._site_of.pop(lane_name, None)
        if lane_name != site_name:
            self._site_of[lane_name] = site_name
            self._shared[site_name] += 1
        if known is not None:
            self._unshare(known)
        if len(self._site_of) > _REMEMBERED:
            self._unshare(self._site_of.popitem(last=False)[1])

    def _unshare(self, site_name: str) -> None:
        self._shared[site_name] -= 1
        if not self._shared[site_name]:
            del self._shared[site_name]
            site = self._sites.get(site_name)
            if site is not None and not site.lanes:
                del self._sites[site_name]

    def _move(self, lane: _Lane, site: _Site) -> None:
        old = lane.site
        for place, sign in ((old, -1), (site, 1)):
            place.lanes += sign
            place.leased += sign * lane.leased
            place.ready += sign * lane.is_ready
        if lane.name in old.blocked:
            del old.blocked[lane.name]
            site.blocked[lane.name] = None
        lane.site = site
        self._unblock(old)
        self._forget_site(old)

    def _unblock(self, site: _Site) -> None:
        while site.blocked and site.room > 0:
            name = next(iter(site.blocked))
            del site.blocked[name]
            self._make_ready(self._lanes[name])

    # --- time ---

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
            self._drop_stale_timers()

    def _drop_stale_timers(self) -> None:
        """A lane's later entries stay behind when an earlier one is set; never more than there are lanes, though."""
        if len(self._timers) > 2 * len(self._lanes) + _STALE_TIMERS:
            self._timers = [(lane.timer, lane.name) for lane in self._lanes.values() if lane.timer < _FOREVER]
            heapq.heapify(self._timers)

    def _make_ready(self, lane: _Lane) -> None:
        lane.is_ready = True
        lane.site.ready += 1
        self._ready.append(lane)

    def _ring_timers(self, now: float) -> None:
        while self._timers and self._timers[0][0] <= now:
            due, name = heapq.heappop(self._timers)
            lane = self._lanes.get(name)
            if lane is not None and lane.timer == due:
                lane.timer = _FOREVER
                self._arrange(lane, now)

    def is_ready(self, now: float) -> bool:
        """Whether some lane has something due and room for it."""
        self._ring_timers(now)
        return bool(self._ready)

    def next_due(self) -> float:
        """When the next timer rings, wall seconds; infinity where none is set."""
        return self._timers[0][0] if self._timers else _FOREVER

    # --- turns ---

    def take_turns(self, now: float, credits: int) -> list[tuple[str, int]]:
        """Whose turn it is: lanes, and how many leases each may take.  Each must be answered with `took`."""
        self._ring_timers(now)
        turns: list[tuple[str, int]] = []
        share = max(1, min(_SHARE, credits // max(1, len(self._ready))))
        while self._ready and credits > 0 and len(turns) < _LANES_AT_ONCE:
            lane = self._ready.popleft()
            lane.is_ready = False
            lane.site.ready -= 1
            count = min(lane.site.room, share, credits)
            if count <= 0 or lane.due > now:
                self._arrange(lane, now)
                self._unblock(lane.site)
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
        if lane.due > now:
            lane.behind_since = 0.0
        self._arrange(lane, now)
        self._give_back(lane, unused)

    def take_fresh(self, name: str, now: float) -> bool:
        """Take one lease for mail that is just being accepted, if its lane has room and nobody there was first.

        Nothing older may be due on the lane, and no other lane of its site may wait for room.
        """
        lane = self._lane(name)
        if lane.due <= now or lane.site.room <= 0:
            self._forget_idle(lane)
            return False
        if not lane.site.leased:
            lane.site.turned_at = now
        lane.leased += 1
        lane.site.leased += 1
        return True

    def is_turning(self, name: str, now: float) -> bool:
        """Whether fresh mail for a lane will soon find room: all is leased or promised to older mail, and leases end quickly.

        A lane that has been behind for long has a real backlog, which fresh mail had better join.
        """
        lane = self._lanes.get(name)
        if lane is None or not lane.site.limit > 0 or now - lane.site.turned_at > TURNING_SECONDS:
            return False
        if lane.due > now:
            return lane.site.room <= 0
        lane.behind_since = lane.behind_since or now
        return now - lane.behind_since <= _BEHIND_SECONDS

    def give_back(self, name: str, now: float) -> None:
        """A lease ended."""
        lane = self._lanes[name]
        lane.site.turned_at = now
        self._give_back(lane, 1)

    def _give_back(self, lane: _Lane, count: int) -> None:
        lane.leased -= count
        lane.site.leased -= count
        if lane.site.blocked:
            self._unblock(lane.site)
        if not lane.leased:
            self._forget_idle(lane)

    # --- forgetting ---

    def _forget_idle(self, lane: _Lane) -> None:
        if lane.is_idle:
            lane.site.lanes -= 1
            del self._lanes[lane.name]
            self._forget_site(lane.site)

    def _forget_site(self, site: _Site) -> None:
        """Drop a site that is as one never heard of.  Others stay: policy remembers what it told, and tells when it forgets."""
        if not site.lanes and site.limit == site.default:
            self._sites.pop(site.name, None)
