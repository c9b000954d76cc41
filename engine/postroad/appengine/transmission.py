"""The request of a call -> the fields that the engine composes a message from.

What `to_mime_message()` shows is not what is sent: here names are encoded as names, recipients are parted with regard to
quotes, Bcc stays out of the header, an empty Reply-To is none, and attachments arrive octet for octet.
Pure; `service.py` and `smtp_service.py` ask.
"""

from __future__ import annotations

import re
from typing import Any

from ..compose.attachment import Attachment, guess_type
from .attachment_types import EXTENSION_MIME_MAP, extension_of
from .mailboxes import mailbox_of, mailboxes_of

__all__ = ["mail_fields"]

_FOLD = re.compile(r"(?:\r\n|\r|\n)[ \t]+")
_LINE_ENDS = re.compile(r"\s*(?:\r\n|\r|\n)\s*")
_HEADER_WITHIN = re.compile(r"[\r\n][^ \t\r\n:]+:")  # what looks like another header is no accident


def mail_fields(request: Any) -> dict[str, Any]:
    """The arguments of `Engine.send_mail` for a request (`protocol.MailMessage`, or the original's protocol buffer)."""
    fields: dict[str, Any] = {
        "sender": mailbox_of(request.Sender),
        "to": mailboxes_of(request.To),
        "cc": mailboxes_of(request.Cc),
        "bcc": mailboxes_of(request.Bcc),
        "subject": _one_line(request.Subject),
        "headers": _headers(request.Header),
        "attachments": [_attachment(attachment) for attachment in request.Attachment],
    }
    if request.ReplyTo.strip():
        fields["reply_to"] = mailboxes_of([request.ReplyTo])
    for argument, name in (("body", "TextBody"), ("html", "HtmlBody"), ("amp_html", "AmpHtmlBody")):
        if request.HasField(name):
            fields[argument] = getattr(request, name)
    return fields


def _headers(given: Any) -> list[tuple[str, str]]:
    """Without those that say nothing, as a first mail's References: none of those allowed may be empty (RFC 5322, 3.6)."""
    read = [(header.name.strip(), _FOLD.sub(" ", header.value).strip()) for header in given]
    return [(name, value) for name, value in read if value]


def _one_line(subject: str) -> str:
    """A subject from a template often ends with a line end; one within, as the original's folding, becomes a space."""
    if "\n" not in subject and "\r" not in subject:
        return subject
    return subject if _HEADER_WITHIN.search(subject) else _LINE_ENDS.sub(" ", subject).strip()


def _attachment(given: Any) -> Attachment:
    content_id = given.ContentID if given.HasField("ContentID") else None
    return Attachment(given.FileName, given.Data, _type_of(given.FileName, given.Data), content_id or None)


def _type_of(name: str, data: bytes) -> str | None:
    """The type by the original's list; None, for the composer to choose, where that is the same or says more of it."""
    kind = EXTENSION_MIME_MAP.get(extension_of(name))
    if kind is None or kind == guess_type(name) or kind.startswith("message/"):
        return None
    return f"{kind}; charset=utf-8" if kind.startswith("text/") and _is_utf8(data) else kind


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
