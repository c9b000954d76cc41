"""The messages that applications make: EmailMessage, AdminEmailMessage, InboundEmailMessage.

Fields, checks and errors are the contract's; see `message_base`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from .addresses import addresses_of, check_email_valid, kept
from .headers import check_headers_valid
from .mail_errors import MissingRecipientsError
from .message_base import EmailMessageBase, is_of_type
from .mime_in import addresses_in, parse_mime_message
from .patched import of_mail
from .payloads import EncodedPayload
from .posted import posted_octets
from .protocol import MailMessage
from .requests import RECIPIENTS, add_headers, add_recipients, recipients_of

__all__ = ["AdminEmailMessage", "EmailMessage", "InboundEmailMessage"]

RECIPIENT_FIELDS = tuple(name for name, _ in RECIPIENTS)


class EmailMessage(EmailMessageBase):
    """A message to recipients.

    to, cc, bcc: a str, in which commas separate, or any iterable of str; one of the three must be set.  headers: a dict of
    further headers, with names that `invalid_headers_reason` allows.
    """

    PROPERTIES: ClassVar[set[str]] = EmailMessageBase.PROPERTIES | {"headers"}
    _API_CALL = "Send"

    def __setattr__(self, attr: str, value: Any) -> None:
        value = kept(value)
        if attr in RECIPIENT_FIELDS:
            if value == "" and getattr(self, "ALLOW_BLANK_EMAIL", False):
                return
            for address in addresses_of(value):
                check_email_valid(address, attr)
        elif attr == "headers":
            check_headers_valid(value)
        super().__setattr__(attr, value)

    def check_initialized(self) -> None:
        """As of every message; and MissingRecipientsError without a recipient."""
        if not any(recipients_of(self, field) for field in RECIPIENT_FIELDS):
            raise MissingRecipientsError
        super().check_initialized()

    def ToProto(self) -> MailMessage:
        request = super().ToProto()
        add_recipients(request, self)
        add_headers(request, getattr(self, "headers", {}))
        return request

    def update_from_mime_message(self, mime_message: Any) -> None:
        mime_message = parse_mime_message(mime_message)
        super().update_from_mime_message(mime_message)
        for field in RECIPIENT_FIELDS:
            addresses = addresses_in(mime_message.get_all(field, []))
            if addresses:
                setattr(self, field, addresses)


class AdminEmailMessage(EmailMessageBase):
    """A message to all administrators.  to, cc and bcc may be set, and are not used."""

    _API_CALL = "SendToAdmins"

    def __setattr__(self, attr: str, value: Any) -> None:
        if attr in RECIPIENT_FIELDS:
            of_mail(logging).warning("'%s' is not a valid property to set for AdminEmailMessage.  It is unused.", attr)
        super().__setattr__(attr, value)


class InboundEmailMessage(EmailMessage):
    """A message that came in: all of its bodies, its date and its message id, as far as it has them.

    alternate_bodies: the further bodies, as (type, payload), in their order.  date, message_id: as they stand in the header.
    """

    PROPERTIES: ClassVar[set[str]] = EmailMessageBase.PROPERTIES | {"alternate_bodies", "date", "message_id"}
    ALLOW_BLANK_EMAIL = True
    HEADER_FIELDS: ClassVar[dict[str, str]] = {"date": "date", "message_id": "message-id"}

    @classmethod
    def from_environ(cls, environ: Mapping[str, Any]) -> InboundEmailMessage:
        """The message posted to a WSGI application; nothing without a CONTENT_LENGTH.  ValueError if it is too large."""
        return cls(posted_octets(environ))

    def update_from_mime_message(self, mime_message: Any) -> None:
        mime_message = parse_mime_message(mime_message)
        super().update_from_mime_message(mime_message)
        for field, header in self.HEADER_FIELDS.items():
            if value := mime_message[header]:
                setattr(self, field, str(value))

    def to_mime_message(self) -> Any:
        mime_message = super().to_mime_message()
        for field, header in self.HEADER_FIELDS.items():
            if hasattr(self, field):
                mime_message[header] = getattr(self, field)
        return mime_message

    def _add_body(self, content_type: str, payload: EncodedPayload) -> None:
        """The first of a kind is the body, the others are alternates."""
        if (content_type == "text/plain" and not hasattr(self, "body")) or (
            content_type == "text/html" and not hasattr(self, "html")
        ):
            super()._add_body(content_type, payload)
        else:
            self.alternate_bodies = [*getattr(self, "alternate_bodies", []), (content_type, payload)]

    def bodies(self, content_type: str | None = None) -> Iterator[tuple[str, Any]]:
        """The HTML, the plain text, then the alternates, with their types; content_type as in every message."""
        yield from super().bodies(content_type)
        for its_type, payload in getattr(self, "alternate_bodies", []):
            if is_of_type(its_type, content_type):
                yield its_type, payload
