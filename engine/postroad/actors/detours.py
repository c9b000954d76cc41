"""Finds the other road for recipients whose own is held, or has just failed.  Only used by the policy actor.

Which recipients may go is decided in `decide/failover.py`; here is what that needs to know: the roads of the table, which sites
are held now, and which roads a recipient was tried on in this round.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Collection, Iterator, Mapping, Sequence

from msgspec.structs import replace

from ..decide import failover
from ..decide.routing import Road, RoutingTable, domain_of_lane
from ..log import get_logger
from ..message import Message
from ..store.contract import LeasedRecipient, Outcome
from ..store.states import Step
from ..verdict import Verdict
from .notes import Lease
from .sites import Site, Sites

__all__ = ["Detours"]

_STAYS = (Step.DEFER, Step.DOUBT)
_ROUNDS = 10_000  # recipients whose round is remembered; another one's begins anew, as after a restart

_log = get_logger()


class Detours:
    def __init__(self, table: RoutingTable, sites: Sites) -> None:
        self._table = table
        self._sites = sites
        self._rounds: OrderedDict[tuple[int, int], tuple[str, ...]] = OrderedDict()  # labels of the roads tried

    def around(self, lease: Lease, road: Road, now: float) -> Mapping[int, str]:
        """Where recipients of a lease go whose road is held: lanes by their numbers; those that stay are missing."""
        lanes: dict[int, str] = {}
        asked: set[Site] = set()
        for recipient in lease.recipients:
            if failover.may_change(road, recipient) and (
                lane := self._take_lane(lease.message, road, recipient, (), asked, now)
            ):
                lanes[recipient.number] = self._told(lease, recipient, lane)
        return lanes

    def is_any_open(self, lease: Lease, road: Road, now: float) -> bool:
        """Whether mail that waits behind this lease, for the same site, might go by another road, though this may not."""
        return any(
            self._open_lane(each.others, recipient, (), now) is not None
            for each in self._table.failing_over(road.transport)
            for recipient in lease.recipients
        )

    def soonest(self, message: Message, road: Road, recipient: LeasedRecipient, now: float) -> float:
        """When the first hold of a recipient's other roads ends, wall seconds; now where one is half open.

        Infinite where it may take no other.
        """
        if not failover.may_change(road, recipient):
            return math.inf
        able = self._able(message, road, recipient)
        return min([max(now, self._way(label, recipient)[1].window.hold_until) for label in able], default=math.inf)

    def _able(self, message: Message, road: Road, recipient: LeasedRecipient) -> Sequence[str]:
        """The labels of the other roads, without those that would refuse it for good."""
        return [label for label in road.others if self._table.may_carry(label, message, recipient.address)]

    def taken(
        self, lease: Lease, road: Road, verdicts: Sequence[Verdict], outcomes: tuple[Outcome, ...], now: float
    ) -> tuple[Outcome, ...]:
        """The outcomes of an attempt; what failed by trouble of its road goes on at once by the next that is open.

        No road is tried twice in a round: where nothing is left the retry schedule goes on, and with its next try a new round.
        """
        if not road.others:
            return outcomes
        after = list(outcomes)
        asked: set[Site] = set()
        for place, (recipient, verdict, outcome) in enumerate(zip(lease.recipients, verdicts, outcomes, strict=True)):
            tried = (*self._rounds.pop((lease.handle, recipient.number), ()), road.label)
            if outcome.step not in _STAYS or not failover.may_go_on(road, recipient, verdict):
                continue
            if lane := self._take_lane(lease.message, road, recipient, tried, asked, now):
                self._note_round(lease.handle, recipient.number, tried)
                after[place] = replace(outcome, lane=self._told(lease, recipient, lane), due=now)
        return tuple(after)

    def beside(self, resumed: Site) -> Iterator[Site]:
        """The sites that are held or half open, and whose mail might go by a road that leads to this one.

        As many as may be let go: of transports that work by domain those of the same domain, where this one does, too.
        """
        domain = domain_of_lane(resumed.held_lane)
        labels = {label for road in self._table.failing_over(resumed.held_transport) for label in road.others}
        for transport in {self._table.roads[label].transport for label in labels if self._is_whole(label, domain)}:
            yield from self._sites.down(transport)
        for label in labels:
            if not self._is_whole(label, domain):
                yield from self._sites.down_on(f"{label}/{domain}", self._table.roads[label].transport)

    def _is_whole(self, label: str, domain: str | None) -> bool:
        """Whether all mail of a road is meant, rather than that for one domain."""
        return domain is None or not self._table.roads[label].by_domain

    def _take_lane(
        self,
        message: Message,
        road: Road,
        recipient: LeasedRecipient,
        tried: Collection[str],
        asked: set[Site],
        now: float,
    ) -> str:
        """The first of the other roads that is open and can carry it, "" where none is; asked: where others of this lease go."""
        able = self._able(message, road, recipient)
        found = self._open_lane([label for label in able if label not in tried], recipient, asked, now)
        if found is None:
            return ""
        lane, site = found
        site.invite(now)
        asked.add(site)
        return lane

    def _open_lane(
        self, labels: Sequence[str], recipient: LeasedRecipient, asked: Collection[Site], now: float
    ) -> tuple[str, Site] | None:
        for label in labels:
            lane, site = self._way(label, recipient)
            if site in asked or site.may_take(now):
                return lane, site
        return None

    def _way(self, label: str, recipient: LeasedRecipient) -> tuple[str, Site]:
        lane, road = self._table.lane_by(label, recipient.address), self._table.roads[label]
        return lane, self._sites.of(lane, road.windows, road.shared_by)

    def _note_round(self, handle: int, number: int, tried: tuple[str, ...]) -> None:
        self._rounds[handle, number] = tried
        if len(self._rounds) > _ROUNDS:
            self._rounds.popitem(last=False)

    def _told(self, lease: Lease, recipient: LeasedRecipient, lane: str) -> str:
        _log.warning("failed_over", id=lease.message.id, recipient=recipient.address, lane=lease.lane, to=lane)
        return lane
