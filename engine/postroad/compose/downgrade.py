"""A written message -> the same message in 7 bits and short lines: parts are re-encoded, fields encoded and folded.

What lies inside multipart/signed, multipart/encrypted or S/MIME is never touched, and stays 8-bit if it is.  All other
octets stay as they are.  The slow road of `canonical.py`, and of attached messages.  RFC 2045 section 6, RFC 2047, RFC 6152.
"""

from __future__ import annotations

import binascii
import re
from functools import cache
from typing import TYPE_CHECKING, NoReturn

import msgspec

from ..encoded import UNSAFE_TEXT, decode_text, write_parameter
from ..errors import SubmissionError
from .fields import (
    ADDRESS_FIELDS,
    LINE_OCTETS,
    check_text,
    fold_chunks,
    is_structured,
    write_any,
    write_structured,
    write_text,
)
from .mime import encode_octets, has_short_lines, wire_lines

if TYPE_CHECKING:
    from email.parser import BytesHeaderParser

__all__ = ["Downgrade", "embed_message", "split_header"]

_DEPTH = 30  # nested parts; each level costs a pass over the content, and real mail has fewer than ten
_PARTS = 10_000  # in all: bounds the time that a bomb costs
# fmt: off
_SIGNED = frozenset({
    "multipart/signed", "multipart/encrypted", "application/pkcs7-mime", "application/x-pkcs7-mime",
    "application/pkcs7-signature", "application/x-pkcs7-signature",
})
# fmt: on
_MESSAGES = frozenset({"message/rfc822", "message/news"})
_ENCODABLE_MESSAGES = ("message/global",)  # RFC 6532 section 3.7; other message types take no encoding
_END_OF_HEADER = re.compile(rb"\r?\n\r?\n")
_FIELD_LINES = re.compile(rb"[^\r\n]*\r\n(?:[ \t][^\r\n]*\r\n)*")
_IS_FIELD = re.compile(rb"[!-9;-~]+[ \t]*:")
_BINARY = re.compile(rb"content-transfer-encoding[ \t]*:\s*binary", re.IGNORECASE)


@cache
def _header_parser() -> BytesHeaderParser:
    from email import policy  # slow to import, and seldom needed
    from email.parser import BytesHeaderParser

    from ..bounded_mail import BoundedMessage

    return BytesHeaderParser(BoundedMessage, policy=policy.compat32)


def _holds_binary(octets: bytes) -> bool:
    """Whether a part is declared `binary`: its line ends are data, and it must be encoded before they are made CRLF."""
    return (b"inary" in octets or b"INARY" in octets) and _BINARY.search(octets) is not None


def split_header(octets: bytes) -> tuple[bytes, bytes]:
    """Header (each line with CRLF; a CR that ends no line becomes a space) and body, whatever the line ends are."""
    if octets[:1] == b"\n" or octets[:2] == b"\r\n":
        return b"", octets[octets.index(b"\n") + 1 :]
    end = _END_OF_HEADER.search(octets)
    header, body = (octets, b"") if end is None else (octets[: end.start()], octets[end.end() :])
    header = wire_lines(header, b" ")
    return header if header.endswith(b"\r\n") or not header else header + b"\r\n", body


def embed_message(octets: bytes, field: str) -> tuple[bytes, bool]:
    """A message to be attached as message/rfc822, made clean, and whether a header in it holds raw UTF-8.

    Its own header keeps all fields, Bcc too.
    Raises SubmissionError where it is no message or cannot be made clean.
    """
    header, _ = split_header(octets)
    if not re.match(rb"[!-9;-~]+[ \t]*:", header):
        raise SubmissionError(field, "this is no e-mail message; attach it as application/octet-stream")
    downgrade = Downgrade()
    try:
        octets = wire_lines(downgrade.message(octets, is_inner=True), b" ")
    except SubmissionError as error:
        raise SubmissionError(field, error.problem) from None
    if b"\0" in octets or not has_short_lines(octets):
        raise SubmissionError(
            field, f"the message holds NUL or a line over {LINE_OCTETS} octets; attach it as application/octet-stream"
        )
    return octets, downgrade.utf8


