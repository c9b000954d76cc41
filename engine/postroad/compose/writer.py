"""Fields -> the canonical RFC 5322 message: CRLF, 7-bit clean, no line over 998 octets, no Bcc.

It must never write a byte that a field did not mean: text is checked before, and the header again after it is written.
The engine calls it at the door, before signing; what comes already written goes through `canonical.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from zlib import crc32

import msgspec

from ..address import Mailbox, parse_mailboxes
from ..errors import SubmissionError
from .attachment import Attachment, AttachmentLike, attachment_part, read_attachments
from .fields import (
    check_block,
    check_content_fields,
    check_message_id,
    check_name,
    check_text,
    format_date,
    write_any,
    write_mailboxes,
    write_text,
)
from .mime import Part, multipart, text_part

__all__ = ["Attachment", "Composed", "MailFields", "compose"]


class MailFields(msgspec.Struct, frozen=True, kw_only=True):
    """A message as its author thinks of it.

    sender: one mailbox: the From field, and its address is the return path.
    to, cc, bcc, reply_to: mailboxes, in one string or several ("a@b, Name <c@d>").
    body, html, amp_html: the same message as plain text, HTML and AMP; readers choose.
    headers: further fields; any name but those the composer owns.
    attachments: Attachment, (name, content) or (name, content, type).
    """

    sender: str
    to: str | Sequence[str] = ()
    cc: str | Sequence[str] = ()
    bcc: str | Sequence[str] = ()
    reply_to: str | Sequence[str] = ()
    subject: str = ""
    body: str | None = None
    html: str | None = None
    amp_html: str | None = None
    headers: Mapping[str, str] | Sequence[tuple[str, str]] = ()
    attachments: Sequence[AttachmentLike] = ()


class Composed(msgspec.Struct, frozen=True, kw_only=True):
    """A canonical message with its envelope.

    sender: the return path.  recipients: to, cc and bcc, each once.  message_id: without its angle brackets.
    eight_bit: the content holds octets over 127 (an attached signed message that may not be changed, a UTF-8 address).
    smtputf8: the header holds raw UTF-8, because an address cannot be written in ASCII.
    checksum: the CRC-32 of the content.
    """

    content: bytes
    checksum: int
    sender: str
    recipients: tuple[str, ...]
    message_id: str
    eight_bit: bool = False
    smtputf8: bool = False


def compose(fields: MailFields, *, message_id: str, date: float) -> Composed:
    """Write the message.  `date` is Unix seconds; `message_id` is `id@host`, with or without angle brackets.

    Raises SubmissionError that names the field ("to[1]", "headers[X-Any]", "attachments[2].filename").
    """
    message_id = check_message_id(message_id, "message_id")
    sender = _sender(fields.sender)
    to, cc, bcc = (parse_mailboxes(getattr(fields, field), field) for field in ("to", "cc", "bcc"))
    recipients = dict.fromkeys([str(mailbox.address) for mailbox in (*to, *cc, *bcc)])
    if not recipients:
        raise SubmissionError("to", "there is no recipient; give at least one of to, cc and bcc")
    written = _Header()
    written.add("Date", f"Date: {format_date(date)}\r\n")
    written.add("From", write_mailboxes("From", (sender,)))
    _add_recipients(written, to, cc)
    if reply_to := parse_mailboxes(fields.reply_to, "reply_to"):
        written.add("Reply-To", write_mailboxes("Reply-To", reply_to))
    written.add("Subject", write_text("Subject", check_text(fields.subject, "subject")))
    written.add("Message-ID", f"Message-ID: <{message_id}>\r\n")
    _add_headers(written, fields.headers)
    body = _body(fields, message_id)
    block = written.finish(body.fields).encode("utf-8")
    content = b"".join((block, b"\r\n", *body.chunks, _last_line_end(body)))
    return Composed(
        content=content,
        checksum=crc32(content),
        sender=str(sender.address),
        recipients=tuple(recipients),
        message_id=message_id,
        eight_bit=body.eight_bit or not block.isascii(),
        smtputf8=body.utf8 or not block.isascii(),
    )


def _sender(value: str) -> Mailbox:
    mailboxes = parse_mailboxes((value,), "sender") if value else ()
    if len(mailboxes) != 1:
        raise SubmissionError("sender", f"exactly one address is needed, {len(mailboxes)} are given")
    return mailboxes[0]


class _Header:
    """A header while it is written: its lines, and the names they were meant to have."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._names: list[str] = []

    def add(self, name: str, lines: str) -> None:
        self._names.append(name)
        self._lines.append(lines)

    def finish(self, content_fields: str) -> str:
        """All of it, checked, with the fields of the body behind."""
        self.add("MIME-Version", "MIME-Version: 1.0\r\n")
        block = "".join(self._lines)
        check_block(block, self._names, "headers")
        return block + check_content_fields(content_fields)


