"""Reads SMTP replies out of a stream of bytes (RFC 5321 section 4.2).  No I/O.

Lenient where real servers are sloppy (LF alone, no text, octets over 127), strict where leniency loses mail: three digits, first
one 2 to 5, the same code on every line.  Lines, bytes and the length of a line are bounded.  It parses or raises ReplyError.
"""

from __future__ import annotations

import re

import msgspec

from postroad.log import printable

__all__ = ["MAX_LINE", "MAX_LINES", "MAX_REPLY", "Reply", "ReplyError", "ReplyParser"]

MAX_LINE = 4096  # octets: RFC 5321 section 4.5.3.1.5 has 512; some servers write URLs and whole reports into one line
MAX_LINES = 128  # the longest EHLO replies have about 30
MAX_REPLY = 65_536  # octets of all lines of one reply

_SHORT = 128  # octets: what nearly every reply is within
_KNOWN = 8  # lines that are remembered: the answers to MAIL, RCPT and DATA, and those before them
_SIMPLE = re.compile(rb"([2-5][0-9][0-9]) ([^\r\n]*)\r?\n")
_SEVERAL = re.compile(  # what nearly every answer to EHLO is: lines and octets are within what a reply may have
    rb"([2-5][0-9][0-9])-[^\r\n]{0,2000}\r?\n(?:\1-[^\r\n]{0,2000}\r?\n){0,29}\1 [^\r\n]{0,2000}\r?\n"
)
_LINE = re.compile(rb"([2-5][0-9][0-9])(?:([ -])(.*))?", re.DOTALL)
_ENHANCED = re.compile(rb"[ \t]*([245])\.([0-9]{1,3})\.([0-9]{1,3})(?![0-9.])")


class ReplyError(Exception):
    """What came is no SMTP reply; nothing more on this connection can be trusted."""


class Reply(msgspec.Struct, frozen=True, gc=False):
    """One reply: its code and the text of each line, as the server sent it."""

    code: int
    lines: tuple[bytes, ...]

    @property
    def kind(self) -> int:
        """The first digit, which alone decides (RFC 5321 section 4.3.2)."""
        return self.code // 100

    @property
    def enhanced(self) -> str:
        """The enhanced status code (RFC 3463) if there is one and its class is that of the reply, else ""."""
        match = _ENHANCED.match(self.lines[0])
        if match is None or int(match[1]) != self.kind:
            return ""
        return f"{int(match[1])}.{int(match[2])}.{int(match[3])}"

    @property
    def said(self) -> str:
        """The reply for people: code and text in one printable line, cut."""
        return printable(b"%d %s" % (self.code, b" ".join(self.lines)))


class ReplyParser:
    """Takes bytes as they come and gives replies as they are complete."""

    __slots__ = ("_at", "_buffer", "_code", "_known", "_lines", "_size")

    def __init__(self) -> None:
        self._buffer = b""
        self._at = 0  # where the next line begins
        self._code = b""  # of the reply under way
        self._lines: list[bytes] = []
        self._size = 0
        self._known: dict[bytes, Reply] = {}  # the first lines of the connection: most others are one of them again

    @property
    def has_more(self) -> bool:
        """Whether something was received that is no complete reply yet, or was not asked for."""
        return self._at < len(self._buffer) or bool(self._lines)

    def feed(self, data: bytes) -> None:
        self._buffer = self._buffer[self._at :] + data if self._at < len(self._buffer) else data
        self._at = 0

    def next_reply(self) -> Reply | None:
        """The next complete reply, or None.  Raises ReplyError; the parser is of no use after that."""
        if self._at >= len(self._buffer):
            return None
        if not self._lines:
            end = self._buffer.find(b"\n", self._at, self._at + _SHORT) + 1
            short = self._buffer[self._at : end]
            if reply := self._known.get(short) or self._read_short(short):
                self._at = end
                return reply
            if match := _SEVERAL.match(self._buffer, self._at):
                self._at = match.end()
                return Reply(int(match[1]), tuple([line[4:] for line in match[0].splitlines()]))
        while (line := self._next_line()) is not None:
            match = _LINE.fullmatch(line)
            if match is None:
                raise ReplyError(f"no SMTP reply: {printable(line, 100)}")
            code, separator, text = match.groups()
            self._gather(code, text or b"")
            if separator != b"-":
                return self._complete()
        return None

    def _read_short(self, line: bytes) -> Reply | None:
        """A reply of one short line with its end; None where it is no such."""
        match = _SIMPLE.fullmatch(line)
        if match is None:
            return None
        reply = Reply(int(match[1]), (match[2],))
        if len(self._known) < _KNOWN:
            self._known[line] = reply
        return reply

    def _next_line(self) -> bytes | None:
        end = self._buffer.find(b"\n", self._at)
        length = (end if end >= 0 else len(self._buffer)) - self._at
        if length > MAX_LINE:
            raise ReplyError(f"a reply line over {MAX_LINE} octets")
        if end < 0:
            return None
        line = self._buffer[self._at : end]
        self._at = end + 1
        return line[:-1] if line.endswith(b"\r") else line

    def _gather(self, code: bytes, text: bytes) -> None:
        if self._lines and code != self._code:
            raise ReplyError(f"a reply with two codes, {self._code.decode()} and {code.decode()}")
        self._code = code
        self._lines.append(text)
        self._size += len(text)
        if len(self._lines) > MAX_LINES or self._size > MAX_REPLY:
            raise ReplyError(f"a reply over {MAX_LINES} lines or {MAX_REPLY} octets")

    def _complete(self) -> Reply:
        reply = Reply(int(self._code), tuple(self._lines))
        self._lines.clear()
        self._size = 0
        return reply