def _refuse_bomb() -> NoReturn:
    raise SubmissionError(
        "content", f"it needs re-encoding and has over {_DEPTH} nested or {_PARTS:,} parts; send fewer"
    )


class _Kind(msgspec.Struct, frozen=True, gc=False):
    """What a part's header says of its body."""

    content_type: str
    boundary: bytes
    encoding: str
    has_type: bool


def _read_kind(header: bytes, default_type: str) -> _Kind:
    try:
        parsed = _header_parser().parsebytes(header)
    except ValueError as error:  # BeyondBounds
        raise SubmissionError("content", f"it needs re-encoding, and {error}") from None
    parsed.set_default_type(default_type)
    try:
        boundary = str(parsed.get_boundary() or "").encode("utf-8", "surrogateescape")
    except Exception:  # the standard library stumbles over some parameters: TypeError for `x*0*=; x*=`
        boundary = b""
    encoding = str(parsed.get("content-transfer-encoding", "")).strip().lower()
    return _Kind(parsed.get_content_type(), boundary, encoding, "content-type" in parsed)


class Downgrade:
    """One walk through a message.  utf8: a header somewhere in it holds raw UTF-8 that could not or may not be encoded."""

    def __init__(self) -> None:
        self.utf8 = False
        self._parts = 0

    def message(self, octets: bytes, *, is_inner: bool = False) -> bytes:
        """The message made 7-bit clean as far as it may be."""
        return self._part(octets, 1 if is_inner else 0, is_message=True)

    def look(self, octets: bytes) -> None:
        """Only find out about `utf8`: the message is signed as a whole."""
        self._part(octets, 0, is_message=True, is_frozen=True)

    def _part(
        self,
        octets: bytes,
        depth: int,
        *,
        is_message: bool = False,
        is_frozen: bool = False,
        default_type: str = "text/plain",
    ) -> bytes:
        if _is_clean(octets) and not _holds_binary(octets):
            return octets
        self._parts += 1
        if depth > _DEPTH or self._parts > _PARTS:
            _refuse_bomb()
        header, body = split_header(octets)
        kind = _read_kind(header, default_type)
        is_frozen = is_frozen or kind.content_type in _SIGNED
        if is_frozen:
            self.utf8 = self.utf8 or not header.isascii()
            self._body(kind, body, depth, is_frozen=True)
            return octets
        header = self._header(header, is_inner=depth > 0)
        body, encoding = self._body(kind, body, depth, is_frozen=False)
        if encoding:
            header = _declare(header, kind, body, encoding, is_message=is_message)
        return header + b"\r\n" + body

    def _body(self, kind: _Kind, body: bytes, depth: int, *, is_frozen: bool) -> tuple[bytes, str]:
        """The body, and its new transfer encoding or ""."""
        if kind.content_type.startswith("multipart/"):
            return self._multipart(kind, body, depth, is_frozen=is_frozen)
        if kind.content_type in _MESSAGES and kind.encoding not in ("base64", "quoted-printable"):
            inner = self._part(body, depth + 1, is_message=True, is_frozen=is_frozen)
            return inner, _declared(kind, inner)
        if is_frozen or (_is_clean(body) and kind.encoding != "binary"):
            return body, ""
        if kind.content_type.startswith("message/") and not kind.content_type.startswith(_ENCODABLE_MESSAGES):
            return body, ""
        return _encode_leaf(kind, body)

    def _multipart(self, kind: _Kind, body: bytes, depth: int, *, is_frozen: bool) -> tuple[bytes, str]:
        split = _split_parts(body, kind.boundary)
        if split is None:
            return body, ""
        preamble, parts, epilogue = split
        default_type = "message/rfc822" if kind.content_type == "multipart/digest" else "text/plain"
        delimiter = b"--" + kind.boundary
        pieces = [_margin(preamble)]
        for part in parts:
            part = self._part(part, depth + 1, is_frozen=is_frozen, default_type=default_type)
            pieces += [delimiter, b"\r\n", part, b"\r\n"]
        pieces += [delimiter, b"--\r\n", _margin(epilogue)]
        whole = b"".join(pieces)
        return whole, _declared(kind, whole)

    def _header(self, header: bytes, *, is_inner: bool) -> bytes:
        """The header with raw UTF-8 encoded and long lines folded."""
        if _is_clean(header):
            return header
        fields: list[bytes] = _FIELD_LINES.findall(header)
        return b"".join([field if _is_clean(field) else self._field(field, is_inner=is_inner) for field in fields])

    def _field(self, lines: bytes, *, is_inner: bool) -> bytes:
        if not _IS_FIELD.match(lines):  # only in a part or an attached message; it was no field before, and stays none
            return lines
        name = lines.partition(b":")[0].decode("ascii").strip(" \t")
        try:
            return _rewrite(name, lines.partition(b":")[2])
        except UnicodeDecodeError:
            if is_inner:  # an old message, attached: it travels as it is, with 8BITMIME
                return lines
            raise SubmissionError("content", f"its {name} field is not UTF-8; encode it (RFC 2047)") from None
        except SubmissionError as error:
            if lines.isascii():
                raise SubmissionError("content", error.problem) from None
            unsafe = None if is_inner else UNSAFE_TEXT.search(lines.decode("utf-8").replace("\r\n", ""))
            if unsafe:  # raw UTF-8 would carry it to software that takes some of these for line ends
                raise SubmissionError(
                    "content", f"its {name} field holds the character U+{ord(unsafe[0]):04X}; remove it"
                ) from None
            self.utf8 = True
            return lines


