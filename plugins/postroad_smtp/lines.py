"""Which lines of a content go on the wire as they are: a quick look, for what nearly all contents consist of.

Most octets of large contents stand in lines of one length (base64: RFC 2045 section 6.8).  Of these only the first octets and the
ends are looked at, by slices that take every so-many-th octet; the count of all CRs and LFs then proves that there are no others.
Whoever is told that it is no such content looks again, slowly (`encoding.py`).  No I/O.
"""

from __future__ import annotations

import re

__all__ = ["LINE_OCTETS", "end_of_ready_lines"]

LINE_OCTETS = 998  # RFC 5321 section 4.5.3.1.6, without CRLF
_LINES = re.compile(rb"(?:(?!\.).{0,%d}\r\n)*+" % LINE_OCTETS)  # none with a dot before it, no LF without CR
_STEP = 1024  # octets looked at line by line first: a header, or what parts two attachments.  No line is longer
_EVEN = 4096  # octets: less is not worth the slices


def end_of_ready_lines(octets: bytes, at: int = 0) -> int | None:
    """Where the whole lines end that begin at `at` and need nothing: no dot before them, at most 998 octets and CRLF.

    None where CRs and LFs do not come in pairs alone up to there, nor as many of each in all.  What stands before `at` holds one
    LF, in a CRLF at its end, or nothing.
    """
    even, uneven = 0, [(0, at)]
    step = _STEP if len(octets) > _EVEN else _EVEN
    while (end := _end_of_lines(octets, at, at + step)) > at:
        uneven.append((at, end))
        lines, at = _even_lines(octets, end)
        even += lines
        step = _STEP if lines else step * 8  # so that there are a few steps only, whatever the lines are like
    lfs = len(octets) - len(octets.replace(b"\n", b""))  # twice as fast as `count`
    if len(octets) - len(octets.replace(b"\r", b"")) != lfs:
        return None
    if even and lfs != even + sum([octets.count(b"\n", start, end) for start, end in uneven]):
        return None
    return at


def _end_of_lines(octets: bytes, at: int, limit: int) -> int:
    found = _LINES.match(octets, at, limit)
    assert found is not None  # it matches nothing, too
    return found.end()


def _even_lines(octets: bytes, at: int) -> tuple[int, int]:
    """How many lines of one length begin at `at`, each with CRLF at its end and no dot before it; and where they end.  Other CRs
    and LFs may be in them."""
    length = octets.find(b"\n", at, at + LINE_OCTETS + 2) + 1 - at
    if length < 2:
        return 0, at
    ends = octets[at + length - 1 :: length]
    lines = len(ends) - len(ends.lstrip(b"\n"))
    end = at + lines * length
    if end - at < _EVEN or octets[at + length - 2 : end : length].strip(b"\r") or b"." in octets[at:end:length]:
        return 0, at
    return lines, end
