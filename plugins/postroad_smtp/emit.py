"""The only place that makes bytes for the wire: one function per command, and the encoder of content.

Nothing else in this package may write a CR, LF or dot.  Whatever could end a line early, begin another command or end the
content early raises Unsafe; nothing is silently repaired.  RFC 5321 sections 4.1.1, 4.5.2 and 4.5.3.1; RFC 6531 for UTF-8.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

__all__ = [
    "ChunkEncoder",
    "ContentEncoder",
    "Part",
    "Unsafe",
    "auth",
    "auth_answer",
    "auth_fits",
    "bdat",
    "data",
    "ehlo",
    "encode_content",
    "helo",
    "lhlo",
    "lone_dot",
    "mail",
    "quit",
    "rcpt",
    "rset",
    "starttls",
]

_COMMAND = 512  # RFC 5321 section 4.5.3.1.4, with CRLF
_MAIL = _COMMAND + 26 + 10 + 17 + 500  # longer by SIZE (RFC 1870), SMTPUTF8 (6531), BODY (6152), DSN (3461)
_RCPT = _COMMAND + 500  # RFC 3461 section 5.4
_AUTH = 12_288  # RFC 4954 section 4
_CHUNK = 1_048_576  # octets: what a server that refuses in mid-content makes us send at the most
_TEXT_LINE = 998  # RFC 5321 section 4.5.3.1.6, without CRLF

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,253}[A-Za-z0-9])?|\[[0-9A-Za-z.:-]{2,60}\]")
_RETS = {"full": b"FULL", "headers": b"HDRS"}
_NOTIFICATIONS = {"never": b"NEVER", "failure": b"FAILURE", "delay": b"DELAY", "success": b"SUCCESS"}
_NOT_XTEXT = re.compile(rb"[^!-*,-<>-~]")
_ORCPT = re.compile(r"[A-Za-z0-9-]{1,40};(?:[!-*,-<>-~]|\+[0-9A-F]{2}){1,500}")
_WHOLE_LINES = re.compile(rb"(?:(?!\.).{0,%d}\r\n)*+" % _TEXT_LINE)  # none with a dot before it, no LF without CR
_BARE_CR = re.compile(rb"\r(?!\n)")
_KEYWORD = re.compile(r"[A-Za-z0-9-]{1,20}")
_ATEXT = r"A-Za-z0-9!#$%&'*+/=?^_`{|}~\-"
_PLAIN = re.compile(rf"[{_ATEXT}.]{{1,64}}@[A-Za-z0-9.-]{{1,255}}")
_ANY = re.compile(
    rf"(?:[{_ATEXT}.\u00a1-\U0010ffff]+|\"(?:[ !#-\[\]-~\u00a1-\U0010ffff]|\\[ -~])*\")"
    r"@(?:[A-Za-z0-9.\u00a1-\U0010ffff-]+|\[[!-Z^-~]+\])"
)


class Unsafe(ValueError):
    """This must not go on the wire; the text says what is wrong with it."""


def _line(line: bytes, limit: int = _COMMAND) -> bytes:
    if b"\r" in line or b"\n" in line or b"\0" in line:
        raise Unsafe("a command with CR, LF or NUL in it")
    if len(line) + 2 > limit:
        raise Unsafe(f"a command over {limit} octets")
    return line + b"\r\n"


def _name(name: str) -> bytes:
    if not _NAME.fullmatch(name):
        raise Unsafe(f"{name!r} is no host name or address literal")
    return name.encode("ascii")


def _path(address: str) -> bytes:
    if _PLAIN.fullmatch(address):
        return b"<" + address.encode("ascii") + b">"
    if not (_ANY.fullmatch(address) and address.isprintable()):
        raise Unsafe(f"{address!r} is no address")
    return b"<" + address.encode("utf-8") + b">"


def ehlo(name: str) -> bytes:
    return _line(b"EHLO " + _name(name))


def lhlo(name: str) -> bytes:
    """LMTP's EHLO (RFC 2033 section 4.1)."""
    return _line(b"LHLO " + _name(name))


def helo(name: str) -> bytes:
    return _line(b"HELO " + _name(name))


def starttls() -> bytes:
    return b"STARTTLS\r\n"


