"""What comes already written, bytes or an EmailMessage -> the canonical form that is stored, signed and sent.

CRLF, no NUL, no line over 998 octets, 7-bit clean, no Bcc, with Date and Message-ID.  What is signed is left as it is, or
refused where that cannot be sent.  A message that needs nothing is returned as the same object.  The engine calls it.
RFC 5322, RFC 6376, RFC 1847.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, NoReturn
from zlib import crc32

import msgspec

from ..errors import SubmissionError
from .downgrade import Downgrade, split_header
from .fields import HEADER_OCTETS, LINE_OCTETS, check_message_id, format_date
from .mime import has_short_lines, wire_lines

if TYPE_CHECKING:  # the email package takes 40 ms to import, and plain bytes do not need it
    from email.message import Message

__all__ = ["Canonical", "canonicalise", "forbidden_octets"]

_BARE = re.compile(rb"\r(?!\n)|(?<!\r)\n")
_LONG_LINE = re.compile(rb"[^\r\n]{%d}" % (LINE_OCTETS + 1))


class Canonical(msgspec.Struct, frozen=True, kw_only=True):
    """A canonical message.

    message_id: its own, or the one it got; without angle brackets.
    eight_bit: it holds octets over 127 (it came signed): the next hop must offer 8BITMIME.
    smtputf8: a header holds raw UTF-8 that may not or cannot be encoded.
    checksum: the CRC-32 of the content.
    hops: servers that it has passed: its Received fields (RFC 5321 section 4.4).
    """

    content: bytes
    checksum: int
    message_id: str
    eight_bit: bool = False
    smtputf8: bool = False
    hops: int = 0


def forbidden_octets(content: bytes, *, eight_bit: bool = False) -> str:
    """What no canonical message holds, as SMTP's DATA carries it (RFC 5321 section 4.5.3.1.6): "" where all is well."""
    if b"\0" in content:
        return "NUL"
    if _BARE.search(content):
        return "a bare CR or LF"
    if _LONG_LINE.search(content):
        return f"a line of more than {LINE_OCTETS + 2} octets"
    return "" if eight_bit or content.isascii() else "an octet over 127"


def canonicalise(content: bytes | Message, *, message_id: str, date: float) -> Canonical:
    """Make a written message fit to be sent.  `message_id` and `date` (Unix seconds) are for a message without its own.

    LF alone ends a line, as in files; CR alone becomes a space, so that nobody takes it for a line end (SMTP smuggling).
    Raises SubmissionError for the field "content".
    """
    octets = _octets(content)
    if octets[:5] == b"From ":
        octets = _without_mbox_line(octets)
    is_wire, is_ascii = _is_wire_form(octets), octets.isascii()
    if not is_wire and b"\n" not in octets and b"\r" in octets:
        _refuse("its lines end with CR alone; write CRLF or LF")
    header, body = _split_wire(octets) if is_wire else split_header(octets)
    fields = _read_header(header)
    is_signed = _is_signed(fields)
    if is_signed and not is_wire:
        _refuse_signed(octets)
    edited, own_id = _edit(fields, is_signed, message_id, date)
    needs_repair = not is_signed and not (is_wire and is_ascii)
    if edited is not None or body is None or needs_repair:
        octets = b"".join((header if edited is None else edited, b"\r\n", body or b""))
    utf8 = False
    if needs_repair:
        octets, utf8 = _repair(octets)
    elif not is_ascii:
        utf8 = _look(octets)
    if octets[-2:] != b"\r\n":
        octets += b"\r\n"
    return Canonical(
        content=octets,
        checksum=crc32(octets),
        message_id=own_id,
        eight_bit=not (is_ascii or octets.isascii()),
        smtputf8=utf8,
        hops=fields.names.count(b"received"),
    )


def _refuse(problem: str) -> NoReturn:
    raise SubmissionError("content", problem)


def _octets(content: bytes | Message) -> bytes:
    if isinstance(content, bytes):
        return content
    if isinstance(content, (bytearray, memoryview)):
        return bytes(content)
    if hasattr(content, "walk"):
        return _serialise(content)
    _refuse(f"must be bytes or an EmailMessage, not {type(content).__name__}")


