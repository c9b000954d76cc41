"""One call of the mail service, and its errors as those of the mail API.

The service is `postroad.appengine.service`, unless the application hands in another or its tests have set up the original's stub.
Logs what the original does, where it does (the root logger).
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from typing import Any

from . import apiproxy_errors, service
from .apiproxy_stub_map import stubbed_call
from .mail_errors import BadRequestError, Error, InvalidAttachmentTypeError, InvalidHeaderNameError, InvalidSenderError
from .patched import of_mail
from .protocol import MailMessage, MailServiceError, VoidProto

__all__ = ["ERROR_MAP", "MakeSyncCall", "call_service"]

MakeSyncCall = Callable[[str, str, MailMessage, VoidProto], Any]

ERROR_MAP: dict[int, type[Error]] = {
    MailServiceError.BAD_REQUEST: BadRequestError,
    MailServiceError.UNAUTHORIZED_SENDER: InvalidSenderError,
    MailServiceError.INVALID_ATTACHMENT_TYPE: InvalidAttachmentTypeError,
    MailServiceError.INVALID_HEADER_NAME: InvalidHeaderNameError,
}


def call_service(call: str, request: MailMessage, make_sync_call: MakeSyncCall | None) -> None:
    """Call `Send` or `SendToAdmins`.

    Raises the error of ERROR_MAP for an ApplicationError with such a code, else what the call raises; the cause is the engine's
    own error, where it was the engine that refused.
    """
    make_sync_call = make_sync_call or _service()
    of_mail(logging).info("Sending email via App Engine Mail API.")
    try:
        make_sync_call("mail", call, request, VoidProto())
    except Exception as error:
        if not _is_application_error(error):
            raise
        of_mail(logging).error("App Engine Mail API error: %s", error)
        code, detail = getattr(error, "application_error", None), getattr(error, "error_detail", "")
        if code not in ERROR_MAP:
            raise
        raise ERROR_MAP[code](detail) from error.__cause__ or error
    of_mail(logging).info("Email sent successfully via App Engine Mail API.")


def _service() -> MakeSyncCall:
    return stubbed_call(by_smtp=False) or _call_of_stub() or service.make_sync_call


def _call_of_stub() -> MakeSyncCall | None:
    """The call of the original's, if a test has registered a stub for mail (`testbed.init_mail_stub()`, or one of its own).

    Not the stub that answers for every service, nor remote_api's: they lead to App Engine, and applications leave them in force.
    """
    stub_map: Any = sys.modules.get("google.appengine.api.apiproxy_stub_map")
    if stub_map is None:
        return None
    stub = stub_map.apiproxy.GetStub("mail")
    if stub is None or stub is stub_map.apiproxy.GetStub("postroad") or type(stub).__name__ == "RemoteStub":
        return None
    call: MakeSyncCall = stub_map.MakeSyncCall
    return call


def _is_application_error(error: Exception) -> bool:
    """Whether it is ours or, from a call that the application handed in, the original's."""
    return isinstance(error, apiproxy_errors.ApplicationError) or (
        type(error).__name__ == "ApplicationError" and hasattr(error, "application_error")
    )
