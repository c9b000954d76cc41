"""Policy's memory of the sites: their windows, the attempts under way, the leases that wait for a window.

A lane is a site of its own until a verdict names the set of servers behind it; where a transport does not work by domain, all its
lanes lead to the same ones.  Only used by the policy actor.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Sequence
from itertools import islice

from ..config import Windows
from ..decide import limits
from .notes import Lease, Room

__all__ = ["CLEARING", "Site", "Sites"]

_INVITED_SECONDS = (
    10.0  # for mail of another road that goes to a half-open one; what does not come was cancelled or ran out
)
CLEARING = 10  # leases of a held site that go no further than policy, since the last whose sender was told
_REMEMBERED = 10_000  # idle sites and learnt lanes kept; the rest is learnt anew


class Site:
    """One site.  settings: of the route that first brought mail for it.

    held_lane: whose mail brought the last hold.  clearing: how many leases more are wanted while it is held, because mail was so
    old that its sender had to be told, and there may be more of it behind younger mail (such as the reports), or because another
    road of its route is open.  has_others: some road that leads to it is one of several; held_transport: that road's, while the
    site is held or half open, else "".  invited_until: until when mail of another road may be on its way here, as the probe.
    """

    __slots__ = (
        "clearing",
        "has_others",
        "held_lane",
        "held_transport",
        "in_flight",
        "invited_until",
        "name",
        "settings",
        "told",
        "waiting",
        "window",
    )

    def __init__(self, name: str, settings: Windows) -> None:
        self.name = name
        self.settings = settings
        self.window = limits.fresh(settings)
        self.in_flight = 0
        self.waiting: deque[Lease] = deque()
        self.held_lane = name
        self.held_transport = ""
        self.has_others = False
        self.invited_until = 0.0
        self.clearing = 0
        self.told = 2 * settings.start  # the room that queue knows of

    def is_open(self, now: float) -> bool:
        return self.in_flight < self.window.size and self.window.hold_until <= now

    def is_half_open(self, now: float) -> bool:
        return limits.is_half_open(self.window, self.settings, now)

    def is_probed(self, now: float) -> bool:
        """Whether an attempt is under way whose end says whether the site works again."""
        return self.in_flight > 0 and limits.is_half_open(self.window, self.settings, now)

    def may_take(self, now: float) -> bool:
        """Whether mail of other roads may come here: to a half-open site as its probe, and one at a time."""
        if self.window.hold_until > now:
            return False
        return not self.is_half_open(now) or not (self.in_flight or self.waiting or self.invited_until > now)

    def invite(self, now: float) -> None:
        """Mail of another road comes here now."""
        if self.is_half_open(now):
            self.invited_until = now + _INVITED_SECONDS

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
        self._down: dict[
            str, dict[str, Site]
        ] = {}  # held or half open, and one of several roads: by transport and name

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

    def note_down(self, site: Site, transport: str) -> None:
        """A site is held that one of several roads leads to."""
        self.note_up(site)
        site.held_transport = transport
        self._down.setdefault(transport, {})[site.name] = site

    def note_up(self, site: Site) -> None:
        """It works again, or is forgotten."""
        if site.held_transport:
            del self._down[site.held_transport][site.name]
            site.held_transport = ""

    def down(self, transport: str) -> Sequence[Site]:
        """The sites of a transport that are held or half open, as far as one of several roads leads to them."""
        return tuple(self._down.get(transport, {}).values())

    def down_on(self, lane: str, transport: str) -> Sequence[Site]:
        """The same, of one lane of a transport that works by domain: one or none."""
        site = self._down.get(transport, {}).get(self._name_of(lane, ""))
        return () if site is None else (site,)

    def forget_idle(self, now: float) -> list[Room]:
        """Keep memory bounded: drop the sites idle for longest; queue is told to treat them as unknown."""
        notes: list[Room] = []
        for name in list(islice(self._sites, max(0, len(self._sites) - _REMEMBERED))):
            site = self._sites[name]
            if site.is_plain(now):
                self.note_up(site)
                del self._sites[name]
                notes.append(Room(name, 2 * site.settings.start))
        return notes
