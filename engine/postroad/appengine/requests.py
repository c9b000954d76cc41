"""The request that describes a message's fields.

What the application wrote passes unchanged, but for what cannot pass: encoded payloads are decoded, a list of recipients that
is one text is split, users become their addresses, and None for a subject or a body is none.
"""

from __future__ import annotations

from typing import Any

from .addresses import address_of, split_recipients
from .mail_errors import PayloadEncodingError
from .payloads import Attachment, EncodedPayload, attachments_of, decoded
from .protocol import MailMessage

__all__ = ["BODIES", "RECIPIENTS", "add_headers", "add_recipients", "recipients_of", "request_of"]

BODIES = (("body", "TextBody"), ("html", "HtmlBody"), ("amp_html", "AmpHtmlBody"))
RECIPIENTS = (("to", "To"), ("cc", "Cc"), ("bcc", "Bcc"))


def request_of(message: Any) -> MailMessage:
    """The request, without recipients and further headers.

    Raises TypeError for a field of another type, PayloadEncodingError for a body that is no text.
    """
    subject = getattr(message, "subject", None)
    request = MailMessage(Sender=address_of(message.sender), Subject="" if subject is None else subject)
    if hasattr(message, "reply_to"):
        request.ReplyTo = address_of(message.reply_to)
    for name, field in BODIES:
        body = getattr(message, name, None)
        if body is not None:
            setattr(request, field, _text_of(body))
    for attachment in attachments_of(getattr(message, "attachments", ())):
        _add_attachment(request, attachment)
    return request


def _text_of(body: Any) -> Any:
    text = decoded(body)
    if not isinstance(body, EncodedPayload) or not isinstance(text, bytes):
        return text
    try:
        return text.decode("utf-8")
    except UnicodeDecodeError as error:
        raise PayloadEncodingError(f"Could read characters: {error}") from error


def _add_attachment(request: MailMessage, attachment: Attachment) -> None:
    """As in the original, an encoded payload of an Attachment is decoded for good."""
    data = attachment.payload = decoded(attachment.payload)
    if data is None:  # which would be an unset field: an empty attachment
        raise TypeError(f"the payload of the attachment {attachment.filename!r} should be bytes or a str, not NoneType")
    octets = data.encode("utf-8") if isinstance(data, str) else data
    request.Attachment.add(FileName=attachment.filename, Data=octets, ContentID=attachment.content_id or None)


def recipients_of(message: Any, field: str) -> list[str]:
    """The recipients in to, cc or bcc; none if it is not set."""
    return split_recipients(getattr(message, field, ()))


def add_recipients(request: MailMessage, message: Any) -> None:
    """To, Cc and Bcc."""
    for name, field in RECIPIENTS:
        getattr(request, field).extend(recipients_of(message, name))


def add_headers(request: MailMessage, headers: dict[str, str]) -> None:
    """Further headers.  Blanks around a name, which the checks let pass, are no part of it (RFC 5322, 2.2)."""
    for name, value in headers.items():
        request.Header.add(name=name.strip(), value=value)
