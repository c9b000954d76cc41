"""A message's content as it goes on the wire: behind a 354 with its dots doubled, or in the chunks of BDAT.  No I/O.

What could end the content early, or is not what was accepted, raises; nothing is silently repaired.  RFC 5321 sections 4.5.2 and
4.5.3.1.6; RFC 3030.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from io import IncrementalNewlineDecoder
from typing import NamedTuple

from postroad.errors import StoreError

from . import emit
from .lines import LINE_OCTETS, end_of_ready_lines

__all__ = ["ChunkEncoder", "ContentEncoder", "Part", "check_size", "encode_content"]

_CHUNK = 1_048_576  # octets: what a server that refuses in mid-content makes us send at the most
_LARGE = 32_768  # octets; beyond, mostly lines of one length (base64)
_DOT = re.compile(rb"\n\.")


def check_size(octets: int, size: int) -> None:
    """Raises StoreError where a content has not the size that was noted when it was accepted: the spool is damaged, and what is
    left of the message must not pass for the whole."""
    if octets != size:
        raise StoreError(f"the content has {octets} octets instead of {size}: the spool is damaged")


def encode_content(content: bytes, *, eight_bit: bool) -> bytes:
    """A whole content as it goes behind a 354: dots doubled, the final dot appended.

    eight_bit: whether octets over 127 are allowed.  Raises Unsafe for bare CR or LF, NUL, and lines over 998 octets.
    """
    if _is_ready(content, eight_bit=eight_bit):
        if len(content) <= _LARGE:  # the lines of larger ones were measured
            _check_lines(content, 0)
        return content + b".\r\n"
    _check(content, eight_bit=eight_bit)
    _check_lines(content, 0)
    stuffed = content.replace(b"\r\n.", b"\r\n..")
    if stuffed.startswith(b"."):
        stuffed = b"." + stuffed
    return stuffed + (b".\r\n" if stuffed.endswith(b"\r\n") or not stuffed else b"\r\n.\r\n")


def _is_ready(content: bytes, *, eight_bit: bool) -> bool:
    """Whether a content needs nothing but its final dot, as nearly all do, if its lines are short enough."""
    return (
        (end_of_ready_lines(content) == len(content) if len(content) > _LARGE else _has_ready_lines(content))
        and b"\0" not in content
        and (eight_bit or content.isascii())
    )


def _has_ready_lines(content: bytes) -> bool:
    """Whether all of it is lines that need nothing, if they are short enough.  It takes a fourth less than to search for what is
    wrong, and does not depend on what the lines are like."""
    if content[:1] == b"." or content[-2:] != b"\r\n" or _DOT.search(content) is not None:
        return False
    decoder = IncrementalNewlineDecoder(None, translate=False)
    decoder.decode(content.decode("latin-1"), final=True)
    return decoder.newlines == "\r\n"  # a tuple where there are several kinds


class _Checker:
    """Admits content that comes in pieces, which may end anywhere; raises as `encode_content`.

    is_dotless: no line of what was admitted last begins with a dot there; False where nobody looked.
    """

    __slots__ = ("_column", "_eight_bit", "_held", "_octets", "_size", "is_dotless")

    def __init__(self, size: int, *, eight_bit: bool) -> None:
        self._eight_bit = eight_bit
        self._column = 0  # octets of the line under way
        self._held = b""  # a CR whose LF may come with the next piece
        self._size = size
        self._octets = 0
        self.is_dotless = False

    def admit(self, piece: bytes) -> bytes:
        """What of it, and of what was held before, is proven good."""
        self._octets += len(piece)
        if self._octets > self._size:
            check_size(self._octets, self._size)
        piece = self._held + piece
        self._held = piece[-1:] if piece.endswith(b"\r") else b""
        if self._held:
            piece = piece[:-1]
        if piece:
            self._look_at(piece)
        return piece

    def _look_at(self, piece: bytes) -> None:
        open_line = _plain_lines(piece, self._column, eight_bit=self._eight_bit)
        self.is_dotless = open_line is not None
        if open_line is None:
            _check(piece, eight_bit=self._eight_bit)
            open_line = _check_lines(piece, self._column)
        self._column = open_line

    def finish(self) -> None:
        check_size(self._octets, self._size)
        if self._held:
            raise emit.Unsafe("content with a bare CR")


class ContentEncoder:
    """Content in pieces as it goes behind a 354: `feed` gives what may be written now, `finish` the end with the final dot.

    size: the octets of all of it: what is cut short must never get its dot.
    """

    __slots__ = ("_at_line_start", "_checker")

    def __init__(self, size: int, *, eight_bit: bool) -> None:
        self._checker = _Checker(size, eight_bit=eight_bit)
        self._at_line_start = True

    def feed(self, piece: bytes) -> bytes:
        piece = self._checker.admit(piece)
        if not piece:
            return b""
        stuffed = piece if self._checker.is_dotless else piece.replace(b"\r\n.", b"\r\n..")
        if self._at_line_start and piece.startswith(b"."):
            stuffed = b"." + stuffed
        self._at_line_start = piece.endswith(b"\n")
        return stuffed

    def finish(self) -> bytes:
        self._checker.finish()
        return b".\r\n" if self._at_line_start else b"\r\n.\r\n"


class Part(NamedTuple):
    """Some octets of a chunk.  begins: with its announcement.  is_last: the chunk is the last one.  ends: and this its end."""

    data: bytes
    begins: bool
    is_last: bool
    ends: bool


class ChunkEncoder:
    """Content in pieces as BDAT chunks (RFC 3030).  size: the octets of all of it, which are announced before they are seen."""

    __slots__ = ("_checker", "_left", "_room")

    def __init__(self, size: int, *, eight_bit: bool) -> None:
        self._checker = _Checker(size, eight_bit=eight_bit)
        self._left = size  # octets of the content to come
        self._room = 0  # octets of the chunk under way to come

    def feed(self, piece: bytes) -> Iterator[Part]:
        """What may be written now, in parts that lie in one chunk each."""
        piece = self._checker.admit(piece)
        while piece:
            begins = self._room == 0
            if begins:
                self._room = min(self._left, _CHUNK)
            is_last = self._room == self._left
            announced = emit.bdat(self._room, is_last=is_last) if begins else b""
            data, piece = piece[: self._room], piece[self._room :]
            self._room -= len(data)
            self._left -= len(data)
            yield Part(announced + data, begins, is_last, self._left == 0)

    def finish(self) -> None:
        self._checker.finish()


def _plain_lines(piece: bytes, column: int, *, eight_bit: bool) -> int | None:
    """As `_check` and `_check_lines`, at half their cost, of a piece that most contents consist of: None where it may be no such.

    It ends some line, none that it begins begins with a dot, and nothing is wrong with it.
    """
    first = piece.find(b"\n", 0, LINE_OCTETS + 2) + 1
    if not first or column + first > LINE_OCTETS + 2 or piece[first - 2 : first] != b"\r\n":
        return None
    end = end_of_ready_lines(piece, first)
    if end is None or len(piece) - end > LINE_OCTETS or piece.startswith(b".", end) or piece.find(b"\n", end) >= 0:
        return None
    open_line = len(piece) - end
    return None if b"\0" in piece or not (eight_bit or piece.isascii()) else open_line


def _check(piece: bytes, *, eight_bit: bool) -> None:
    lines = piece.splitlines()  # at CRLF, CR and LF: only CRLF takes two octets
    ends = len(lines) if piece.endswith((b"\r", b"\n")) else len(lines) - 1
    if len(piece) != len(b"".join(lines)) + 2 * max(ends, 0):
        raise emit.Unsafe("content with a bare CR or LF")
    if b"\0" in piece:
        raise emit.Unsafe("content with NUL")
    if not (eight_bit or piece.isascii()):
        raise emit.Unsafe("content with octets over 127 that was announced as 7-bit")


def _check_lines(piece: bytes, column: int) -> int:
    """Refuse lines over the limit; `column` octets stand before the piece.  Returns the octets of its last, open line.

    Jumps from line end to line end about a limit's length apart, so that a piece costs a handful of steps.
    """
    start, end = -column, len(piece)
    while end - start > LINE_OCTETS:
        newline = piece.rfind(b"\n", start if start > 0 else 0, start + LINE_OCTETS + 2)
        if newline < 0:
            raise emit.Unsafe(f"content with a line over {LINE_OCTETS} octets")
        start = newline + 1
    last = piece.rfind(b"\n")
    return end - last - 1 if last >= 0 else column + end
