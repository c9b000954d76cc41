"""The MIME message of `to_mime_message()`, made fit for the wire without another structure or other values than tests look at.

Attachments in base64, names encoded as names, Date and Message-ID there, Bcc and an empty Reply-To not.  What is ASCII and can be
read stays as its author wrote it.  Used by `smtp_service.py` only; queued mail is written by the engine's composer.
"""

from __future__ import annotations

import base64
import time
from email import encoders
from email.header import Header
from email.message import Message
from email.policy import Compat32
from typing import Any, cast

from ..address import Mailbox, parse_mailboxes
from ..compose.fields import LINE_OCTETS, format_date
from ..errors import SubmissionError
from ..message import new_message_id
from .mailboxes import mailboxes_of

__all__ = ["make_fit", "wire_addresses"]

_ADDRESS_FIELDS = ("From", "Reply-To", "To", "Cc", "Resent-From", "Resent-To")


class _Policy(Compat32):
    """The library's, and knows UTF-8, which smtplib asks for where an address needs it (RFC 6531)."""

    utf8 = False


def wire_addresses(given: list[str]) -> list[str]:
    """The mailboxes of texts, for MAIL and RCPT: as they were written, or where that is no ASCII only their addresses."""
    return [each if each.isascii() else _bare(each) for each in mailboxes_of(given)]


def _bare(mailbox: str) -> str:
    found = _parsed(mailbox)
    return str(found[0].address) if len(found) == 1 else mailbox


def _parsed(text: str) -> tuple[Mailbox, ...]:
    """The mailboxes of a text; none where it cannot be read."""
    try:
        return parse_mailboxes(mailboxes_of([text]), "to")
    except SubmissionError:
        return ()


def make_fit(mime: Any, request: Any) -> None:
    """Change the message in place; `request` is the one that it was made from."""
    del mime["Bcc"]
    for name in ("Reply-To", *(header.name for header in request.Header)):
        if not str(mime[name] or "").strip():
            del mime[name]
    for name in _ADDRESS_FIELDS:
        if name in mime:
            _encode_names(mime, name)
    if "Date" not in mime:
        mime["Date"] = format_date(time.time())
    if "Message-ID" not in mime:
        mime["Message-ID"] = f"<{new_message_id()}@{_domain_of(request.Sender)}>"
    _encode_parts(mime, request)
    mime.policy = _Policy()


def _domain_of(sender: str) -> str:
    found = _parsed(sender)
    return found[0].address.domain.strip("[]") if found else "localhost"


def _encode_names(mime: Message, name: str) -> None:
    text = str(mime[name])
    mailboxes = () if text.isascii() else _parsed(text)
    if mailboxes:
        mime.replace_header(name, cast("Any", _header_of(mailboxes)))  # a Header is as good as a str


def _header_of(mailboxes: tuple[Mailbox, ...]) -> Header:
    header = Header(header_name="To", maxlinelen=76)
    for number, mailbox in enumerate(mailboxes, 1):
        comma = "," if number < len(mailboxes) else ""
        if not mailbox.name:
            header.append(f"{mailbox.address}{comma}", "us-ascii")
            continue
        header.append(*_phrase(mailbox.name))
        header.append(f"<{mailbox.address}>{comma}", "us-ascii")
    return header


def _phrase(name: str) -> tuple[str, str]:
    if not name.isascii():
        return name, "utf-8"
    quoted = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{quoted}"', "us-ascii"


def _encode_parts(mime: Message, request: Any) -> None:
    leaves = [part for part in mime.walk() if not part.is_multipart()]
    attached = [part for part in leaves if part.get_content_disposition() == "attachment"]
    for part, attachment in zip(attached, request.Attachment, strict=False):
        _put_octets(part, attachment.Data)
    for part in leaves:
        if part not in attached and _has_long_lines(part):
            del part["Content-Transfer-Encoding"]
            encoders.encode_base64(part)


def _put_octets(part: Message, data: bytes) -> None:
    del part["Content-Transfer-Encoding"]
    part.set_payload(base64.encodebytes(data).decode("ascii"))
    part["Content-Transfer-Encoding"] = "base64"
    if part.get_content_maintype() == "text" and not data.isascii() and part.get_param("charset") is None:
        part.set_param("charset", "utf-8" if _is_utf8(data) else "unknown-8bit")


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _has_long_lines(part: Message) -> bool:
    text = part.get_payload()
    return isinstance(text, str) and max(map(len, text.splitlines()), default=0) > LINE_OCTETS
