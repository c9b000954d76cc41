"""Finds the other road for recipients whose own is held, or has just failed.  Only used by the policy actor.

Which recipients may go is decided in `decide/failover.py`; here is what that needs to know: the roads of the table, and which
sites are held now.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from ..decide import failover
from ..decide.routing import Road, RoutingTable
from ..log import get_logger
from ..store.contract import LeasedRecipient, Outcome
from ..store.states import Step
from ..verdict import Verdict
from .notes import Lease
from .sites import Sites

__all__ = ["Detours"]

_STAYS = (Step.DEFER, Step.DOUBT)

_log = get_logger()


class Detours:
    def __init__(self, table: RoutingTable, sites: Sites) -> None:
        self._table = table
        self._sites = sites

    def around(self, lease: Lease, road: Road, now: float) -> Mapping[int, str]:
        """Where recipients of a lease go whose road is held: lanes by their numbers; those that stay are missing."""
        lanes: dict[int, str] = {}
        for recipient in lease.recipients:
            if failover.may_change(road, recipient) and (lane := self._open_lane(road, recipient, now)):
                lanes[recipient.number] = self._told(lease, recipient, lane)
        return lanes

    def is_any_open(self, lease: Lease, road: Road, now: float) -> bool:
        """Whether mail that waits behind this lease, for the same site, might go by another road, though this may not."""
        return any(
            self._open_lane(each, recipient, now)
            for each in self._table.failing_over(road.transport)
            for recipient in lease.recipients
        )

    def taken(
        self, lease: Lease, road: Road, verdicts: Sequence[Verdict], outcomes: tuple[Outcome, ...], now: float
    ) -> tuple[Outcome, ...]:
        """The outcomes of an attempt; what failed by trouble of its road goes on at once by the next that is open."""
        if not road.others:
            return outcomes
        after = list(outcomes)
        for place, (recipient, verdict, outcome) in enumerate(zip(lease.recipients, verdicts, outcomes, strict=True)):
            if outcome.step not in _STAYS or not failover.may_go_on(road, recipient, verdict):
                continue
            if lane := self._open_lane(road, recipient, now):
                after[place] = replace(outcome, lane=self._told(lease, recipient, lane), due=now)
        return tuple(after)

    def _open_lane(self, road: Road, recipient: LeasedRecipient, now: float) -> str:
        """The first of the other roads that is not held, "" where all are."""
        for label in road.others:
            lane, other = self._table.lane_by(label, recipient.address), self._table.roads[label]
            if self._sites.of(lane, other.windows, other.shared_by).window.hold_until <= now:
                return lane
        return ""

    def _told(self, lease: Lease, recipient: LeasedRecipient, lane: str) -> str:
        _log.warning("failed_over", id=lease.message.id, recipient=recipient.address, lane=lease.lane, to=lane)
        return lane
