"""MIME parts: texts, attachments and multiparts as octets, in the smallest transfer encoding that is 7-bit clean.

A part never has a line over 998 octets, a bare CR or LF, or a NUL; message/rfc822 is never in base64.  Pure; used by
`compose.py` and `downgrade.py`.  RFC 2045 to 2049, RFC 2387.
"""

from __future__ import annotations

import binascii
import hashlib
import re
from collections.abc import Sequence

import msgspec

from ..errors import SubmissionError
from .fields import LINE_OCTETS, check_content_fields

__all__ = ["Part", "encode_base64", "encode_octets", "has_short_lines", "multipart", "text_part", "wire_lines"]

_BASE64_LINE = 76  # RFC 2045 section 6.8


class Part(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A MIME part.

    fields: its Content-* fields, each line with CRLF.
    chunks: the body, to be joined; chunks that hold text as it is (no base64, no quoted-printable) are `verbatim`.
    eight_bit: the body holds octets over 127.  utf8: a header inside the body holds raw UTF-8.
    """

    fields: str
    chunks: tuple[bytes, ...]
    verbatim: bool = False
    eight_bit: bool = False
    utf8: bool = False


_EVEN, _EVEN_AT_ONCE = 2048, 65_536  # octets in lines of one length: worth looking for, and looked at together


def has_short_lines(octets: bytes, limit: int = LINE_OCTETS) -> bool:
    """Whether no line has more octets than `limit` before its CRLF.

    Jumps from line end to line end as far as that, and over lines of one length (base64), so it costs little.
    """
    at, end = 0, len(octets)
    look_at = pause = _EVEN
    while end - at > limit:
        if at >= look_at:
            start, at = at, _skip_even_lines(octets, at, limit)
            pause = 0 if at - start > _EVEN else max(2 * pause, _EVEN)
            look_at = at + pause
        else:
            at = octets.rfind(b"\n", at, at + limit + 2) + 1
            if at == 0:
                return False
    return True


def _skip_even_lines(octets: bytes, at: int, limit: int) -> int:
    """Where the lines of one length end that begin at `at`, all short; `at` itself where the first is not."""
    length = octets.find(b"\n", at, at + limit + 2) + 1 - at
    if length < 1:
        return at
    ends = octets[at + length - 1 : at + _EVEN_AT_ONCE : length]
    return at + length * (len(ends) - len(ends.lstrip(b"\n")))


def wire_lines(octets: bytes, stray_cr: bytes = b"\r\n") -> bytes:
    """Line ends as CRLF; a CR that ends no line becomes `stray_cr`."""
    if b"\r" in octets:
        octets = octets.replace(b"\r\n", b"\n").replace(b"\r", b"\n" if stray_cr == b"\r\n" else stray_cr)
    return octets.replace(b"\n", b"\r\n")


def encode_base64(octets: bytes) -> bytes:
    """Base64 in lines of 76 characters, CRLF between and behind."""
    flat = binascii.b2a_base64(octets, newline=False)
    lines = [flat[at : at + _BASE64_LINE] for at in range(0, len(flat), _BASE64_LINE)]
    lines.append(b"")
    return b"\r\n".join(lines)


_QP_SAFE = bytes([*range(0x20, 0x3D), *range(0x3E, 0x7F), 0x09, 0x0D, 0x0A])
_QP_TRAILING = re.compile(rb"(?m)^([^\r\n]{74,75})(=(?:20|09))\r\n")


def _encode_quoted(octets: bytes) -> bytes:
    """Quoted-printable of text with CRLF line ends."""
    quoted = binascii.b2a_qp(octets, istext=True)
    if b"\r\n" not in octets:  # b2a_qp takes the soft line end from the text
        quoted = quoted.replace(b"=\n", b"=\r\n")
    if b"=20\r\n" in quoted or b"=09\r\n" in quoted:  # b2a_qp lets a quoted trailing space pass column 76
        quoted = _QP_TRAILING.sub(rb"\1=\r\n\2\r\n", quoted)
    return quoted


def encode_octets(octets: bytes, *, is_text: bool) -> tuple[str, bytes]:
    """Content-Transfer-Encoding and body: quoted-printable or base64, whichever is smaller; base64 for what is no text."""
    if is_text:
        special = len(octets.translate(None, _QP_SAFE))
        if 2 * special + len(octets) // 70 <= len(octets) * 37 // 100 + 4:
            return "quoted-printable", _encode_quoted(octets)
    return "base64", encode_base64(octets)


def text_part(text: str, content_type: str, field: str) -> Part:
    """A text body in UTF-8: as it is where it is ASCII with short lines, else encoded.  NUL travels encoded."""
    if not isinstance(text, str):  # pyright: ignore[reportUnnecessaryIsInstance]: callers are not all typed
        raise SubmissionError(field, f"must be a str, not {type(text).__name__}")
    try:
        octets = wire_lines(text.encode("utf-8"))
    except UnicodeEncodeError as error:
        raise SubmissionError(
            field,
            f"it holds the lone surrogate U+{ord(text[error.start]):04X} at {error.start}; decode the text properly",
        ) from None
    fields = f"Content-Type: {content_type}; charset=utf-8\r\nContent-Transfer-Encoding: "
    if text.isascii() and b"\0" not in octets and has_short_lines(octets):
        return Part(fields=fields + "7bit\r\n", chunks=(octets,), verbatim=True)
    encoding, body = encode_octets(octets, is_text=True)
    return Part(fields=f"{fields}{encoding}\r\n", chunks=(body,))


def multipart(subtype: str, parts: Sequence[Part], message_id: str, parameters: str = "") -> Part:
    """Parts inside one; a single part is wrapped, too."""
    boundary = _boundary(subtype, parts, message_id)
    opening = f"--{boundary}\r\n"
    chunks: list[bytes] = []
    for part in parts:
        chunks.append(f"{opening}{check_content_fields(part.fields)}\r\n".encode("ascii"))
        chunks += part.chunks
        opening = f"\r\n--{boundary}\r\n"
    chunks.append(f"\r\n--{boundary}--\r\n".encode())
    eight_bit = any(part.eight_bit for part in parts)
    fields = f'Content-Type: multipart/{subtype}; boundary="{boundary}"{parameters}\r\n'
    if eight_bit:  # RFC 2045 section 6.4: a multipart says so of what it holds
        fields += "Content-Transfer-Encoding: 8bit\r\n"
    return Part(
        fields=fields,
        chunks=tuple(chunks),
        verbatim=any(part.verbatim for part in parts),
        eight_bit=eight_bit,
        utf8=any(part.utf8 for part in parts),
    )


_TOKEN_OUT = re.compile(r"[^A-Za-z0-9]")


def _boundary(subtype: str, parts: Sequence[Part], message_id: str) -> str:
    """`=_` occurs in neither base64 nor quoted-printable; verbatim parts are looked through.

    If somebody guessed the boundary, the next one is a digest of the parts, which no part can hold.
    """
    boundary = f"=_{subtype[0]}_{_TOKEN_OUT.sub('', message_id)[:32]}"
    mark = b"--" + boundary.encode()
    if not any(mark in chunk for part in parts if part.verbatim for chunk in part.chunks):
        return boundary
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        for chunk in part.chunks:
            digest.update(chunk)
    return f"=_{subtype[0]}_{digest.hexdigest()}"
