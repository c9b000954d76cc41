"""The providers by their names in `provider`."""

from __future__ import annotations

from collections.abc import Mapping

from .brevo import Brevo
from .mailersend import MailerSend
from .mailgun import Mailgun
from .mailjet import Mailjet
from .mandrill import Mandrill
from .postmark import Postmark
from .provider import Provider
from .resend import Resend
from .sendgrid import SendGrid
from .ses import Ses
from .sparkpost import SparkPost

__all__ = ["PROVIDERS"]

_ALL: tuple[Provider, ...] = (
    Ses(),
    Mailgun(),
    SendGrid(),
    Postmark(),
    Mailjet(),
    Resend(),
    Brevo(),
    SparkPost(),
    MailerSend(),
    Mandrill(),
)
PROVIDERS: Mapping[str, Provider] = {provider.name: provider for provider in _ALL}
