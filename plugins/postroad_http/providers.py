"""The providers by their names in `provider`."""

from __future__ import annotations

from collections.abc import Mapping

from .mailgun import Mailgun
from .mailjet import Mailjet
from .postmark import Postmark
from .provider import Provider
from .sendgrid import SendGrid
from .ses import Ses

__all__ = ["PROVIDERS"]

_ALL: tuple[Provider, ...] = (Ses(), Mailgun(), SendGrid(), Postmark(), Mailjet())
PROVIDERS: Mapping[str, Provider] = {provider.name: provider for provider in _ALL}