def _add_recipients(written: _Header, to: Sequence[Mailbox], cc: Sequence[Mailbox]) -> None:
    if to:
        written.add("To", write_mailboxes("To", to))
    if cc:
        written.add("Cc", write_mailboxes("Cc", cc))
    if not to and not cc:  # many filters distrust a message without any (RFC 5322 section 3.6.3 permits it)
        written.add("To", "To: undisclosed-recipients:;\r\n")


_OWNED = {
    "from": "sender",
    "to": "to",
    "cc": "cc",
    "bcc": "bcc",
    "resent-bcc": "bcc",
    "reply-to": "reply_to",
    "subject": "subject",
    "date": "",
    "message-id": "",
    "mime-version": "",
}


def _add_headers(written: _Header, headers: Mapping[str, str] | Sequence[tuple[str, str]]) -> None:
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    for pair in pairs:
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise SubmissionError("headers", "give a mapping, or pairs of name and value")
        name, value = pair
        field = f"headers[{str(name) if str(name).isprintable() else repr(name)}]"
        check_name(name, field)
        lower = name.lower()
        if lower in _OWNED or lower.startswith("content-"):
            argument = _OWNED.get(lower, "")
            remedy = f"use the argument {argument}" if argument else "leave it out"
            raise SubmissionError(field, f"{name} is written by the composer; {remedy}")
        written.add(name, write_any(name, check_text(value, field), field))


_BODIES = (
    ("body", "text/plain"),
    ("amp_html", "text/x-amp-html"),  # before HTML: readers without AMP then take the last they know
    ("html", "text/html"),
)


def _body(fields: MailFields, message_id: str) -> Part:
    """mixed( related( alternative( texts ), inline content ), attachments ); each level only where it is needed."""
    texts = [
        text_part(text, content_type, field)
        for field, content_type in _BODIES
        if (text := getattr(fields, field)) is not None
    ]
    inline, listed = _attached(fields)
    if not texts and not inline and not listed:
        texts.append(text_part("", "text/plain", "body"))
    main = multipart("alternative", texts, message_id) if len(texts) > 1 else texts[0] if texts else None
    if main is not None and inline:
        root = "multipart/alternative" if len(texts) > 1 else "text/html"
        main = multipart("related", [main, *inline], message_id, f';\r\n type="{root}"')  # RFC 2387 section 3.1
    if main is not None and not listed:
        return main
    return multipart("mixed", [*([main] if main is not None else ()), *listed], message_id)


def _attached(fields: MailFields) -> tuple[list[Part], list[Part]]:
    """What belongs to the HTML, and what is listed beside the message."""
    inline: list[Part] = []
    listed: list[Part] = []
    for number, attachment in enumerate(read_attachments(fields.attachments)):
        is_related = fields.html is not None and attachment.content_id is not None
        part = attachment_part(attachment, f"attachments[{number}]", as_inline=is_related)
        (inline if is_related else listed).append(part)
    return inline, listed


def _last_line_end(body: Part) -> bytes:
    """A message ends with a line end: SMTP would add it, and a signature must cover what is sent."""
    last = next((chunk for chunk in reversed(body.chunks) if chunk), b"\r\n")
    return b"" if last.endswith(b"\r\n") else b"\r\n"