def _serialise(message: Message) -> bytes:
    from .message_object import serialise_message

    return serialise_message(message)


_OLD_FROM = re.compile(rb"From[ \t]+:")  # RFC 5322 section 4.5


def _without_mbox_line(octets: bytes) -> bytes:
    """The `From ` line of an mbox file is no part of the message in it (RFC 4155); `From :` is the field, in its old form."""
    return octets if _OLD_FROM.match(octets) else octets.partition(b"\n")[2]


_LOOK_OCTETS = 262_144  # looked at together: what is copied meanwhile fits into a processor's cache


def _is_wire_form(octets: bytes) -> bool:
    """Whether all lines end with CRLF and are short enough, and nothing is NUL."""
    if b"\0" in octets or not has_short_lines(octets):
        return False
    if len(octets) <= _LOOK_OCTETS:
        return _has_pairs(octets)
    at = 0
    while at < len(octets):  # pieces end with LF, so that none divides a pair
        end = octets.find(b"\n", at + _LOOK_OCTETS) + 1 or len(octets)
        if not _has_pairs(octets[at:end]):
            return False
        at = end
    return True


def _has_pairs(octets: bytes) -> bool:
    """Whether CR and LF come in pairs alone: they do where the same comes out when each CR goes and comes back before each LF.

    That copies with the C library's search for one octet; searching for pairs, or for what is none, costs two to three times
    as much.
    """
    return octets.replace(b"\r", b"").replace(b"\n", b"\r\n") == octets


def _split_wire(octets: bytes) -> tuple[bytes, memoryview | None]:
    """Header and body of a message in wire form; None where there is no empty line between them."""
    if octets[:2] in (b"", b"\r\n"):
        return b"", memoryview(octets)[2:]
    end = octets.find(b"\r\n\r\n")
    if end >= 0:
        return octets[: end + 2], memoryview(octets)[end + 4 :]
    return (octets if octets[-2:] == b"\r\n" else octets + b"\r\n"), None


class _Header(msgspec.Struct, frozen=True, gc=False):
    """A header: its octets; of each field the name in lower case, and the lines as they are."""

    octets: bytes
    names: list[bytes]
    fields: list[bytes]

    def all_of(self, name: bytes) -> list[bytes]:
        """The fields of a name."""
        return [field for each, field in zip(self.names, self.fields, strict=True) if each == name]


_FIELD = re.compile(rb"(?m)^(([!-9;-~]+)[ \t]*:[^\r\n]*\r\n(?:[ \t][^\r\n]*\r\n)*)")
_BLANK_FOLD = re.compile(rb"\r\n[ \t]+(?=\r\n)")


def _read_header(octets: bytes) -> _Header:
    if len(octets) > HEADER_OCTETS:
        _refuse(
            f"its header has {len(octets):,} octets, {HEADER_OCTETS:,} are allowed; is there an empty line behind it?"
        )
    found = _FIELD.findall(octets)
    fields = [lines for lines, _ in found]
    if not found or b"".join(fields) != octets:
        _refuse_header(octets)
    names = b":".join([name for _, name in found]).lower().split(b":")  # no name holds a colon
    return _Header(octets, names, fields)


def _refuse_header(header: bytes) -> NoReturn:
    """Say where: a line that is no field makes readers differ on where the body begins."""
    if not header:
        _refuse("it has no header; begin with header fields such as From, then an empty line")
    for number, line in enumerate(header.split(b"\r\n")[:-1], 1):
        is_continuation = line[:1] in (b" ", b"\t") and number > 1
        if not is_continuation and not _FIELD.fullmatch(line + b"\r\n"):
            _refuse(f"line {number} of its header is no field; put an empty line between header and body")
    _refuse("its header cannot be read; put an empty line between header and body")


_SIGNATURES = frozenset({b"dkim-signature", b"domainkey-signature", b"arc-message-signature", b"arc-seal"})
_SIGNED_TYPE = re.compile(
    rb"[^:]*:\s*(?:multipart/(?:signed|encrypted)|application/(?:x-)?pkcs7-(?:mime|signature))\s*(?:;|\Z)",
    re.IGNORECASE,
)
_SIGNED_NAMES = re.compile(rb"(?:^|;)h=([^;]*)")


