"""What can happen to a recipient in one attempt: one closed vocabulary, for every transport.

A transport answers with one Verdict per recipient.  It never decides what follows: policy does (`decide/retry.py`).
Only a reply that proves a permanent failure is REFUSED; all unknown trouble is DEFERRED (RFC 5321 section 4.2.1).
"""

from __future__ import annotations

import enum
import re

import msgspec

__all__ = ["Disposition", "Scope", "Verdict", "retry_after"]

_LONGEST_HINT = 86_400.0  # seconds: a peer that asks for more is asked again in a day, and may say it again


class Disposition(enum.Enum):
    """The outcome of one attempt for one recipient."""

    ACCEPTED = "accepted"  # the next hop took responsibility
    DEFERRED = "deferred"  # tried, and not now
    REFUSED = "refused"  # proven permanent: never try again
    IN_DOUBT = "in_doubt"  # handed over, and the answer was not seen
    POSTPONED = "postponed"  # not tried at all: local trouble, or cancelled before anything was said


class Scope(enum.Enum):
    """How far a verdict reaches: what else would have fared the same."""

    RECIPIENT = "recipient"
    MESSAGE = "message"
    SITE = "site"  # the destination's servers: back off for all mail to them
    TRANSPORT = (
        "transport"  # what this transport brings along, such as wrong credentials: hold its site, bounce nothing
    )
    LOCAL = "local"  # this machine or process: no descriptors, no memory, shutting down


class Verdict(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One recipient's outcome of one attempt.

    status: enhanced status code (RFC 3463), such as "5.1.1"; made up by the transport where the peer gave none.
    reply: what the peer said, already printable and cut (`printable()` in `log.py`), or the transport's own words.
    remote: the host that said it ("mx1.example.org [192.0.2.1]:25"), "" where nobody was reached.
    site: names the set of servers behind the destination, so that lanes which share it share one window.
    retry_after_seconds: the peer's own hint, honoured within bounds.
    handed_over: of IN_DOUBT, whether all of the message was given to the connection, its end included; a route may take such
    a message as delivered, and never one of which only a part is known to have left.
    tls: the level reached ("none", "opportunistic TLSv1.3", "verified TLSv1.3"), "" where it does not apply.
    """

    disposition: Disposition
    scope: Scope = Scope.RECIPIENT
    status: str = ""
    reply: str = ""
    remote: str = ""
    site: str = ""
    retry_after_seconds: float | None = None
    tls: str = ""
    handed_over: bool = False

    @property
    def is_tried(self) -> bool:
        """Whether this counts as a try: local trouble costs none."""
        return self.disposition is not Disposition.POSTPONED

    @classmethod
    def accepted(cls, reply: str, *, status: str = "2.0.0", remote: str = "", site: str = "", tls: str = "") -> Verdict:
        return cls(disposition=Disposition.ACCEPTED, status=status, reply=reply, remote=remote, site=site, tls=tls)

    @classmethod
    def deferred(
        cls,
        reply: str,
        *,
        status: str = "4.0.0",
        scope: Scope = Scope.RECIPIENT,
        remote: str = "",
        site: str = "",
        retry_after_seconds: float | None = None,
        tls: str = "",
    ) -> Verdict:
        return cls(
            disposition=Disposition.DEFERRED,
            scope=scope,
            status=status,
            reply=reply,
            remote=remote,
            site=site,
            retry_after_seconds=retry_after_seconds,
            tls=tls,
        )

    @classmethod
    def refused(
        cls,
        reply: str,
        *,
        status: str = "5.0.0",
        scope: Scope = Scope.RECIPIENT,
        remote: str = "",
        site: str = "",
        tls: str = "",
    ) -> Verdict:
        return cls(
            disposition=Disposition.REFUSED, scope=scope, status=status, reply=reply, remote=remote, site=site, tls=tls
        )

    @classmethod
    def in_doubt(
        cls, reply: str, *, handed_over: bool = False, remote: str = "", site: str = "", tls: str = ""
    ) -> Verdict:
        return cls(
            disposition=Disposition.IN_DOUBT,
            scope=Scope.SITE,
            status="4.4.2",
            reply=reply,
            remote=remote,
            site=site,
            tls=tls,
            handed_over=handed_over,
        )

    @classmethod
    def postponed(cls, reply: str, *, status: str = "4.3.0", retry_after_seconds: float | None = None) -> Verdict:
        return cls(
            disposition=Disposition.POSTPONED,
            scope=Scope.LOCAL,
            status=status,
            reply=reply,
            retry_after_seconds=retry_after_seconds,
        )


def retry_after(value: str, *, date: str = "", now: float) -> float | None:
    """The seconds that an HTTP reply's Retry-After asks for, at most a day; None where it says nothing of use.

    It gives seconds or a date (RFC 9110 section 10.2.3).  A date counts from the reply's own Date, because both come from the
    server's clock, which may be hours off; where there is none it counts from `now`, wall seconds, and one that is past says
    nothing.
    """
    text = value.strip()
    if re.fullmatch(r"[0-9]{1,10}", text):
        return min(float(text), _LONGEST_HINT)
    until, begun = _moment(text), _moment(date)
    if until is None or (begun is None and until <= now):
        return None
    return min(max(0.0, until - (now if begun is None else begun)), _LONGEST_HINT)


def _moment(text: str) -> float | None:
    """An HTTP-date (RFC 9110 section 5.6.7) in wall seconds; None for what is none, or lacks its zone."""
    from email.utils import parsedate_to_datetime  # late: it brings sockets and more, and few replies give a date

    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return moment.timestamp() if moment.tzinfo else None
