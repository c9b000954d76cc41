"""From replies and troubles to verdicts: one table.  Pure.

4yz defers, 5yz refuses (RFC 5321 section 4.2.1); every exception to that stands here.  The enhanced status code is the peer's
where its class fits, else made up; the reply's text is made printable and cut before it goes anywhere.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from postroad.verdict import Disposition, Scope, Verdict

from .protocol import Awaited
from .reply import Reply
from .trouble import Kind, Trouble

__all__ = [
    "Remote",
    "broken",
    "in_doubt",
    "is_too_many",
    "of_reply",
    "of_trouble",
    "own_deferral",
    "own_refusal",
    "retry_hint",
    "trouble_of",
]

_SCOPES = {
    Awaited.GREETING: Scope.SITE,
    Awaited.EHLO: Scope.SITE,
    Awaited.HELO: Scope.SITE,
    Awaited.LHLO: Scope.SITE,
    Awaited.STARTTLS: Scope.SITE,
    Awaited.AUTH: Scope.TRANSPORT,
    Awaited.MAIL: Scope.MESSAGE,
    Awaited.RCPT: Scope.RECIPIENT,
    Awaited.DATA: Scope.MESSAGE,
    Awaited.BDAT: Scope.MESSAGE,
    Awaited.DOT: Scope.MESSAGE,
    Awaited.DOT_RCPT: Scope.RECIPIENT,
    Awaited.RSET: Scope.SITE,
}
_CLOSING = 421  # RFC 5321 section 3.8: may answer anything, and always means the server
_BEFORE_MAIL = frozenset({Awaited.GREETING, Awaited.EHLO, Awaited.HELO, Awaited.LHLO, Awaited.STARTTLS, Awaited.AUTH})
_TOO_MANY = 552  # RFC 5321 section 4.5.3.1.10
# Of the system or of who may send to it, not of a message (RFC 3463 sections 3.4, 3.5 and 3.8; 4.7.28 is Gmail's for "too much").
_OF_THE_SITE = frozenset({"4.3.2", "4.4.5", "4.7.0", "4.7.1", "4.7.28"})
_OURS = frozenset({530, 534, 535, 538})  # RFC 4954, RFC 3207: our login or our TLS, not this message


class Remote:
    """Who speaks, as it stands in every verdict of a connection.  site, host and tls are texts of `Verdict`.

    hide: takes the secrets of the login out of what the server says, which may repeat them at any time.
    """

    __slots__ = ("hide", "host", "site", "tls")

    def __init__(self, *, site: str, host: str = "", tls: str = "") -> None:
        self.site = site
        self.host = host
        self.tls = tls
        self.hide: Callable[[str], str] = str  # as it is


def of_reply(awaited: Awaited, reply: Reply, remote: Remote, *, too_many: bool = False) -> Verdict:
    """The verdict of a 2yz, 4yz or 5yz reply.  too_many: it refuses a recipient for want of room, whatever its class."""
    kind = reply.code // 100
    if kind == 2:
        return Verdict.accepted(
            remote.hide(reply.said),
            status=reply.enhanced or "2.0.0",
            remote=remote.host,
            site=remote.site,
            tls=remote.tls,
        )
    if kind == 5 and not (too_many or reply.code in _OURS or awaited in _BEFORE_MAIL):
        return Verdict.refused(
            remote.hide(reply.said),
            status=reply.enhanced or "5.0.0",
            scope=_SCOPES[awaited],
            remote=remote.host,
            site=remote.site,
            tls=remote.tls,
        )
    return Verdict.deferred(
        remote.hide(reply.said),
        status="4.5.3" if too_many else _temporary_status(reply),
        scope=_deferral_scope(awaited, reply),
        remote=remote.host,
        site=remote.site,
        retry_after_seconds=retry_hint(reply.said) if kind == 4 else None,
        tls=remote.tls,
    )


def is_too_many(reply: Reply) -> bool:
    """Whether a refusal of RCPT, after an accepted one, means only that a transaction takes no more recipients.

    452, and 552 from older servers (RFC 5321 section 4.5.3.1.10); but with a code for the mailbox or its size it is about this
    recipient (RFC 1870 section 6.4), and 4.3.1 is a full disk.
    """
    if reply.code not in (452, _TOO_MANY):
        return False
    return not (reply.enhanced in ("4.3.1", "5.3.4") or reply.enhanced[1:].startswith(".2."))


def _temporary_status(reply: Reply) -> str:
    enhanced = reply.enhanced
    return "4" + enhanced[1:] if enhanced else "4.0.0"


def _deferral_scope(awaited: Awaited, reply: Reply) -> Scope:
    if reply.code == _CLOSING:
        return Scope.SITE
    if awaited is Awaited.MAIL and reply.enhanced in _OF_THE_SITE:
        return Scope.SITE  # said before any recipient and content is known: the next message would fare the same
    return Scope.TRANSPORT if reply.code in _OURS else _SCOPES[awaited]


_DISPOSITIONS = dict.fromkeys(Kind, Disposition.DEFERRED) | {
    Kind.LOCAL: Disposition.POSTPONED,
    Kind.ABORTED: Disposition.POSTPONED,
    Kind.PROHIBITED: Disposition.REFUSED,
    Kind.NO_SUCH_HOST: Disposition.REFUSED,
}


def of_trouble(trouble: Trouble, remote: Remote) -> Verdict:
    """The verdict for a recipient that the trouble left without a reply."""
    disposition = _DISPOSITIONS[trouble.kind]
    return Verdict(
        disposition=disposition,
        scope=Scope.LOCAL if disposition is Disposition.POSTPONED else trouble.scope,
        status=trouble.status,
        reply=remote.hide(trouble.said),
        remote=trouble.remote or remote.host,
        site=remote.site,
        retry_after_seconds=trouble.retry_after_seconds,
        tls=trouble.tls or remote.tls,
    )


def trouble_of(kind: Kind, awaited: Awaited, reply: Reply) -> Trouble:
    """The trouble that a reply is for the whole connection."""
    trouble = Trouble(kind, reply.said, _temporary_status(reply), scope=_deferral_scope(awaited, reply))
    trouble.retry_after_seconds = retry_hint(reply.said)
    return trouble


def broken(awaited: Awaited, reply: Reply) -> Trouble:
    """The trouble of a reply whose class makes no sense here."""
    return Trouble(Kind.GARBAGE, f"unexpected answer to {awaited.name}: {reply.said}", "4.5.0")


def in_doubt(trouble: Trouble, remote: Remote, *, handed_over: bool) -> Verdict:
    """The verdict for a recipient whose message may have been handed over, without a readable answer.

    handed_over: whether all of it was written.
    """
    said = f"{remote.hide(trouble.said)}; the message may have been accepted"
    return Verdict.in_doubt(said, handed_over=handed_over, remote=remote.host, site=remote.site, tls=remote.tls)


def own_deferral(said: str, status: str, remote: Remote, *, scope: Scope = Scope.MESSAGE) -> Verdict:
    """A deferral by ourselves: this cannot be sent there now."""
    return Verdict.deferred(said, status=status, scope=scope, remote=remote.host, site=remote.site, tls=remote.tls)


def own_refusal(said: str, status: str, remote: Remote, *, scope: Scope = Scope.MESSAGE) -> Verdict:
    """A refusal by ourselves: this can never be sent there."""
    return Verdict.refused(said, status=status, scope=scope, remote=remote.host, site=remote.site, tls=remote.tls)


_HINT = re.compile(
    r"\b(?:again|retry|wait|greylisted|come back|available)\b[^0-9]{0,24}\b(\d{1,5})\s?(s|sec|second|m|min|minute|h|hour)s?\b",
    re.IGNORECASE,
)
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}


def retry_hint(text: str) -> float | None:
    """The seconds that a text such as "try again in 5 minutes" asks for, or None."""
    match = _HINT.search(text)
    return None if match is None else int(match[1]) * _SECONDS[match[2][0].lower()]