def auth(mechanism: str, initial: bytes | None) -> bytes:
    """AUTH with or without an initial response (RFC 4954 section 4; an empty one is written `=`)."""
    return _line(_auth(mechanism, initial))


def auth_fits(mechanism: str, initial: bytes) -> bool:
    """Whether the response may stand in the command; if not, it answers an empty challenge (RFC 4954 section 4)."""
    return len(_auth(mechanism, initial)) + 2 <= _COMMAND


def _auth(mechanism: str, initial: bytes | None) -> bytes:
    if not _KEYWORD.fullmatch(mechanism):
        raise Unsafe("a SASL mechanism's name is letters, digits and hyphens")
    line = b"AUTH " + mechanism.encode("ascii")
    return line if initial is None else line + b" " + (base64.b64encode(initial) or b"=")


def auth_answer(answer: bytes | None) -> bytes:
    """A further response, or None to give the exchange up."""
    return _line(b"*" if answer is None else base64.b64encode(answer), _AUTH)


def mail(
    sender: str,
    *,
    size: int | None = None,
    eight_bit: bool = False,
    smtputf8: bool = False,
    ret: str | None = None,
    envid: str | None = None,
) -> bytes:
    """MAIL FROM; an empty sender is the null sender.  Each parameter only where the server offers its extension.

    ret: "full" or "headers"; envid: not yet in xtext (RFC 3461 sections 4.3 and 4.4).
    """
    line = b"MAIL FROM:" + (_path(sender) if sender else b"<>")
    if size is not None:
        line += b" SIZE=%d" % size
    if eight_bit:
        line += b" BODY=8BITMIME"
    if smtputf8:
        line += b" SMTPUTF8"
    if ret is not None:
        line += b" RET=" + _one_of(ret, _RETS)
    if envid is not None:
        line += b" ENVID=" + _xtext(envid)
    return _line(line, _MAIL)


def rcpt(recipient: str, *, notify: Sequence[str] = (), orcpt: str = "") -> bytes:
    """RCPT TO; notify and orcpt only where the server offers DSN (RFC 3461 sections 4.1 and 4.2).

    notify: words of `DsnOptions`.  orcpt: type and address, the latter already in xtext.
    """
    line = b"RCPT TO:" + _path(recipient)
    if notify:
        line += b" NOTIFY=" + b",".join(_one_of(word, _NOTIFICATIONS) for word in notify)
    if orcpt:
        if not _ORCPT.fullmatch(orcpt):
            raise Unsafe(f"{orcpt!r} is no address type and xtext")
        line += b" ORCPT=" + orcpt.encode("ascii")
    return _line(line, _RCPT)


def _one_of(word: str, known: Mapping[str, bytes]) -> bytes:
    if word not in known:
        raise Unsafe(f"{word!r} is not one of {', '.join(known)}")
    return known[word]


def _xtext(text: str) -> bytes:
    """RFC 3461 section 4: printable ASCII, with `+`, `=` and all else as `+` and two digits."""
    if not text or not text.isascii():
        raise Unsafe(f"{text!r} is no text in ASCII")
    return _NOT_XTEXT.sub(lambda match: b"+%02X" % match[0][0], text.encode("ascii"))


def data() -> bytes:
    return b"DATA\r\n"


def bdat(octets: int, *, is_last: bool) -> bytes:
    """Announce a chunk of so many octets (RFC 3030 section 2)."""
    return b"BDAT %d%s\r\n" % (octets, b" LAST" if is_last else b"")


def rset() -> bytes:
    return b"RSET\r\n"


def quit() -> bytes:
    return b"QUIT\r\n"


def lone_dot() -> bytes:
    """The end of a content with nothing in it: the way out of a 354 that came without an accepted recipient."""
    return b".\r\n"


def encode_content(content: bytes, *, eight_bit: bool) -> bytes:
    """A whole content as it goes behind a 354: dots doubled, the final dot appended.

    eight_bit: whether octets over 127 are allowed.  Raises Unsafe for bare CR or LF, NUL, and lines over 998 octets.
    """
    if _is_ready(content, eight_bit=eight_bit):
        return content + b".\r\n"
    _check(content, eight_bit=eight_bit)
    _check_lines(content, 0)
    stuffed = content.replace(b"\r\n.", b"\r\n..")
    if stuffed.startswith(b"."):
        stuffed = b"." + stuffed
    return stuffed + (b".\r\n" if stuffed.endswith(b"\r\n") or not stuffed else b"\r\n.\r\n")


