"""The providers' events by their names in `provider`."""

from __future__ import annotations

from collections.abc import Mapping

from .brevo import BrevoEvents
from .mailersend import MailerSendEvents
from .mailgun import MailgunEvents
from .mailjet import MailjetEvents
from .mandrill import MandrillEvents
from .postmark import PostmarkEvents
from .resend import ResendEvents
from .sendgrid import SendGridEvents
from .ses import SesEvents
from .source import Source
from .sparkpost import SparkPostEvents

__all__ = ["SOURCES"]

_ALL: tuple[Source, ...] = (
    SesEvents(),
    MailgunEvents(),
    SendGridEvents(),
    PostmarkEvents(),
    MailjetEvents(),
    ResendEvents(),
    BrevoEvents(),
    SparkPostEvents(),
    MailerSendEvents(),
    MandrillEvents(),
)
SOURCES: Mapping[str, Source] = {source.name: source for source in _ALL}
