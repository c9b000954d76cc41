"""Header fields: text and mailboxes -> folded, 7-bit lines that mean the same, and a check of what was written.

No line is over 998 octets (78 wanted, RFC 5322 section 2.1.1), a fold stands only before white space that was there, and
no encoded word goes into a structured field.  Pure; used by `compose.py`, `canonical.py` and `downgrade.py`.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Sequence

from ..address import Mailbox, parse_mailboxes
from ..encoded import UNSAFE_TEXT, WORD_CHARS, encode_words, is_plain
from ..errors import SubmissionError

__all__ = [
    "ADDRESS_FIELDS",
    "HEADER_OCTETS",
    "LINE_OCTETS",
    "check_block",
    "check_content_fields",
    "check_message_id",
    "check_name",
    "check_text",
    "fold_chunks",
    "format_date",
    "is_structured",
    "write_any",
    "write_mailboxes",
    "write_structured",
    "write_text",
]

LINE_OCTETS = 998  # RFC 5322 section 2.1.1, RFC 5321 section 4.5.3.1.6; without CRLF
HEADER_OCTETS = 102_400  # a whole header; Postfix's header_size_limit
_FOLD_CHARS = 76  # RFC 2047 section 2: a line with an encoded word
_SHORT_NAME_CHARS = 45  # behind longer names the value begins on a line of its own
_NAME_CHARS = 128  # leaves room for a value; the longest registered name has 39
_NAME = re.compile(r"[!-9;-~]+")
_CHUNK = re.compile(r"[ \t]*[^ \t]+")

# fmt: off
ADDRESS_FIELDS = frozenset({
    "from", "sender", "reply-to", "to", "cc", "bcc", "resent-from", "resent-sender", "resent-to", "resent-cc",
    "resent-reply-to", "return-receipt-to", "disposition-notification-to", "errors-to", "mail-followup-to",
    "mail-reply-to",
})
_STRUCTURED = frozenset({
    "references", "in-reply-to", "message-id", "date", "return-path", "received", "delivered-to", "precedence",
    "auto-submitted", "mime-version", "importance", "priority", "x-priority", "sensitivity", "expires", "expiry-date",
    "supersedes", "original-message-id", "autocrypt", "tls-required", "tls-report-domain", "tls-report-submitter",
    "require-recipient-valid-since", "feedback-id", "cfbl-address", "cfbl-feedback-id", "authentication-results",
    "domainkey-signature",
})
# fmt: on
_STRUCTURED_PREFIXES = ("list-", "content-", "resent-", "dkim-", "arc-")


def is_structured(name: str) -> bool:
    """Whether an encoded word would break the field; `name` in lower case.  Unknown fields are plain text."""
    return name in _STRUCTURED or name.startswith(_STRUCTURED_PREFIXES)


def check_name(name: str, field: str) -> str:
    """Refuse what cannot be the name of a header field (RFC 5322 section 2.2)."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise SubmissionError(field, "a header name is printable ASCII without spaces and colons")
    if len(name) > _NAME_CHARS:
        raise SubmissionError(field, f"a header name has at most {_NAME_CHARS} characters")
    return name


def check_text(value: str, field: str) -> str:
    """Refuse CR, LF, NUL, other controls but the tab, what some software takes for a line end, and lone surrogates."""
    if not isinstance(value, str):  # pyright: ignore[reportUnnecessaryIsInstance]: callers are not all typed
        raise SubmissionError(field, f"must be a str, not {type(value).__name__}")
    if len(value) > HEADER_OCTETS:
        raise SubmissionError(field, f"it has {len(value):,} characters, a whole header may have {HEADER_OCTETS:,}")
    if unsafe := UNSAFE_TEXT.search(value):
        raise SubmissionError(
            field, f"it holds the character U+{ord(unsafe[0]):04X}, which no header can carry; remove it"
        )
    return value


_MESSAGE_ID = re.compile(r"[!-;=?-~]+@[!-;=?-~]+")


def check_message_id(value: str, field: str) -> str:
    """A Message-ID or Content-ID without its angle brackets, which may stand around it."""
    bare = value[1:-1] if value[:1] == "<" and value[-1:] == ">" else value
    if not _MESSAGE_ID.fullmatch(bare) or len(bare) > 900:
        raise SubmissionError(field, f"{value[:80]!r} is not an id; write printable ASCII without spaces: name@domain")
    return bare


def write_text(name: str, value: str) -> str:
    """An unstructured field, such as Subject: as it is where it can be, else all of it in encoded words."""
    if is_plain(value):
        folded = _fold_text(name, value)
        if folded is not None:
            return folded
    return fold_chunks(name, encode_words(value, _first_chars(name)))


def write_structured(name: str, value: str, field: str) -> str:
    """A structured field: ASCII only, folded only at white space."""
    if not value.isascii():
        raise SubmissionError(field, f"{name} has a syntax of its own that takes ASCII only; encode or remove the rest")
    folded = _fold_text(name, value.strip(" \t"))
    if folded is None:
        raise SubmissionError(field, f"{name} has {LINE_OCTETS} characters without a space; shorten it")
    return folded


