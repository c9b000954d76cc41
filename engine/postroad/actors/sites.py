"""Policy's memory of the sites: their windows, the attempts under way, the leases that wait for a window.

A lane is a site of its own until a verdict names the set of servers behind it.  Only used by the policy actor.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from itertools import islice

from ..config import Windows
from ..decide import limits
from .notes import Lease, Room

__all__ = ["Site", "Sites"]

_REMEMBERED = 10_000  # idle sites and learnt lanes kept; the rest is learnt anew


class Site:
    """One site.  settings: of the route that first brought mail for it."""

    __slots__ = ("in_flight", "name", "settings", "told", "waiting", "window")

    def __init__(self, name: str, settings: Windows) -> None:
        self.name = name
        self.settings = settings
        self.window = limits.fresh(settings)
        self.in_flight = 0
        self.waiting: deque[Lease] = deque()
        self.told = 2 * settings.start  # the room that queue knows of

    def is_open(self, now: float) -> bool:
        return self.in_flight < self.window.size and self.window.hold_until <= now

    def room_note(self, now: float) -> Room | None:
        """What queue has to be told, if anything."""
        leases = limits.room(self.window, now)
        if leases == self.told:
            return None
        self.told = leases
        return Room(self.name, leases)

    def is_plain(self, now: float) -> bool:
        """Whether it can be forgotten: nothing is under way and no hold runs."""
        return not self.in_flight and not self.waiting and self.window.hold_until <= now


class Sites:
    def __init__(self) -> None:
        self._sites: OrderedDict[str, Site] = OrderedDict()
        self._site_of: OrderedDict[str, str] = OrderedDict()

    def of(self, lane: str, settings: Windows) -> Site:
        """The site of a lane."""
        name = self._site_of.get(lane, lane)
        site = self._sites.get(name)
        if site is None:
            site = self._sites[name] = Site(name, settings)
        else:
            self._sites.move_to_end(name)
        return site

    def learn(self, lane: str, name: str) -> bool:
        """A verdict told which servers stand behind a lane; return whether that is new."""
        if not name or name == self._site_of.get(lane, lane):
            return False
        self._site_of[lane] = name
        if len(self._site_of) > _REMEMBERED:
            self._site_of.popitem(last=False)
        return True

    def forget_idle(self, now: float) -> list[Room]:
        """Keep memory bounded: drop the sites idle for longest; queue is told to treat them as unknown."""
        notes: list[Room] = []
        for name in list(islice(self._sites, max(0, len(self._sites) - _REMEMBERED))):
            site = self._sites[name]
            if site.is_plain(now):
                del self._sites[name]
                notes.append(Room(name, 2 * site.settings.start))
        return notes
