"""App Engine's Mail API by its names: `from postroad.appengine import mail`.

Only names: whatever they do is done in the modules of this package, but for `send_mail` and `send_mail_to_admins`, which are
here so that they use the classes that a test puts in place of these.
"""

from __future__ import annotations

import logging
import os
import smtplib
from typing import Any

from . import apiproxy_errors, attachment_types, mail_service_pb2, message_base, mime_in
from .addresses import check_email_valid, invalid_email_reason, is_email_valid
from .attachment_types import EXTENSION_BLACKLIST, EXTENSION_MIME_MAP
from .bounce_notification import BounceNotification
from .calling import ERROR_MAP, MakeSyncCall
from .headers import HEADER_WHITELIST, check_headers_valid, invalid_headers_reason, is_ascii
from .mail_errors import (
    BadRequestError,
    Error,
    InvalidAttachmentTypeError,
    InvalidEmailError,
    InvalidHeaderNameError,
    InvalidSenderError,
    MissingBodyError,
    MissingRecipientsError,
    MissingSenderError,
    MissingSubjectError,
    PayloadEncodingError,
    UnknownCharsetError,
    UnknownEncodingError,
)
from .messages import AdminEmailMessage, EmailMessage, InboundEmailMessage
from .mime_out import mail_message_to_mime_message
from .payloads import Attachment, EncodedPayload
from .service import configure, last_receipt

__all__ = [
    "BOUNCE_NOTIFICATION_URL_PATH",
    "ERROR_MAP",
    "EXTENSION_BLACKLIST",
    "EXTENSION_MIME_MAP",
    "HEADER_WHITELIST",
    "INCOMING_MAIL_URL_PATTERN",
    "AdminEmailMessage",
    "Attachment",
    "BadRequestError",
    "BounceNotification",
    "CheckEmailValid",
    "EmailMessage",
    "EncodedPayload",
    "Error",
    "InboundEmailMessage",
    "InvalidAttachmentTypeError",
    "InvalidEmailError",
    "InvalidEmailReason",
    "InvalidHeaderNameError",
    "InvalidSenderError",
    "IsEmailValid",
    "MailMessageToMIMEMessage",
    "MissingBodyError",
    "MissingRecipientsError",
    "MissingSenderError",
    "MissingSubjectError",
    "PayloadEncodingError",
    "SendMail",
    "SendMailToAdmins",
    "UnknownCharsetError",
    "UnknownEncodingError",
    "apiproxy_errors",
    "check_email_valid",
    "check_headers_valid",
    "configure",
    "invalid_email_reason",
    "invalid_headers_reason",
    "is_ascii",
    "is_email_valid",
    "last_receipt",
    "logging",
    "mail_message_to_mime_message",
    "mail_service_pb2",
    "os",
    "send_mail",
    "send_mail_to_admins",
    "smtplib",
]

INCOMING_MAIL_URL_PATTERN = "/_ah/mail/.+"
BOUNCE_NOTIFICATION_URL_PATH = "/_ah/bounce"


def send_mail(
    sender: Any, to: Any, subject: Any, body: Any, make_sync_call: MakeSyncCall | None = None, **kw: Any
) -> None:
    """Send a message; returns once it is accepted.  kw: further fields of EmailMessage.  Raises what its `send` does."""
    EmailMessage(sender=sender, to=to, subject=subject, body=body, **kw).send(make_sync_call=make_sync_call)


def send_mail_to_admins(
    sender: Any, subject: Any, body: Any, make_sync_call: MakeSyncCall | None = None, **kw: Any
) -> None:
    """Send a message to all administrators.  kw: further fields of AdminEmailMessage.  Raises what its `send` does."""
    AdminEmailMessage(sender=sender, subject=subject, body=body, **kw).send(make_sync_call=make_sync_call)


SendMail = send_mail
SendMailToAdmins = send_mail_to_admins
IsEmailValid = is_email_valid
InvalidEmailReason = invalid_email_reason
CheckEmailValid = check_email_valid
MailMessageToMIMEMessage = mail_message_to_mime_message

# Private in the original, and yet used by tests and stubs.
_EmailMessageBase = message_base.EmailMessageBase
_GetMimeType = attachment_types.mime_type_of
_decode_and_join_header = mime_in.decode_and_join_header
