"""Bodies and attachments as applications give them: EncodedPayload and Attachment.

Decoding trusts nobody: a payload may come from a stranger's mail, so what unpacks to more than DECODED_OCTETS_MAX is refused.
"""

from __future__ import annotations

import bz2
import codecs
import zlib
from collections.abc import Iterator
from email.message import Message
from typing import Any, TypeAlias

from .mail_errors import PayloadEncodingError, UnknownCharsetError, UnknownEncodingError

__all__ = [
    "Attachment",
    "EncodedPayload",
    "MimeMessage",
    "attachments_of",
    "check_attachments",
    "decoded",
    "is_one_attachment",
]

DECODED_OCTETS_MAX = 64 << 20  # twice the largest request of the original
DOMAIN_CODECS = ("punycode", "idna")  # they take the square of the length: 20 s for 1 MB
DOMAIN_OCTETS_MAX = 255  # RFC 1035 section 2.3.4
IDENTITIES = ("7bit", "8bit", "binary")  # transfer encodings that change nothing (RFC 2045, 6.2)
MimeMessage: TypeAlias = "Message[Any, Any]"


class EncodedPayload:
    """Octets with their character set and transfer encoding, as they stand in a mail.

    payload: bytes; TypeError for anything else.  charset: as in `Content-Type`, None for octets that are no text.  encoding: as
    in `Content-Transfer-Encoding`, or any codec of Python.
    """

    def __init__(self, payload: bytes, charset: str | None = None, encoding: str | None = None) -> None:
        if not isinstance(payload, bytes):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers are not all typed
            raise TypeError(f"payload should be bytes, not {type(payload).__name__}: encode it, and name the charset")
        self.payload = payload
        self.charset = charset
        self.encoding = encoding

    def decode(self) -> Any:
        """The text, or the octets without a charset.

        Raises UnknownEncodingError, UnknownCharsetError, PayloadEncodingError.
        """
        octets: Any = self.payload
        if self.encoding and self.encoding.strip().lower() not in IDENTITIES:
            octets = self._decoded_transfer(self.encoding)
        if not self.charset or str(self.charset).lower() == "7bit":
            return octets
        try:
            _refuse_bomb(octets, str(self.charset))
            return codecs.decode(octets, str(self.charset))
        except LookupError:
            raise UnknownCharsetError(f"Unknown charset {self.charset}.") from None
        except Exception as error:  # a codec of Python may raise anything
            raise PayloadEncodingError(f"Could read characters: {error}") from error

    def _decoded_transfer(self, encoding: str) -> Any:
        try:
            _refuse_bomb(self.payload, encoding)
            return codecs.decode(self.payload, encoding)
        except LookupError:
            raise UnknownEncodingError(f"Unknown decoding {encoding}.") from None
        except Exception as error:  # as above
            raise PayloadEncodingError(f"Could not decode payload: {error}") from error

    def copy_to(self, mime_message: MimeMessage) -> None:
        """Make it the content of a MIME message, with its charset and encoding in the headers."""
        if self.encoding:
            del mime_message["content-transfer-encoding"]
            mime_message["content-transfer-encoding"] = self.encoding
        mime_message.set_payload(self.payload, self.charset)

    def to_mime_message(self) -> MimeMessage:
        """A MIME message with it as its content."""
        mime_message = Message()
        self.copy_to(mime_message)
        return mime_message

    def __str__(self) -> str:
        return str(self.to_mime_message())

    def __eq__(self, other: object) -> bool:
        if isinstance(other, EncodedPayload):
            return self._identity() == other._identity()
        return NotImplemented

    def __hash__(self) -> int:
        return hash(self._identity())

    def _identity(self) -> tuple[bytes, str | None, str | None]:
        return self.payload, self.charset, self.encoding

    def __repr__(self) -> str:
        charset = f" charset={self.charset}" if self.charset else ""
        encoding = f" encoding={self.encoding}" if self.encoding else ""
        return f"<EncodedPayload payload=#{hash(self.payload)}{charset}{encoding}>"


def _refuse_bomb(packed: Any, name: str) -> None:
    """ValueError if a compressed payload unpacks to too much, or one for domain names is too long for its codec's slowness.

    What is damaged, is for the codec to say.  Raises LookupError for what is no codec.
    """
    codec = codecs.lookup(name).name
    if codec in DOMAIN_CODECS and len(packed) > DOMAIN_OCTETS_MAX:
        raise ValueError(f"{codec} is for domain names, which have at most {DOMAIN_OCTETS_MAX} octets")
    if codec not in ("zlib", "bz2"):
        return
    try:
        unpacker = zlib.decompressobj() if codec == "zlib" else bz2.BZ2Decompressor()
        size = len(unpacker.decompress(packed, DECODED_OCTETS_MAX + 1))
    except (zlib.error, OSError):
        return
    if size > DECODED_OCTETS_MAX:
        raise ValueError(f"it unpacks to more than {DECODED_OCTETS_MAX} octets")


def decoded(payload: Any) -> Any:
    """A payload, decoded if it is an EncodedPayload.  Raises what `EncodedPayload.decode` does."""
    return payload.decode() if isinstance(payload, EncodedPayload) else payload


class Attachment:
    """A file: its name, its payload (bytes, str or EncodedPayload) and the content id by which HTML shows it.

    It unpacks, and compares, as the tuple (filename, payload); with a content id it is equal to (filename, payload, content_id).
    """

    def __init__(self, filename: Any, payload: Any, *rest: Any, content_id: str | None = None) -> None:
        if rest:
            raise TypeError(f"__init__() takes at most 3 positional arguments ({3 + len(rest)} given)")
        self.filename = filename
        self.payload = payload
        self.content_id = content_id

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Attachment):
            return self._whole() == other._whole()
        theirs: Any = other
        if isinstance(other, tuple):
            return self._whole() == (theirs if len(theirs) == 3 else (*theirs, None))
        return NotImplemented

    def __hash__(self) -> int:
        return hash(self._pair() if self.content_id is None else self._whole())

    def __iter__(self) -> Iterator[Any]:
        return iter(self._pair())

    def __getitem__(self, index: Any) -> Any:
        return self._pair()[index]

    def __contains__(self, value: object) -> bool:
        return value in self._pair()

    def __len__(self) -> int:
        return 2

    def __repr__(self) -> str:
        return f"<Attachment {self.filename!r}>"

    def _pair(self) -> tuple[Any, Any]:
        return self.filename, self.payload

    def _whole(self) -> tuple[Any, Any, str | None]:
        return self.filename, self.payload, self.content_id


def is_one_attachment(value: Any) -> bool:
    """Whether a field of attachments holds one without a list around it: an Attachment, or a pair that begins with a name."""
    return len(value) == 2 and isinstance(value[0], str)


def attachments_of(value: Any) -> Iterator[Attachment]:
    """What a field of attachments holds: one Attachment, one pair of name and payload, or any number of these.

    Raises TypeError for what is none of these.
    """
    for one in (value,) if is_one_attachment(value) else value:
        yield one if isinstance(one, Attachment) else Attachment(*one)


def check_attachments(value: Any) -> None:
    """Raise TypeError unless a value is attachments, each with a name or a payload that is a str."""
    for attachment in attachments_of(value):
        if not isinstance(attachment.filename, str) and not isinstance(attachment.payload, str):
            raise TypeError  # without a text, as the contract has it