def _is_clean(octets: bytes) -> bool:
    """ASCII with short lines; one octet less is allowed, for a CR that may come."""
    return octets.isascii() and has_short_lines(octets, LINE_OCTETS - 1)


def _rewrite(name: str, value: bytes) -> bytes:
    """A field that is too long or not ASCII.  Raises UnicodeDecodeError, or SubmissionError where it cannot be."""
    text = re.sub(r"\r\n(?=[ \t])", "", value.decode("utf-8")).strip(" \t\r\n")
    lower = name.lower()
    if text.isascii():
        try:
            return write_structured(name, text, "content").encode("ascii")
        except SubmissionError:
            if is_structured(lower) or lower in ADDRESS_FIELDS or "=?" in text:
                raise
            return write_text(name, text).encode("ascii")
    if lower in ("content-type", "content-disposition"):
        return _rewrite_parameters(name, check_text(text, "content")).encode("ascii")
    if not is_structured(lower) and lower not in ADDRESS_FIELDS:
        text = decode_text(text)
    written = write_any(name, check_text(text, "content"), "content")
    if not written.isascii():
        raise SubmissionError("content", f"its {name} field holds an address that needs UTF-8")
    return written.encode("ascii")


_PARAMETER = re.compile(r';[ \t]*([!#-+\-./0-9:<>?@A-Z^_`a-z{|}~]+)[ \t]*=[ \t]*("(?:[^"\\]|\\.)*"|[^;]*)')


def _rewrite_parameters(name: str, text: str) -> str:
    """Content-Type or Content-Disposition: parameters that are not ASCII get RFC 2231's form."""
    chunks = [text.partition(";")[0].strip()]
    for parameter, value in _PARAMETER.findall(text):
        if value.isascii():
            chunks.append(f"{parameter}={value.strip()}")
        else:
            bare = re.sub(r"\\(.)", r"\1", value[1:-1]) if value[0] == '"' else value.strip()
            chunks += write_parameter(parameter, bare)
    if not chunks[0].isascii() or not chunks[0]:
        raise SubmissionError("content", f"its {name} field cannot be read")
    return fold_chunks(name, [*(f"{chunk};" for chunk in chunks[:-1]), chunks[-1]])


