"""How many attempts at once may a site have, and when is it left alone?  Pure: a Window in, a Window out.

A window grows by one with each full round of successes and shrinks by one with each failure of the site; enough failures in a row
hold the site, for a time that doubles while it stays down.  After a hold one probe goes first.
"""

from __future__ import annotations

import msgspec

from ..config import Windows
from ..verdict import Disposition, Scope, Verdict

__all__ = ["Window", "after_failure", "after_success", "fresh", "is_answer", "is_half_open", "is_site_trouble", "room"]


_OF_SITE = (Scope.SITE, Scope.TRANSPORT)
_NOT_OF_MAIL = (*_OF_SITE, Scope.LOCAL)


class Window(msgspec.Struct, frozen=True, gc=False):
    """A site's state.

    size: attempts allowed at once.  progress: successes since the last growth.  trouble: failures of the site in a row.
    hold_until: wall seconds; the site is left alone before.  hold_seconds: how long the next hold will be.
    failed_at, reason: the last failure of the site.
    """

    size: int
    progress: int = 0
    trouble: int = 0
    hold_until: float = 0.0
    hold_seconds: float = 0.0
    failed_at: float = 0.0
    reason: str = ""


def fresh(settings: Windows) -> Window:
    """The window of a site that is not known yet."""
    return Window(size=settings.start, hold_seconds=settings.hold_seconds)


def room(window: Window, now: float) -> int:
    """How many leases the site's lanes may have in all: twice the window, so that the next ones are at hand; none on hold."""
    return 0 if window.hold_until > now else 2 * window.size


def is_half_open(window: Window, settings: Windows, now: float) -> bool:
    """Whether a hold has ended, and nothing shows yet that the site works again: what goes there now is the probe."""
    return window.trouble >= settings.trouble and window.hold_until <= now


def is_site_trouble(verdict: Verdict) -> bool:
    """Whether a verdict says that all other mail for the site would have fared the same."""
    return verdict.scope in _OF_SITE and verdict.is_tried and verdict.disposition is not Disposition.ACCEPTED


def is_answer(verdict: Verdict) -> bool:
    """Whether a verdict shows the site at work.  A transport that raised or hung (scope LOCAL) says nothing of the site."""
    return verdict.is_tried and verdict.scope not in _NOT_OF_MAIL


def after_success(window: Window, settings: Windows) -> Window:
    """An attempt got through to the site, whatever it answered for the message."""
    if window.size >= settings.max and not window.trouble:
        return window
    progress = window.progress + 1
    recovering = window.size < settings.start
    if (progress >= window.size or recovering) and window.size < settings.max:
        return Window(size=window.size + 1, hold_seconds=settings.hold_seconds)
    return Window(size=window.size, progress=progress, hold_seconds=settings.hold_seconds)


def after_failure(window: Window, settings: Windows, now: float, reason: str, *, hold_now: bool = False) -> Window:
    """The site itself failed; hold_now: do not wait for more of it (wrong credentials, a hint to go away)."""
    trouble = window.trouble + 1
    if window.hold_until > now:  # an attempt that began before the hold: it tells nothing new
        return msgspec.structs.replace(window, failed_at=now, reason=reason)
    if trouble < settings.trouble and not hold_now:
        return msgspec.structs.replace(
            window, size=max(1, window.size - 1), progress=0, trouble=trouble, failed_at=now, reason=reason
        )
    held = min(max(window.hold_seconds, settings.hold_seconds), settings.hold_max_seconds)
    return Window(
        size=1,
        trouble=settings.trouble,  # the probe after the hold: one more failure holds again at once
        hold_until=now + held,
        hold_seconds=min(held * 2, settings.hold_max_seconds),
        failed_at=now,
        reason=reason,
    )
