"""What was posted to a WSGI application: octets, or the fields of a form, without the cgi module (PEP 594).

Reads no more than POSTED_OCTETS_MAX, and nothing beyond the length that the request states.  RFC 7578, RFC 3875, PEP 3333.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from email.message import Message
from email.parser import BytesHeaderParser
from typing import Any
from urllib.parse import parse_qsl

from ..bounded_mail import BoundedMessage, asked
from ..charsets import decode_octets

__all__ = ["posted_fields", "posted_octets"]

POSTED_OCTETS_MAX = 64 << 20  # a message of 31.5 MB, quoted, and what a bounce says beside it
FIELDS_MAX = 1000  # a bounce has thirteen
Value = str | bytes


def posted_octets(environ: Mapping[str, Any]) -> bytes:
    """The body of a request; empty without a CONTENT_LENGTH that is a number.  ValueError beyond POSTED_OCTETS_MAX."""
    try:
        length = int(environ.get("CONTENT_LENGTH") or 0)
    except ValueError:
        length = 0
    if length > POSTED_OCTETS_MAX:
        raise ValueError(f"a request of {length} octets is too large: at most {POSTED_OCTETS_MAX} are read")
    posted: Any = environ["wsgi.input"].read(max(length, 0))
    return posted.encode("utf-8") if isinstance(posted, str) else posted


def posted_fields(environ: Mapping[str, Any]) -> dict[str, Value | list[Value]]:
    """The fields of a posted form, multipart/form-data or urlencoded; a list where one comes more than once.

    Texts are read in the charset that they name, else as UTF-8.  What was posted as a file stays octets, as does `raw-message`,
    which is mail.  Raises ValueError for too large a request or too many fields; what is no form, has no fields.
    """
    header = Message()
    header["content-type"] = environ.get("CONTENT_TYPE") or ""
    octets = posted_octets(environ)
    found = _parts(octets, header) if header.get_content_maintype() == "multipart" else _pairs(octets)
    fields: dict[str, Value | list[Value]] = {}
    for count, (name, value) in enumerate(found):
        if count >= FIELDS_MAX:
            raise ValueError(f"a form has more than {FIELDS_MAX} fields")
        present = fields.get(name)
        if present is None:
            fields[name] = value
        else:
            fields[name] = [*present, value] if isinstance(present, list) else [present, value]
    return fields


def _pairs(octets: bytes) -> Iterator[tuple[str, Value]]:
    text = octets.decode("utf-8", "replace")
    yield from parse_qsl(text, keep_blank_values=True, max_num_fields=FIELDS_MAX)


def _parts(octets: bytes, header: Message) -> Iterator[tuple[str, Value]]:
    boundary = header.get_boundary("")
    if not boundary:
        return
    delimiter = re.compile(rb"(?:^|\r?\n)--" + re.escape(boundary.encode("utf-8")) + rb"(--)?[ \t]*(?:\r?\n|$)")
    start = None
    for found in delimiter.finditer(octets):
        if start is not None and (field := _field(octets[start : found.start()])):
            yield field
        start = found.end()
        if found[1]:
            return


def _field(part: bytes) -> tuple[str, Value] | None:
    """The name and the value of a part; None for a part that is no field."""
    ends = re.search(rb"^\r?\n|\r?\n\r?\n", part)
    if not ends:
        return None
    header = asked(lambda: BytesHeaderParser(BoundedMessage).parsebytes(part[: ends.end()]))
    name = header and asked(lambda: header.get_param("name", header="content-disposition"))
    if not header or not isinstance(name, str):
        return None
    header.set_payload(part[ends.end() :])
    value: Any = header.get_payload(decode=True)
    is_text = name != "raw-message" and asked(header.get_filename) is None
    return name, _text(value, asked(header.get_content_charset)) if is_text else value


def _text(octets: bytes, charset: str | None) -> str:
    try:
        return decode_octets(octets, charset or "utf-8", "replace")
    except (LookupError, UnicodeError):
        return octets.decode("utf-8", "replace")
