"""Cuts a returned mail into its parts, within bounds, whatever its octets: for `read.py` alone.

It looks only where a report can be: the top and nested multiparts, never inside a returned message.  The standard
library's parser reads everything and recurses; this has bounds in size, depth and number, and takes what it can get.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator

__all__ = ["Fields", "Part", "parts_of", "read_fields"]

_MAX_BYTES = 1_048_576  # of the whole: reports return at most some 100 KB of the mail
_HEADER_CHARS = 65_536
_VALUE_CHARS = 16_384
_MAX_FIELDS = 1000
_MAX_PARTS = 50
_MAX_DEPTH = 4


class Fields:
    """A header: values by lower-case name, unfolded, in order."""

    def __init__(self) -> None:
        self._values: dict[str, list[str]] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def get(self, name: str) -> str:
        """The first value, "" where there is none."""
        return self._values[name][0] if name in self._values else ""

    def all(self, name: str) -> list[str]:
        return self._values.get(name, [])

    def add(self, name: str, value: str) -> None:
        self._values.setdefault(name.strip().lower(), []).append(value[:_VALUE_CHARS].strip())


def read_fields(text: str) -> Fields:
    """Read the fields up to the first empty line; lines that are no field are passed over."""
    fields = Fields()
    lines = text[:_HEADER_CHARS].lstrip("\n").partition("\n\n")[0].split("\n", _MAX_FIELDS)[:_MAX_FIELDS]
    name, pieces = "", list[str]()
    for line in lines:
        if line[:1] in (" ", "\t") and name:
            pieces.append(line.strip())
            continue
        if name:
            fields.add(name, " ".join(pieces))
        name, colon, value = line.partition(":")
        name, pieces = (name, [value.strip()]) if colon else ("", [])
    if name:
        fields.add(name, " ".join(pieces))
    return fields


class Part:
    """One part: its header's essentials, and its body as it is written."""

    def __init__(self, header: Fields, body: str, default_type: str) -> None:
        self._encoding = header.get("content-transfer-encoding").strip().lower()
        self._body = body
        value = header.get("content-type")
        self.type = value.partition(";")[0].strip().lower() or default_type
        self.boundary = _boundary(value) if self.type.startswith("multipart/") else ""

    def text(self) -> str:
        """The body, decoded."""
        return _decode(self._body, self._encoding)

    def groups(self, limit: int) -> list[Fields]:
        """The body as groups of fields between empty lines (RFC 3464 section 2.1)."""
        blocks = re.split(r"\n(?:[ \t]*\n)+", self.text().strip("\n"), maxsplit=limit)[:limit]
        return [read_fields(block) for block in blocks if block.strip()]

    def bodies(self) -> list[str]:
        """What lies between the boundaries; a missing end boundary ends with the body."""
        delimiter = re.compile(rf"^--{re.escape(self.boundary)}(--)?[ \t]*$\n?", re.MULTILINE)
        bodies: list[str] = []
        start: int | None = None
        for match in delimiter.finditer(self._body):
            if start is not None:
                bodies.append(self._body[start : match.start()])
            start = match.end()
            if match[1] or len(bodies) >= _MAX_PARTS:
                return bodies
        return bodies if start is None else [*bodies, self._body[start:]]


def parts_of(raw: bytes) -> tuple[Fields, list[Part]]:
    """The header of the whole, and all parts, the outermost first; at most 50 of them, at most 4 deep."""
    text = raw[:_MAX_BYTES].decode("utf-8", "replace").replace("\r\n", "\n").replace("\r", "\n").lstrip("\n")
    if text.startswith("From "):  # mbox
        text = text.partition("\n")[2]
    header, top = _part(text, "text/plain")
    parts: list[Part] = []
    for part in _walk(top, _MAX_DEPTH):
        parts.append(part)
        if len(parts) >= _MAX_PARTS:
            break
    return header, parts


def _walk(part: Part, depth: int) -> Iterator[Part]:
    yield part
    if part.boundary and depth:
        default = "message/rfc822" if part.type == "multipart/digest" else "text/plain"
        for body in part.bodies():
            yield from _walk(_part(body, default)[1], depth - 1)


def _part(text: str, default_type: str) -> tuple[Fields, Part]:
    if text.startswith("\n"):  # no header at all
        return Fields(), Part(Fields(), text[1:], default_type)
    head, _, body = text.partition("\n\n")
    header = read_fields(head)
    return header, Part(header, body, default_type)


def _boundary(content_type: str) -> str:
    match = re.search(r';\s*boundary\s*=\s*(?:"((?:[^"\\]|\\.){1,200})"|([^\s;"]{1,200}))', content_type, re.IGNORECASE)
    if not match:
        return ""
    return re.sub(r"\\(.)", r"\1", match[1]) if match[1] else match[2]


def _decode(body: str, encoding: str) -> str:
    """Some hosts encode even message/delivery-status, which RFC 3464 section 2.1 forbids."""
    try:
        if encoding == "base64":
            return _as_text(binascii.a2b_base64(body.encode("ascii", "ignore")))
        if encoding == "quoted-printable":
            return _as_text(binascii.a2b_qp(body.encode()))
    except binascii.Error:
        pass
    return body


def _as_text(data: bytes) -> str:
    return data.decode("utf-8", "replace").replace("\r\n", "\n").replace("\r", "\n")
