"""What becomes of leases whose attempts nobody has any more, and what the log says of them.

Asked where an engine starts (`opening.py`), where its actors failed (`actors`), and where an operator works without an engine
(`offline.py`).  It applies nothing itself, and decides nothing: that is `decide/doubt.py`.
"""

from __future__ import annotations

from collections.abc import Iterable

from .config import Route
from .decide import doubt
from .log import get_logger
from .spool import Marks
from .store.contract import CRASHED, IN_DOUBT, Recover, Recovered
from .store.states import Step

__all__ = ["recovery", "tell_recovered"]

_log = get_logger()


def recovery(
    marks: Marks, routes: Iterable[Route], now: float, *, rebooted: bool = False, restored: bool = False
) -> Recover:
    """What settles whatever is leased.  rebooted, restored: as in Recover; where the spool was restored no route is asked."""
    choice = _held if restored else doubt.after_crash(routes)
    return Recover(marks.tokens(), rebooted or restored, now, choice, restored)


def _held(lane: str) -> Step:
    """What follows, on every lane, where the spool was restored."""
    return Step.HOLD


def tell_recovered(recovered: Recovered, *, rebooted: bool = False) -> None:
    """Name in the log what was left behind, and what became of it."""
    if recovered.waiting or recovered.doubted:
        _log.warning("recovered", waiting=recovered.waiting, in_doubt=recovered.doubted, rebooted=rebooted)
    for id, recipient in recovered.in_doubt:
        _log.warning("in_doubt", id=id, recipient=recipient, reply=CRASHED, in_doubt=True)
    for id, recipient in recovered.held:
        _log.warning("held", id=id, recipient=recipient, reason=f"{IN_DOUBT}: {CRASHED}", in_doubt=True)
    for id, recipient in recovered.cancelled:
        _log.info("cancelled", id=id, recipient=recipient)
