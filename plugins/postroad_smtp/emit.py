"""The only place that makes bytes for the wire: one function per command, and the encoder of content.

Nothing else in this package may write a CR, LF or dot.  Whatever could end a line early, begin another command or end the
content early raises Unsafe; nothing is silently repaired.  RFC 5321 sections 4.1.1, 4.5.2 and 4.5.3.1; RFC 6531 for UTF-8.
"""

from __future__ import annotations

import base64
import re

__all__ = [
    "ContentEncoder",
    "Unsafe",
    "auth",
    "auth_answer",
    "auth_fits",
    "data",
    "ehlo",
    "encode_content",
    "helo",
    "lone_dot",
    "mail",
    "quit",
    "rcpt",
    "rset",
    "starttls",
]

_COMMAND = 512  # RFC 5321 section 4.5.3.1.4, with CRLF
_MAIL = _COMMAND + 26 + 10 + 17  # SIZE (RFC 1870), SMTPUTF8 (RFC 6531), BODY (RFC 6152) lengthen it
_AUTH = 12_288  # RFC 4954 section 4
_TEXT_LINE = 998  # RFC 5321 section 4.5.3.1.6, without CRLF

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,253}[A-Za-z0-9])?|\[[0-9A-Za-z.:-]{2,60}\]")
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


def mail(sender: str, *, size: int | None = None, eight_bit: bool = False, smtputf8: bool = False) -> bytes:
    """MAIL FROM; an empty sender is the null sender.  Each parameter only where the server offers its extension."""
    line = b"MAIL FROM:" + (_path(sender) if sender else b"<>")
    if size is not None:
        line += b" SIZE=%d" % size
    if eight_bit:
        line += b" BODY=8BITMIME"
    if smtputf8:
        line += b" SMTPUTF8"
    return _line(line, _MAIL)


def rcpt(recipient: str) -> bytes:
    return _line(b"RCPT TO:" + _path(recipient))


def data() -> bytes:
    return b"DATA\r\n"


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
    _check(content, eight_bit=eight_bit)
    _check_lines(content, 0)
    stuffed = content.replace(b"\r\n.", b"\r\n..") if b"\r\n." in content else content
    if stuffed.startswith(b"."):
        stuffed = b"." + stuffed
    return stuffed + (b".\r\n" if stuffed.endswith(b"\r\n") or not stuffed else b"\r\n.\r\n")


class ContentEncoder:
    """The same for content that comes in pieces; a piece may end anywhere.

    `feed` gives what may be written now, `finish` the end with the final dot.
    """

    __slots__ = ("_at_line_start", "_column", "_eight_bit", "_held")

    def __init__(self, *, eight_bit: bool) -> None:
        self._eight_bit = eight_bit
        self._at_line_start = True
        self._column = 0  # octets of the line under way
        self._held = b""  # a CR whose LF may come with the next piece

    def feed(self, piece: bytes) -> bytes:
        piece = self._held + piece
        self._held = piece[-1:] if piece.endswith(b"\r") else b""
        if self._held:
            piece = piece[:-1]
        if not piece:
            return b""
        _check(piece, eight_bit=self._eight_bit)
        self._column = _check_lines(piece, self._column)
        stuffed = piece.replace(b"\r\n.", b"\r\n..")
        if self._at_line_start and piece.startswith(b"."):
            stuffed = b"." + stuffed
        self._at_line_start = piece.endswith(b"\n")
        return stuffed

    def finish(self) -> bytes:
        if self._held:
            raise Unsafe("content with a bare CR")
        return b".\r\n" if self._at_line_start else b"\r\n.\r\n"


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
