"""Messages for real servers: complete, so that no server adds what is missing, and marked, so that each is found again."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable

_FIRST = b"X-Mark: "
_TRANSACTION = re.compile(rb"with E?SMTP id (\w+)")
_numbers = itertools.count(1)


def new_mark() -> str:
    """Something that no other message of this run has."""
    return f"mark-{next(_numbers)}-"


def letter(mark: str, body: bytes = b"Hello\r\n", *, more: bytes = b"") -> bytes:
    """more: further header fields."""
    head = (
        b"From: sender@example.org\r\nTo: known@example.org\r\nSubject: Hello\r\n"
        b"Date: Thu, 01 Jan 2026 12:00:00 +0000\r\nMessage-ID: <%b@example.org>\r\n"
    )
    return _FIRST + mark.encode() + b"\r\n" + head % mark.encode() + more + b"\r\n" + body


def as_sent(stored: bytes) -> bytes:
    """A stored message as it went over the wire: line ends put back, and nothing before its own first field."""
    before, found, rest = stored.partition(b"\n" + _FIRST)
    assert found, f"the message's own header is missing: {stored[:500]!r}"
    assert b"\n\n" not in before, "the message's own header became its body"
    assert b"\r" not in stored, "a server keeps lines as its system does"
    return (found[1:] + rest).replace(b"\n", b"\r\n")


def transactions(stored: Iterable[bytes]) -> set[bytes]:
    """The servers' own names of the transactions by which these came.

    A server that is killed between delivering and noting it delivers again by itself: two copies, and one transaction.
    """
    return {found[1] for each in stored if (found := _TRANSACTION.search(each))}