def write_any(name: str, value: str, field: str) -> str:
    """A field by its name's own rule: mailboxes, structured, or text."""
    lower = name.lower()
    if lower in ADDRESS_FIELDS:
        mailboxes = parse_mailboxes(value, field)
        if not mailboxes:
            raise SubmissionError(field, f"{name} holds no address; leave it out")
        return write_mailboxes(name, mailboxes)
    if is_structured(lower):
        return write_structured(name, value, field)
    return write_text(name, value)


def _first_chars(name: str) -> int:
    """Room for the first encoded word behind the name; where there is little, the value starts on a line of its own."""
    return WORD_CHARS if len(name) > _SHORT_NAME_CHARS else _FOLD_CHARS - len(name) - 2


def _fold_text(name: str, value: str) -> str | None:
    """Fold before white space; None where a line would still be over 998 octets."""
    if len(name) + 2 + len(value) <= _FOLD_CHARS:
        return f"{name}: {value}\r\n"
    lines: list[str] = []
    line = f"{name}:"
    for chunk in _CHUNK.findall(" " + value):
        if len(line) + len(chunk) > _FOLD_CHARS and line[-1] != ":":
            lines.append(line)
            line = chunk
        else:
            line += chunk
    lines.append(line)
    if max(map(len, lines)) > LINE_OCTETS:
        return None
    return "\r\n".join(lines) + "\r\n"


def fold_chunks(name: str, chunks: Iterable[str]) -> str:
    """Chunks that must not be broken, with one space between; a name with little room behind it stands alone."""
    lines: list[str] = []
    line = f"{name}:"
    for chunk in chunks:
        is_first = line[-1] == ":" and not lines
        if len(line) + 1 + len(chunk) > _FOLD_CHARS and not (is_first and len(name) <= _SHORT_NAME_CHARS):
            lines.append(line)
            line = " " + chunk
        else:
            line += " " + chunk
    lines.append(line)
    return "\r\n".join(lines) + "\r\n"


_ATEXT_PHRASE = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?: [A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")
_NAME_ROOM = 60  # longer names are cut into encoded words, which can be folded anywhere


def write_mailboxes(name: str, mailboxes: Sequence[Mailbox]) -> str:
    """A field with mailboxes: folded between them, names quoted or encoded, addresses never."""
    chunks: list[str] = []
    for mailbox in mailboxes:
        if mailbox.name:
            chunks += _display_name(mailbox.name, name if not chunks else "")
            chunks.append(f"<{mailbox.address}>,")
        else:
            chunks.append(f"{mailbox.address},")
    if chunks:
        chunks[-1] = chunks[-1][:-1]
    return fold_chunks(name, chunks)


def _display_name(display: str, field_name: str) -> list[str]:
    if is_plain(display) and len(display) <= _NAME_ROOM and "\t" not in display:
        if _ATEXT_PHRASE.fullmatch(display):
            return [display]
        quoted = display.replace("\\", "\\\\").replace('"', '\\"')
        return [f'"{quoted}"']
    return encode_words(display, _first_chars(field_name))


_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def format_date(date: float) -> str:
    """Unix seconds as a date in UTC (RFC 5322 section 3.3), whatever the process's locale."""
    year, month, day, hour, minute, second, weekday, _, _ = time.gmtime(date)
    return f"{_DAYS[weekday]}, {day:02} {_MONTHS[month - 1]} {year:04} {hour:02}:{minute:02}:{second:02} +0000"


_FIELD = re.compile(r"(?m)^(([!-9;-~]+):[^\r\n]*(?:\r\n[ \t]+[^ \t\r\n][^\r\n]*)*\r\n)")


def check_block(block: str, names: Sequence[str], field: str) -> None:
    """Make sure that a written header holds exactly the fields that were meant, in order, and no stray CR, LF or NUL.

    The last line of defence against header injection: it looks at the result, not at how it was made.
    """
    found = _FIELD.findall(block)
    whole = sum([len(field_lines) for field_lines, _ in found])
    if [written for _, written in found] != list(names) or whole != len(block) or "\0" in block:
        raise SubmissionError(field, "the header would hold other fields than were given; remove its line breaks")
    if len(block) > HEADER_OCTETS:
        raise SubmissionError(
            field, f"the header has {len(block):,} octets, {HEADER_OCTETS:,} are allowed; use bcc or several messages"
        )


_CONTENT_FIELDS = re.compile(r"(?:Content-[A-Za-z-]+:[^\r\n\0]*(?:\r\n[ \t]+[^ \t\r\n\0][^\r\n\0]*)*\r\n)+")


def check_content_fields(block: str) -> str:
    """The same for the header of a part: nothing but Content-* fields."""
    if not block.isascii() or not _CONTENT_FIELDS.fullmatch(block):
        raise SubmissionError("attachments", "the header of a part would hold other fields than were given")
    return block
