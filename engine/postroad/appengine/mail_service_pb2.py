"""The requests and codes of the mail service by the original's module name, so that `import` is all that a test has to change."""

from .protocol import MailAttachment, MailHeader, MailMessage, MailServiceError

__all__ = ["MailAttachment", "MailHeader", "MailMessage", "MailServiceError"]
