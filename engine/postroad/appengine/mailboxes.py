"""Recipients as applications write them -> mailboxes, one by one, that the composer reads.

Commas within quotes, comments and angle brackets do not part; a group is its members; a display name that lacks its quotes gets
them.  What is no address is left as it is, for the composer to name.  RFC 5322 sections 3.2.4 and 3.4.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from ..address import parse_mailboxes
from ..errors import SubmissionError

__all__ = ["mailbox_of", "mailboxes_of"]

_PLAIN = re.compile(r"[^\s\"<>@,:;()\[\]\\]+@[^\s\"<>@,:;()\[\]\\]+")
_NAMED = re.compile(r"[^\"<>@,:;()\[\]\\\x00-\x1f]*<[^\s\"<>@,:;()\[\]\\]+@[^\s\"<>@,:;()\[\]\\]+>")
_PIECE = re.compile(
    r"""
      (?P<whole> <[^<>]*> | \[[^\[\]]*\] | [^"<\[(,:;]+ )
    | (?P<open> ["(] )
    | (?P<mark> [,:;] )
    | (?P<stray> . )
    """,
    re.VERBOSE | re.DOTALL,
)
_ENDS = {'"': re.compile(r'\\.|"', re.DOTALL), "(": re.compile(r"\\.|[()]", re.DOTALL)}
_DEPTHS = {"(": 1, ")": -1, '"': -1}
_LONGEST = 1000  # of a mailbox that is mended: 320 characters are an address, and a name has fewer
_ANGLE = re.compile(r"(.*)<([^<>]*)>\s*", re.DOTALL)
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')


def mailboxes_of(given: Iterable[str]) -> list[str]:
    """The mailboxes of any number of texts, each of which may hold several."""
    return [mailbox for text in given for mailbox in _read(text)]


def mailbox_of(given: str) -> str:
    """The only mailbox of a text; the text itself where it holds none or several, for the composer to refuse."""
    found = _read(given)
    return found[0] if len(found) == 1 else given


def _read(text: str) -> list[str]:
    text = text.strip()
    if _PLAIN.fullmatch(text) or _NAMED.fullmatch(text):
        return [text]
    items = [" ".join(item.split()) for item in _split(text)]
    return [_readable(item) for item in items if item]


def _split(text: str) -> Iterator[str]:
    """The text at its commas; semicolons part, too, as at the end of a group and between addresses from other programs."""
    start = at = 0
    in_group = has_at = False
    unclosed: set[str] = set()
    while found := _PIECE.match(text, at):
        at = found.end()
        if found.lastgroup == "open":
            at = _behind(text, at, found[0], unclosed)
        elif found.lastgroup == "whole":
            has_at = has_at or "@" in found[0]
        elif found.lastgroup == "mark" and not (found[0] == ":" and (in_group or has_at)):
            if found[0] != ":":  # which ends the name of a group
                yield text[start : found.start()]
            in_group = found[0] == ":" or (in_group and found[0] == ",")
            start, has_at = at, False
    yield text[start:]


def _behind(text: str, at: int, opener: str, unclosed: set[str]) -> int:
    """Where the quotes or the comment end that began before `at`; what is never closed was not meant to be opened."""
    depth = 1
    for mark in _ENDS[opener].finditer(text, at) if opener not in unclosed else ():
        depth += _DEPTHS.get(mark[0], 0)
        if not depth:
            return mark.end()
    unclosed.add(opener)
    return at


def _readable(item: str) -> str:
    if len(item) > _LONGEST:
        return item
    try:
        parse_mailboxes(item, "to")
    except SubmissionError:
        return _with_quotes(item)
    return item


def _with_quotes(item: str) -> str:
    """The name before the angle brackets in quotes: `Sales @ Example: x <a@b>` is what people write."""
    found = _ANGLE.fullmatch(item)
    if found is None:
        return item
    name = _QUOTED.sub(lambda quoted: re.sub(r"\\(.)", r"\1", quoted[1]), found[1]).strip()
    quoted = name.replace("\\", "\\\\").replace('"', '\\"')
    address = f"<{found[2].strip()}>"
    return f'"{quoted}" {address}' if quoted else address
