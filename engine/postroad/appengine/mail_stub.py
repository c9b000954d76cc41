"""The stub of the mail service, by the original's name: `from postroad.appengine import mail_stub`."""

from __future__ import annotations

from .testing import outgoing
from .testing.stub import MailServiceStub

__all__ = ["MAX_REQUEST_SIZE", "MailServiceStub"]

MAX_REQUEST_SIZE = 32 << 20  # octets
_Base64EncodeAttachments = outgoing.attachments_encoded  # tests use it
