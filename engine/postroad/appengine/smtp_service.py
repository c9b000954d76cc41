"""The original's SMTP mode: each message handed to the server of the APPENGINE_SMTP_ variables at once, by smtplib.

No queue, no retry, no bounce; errors and their texts are the original's.  On the wire it is better: attachments arrive octet for
octet, names are encoded as names, recipients are parted with regard to quotes, a silent server ends a call after a minute.
What is called of smtplib, and with what, is the contract too: tests of applications put something else in its place.
"""

from __future__ import annotations

import logging
import os
import smtplib
import ssl
from email.message import Message
from functools import cache
from typing import Any

from ..errors import ConfigError
from ..forking import no_fork
from .apiproxy_errors import FeatureNotEnabledError
from .environment import admins_of, is_smtp_wanted, overruled_by_smtp
from .mail_errors import Error, InvalidSenderError, MissingRecipientsError
from .patched import of_mail

__all__ = ["hand_over", "is_wanted"]

_TIMEOUT_SECONDS = 60.0  # for each reply; the original's calls last as long, its SMTP mode waits for ever
_IMPLICIT_TLS_PORT = 465  # RFC 8314 section 3.3
_REAL_SMTP = smtplib.SMTP


def is_wanted() -> bool:
    """Whether the environment asks for it.  Raises FeatureNotEnabledError for variables that contradict each other."""
    try:
        is_asked_for = is_smtp_wanted()
    except ConfigError as error:
        raise FeatureNotEnabledError(str(error)) from error
    if is_asked_for:
        _warn_once(overruled_by_smtp())
    return is_asked_for


@cache
def _warn_once(said: str) -> None:
    if said:
        of_mail(logging).warning(said)


def hand_over(message: Any) -> None:
    """Hand an EmailMessage or AdminEmailMessage to the server.

    Raises MissingRecipientsError, InvalidSenderError where the login fails, Error for everything else that goes wrong with the
    server, and ValueError for a port that is no number.
    """
    of_mail(logging).info("Sending email via SMTP.")
    request = message.ToProto()
    mime = message.to_mime_message()
    is_admin_mail = message._API_CALL == "SendToAdmins"  # as the original knows by the class
    with no_fork:
        from .smtp_mime import make_fit, wire_addresses
    given = list(admins_of()) if is_admin_mail else [*request.To, *request.Cc, *request.Bcc]
    recipients = wire_addresses(given)
    if not recipients:
        raise MissingRecipientsError
    make_fit(mime, request)
    (sender,) = wire_addresses([request.Sender])[:1] or [request.Sender]
    try:
        _send(mime, sender, recipients)
    except smtplib.SMTPAuthenticationError as error:
        said: Any = error.smtp_error  # octets, which the original shows as Python does
        of_mail(logging).error("SMTP authentication failed: %s", said)
        raise InvalidSenderError(f"SMTP authentication failed: {said}") from error
    except (smtplib.SMTPException, OSError) as error:
        of_mail(logging).error("Failed to send email via SMTP: %s", error)
        raise Error(f"Failed to send email via SMTP: {error}") from error
    except KeyError as error:
        of_mail(logging).error("Missing required SMTP environment variable: %s", error)
        raise Error(f"Missing required SMTP environment variable: {error}") from error
    of_mail(logging).info("Email sent successfully via SMTP.")


def _send(mime: Message, sender: str, recipients: list[str]) -> None:
    host = os.environ["APPENGINE_SMTP_HOST"]
    port = int(os.environ.get("APPENGINE_SMTP_PORT", "587"))
    user, password = os.environ.get("APPENGINE_SMTP_USER"), os.environ.get("APPENGINE_SMTP_PASSWORD")
    connect = _connector(port)
    with connect(host, port) as server:
        if os.environ.get("APPENGINE_SMTP_USE_TLS", "true").lower() == "true" and connect is not _ImplicitTls:
            server.starttls()
        if user and password:
            server.login(user, password)
        refused: Any = server.send_message(mime, from_addr=sender, to_addrs=recipients)
    if isinstance(refused, dict) and refused:  # the others have it, so that it is no error
        of_mail(logging).error("Recipients refused by the SMTP server: %s", refused)  # pyright: ignore[reportUnknownArgumentType]  # to be shown


def _connector(port: int) -> Any:
    """What a test put in the place of smtplib.SMTP; else smtplib's own, with a timeout, which its caller may not give."""
    named = of_mail(smtplib)
    if named.SMTP is not _REAL_SMTP:
        return named.SMTP
    return _ImplicitTls if port == _IMPLICIT_TLS_PORT else _Bounded


def _context() -> ssl.SSLContext:
    """Any certificate will do, as in the original, unless POSTROAD_SMTP_TLS=verified."""
    context = ssl.create_default_context()
    if os.environ.get("POSTROAD_SMTP_TLS") != "verified":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


class _Bounded(smtplib.SMTP):
    def __init__(self, host: str, port: int) -> None:
        super().__init__(host, port, timeout=_TIMEOUT_SECONDS)

    def starttls(self, *_given: Any, **_options: Any) -> tuple[int, bytes]:
        return super().starttls(context=_context())


class _ImplicitTls(smtplib.SMTP_SSL):
    def __init__(self, host: str, port: int) -> None:
        super().__init__(host, port, timeout=_TIMEOUT_SECONDS, context=_context())
