"""The stub of the mail service: checks what is sent as the service does, remembers it, logs it, and sends nothing.

Names, arguments and the form of the log are the original's; what it sent out itself, where `host` or `enable_sendmail` say so,
goes by `outgoing.py`.  For any number of threads.
"""

from __future__ import annotations

import logging
import re
import smtplib
import subprocess
import threading
from collections.abc import Callable
from typing import Any

from ...errors import ConfigError
from ...message import new_message_id
from .. import apiproxy_errors, failures, service
from ..doors import OpenDoor, Taker, configured_rules
from ..mail_errors import Error
from ..messages import AdminEmailMessage, EmailMessage
from ..mime_in import leaves_of, payload_of
from ..mime_out import mail_message_to_mime_message
from ..payloads import EncodedPayload
from ..requests import recipients_of
from .stub_log import Log, log_function, log_text

__all__ = ["MailServiceStub"]

Pattern = str | re.Pattern[str] | None


class MailServiceStub:
    """Keeps what is sent.

    host, port, user, password, allow_tls: a server that mail really goes to, by SMTP; without host none.
    enable_sendmail: without host, it really goes to the program sendmail.
    show_mail_body: bodies are logged, too.
    config: whose rules hold (senders, addresses, sizes, quotas): a `postroad.Config`, a mapping or the path of a TOML file.
      By default what `mail.configure` or POSTROAD_CONFIG name at the moment of sending; where nothing is named, requests over
      32 MB and attachments are refused, and anything else is taken.
    """

    THREADSAFE = True

    def __init__(
        self,
        host: str | None = None,
        port: int = 25,
        user: str = "",
        password: str = "",
        enable_sendmail: bool = False,
        show_mail_body: bool = False,
        service_name: str = "mail",
        allow_tls: bool = True,
        *,
        config: Any = None,
    ) -> None:
        self.keeps_everything = False  # the original's does not keep what goes by the SMTP variables
        self._smtp = (host, port, user, password, allow_tls)
        self._enable_sendmail = enable_sendmail
        self._show_mail_body = show_mail_body
        self._service_name = service_name
        self._config = None if config is None else _loaded(config)
        self._rules: tuple[Any, Taker] | None = None  # a configuration, and what its rules have let pass
        self._cached_messages: list[Any] = []
        self._errors: dict[str | None, Exception] = {}  # by call; None: of any
        self._log_level = "INFO"
        self._log_fn: Log = logging.info
        self._lock = threading.RLock()

    # --- what tests ask ---

    def get_sent_messages(
        self,
        to: Pattern = None,
        sender: Pattern = None,
        subject: Pattern = None,
        body: Pattern = None,
        html: Pattern = None,
        amp_html: Pattern = None,
    ) -> list[Any]:
        """What was sent, in order, as far as every pattern is found in its field (`re.search`).

        to: in the field To as it stands, or in one of its recipients.

        The messages are EmailMessage and AdminEmailMessage, made from MIME: bodies are EncodedPayload.
        """
        patterns = {"sender": sender, "subject": subject, "body": body, "html": html, "amp_html": amp_html}
        wanted = {field: pattern for field, pattern in patterns.items() if pattern}
        with self._lock:
            messages = list(self._cached_messages)
        return [
            message
            for message in messages
            if (not to or any(re.search(to, recipient) for recipient in _recipients(message)))
            and all(re.search(pattern, _text(message, field)) for field, pattern in wanted.items())
        ]

    def clear(self) -> None:
        """Forget what was sent, and begin to count quotas anew."""
        with self._lock:
            self._cached_messages.clear()
            self._rules = None

    def Clear(self) -> None:
        """As `clear`."""
        self.clear()

    def SetError(self, error: Exception | None, method: str | None = None, error_rate: float = 1) -> None:
        """Have every call, or those of one method, raise an error; None: no more.

        error_rate: 0 or 1; a test that fails now and then helps nobody.
        """
        if error_rate not in (0, 1):
            raise ValueError(f"error_rate must be 0 or 1, not {error_rate!r}")
        with self._lock:
            self._errors.pop(method, None)
            if error is not None and error_rate:
                self._errors[method] = error

    # --- what the API calls ---

    def MakeSyncCall(self, service: str, call: str, request: Any, response: Any, request_id: str | None = None) -> None:
        """Do a call; see `service.make_sync_call`.  Raises what SetError said."""
        assert service == self._service_name, f'Expected "{self._service_name}" service name, was "{service}"'
        error = self._errors.get(call) or self._errors.get(None)
        if error is not None:
            raise error
        do: Callable[[Any, Any], None] | None = getattr(self, f"_Dynamic_{call}", None)
        if do is None:
            raise apiproxy_errors.CallNotFoundError(f"The API package '{service}' or call '{call}()' was not found.")
        do(request, response)

    def _Send(
        self,
        request: Any,
        response: Any,
        log: Log | None = None,
        smtp_lib: Any = smtplib.SMTP,
        popen: Any = subprocess.Popen,
        sendmail_command: str = "sendmail",
    ) -> None:
        from .outgoing import attachments_encoded, send_by_sendmail, send_by_smtp

        mime = self._take("Send", request, log or self._log_fn)
        if self._smtp[0]:
            send_by_smtp(attachments_encoded(mime), *self._smtp, smtp_lib=smtp_lib)
        elif self._enable_sendmail:
            send_by_sendmail(attachments_encoded(mime), popen, sendmail_command)
        else:
            logging.info("You are not currently sending out real email: it is kept for get_sent_messages().")

    def _SendToAdmins(self, request: Any, response: Any, log: Log | None = None) -> None:
        self._take("SendToAdmins", request, log or self._log_fn)

    def _Dynamic_Send(self, request: Any, response: Any) -> None:
        self._Send(request, response)

    def _Dynamic_SendToAdmins(self, request: Any, response: Any) -> None:
        self._SendToAdmins(request, response)

    def _take(self, call: str, request: Any, log: Log) -> Any:
        self._check(call, request)
        mime = mail_message_to_mime_message(request)
        self._CacheMessage(_message_of(call, mime, request))
        log(log_text(call, request, with_bodies=self._show_mail_body))
        if self._smtp[0] and self._enable_sendmail:
            log("Both SMTP and sendmail are enabled.  Ignoring sendmail.")
        return mime

    def _CacheMessage(self, message: Any) -> None:
        with self._lock:
            self._cached_messages.append(message)

    def _check(self, call: str, request: Any) -> None:
        service.check_call("mail", call, request)
        try:
            door = self._door()
        except ConfigError as error:
            raise failures.call_error(error, call, "") from error
        if door is None:
            service.note_sent(new_message_id())
        else:
            service.hand_over_to(door, call, request)

    def _door(self) -> OpenDoor | None:
        """The rules that hold now, with what they have counted; None where no configuration is named."""
        config, admins = configured_rules()
        config = self._config or config
        if config is None:
            return None
        from .rules import RulesOnly

        with self._lock:
            if self._rules is None or self._rules[0] != config:
                self._rules = config, RulesOnly(config)
            return OpenDoor(self._rules[1], admins)

    # --- calls that other languages' tests make of the stub ---

    def _Dynamic_GetSentMessages(self, request: Any, response: Any) -> None:
        for message in self.get_sent_messages():
            response.sent_message.add().MergeFromString(message.ToProto().SerializeToString())

    def _Dynamic_ClearSentMessages(self, request: Any, response: Any) -> None:
        with self._lock:
            response.messages_cleared = len(self._cached_messages)
            self.clear()

    def _Dynamic_GetLogMailBody(self, request: Any, response: Any) -> None:
        response.log_mail_body = self._show_mail_body

    def _Dynamic_SetLogMailBody(self, request: Any, response: Any) -> None:
        self._show_mail_body = request.log_mail_body

    def _Dynamic_GetLogMailLevel(self, request: Any, response: Any) -> None:
        response.log_mail_level = self._log_level

    def _Dynamic_SetLogMailLevel(self, request: Any, response: Any) -> None:
        self._log_level = request.log_mail_level
        self._log_fn = log_function(self._log_level, self._log_fn)


def _loaded(config: Any) -> Any:
    from ...config import load_config

    return load_config(config)


def _message_of(call: str, mime: Any, request: Any) -> Any:
    """The message that a test sees: from MIME, with the headers of the request, and AMP, which MIME does not lead back to."""
    if call == "SendToAdmins":
        message: Any = AdminEmailMessage(mime_message=mime)
    else:
        message = EmailMessage(mime_message=mime)
        if headers := {header.name: header.value for header in request.Header}:
            message.headers = headers
    for leaf in leaves_of(mime):
        if leaf.get_content_type() == "text/x-amp-html" and leaf.get_filename() is None:
            message.amp_html = payload_of(leaf)
    return message


def _recipients(message: Any) -> list[str]:
    given = getattr(message, "to", ())
    return [*([given] if isinstance(given, str) else given), *recipients_of(message, "to")]


def _text(message: Any, field: str) -> str:
    value = getattr(message, field, "")
    if isinstance(value, EncodedPayload):
        try:
            value = value.decode()
        except Error:
            return ""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