def _is_ready(content: bytes, *, eight_bit: bool) -> bool:
    """Whether a content needs nothing but its final dot, as nearly all do: a tenth of what a message costs is spared."""
    if _WHOLE_LINES.fullmatch(content) is None or _BARE_CR.search(content) is not None:
        return False
    return b"\0" not in content and (eight_bit or content.isascii())


class _Checker:
    """Admits content that comes in pieces, which may end anywhere; raises Unsafe as `encode_content`."""

    __slots__ = ("_column", "_eight_bit", "_held")

    def __init__(self, *, eight_bit: bool) -> None:
        self._eight_bit = eight_bit
        self._column = 0  # octets of the line under way
        self._held = b""  # a CR whose LF may come with the next piece

    def admit(self, piece: bytes) -> bytes:
        """What of it, and of what was held before, is proven good."""
        piece = self._held + piece
        self._held = piece[-1:] if piece.endswith(b"\r") else b""
        if self._held:
            piece = piece[:-1]
        if piece:
            _check(piece, eight_bit=self._eight_bit)
            self._column = _check_lines(piece, self._column)
        return piece

    def finish(self) -> None:
        if self._held:
            raise Unsafe("content with a bare CR")


class ContentEncoder:
    """Content in pieces as it goes behind a 354: `feed` gives what may be written now, `finish` the end with the final dot."""

    __slots__ = ("_at_line_start", "_checker")

    def __init__(self, *, eight_bit: bool) -> None:
        self._checker = _Checker(eight_bit=eight_bit)
        self._at_line_start = True

    def feed(self, piece: bytes) -> bytes:
        piece = self._checker.admit(piece)
        if not piece:
            return b""
        stuffed = piece.replace(b"\r\n.", b"\r\n..")
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
        self._checker = _Checker(eight_bit=eight_bit)
        self._left = size  # octets of the content to come
        self._room = 0  # octets of the chunk under way to come

    def feed(self, piece: bytes) -> Iterator[Part]:
        """What may be written now, in parts that lie in one chunk each.  Raises Unsafe also for more octets than announced."""
        piece = self._checker.admit(piece)
        if len(piece) > self._left:
            raise Unsafe("content with more octets than its size says")
        while piece:
            begins = self._room == 0
            if begins:
                self._room = min(self._left, _CHUNK)
            is_last = self._room == self._left
            announced = bdat(self._room, is_last=is_last) if begins else b""
            data, piece = piece[: self._room], piece[self._room :]
            self._room -= len(data)
            self._left -= len(data)
            yield Part(announced + data, begins, is_last, self._left == 0)

    def finish(self) -> None:
        """Raises Unsafe where octets are missing."""
        self._checker.finish()
        if self._left:
            raise Unsafe("content with fewer octets than its size says")


def _check(piece: bytes, *, eight_bit: bool) -> None:
    lines = piece.splitlines()  # at CRLF, CR and LF: only CRLF takes two octets
    ends = len(lines) if piece.endswith((b"\r", b"\n")) else len(lines) - 1
    if len(piece) != len(b"".join(lines)) + 2 * max(ends, 0):
        raise Unsafe("content with a bare CR or LF")
    if b"\0" in piece:
        raise Unsafe("content with NUL")
    if not (eight_bit or piece.isascii()):
        raise Unsafe("content with octets over 127 that was announced as 7-bit")


def _check_lines(piece: bytes, column: int) -> int:
    """Refuse lines over the limit; `column` octets stand before the piece.  Returns the octets of its last, open line.

    Jumps from line end to line end about a limit's length apart, so that a piece costs a handful of steps.
    """
    start, end = -column, len(piece)
    while end - start > _TEXT_LINE:
        newline = piece.rfind(b"\n", max(start, 0), start + _TEXT_LINE + 2)
        if newline < 0:
            raise Unsafe(f"content with a line over {_TEXT_LINE} octets")
        start = newline + 1
    last = piece.rfind(b"\n")
    return end - last - 1 if last >= 0 else column + end
