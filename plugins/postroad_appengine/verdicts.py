"""What an answer of the application means for a callback.  Pure.

Nothing is refused: an application that does not want a mail says 200, and a wrong URL must throw nothing away.
"""

from __future__ import annotations

from postroad.log import printable
from postroad.verdict import Scope, Verdict, retry_after

from .client import Answer, Unanswered, Unsent

__all__ = ["verdict_of", "verdict_of_unanswered", "verdict_of_unsent"]

# RFC 9110: the server, or a proxy before it, has no time now; whatever was asked would have fared the same.
_BUSY = {408: "4.4.2", 429: "4.4.5", 502: "4.4.1", 503: "4.3.2", 504: "4.4.1"}
_NOT_ALLOWED = (401, 403, 407)


def verdict_of(answer: Answer, remote: str, site: str, now: float) -> Verdict:
    said = printable(f"HTTP {answer.status} {answer.reason}".strip())
    if 200 <= answer.status < 300:
        return Verdict.accepted(said, remote=remote, site=site)
    if 300 <= answer.status < 400:
        said = printable(f"{said}; redirects are not followed")
    scope, status = _scope(answer.status)
    hint = retry_after(answer.retry_after, date=answer.date, now=now)
    return Verdict.deferred(said, status=status, scope=scope, remote=remote, site=site, retry_after_seconds=hint)


def _scope(status: int) -> tuple[Scope, str]:
    if status in _NOT_ALLOWED:
        return Scope.TRANSPORT, "4.7.8"
    if status in _BUSY:
        return Scope.SITE, _BUSY[status]
    return Scope.MESSAGE, "4.3.0" if status >= 500 else "4.3.5"


def verdict_of_unsent(trouble: Unsent, remote: str, site: str) -> Verdict:
    if trouble.is_local:
        return Verdict.postponed(printable(str(trouble)))
    return Verdict.deferred(printable(str(trouble)), status="4.4.1", scope=Scope.SITE, remote=remote, site=site)


def verdict_of_unanswered(trouble: Unanswered, remote: str, site: str) -> Verdict:
    return Verdict.in_doubt(printable(str(trouble)), handed_over=trouble.is_whole, remote=remote, site=site)
