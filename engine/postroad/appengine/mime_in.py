"""Reading MIME messages into fields: addresses, subjects, bodies and attachments.

What is read may be a stranger's mail: words that cannot be decoded stay as they are, and nothing of a header makes reading fail.
Of mail that asks for too much work (`bounded_mail`) the body is left undivided.  Payloads are taken over undecoded.
RFC 2045, 2047, 2231.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from email.errors import HeaderParseError
from email.header import Header, decode_header
from email.message import Message
from email.parser import Parser
from email.utils import collapse_rfc2231_value
from typing import Any

from ..bounded_mail import LINES_MAX, BeyondBounds, BoundedMessage, asked
from ..charsets import decode_octets
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
    text = source if isinstance(source, str) else bytes(source).decode("ascii", "surrogateescape")
    try:
        if text.count("\n") + text.count("\r") - text.count("\r\n") > LINES_MAX:
            raise BeyondBounds(f"it has more than {LINES_MAX:,} lines")
        return Parser(BoundedMessage).parsestr(text)
    except BeyondBounds:
        return _undivided(text)


_HEADER_CHARS = 102_400  # a whole header; Postfix's header_size_limit
_END_OF_HEADER = re.compile(r"\r?\n\r?\n|\r\r|^\r?\n")


class _Headed(BoundedMessage):
    """Passes over the fields that are too much."""

    def set_raw(self, name: str, value: Any) -> None:
        try:
            super().set_raw(name, value)
        except BeyondBounds:
            return


def _undivided(text: str) -> MimeMessage:
    """The mail as its header and a body that is not looked into."""
    end = _END_OF_HEADER.search(text)
    message = Parser(_Headed).parsestr(text[: min(end.end() if end else len(text), _HEADER_CHARS)], headersonly=True)
    message.set_payload(text[end.end() :] if end else "")
    return message


def decode_and_join_header(header: Any, separator: str = " ") -> str | None:
    """A header as text: its encoded words decoded, and put together again with a separator.  None for None.

    What stands between encoded words keeps its own blanks, as in the original: `=?utf-8?q?a?= <a@b>` gives two.
    """
    if header is None:
        return None
    text = str(header)
    if len(text) > _HEADER_CHARS:  # the library takes the square of the number of words
        return text
    try:
        pieces = decode_header(header if isinstance(header, Header) else text)
    except HeaderParseError:
        return text
    return separator.join(_text(*piece) for piece in pieces)


def _text(piece: str | bytes, charset: str | None) -> str:
    if isinstance(piece, str):
        return piece
    if charset is None:
        return piece.decode("latin-1")  # so decode_header hands out what is not encoded
    try:
        return decode_octets(piece, charset, "replace")
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
    return asked(leaf.get_filename) or asked(lambda: _name_of(leaf))


def _name_of(leaf: MimeMessage) -> str | None:
    name: Any = leaf.get_param("name")
    return None if name is None else collapse_rfc2231_value(name)


def payload_of(leaf: MimeMessage) -> EncodedPayload:
    """The content of a part with its charset and transfer encoding, undecoded."""
    charset = asked(leaf.get_content_charset)
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
