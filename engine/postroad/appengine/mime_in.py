"""Reading MIME messages into fields: addresses, subjects, bodies and attachments.

What is read may be a stranger's mail: words that cannot be decoded stay as they are, and nothing of a header makes reading fail.
Payloads are taken over undecoded.  RFC 2045, 2047, 2231.
"""

from __future__ import annotations

import email
from collections.abc import Iterator, Sequence
from email.errors import HeaderParseError
from email.header import Header, decode_header
from email.message import Message
from email.utils import collapse_rfc2231_value
from typing import Any

from .payloads import EncodedPayload, MimeMessage

__all__ = [
    "MimeMessage",
    "addresses_in",
    "decode_and_join_header",
    "filename_of",
    "leaves_of",
    "parse_mime_message",
    "payload_of",
]


def parse_mime_message(mime_message: Any) -> MimeMessage:
    """The message in a str, in octets, in a file of either, or the message itself.  AttributeError for anything else."""
    source: Any = mime_message
    if isinstance(mime_message, Message):
        message: MimeMessage = source
        return message
    if not isinstance(mime_message, (str, bytes, bytearray, memoryview)):
        source = mime_message.read()
    return email.message_from_string(source) if isinstance(source, str) else email.message_from_bytes(bytes(source))


def decode_and_join_header(header: Any, separator: str = " ") -> str | None:
    """A header as text: its encoded words decoded, and put together again with a separator.  None for None.

    What stands between encoded words keeps its own blanks, as in the original: `=?utf-8?q?a?= <a@b>` gives two.
    """
    if header is None:
        return None
    try:
        pieces = decode_header(header if isinstance(header, Header) else str(header))
    except HeaderParseError:
        return str(header)
    return separator.join(_text(*piece) for piece in pieces)


def _text(piece: str | bytes, charset: str | None) -> str:
    if isinstance(piece, str):
        return piece
    if charset is None:
        return piece.decode("latin-1")  # so decode_header hands out what is not encoded
    try:
        return piece.decode(charset, "replace")
    except (LookupError, UnicodeError):  # a charset that nobody knows, or that replaces nothing
        return _guessed(piece)


def _guessed(octets: bytes) -> str:
    try:
        return octets.decode("utf-8")
    except UnicodeDecodeError:
        return octets.decode("latin-1")


def addresses_in(headers: Sequence[Any]) -> Any:
    """The text of one header, a list of the texts of several, or None without any that is not blank."""
    texts = [text for header in headers if (text := decode_and_join_header(header)) and text.strip()]
    return (texts if len(headers) > 1 else texts[0]) if texts else None


def leaves_of(mime_message: MimeMessage) -> Iterator[MimeMessage]:
    """The parts that are no multiparts, in their order, without those that are empty."""
    waiting = [mime_message]
    while waiting:
        part = waiting.pop()
        inner: Any = vars(part)["_payload"]  # get_payload fails for octets beside other letters
        if part.is_multipart():
            waiting += reversed(inner)
        elif inner:
            yield part


def filename_of(leaf: MimeMessage) -> str | None:
    """The name of an attachment: that of the disposition, else of the type; None or empty for a body."""
    if filename := leaf.get_filename():
        return filename
    name: Any = leaf.get_param("name")
    return None if name is None else collapse_rfc2231_value(name)


def payload_of(leaf: MimeMessage) -> EncodedPayload:
    """The content of a part with its charset and transfer encoding, undecoded."""
    charset = leaf.get_content_charset()
    encoding = leaf["content-transfer-encoding"]
    return EncodedPayload(_octets_of(leaf, charset or "utf-8"), charset, None if encoding is None else str(encoding))


def _octets_of(leaf: MimeMessage, charset: str) -> bytes:
    """The octets as they came.  A text that was no octets gets those of its charset."""
    payload: str = vars(leaf)["_payload"]  # get_payload would replace octets that are not of the charset
    try:
        return payload.encode("ascii", "surrogateescape")
    except UnicodeEncodeError:
        pass
    try:
        return payload.encode(charset)
    except (LookupError, UnicodeError):
        return payload.encode("utf-8", "surrogateescape")
