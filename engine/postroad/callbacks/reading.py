"""Takes a bounce apart: six fields of the notification, six of the mail that came back, and that mail itself.  Pure.

Bounces come from strangers: it takes any octets and never raises, looks at most four multiparts deep and at fifty parts.
The mail that came back is cut out by octets, so that it is what the report holds, and not what a parser made of it.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator, Mapping

import msgspec

from ..charsets import decode_octets
from ..dsn import read_report
from ..dsn.mime import Fields, read_fields
from ..encoded import UNSAFE_TEXT, decode_text

__all__ = ["Notice", "read_notice"]

_MAX_DEPTH, _MAX_PARTS = 4, 50
_HEADER_BYTES = 65_536
_RETURNED = ("message/rfc822", "text/rfc822-headers", "message/global", "message/global-headers")
_NAMES = ("from", "to", "cc", "bcc", "subject")
_BESIDE_ADDRESSES = re.compile(r"[\s<>(),;:\"]+")


class Notice(msgspec.Struct, frozen=True):
    """What a bounce says; raw: the returned mail, or its header."""

    original: Mapping[str, str]
    notification: Mapping[str, str]
    raw: bytes


class _Part:
    """One part: its header, and its body as it is written."""

    def __init__(self, octets: bytes) -> None:
        head, self._body = _split(octets)
        self.header = read_fields(_lines(head[:_HEADER_BYTES].decode("utf-8", "replace")))
        self.type, self._parameters = _typed(self.header)
        self._encoding = self.header.get("content-transfer-encoding").strip().lower()

    def leaves(self, depth: int = _MAX_DEPTH) -> Iterator[_Part]:
        """The parts that are no multiparts, in order.  What a message inside holds is the message's."""
        if not self.type.startswith("multipart/") or not self._parameters.get("boundary"):
            yield self
        elif depth:
            for octets in _between(self._body, self._parameters["boundary"].encode("utf-8", "surrogateescape")):
                yield from _Part(octets).leaves(depth - 1)

    def octets(self) -> bytes:
        """The body without its transfer encoding; what cannot be decoded stays as it is."""
        try:
            if self._encoding == "base64":
                return binascii.a2b_base64(self._body)
            if self._encoding == "quoted-printable":
                return binascii.a2b_qp(self._body)
        except (binascii.Error, ValueError):
            pass
        return self._body

    def text(self) -> str:
        try:
            text = decode_octets(self.octets(), self._parameters.get("charset") or "utf-8", "replace")
        except (LookupError, ValueError):  # a charset that nobody knows, or that replaces nothing
            text = self.octets().decode("utf-8", "replace")
        return _lines(text)


def read_notice(report: bytes) -> Notice:
    """Take apart what came back."""
    top = _Part(report)
    leaves = _few(top)
    raw = next((leaf.octets() for leaf in leaves if leaf.type in _RETURNED), b"")
    original = _fields_of(_Part(raw))
    failed = _failed_in(report)
    if raw:
        named = set(_BESIDE_ADDRESSES.split(f"{original['to']} {original['cc']}".lower()))
        original["bcc"] = original["bcc"] or ", ".join(each for each in failed if each.lower() not in named)
    else:
        original["to"] = ", ".join(failed)
    return Notice(original, _fields_of(top), raw)


def _failed_in(report: bytes) -> list[str]:
    found = read_report(report)
    recipients = found.recipients if found else ()
    return list(dict.fromkeys(each.address for each in recipients if each.action == "failed" and each.address))


def _fields_of(part: _Part) -> dict[str, str]:
    fields = {name: _decoded(", ".join(part.header.all(name))) for name in _NAMES}
    text = next((leaf.text() for leaf in _few(part) if leaf.type == "text/plain"), "")
    return {**fields, "text": text}


def _few(part: _Part) -> list[_Part]:
    return [leaf for _, leaf in zip(range(_MAX_PARTS), part.leaves(), strict=False)]


def _decoded(value: str) -> str:
    """A header's text; what decoding brought to light must not become a line of its own in somebody's header."""
    return UNSAFE_TEXT.sub(" ", decode_text(value))


# --- Octets ---

_END_OF_HEADER = re.compile(rb"\r?\n\r?\n")


def _split(octets: bytes) -> tuple[bytes, bytes]:
    if octets.startswith(b"From "):  # mbox
        octets = octets.partition(b"\n")[2]
    if octets[:1] == b"\n" or octets[:2] == b"\r\n":  # no header at all
        return b"", octets.partition(b"\n")[2]
    end = _END_OF_HEADER.search(octets)
    return (octets[: end.start()], octets[end.end() :]) if end else (octets, b"")


def _between(body: bytes, boundary: bytes) -> Iterator[bytes]:
    """What lies between the boundaries, without the line end before each (RFC 2046 section 5.1.1); at most 50."""
    delimiter = re.compile(rb"(?:^|\r?\n)--" + re.escape(boundary) + rb"(--)?[ \t]*(?:\r?\n|\Z)")
    start, at, found = -1, 0, 0
    while (match := delimiter.search(body, at)) and found < _MAX_PARTS:
        if start >= 0:
            yield body[start : match.start()]
            found += 1
        if match[1]:
            return
        start = match.end()
        at = match.end() - (
            1 if match.end() > match.start() + 1 and body[match.end() - 1 : match.end()] == b"\n" else 0
        )
    if 0 <= start < len(body) and found < _MAX_PARTS:
        yield body[start:]


_PARAMETER = re.compile(r';\s*([A-Za-z0-9*_-]{1,40})\s*=\s*(?:"((?:[^"\\]|\\.){0,200})"|([^\s;"]{1,200}))')


def _typed(header: Fields) -> tuple[str, dict[str, str]]:
    """The media type and its parameters, by lower-case names."""
    value = header.get("content-type")
    kind = value.partition(";")[0].strip().lower()
    parameters = {
        name.lower(): re.sub(r"\\(.)", r"\1", quoted) if quoted else plain
        for name, quoted, plain in _PARAMETER.findall(value)
    }
    return kind or "text/plain", parameters


def _lines(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")
