"""May a recipient go on by another road of its route, and is it time to?  Pure.

Only what the first road certainly did not take: a doubt, of this attempt or an earlier one, keeps a recipient where it is, unless
its route would rather have it twice than late.  docs/failover.md.
"""

from __future__ import annotations

from ..store.contract import LeasedRecipient
from ..verdict import Disposition, Scope, Verdict
from . import limits
from .routing import Road

__all__ = ["may_change", "may_go_on"]


def may_change(road: Road, recipient: LeasedRecipient) -> bool:
    """Whether a recipient that is not tried now, because its road is held, may take another."""
    return bool(road.others) and (road.fails_over_in_doubt or not recipient.in_doubt)


def may_go_on(road: Road, recipient: LeasedRecipient, verdict: Verdict) -> bool:
    """Whether an attempt that failed is followed at once by one on the next road.

    Trouble of the site only: what concerns the message or the recipient is no better elsewhere.  What was refused because of
    the transport as a whole (wrong credentials) is trouble, too.
    """
    if not may_change(road, recipient) or not limits.is_site_trouble(verdict):
        return False
    if verdict.disposition is Disposition.IN_DOUBT and not road.fails_over_in_doubt:
        return False
    return verdict.disposition is not Disposition.REFUSED or verdict.scope is Scope.TRANSPORT
