"""What a reply means where the provider says nothing else: pure functions from a status to a verdict.

Temporary unless proven permanent.  A provider's module proves it, by the error bodies that it documents; here only 413 does.
RFC 9110 section 15, RFC 6585 section 4.
"""

from __future__ import annotations

from postroad.log import printable
from postroad.verdict import Scope, Verdict, retry_after

from .provider import Answer

__all__ = ["accepted", "deferred", "general", "refused"]

_SAID = 300  # characters of a body that are shown
_CREDENTIALS = frozenset({401, 402, 403, 407})
_NOT_THERE = frozenset({404, 405, 410, 421})


def accepted(said: str, status: int = 200) -> Verdict:
    return Verdict.accepted(printable(f"{status} {said}".rstrip()))


def refused(answer: Answer, said: str, status: str = "5.6.0", *, scope: Scope = Scope.MESSAGE) -> Verdict:
    """Proven permanent: for the message, or for the recipient alone."""
    return Verdict.refused(_told(answer, said), status=status, scope=scope)


def deferred(answer: Answer, said: str, status: str = "4.0.0", *, scope: Scope = Scope.MESSAGE, now: float) -> Verdict:
    hint = retry_after(answer.headers.get("retry-after", ""), date=answer.headers.get("date", ""), now=now)
    return Verdict.deferred(_told(answer, said), status=status, scope=scope, retry_after_seconds=hint)


def general(answer: Answer, now: float) -> Verdict:
    """The verdict of a reply that is no success."""
    status, said = answer.status, answer.body[: 4 * _SAID].decode("utf-8", "replace").strip()
    if status in _CREDENTIALS:
        return deferred(answer, said, "4.7.8", scope=Scope.TRANSPORT, now=now)
    if status in _NOT_THERE or 300 <= status < 400:
        hint = (
            f"is base_url right? redirects are not followed; {said}" if status < 400 else f"is base_url right? {said}"
        )
        return deferred(answer, hint, "4.3.5", scope=Scope.TRANSPORT, now=now)
    if status == 413:
        return refused(answer, said, "5.3.4")
    if status == 504:  # the gateway did not hear what became of it (RFC 9110 section 15.6.5)
        return Verdict.in_doubt(_told(answer, said), handed_over=True)
    if status == 429:
        return deferred(answer, said, "4.7.1", scope=Scope.SITE, now=now)
    if status >= 500:
        return deferred(answer, said, "4.3.0", scope=Scope.SITE, now=now)
    return deferred(answer, said, "4.5.0", now=now)


def _told(answer: Answer, said: str) -> str:
    return printable(f"{answer.status} {' '.join(said.split())[:_SAID]}".rstrip())
