"""The MIME message that a request describes, as the contract lays it out.

It is what applications look at, not what is sent: it carries Bcc, an empty Reply-To and raw attachments, and neither Date nor
Message-ID.  What is sent is composed by the service from the same request.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from email.header import Header
from email.mime.base import MIMEBase
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from typing import Any

from .attachment_types import mime_type_of

__all__ = ["charset_of", "header_of", "mail_message_to_mime_message"]

BODIES = (("TextBody", "plain"), ("AmpHtmlBody", "x-amp-html"), ("HtmlBody", "html"))
RECIPIENTS = ("To", "Cc", "Bcc")


def charset_of(text: str) -> str:
    """The smallest charset that carries a text: us-ascii or utf-8."""
    return "us-ascii" if text.isascii() else "utf-8"


def header_of(text: str) -> Any:
    """A header of one encoded word at most, however long."""
    return Header(text, charset_of(text), maxlinelen=math.inf)  # type: ignore[arg-type]  # there is no other number for "never"


def mail_message_to_mime_message(protocol_message: Any) -> MIMEMultipart:
    """The MIME message of a request (`protocol.MailMessage`, or the original's protocol buffer).

    Raises InvalidAttachmentTypeError for an attachment that is not carried.
    """
    parts = [_bodies(protocol_message), *map(_attachment, protocol_message.Attachment)]
    mime_message = MIMEMultipart("mixed", _subparts=parts)
    for name, value in _headers(protocol_message):
        mime_message[name] = header_of(value)
    return mime_message


def _bodies(message: Any) -> MIMEText | MIMEMultipart:
    """The only body, or a multipart/alternative of all; the reader shows the last that it can (RFC 2046, 5.1.4)."""
    texts = [(getattr(message, field), subtype) for field, subtype in BODIES if message.HasField(field)]
    bodies = [MIMEText(text, subtype, charset_of(text)) for text, subtype in texts]
    return bodies[0] if len(bodies) == 1 else MIMEMultipart("alternative", _subparts=bodies)


def _attachment(attachment: Any) -> MIMEBase:
    part = MIMEBase(*mime_type_of(attachment.FileName).split("/"))
    part.add_header("Content-Disposition", "attachment", filename=attachment.FileName)
    part.set_payload(attachment.Data)
    if attachment.HasField("ContentID"):
        part["content-id"] = attachment.ContentID
    return part


def _headers(message: Any) -> Iterator[tuple[str, str]]:
    for name in RECIPIENTS:
        if recipients := getattr(message, name):
            yield name, ", ".join(recipients)
    yield "From", message.Sender
    yield "Reply-To", message.ReplyTo
    yield "Subject", message.Subject
    for header in message.Header:
        yield header.name, header.value
