"""What becomes of the requests that a connection leaves behind: doubted, settled, or put back.  No I/O.

In doubt is what was handed over without an answer.  Put back, once for each reason, is what lost the connection by no fault of
its own; all else is settled by the trouble.  Used by `session.py` when a connection has ended; nothing is ever just dropped.
"""

from __future__ import annotations

from dataclasses import dataclass

from . import verdicts
from .handover import Handover
from .ports import Pool
from .transaction import Transaction
from .trouble import Kind, Trouble
from .verdicts import Remote

__all__ = ["Leftovers"]

_LOSSES = frozenset({Kind.LOST, Kind.CLOSING, Kind.GARBAGE, Kind.SILENT})  # of a connection


@dataclass(slots=True)
class Leftovers:
    """current, follower: the transactions under way, the latter being behind the former.  coming: a request without one."""

    current: Transaction | None
    follower: Transaction | None
    coming: Handover | None

    def give_up(self, trouble: Trouble, pool: Pool, remote: Remote) -> None:
        """Settle or put back all of it."""
        returned: Handover | None = None  # with all that is open of it, be it of another transaction
        for transaction in (self.current, self.follower):
            if transaction is None or transaction.handover.is_settled or transaction.handover is returned:
                continue
            if self._is_to_return(transaction, trouble, remote):
                returned = transaction.handover
                pool.put_back(returned)
        if self.coming is None or self.coming.is_settled:
            return
        if trouble.kind is Kind.FAULT:  # it may well have been what the mistake was made with
            self.coming.settle_rest(verdicts.of_trouble(trouble, remote))
        else:
            pool.put_back(self.coming)

    def _is_to_return(self, transaction: Transaction, trouble: Trouble, remote: Remote) -> bool:
        """Whether it is to be put back; if not, it is judged."""
        handover = transaction.handover
        if transaction.is_committed:
            transaction.judge(verdicts.in_doubt(trouble, remote, handed_over=transaction.is_handed_over))
        elif not transaction.is_judged and self._may_return(transaction, trouble):
            handover.was_confused |= trouble.kind is Kind.CONFUSED
            handover.was_returned |= trouble.kind in _LOSSES
            return True
        if not self._is_followed_by_rest(transaction):  # which is looked at next
            handover.settle_rest(verdicts.of_trouble(trouble, remote))
        return False

    def _is_followed_by_rest(self, transaction: Transaction) -> bool:
        """Whether the follower is a further transaction of the same message."""
        follower = self.follower
        return follower is not None and follower is not transaction and follower.handover is transaction.handover

    def _may_return(self, transaction: Transaction, trouble: Trouble) -> bool:
        """Whether the trouble was the connection's alone, so that another one may do better at once; only once each."""
        if trouble.kind is Kind.ABORTED:
            return True  # somebody else was cancelled, or else the pool postpones it
        if trouble.kind is Kind.CONFUSED:
            return not transaction.handover.was_confused
        if transaction.handover.was_returned or trouble.kind not in _LOSSES:
            return False
        return transaction.is_follower or (not transaction.is_fresh and transaction.answers == 0)