def _is_signed(header: _Header) -> bool:
    if not _SIGNATURES.isdisjoint(header.names):
        return True
    return b"content-type" in header.names and any(map(_SIGNED_TYPE.match, header.all_of(b"content-type")))


def _covered(header: _Header) -> set[bytes]:
    """Names that a signature covers: adding or removing one would break it (RFC 6376 section 5.4)."""
    covered: set[bytes] = set()
    for name in _SIGNATURES:
        for field in header.all_of(name):
            for names in _SIGNED_NAMES.findall(re.sub(rb"\s+", b"", field.partition(b":")[2])):
                covered.update(names.lower().split(b":"))
    return covered


def _refuse_signed(octets: bytes) -> NoReturn:
    if b"\0" in octets:
        _refuse("it is signed and holds NUL, which cannot be sent; remove it before signing")
    if not has_short_lines(octets):
        _refuse(f"it is signed and has a line over {LINE_OCTETS} octets; encode it (quoted-printable) before signing")
    _refuse("it is signed and has line ends other than CRLF; write CRLF before signing")


_HIDDEN = frozenset({b"bcc", b"resent-bcc"})


def _edit(header: _Header, is_signed: bool, message_id: str, date: float) -> tuple[bytes | None, str]:
    """The header without Bcc and with Date and Message-ID, or None where it is right already; and the Message-ID."""
    names = header.names
    if names.count(b"from") != 1:
        _refuse(f"it has {names.count(b'from') or 'no'} From fields; exactly one is needed (RFC 5322 section 3.6)")
    own_id = _own_id(header)
    added: dict[bytes, str] = {}
    if b"date" not in names:
        added[b"date"] = f"Date: {format_date(date)}\r\n"
    if own_id is None:
        own_id = check_message_id(message_id, "message_id")
        added[b"message-id"] = f"Message-ID: <{own_id}>\r\n"
    removed = _HIDDEN.intersection(names)
    if is_signed:
        _check_covered(header, removed, added)
    blank = not is_signed and _BLANK_FOLD.search(header.octets) is not None
    if not added and not removed and not blank:
        return None, own_id
    kept = [field for name, field in zip(names, header.fields, strict=True) if name not in _HIDDEN]
    if blank:
        kept = [_BLANK_FOLD.sub(b"", field) for field in kept]
    return b"".join([*kept, "".join(added.values()).encode("ascii")]), own_id


_MESSAGE_ID = re.compile(rb"<([^<>\s]+)>")


def _own_id(header: _Header) -> str | None:
    if b"message-id" not in header.names:
        return None
    field = header.fields[header.names.index(b"message-id")]
    found = _MESSAGE_ID.search(field)
    value = found[1] if found else field.partition(b":")[2].strip()
    return value.decode("utf-8", "replace")


def _check_covered(header: _Header, removed: Iterable[bytes], added: Iterable[bytes]) -> None:
    covered = _covered(header)
    for name in removed:
        if name in covered:
            _refuse(f"its signature covers {name.decode()}, which must not be sent; remove the field before signing")
    for name in added:
        if name in covered:
            _refuse(f"it has no {name.decode()} field, and its signature covers that; add the field before signing")


def _repair(octets: bytes) -> tuple[bytes, bool]:
    downgrade = Downgrade()
    octets = wire_lines(downgrade.message(octets), b" ")
    if b"\0" in octets:
        _refuse("it holds NUL, which cannot be sent; encode that part (base64)")
    if not has_short_lines(octets):
        _refuse(f"it has a line over {LINE_OCTETS} octets that cannot be re-encoded; encode that part (base64)")
    if len(split_header(octets)[0]) > HEADER_OCTETS:
        _refuse(f"its header has more than {HEADER_OCTETS:,} octets")
    return octets, downgrade.utf8


def _look(octets: bytes) -> bool:
    downgrade = Downgrade()
    downgrade.look(octets)
    return downgrade.utf8
