"""Policy's memory of the sites: their windows, the attempts under way, the leases that wait for a window.

A lane is a site of its own until a verdict names the set of servers behind it; where a transport does not work by domain, all its
lanes lead to the same ones.  Only used by the policy actor.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from itertools import islice

from ..config import Windows
from ..decide import limits
from .notes import Lease, Room

__all__ = ["CLEARING", "Site", "Sites"]

CLEARING = 10  # leases of a held site that go no further than policy, since the last whose sender was told
_REMEMBERED = 10_000  # idle sites and learnt lanes kept; the rest is learnt anew


class Site:
    """One site.  settings: of the route that first brought mail for it.

    held_lane: whose mail brought the last hold.  clearing: how many leases more are wanted while it is held, because mail was so
    old that its sender had to be told, and there may be more of it behind younger mail (such as the reports), or because another
    road of its route is open.  has_others: some road that leads to it is one of several.
    """

    __slots__ = ("clearing", "has_others", "held_lane", "in_flight", "name", "settings", "told", "waiting", "window")

    def __init__(self, name: str, settings: Windows) -> None:
        self.name = name
        self.settings = settings
        self.window = limits.fresh(settings)
        self.in_flight = 0
        self.waiting: deque[Lease] = deque()
        self.held_lane = name
        self.has_others = False
        self.clearing = 0
        self.told = 2 * settings.start  # the room that queue knows of

    def is_open(self, now: float) -> bool:
        return self.in_flight < self.window.size and self.window.hold_until <= now

    def room_note(self, now: float) -> Room | None:
        """What queue has to be told, if anything."""
        leases = limits.room(self.window, now) or self.clearing
        if leases == self.told:
            return None
        self.told = leases
        return Room(self.name, leases)

    def is_plain(self, now: float) -> bool:
        """Whether it can be forgotten: nothing is under way and no hold runs."""
        return not self.in_flight and not self.waiting and self.window.hold_until <= now


class Sites:
    """transport: of a lane whose transport does not work by domain, else "".

    The name of a site is what verdicts say, or the transport's, or the lane's.
    """

    def __init__(self) -> None:
        self._sites: OrderedDict[str, Site] = OrderedDict()
        self._site_of: OrderedDict[str, str] = OrderedDict()
        self._site_of_transport: dict[str, str] = {}

    def of(self, lane: str, settings: Windows, transport: str = "") -> Site:
        """The site of a lane."""
        name = self._name_of(lane, transport)
        site = self._sites.get(name)
        if site is None:
            site = self._sites[name] = Site(name, settings)
        else:
            self._sites.move_to_end(name)
        return site

    def _name_of(self, lane: str, transport: str) -> str:
        return self._site_of.get(lane) or self._site_of_transport.get(transport) or transport or lane

    def learn(self, lane: str, name: str, transport: str = "") -> bool:
        """A verdict told which servers stand behind a lane; return whether that is new."""
        if not name or name == self._name_of(lane, transport):
            return False
        self._site_of[lane] = name
        if transport:
            self._site_of_transport[transport] = name
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