def _encode_leaf(kind: _Kind, body: bytes) -> tuple[bytes, str]:
    if kind.encoding not in ("", "7bit", "8bit", "binary", "base64", "quoted-printable"):
        return body, ""
    is_text = kind.content_type.startswith(("text/", "message/")) and kind.encoding != "binary"
    octets = _decoded(body, kind.encoding)
    if kind.encoding in ("", "7bit", "8bit"):
        octets = wire_lines(octets, b" ")
    elif octets.count(b"\n") != octets.count(b"\r\n") or octets.count(b"\r") != octets.count(b"\r\n"):
        is_text = False  # line ends that quoted-printable as text would not keep
    encoding, encoded = encode_octets(octets, is_text=is_text)
    return encoded, encoding


def _decoded(body: bytes, encoding: str) -> bytes:
    try:
        if encoding == "base64":
            return binascii.a2b_base64(body)
        return binascii.a2b_qp(body) if encoding == "quoted-printable" else body
    except binascii.Error as error:
        raise SubmissionError("content", f"a part says base64 and is not: {error}") from None


def _declared(kind: _Kind, body: bytes) -> str:
    """The encoding to declare for a multipart or a message: what it declared must still hold (RFC 2045 section 6.4)."""
    actual = "7bit" if body.isascii() else "8bit"
    return actual if actual != (kind.encoding or "7bit") else ""


_ENCODING_FIELD = re.compile(rb"(?im)^content-transfer-encoding[ \t]*:[^\r\n]*\r\n(?:[ \t][^\r\n]*\r\n)*")


def _declare(header: bytes, kind: _Kind, body: bytes, encoding: str, *, is_message: bool) -> bytes:
    header = _ENCODING_FIELD.sub(b"", header)
    if not kind.has_type and kind.content_type == "text/plain":
        header += b"Content-Type: text/plain; charset=" + _charset(body, encoding) + b"\r\n"
    if is_message and not re.search(rb"(?im)^mime-version[ \t]*:", header):
        header += b"MIME-Version: 1.0\r\n"
    return header + b"Content-Transfer-Encoding: " + encoding.encode("ascii") + b"\r\n"


def _charset(body: bytes, encoding: str) -> bytes:
    """Of a text that named none; what is not UTF-8 is unknown (RFC 1428 section 3)."""
    try:
        _decoded(body, encoding).decode("utf-8")
    except UnicodeDecodeError:
        return b"unknown-8bit"
    return b"utf-8"


def _split_parts(body: bytes, boundary: bytes) -> tuple[bytes, list[bytes], bytes] | None:
    """Preamble, parts and epilogue; None where no part begins.  A missing closing delimiter is forgiven."""
    if not boundary:
        return None
    delimiter = re.compile(rb"(?m)^--" + re.escape(boundary) + rb"(--)?[ \t]*\r?(?:\n|\Z)")
    preamble, parts, start = b"", list[bytes](), -1
    for mark in delimiter.finditer(body):
        if start >= 0:
            parts.append(_without_line_end(body[start : mark.start()]))
            if len(parts) > _PARTS:
                _refuse_bomb()
        elif mark[1]:
            return None
        else:
            preamble = body[: mark.start()]
        start = mark.end()
        if mark[1]:
            return preamble, parts, body[start:]
    if start < 0:
        return None
    return preamble, [*parts, _without_line_end(body[start:])], b""


def _margin(octets: bytes) -> bytes:
    """The text before and behind the parts, which no reader shows: dropped where it is not clean."""
    return octets if _is_clean(octets) else b""


def _without_line_end(octets: bytes) -> bytes:
    """The line end before a delimiter belongs to the delimiter (RFC 2046 section 5.1.1)."""
    return octets[:-2] if octets.endswith(b"\r\n") else octets[:-1] if octets.endswith(b"\n") else octets
