"""Every public name of the contract, and that importing them is quick."""

from __future__ import annotations

import pickle
import subprocess
import sys
from typing import Any

import pytest

from postroad.appengine import apiproxy_errors, mail, mail_errors, protocol

ALIASES = {
    "SendMail": "send_mail",
    "SendMailToAdmins": "send_mail_to_admins",
    "IsEmailValid": "is_email_valid",
    "InvalidEmailReason": "invalid_email_reason",
    "CheckEmailValid": "check_email_valid",
    "MailMessageToMIMEMessage": "mail_message_to_mime_message",
}
OF_MESSAGES = (
    ("initialize", "Initialize"),
    ("check_initialized", "CheckInitialized"),
    ("is_initialized", "IsInitialized"),
    ("to_mime_message", "ToMIMEMessage"),
    ("send", "Send"),
)
ERRORS = (
    "BadRequestError InvalidSenderError InvalidEmailError InvalidAttachmentTypeError InvalidHeaderNameError "
    "MissingRecipientsError MissingSenderError MissingSubjectError MissingBodyError PayloadEncodingError"
)
OF_CALLS = (
    "RPCFailedError CallNotFoundError ArgumentError DeadlineExceededError CancelledError ApplicationError OverQuotaError "
    "RequestTooLargeError ResponseTooLargeError CapabilityDisabledError FeatureNotEnabledError InterruptedError RpcAuthorityError"
)


@pytest.mark.parametrize(("alias", "name"), ALIASES.items())
def test_functions_have_second_names(alias: str, name: str) -> None:
    assert getattr(mail, alias) is getattr(mail, name)


@pytest.mark.parametrize("kind", ["EmailMessage", "AdminEmailMessage", "InboundEmailMessage"])
@pytest.mark.parametrize(("name", "alias"), OF_MESSAGES)
def test_methods_have_second_names_that_call_the_first(kind: str, name: str, alias: str) -> None:
    calls = list[Any]()

    def first(self: Any, *args: Any, **kw: Any) -> None:
        calls.append((args, kw))

    inherited: Any = getattr(mail, kind)
    changed: Any = type("Changed", (inherited,), {name: first})
    message = changed()
    calls.clear()
    getattr(message, alias)(3, a=4)
    assert calls == [((3,), {"a": 4})]


def test_requests_and_codes_have_the_originals_module_name() -> None:
    from postroad.appengine import mail_service_pb2

    assert mail_service_pb2.MailMessage is protocol.MailMessage
    assert mail_service_pb2.MailServiceError.BAD_REQUEST in mail.ERROR_MAP
    assert mail.mail_service_pb2 is mail_service_pb2


@pytest.mark.parametrize("name", ERRORS.split())
def test_errors_of_the_api(name: str) -> None:
    error = getattr(mail, name)
    assert error is getattr(mail_errors, name)
    assert error.__bases__ == (mail.Error,)


def test_the_hierarchy_of_errors() -> None:
    assert mail.Error.__bases__ == (Exception,)
    assert mail.UnknownCharsetError.__bases__ == mail.UnknownEncodingError.__bases__ == (mail.PayloadEncodingError,)


@pytest.mark.parametrize("name", OF_CALLS.split())
def test_errors_of_calls(name: str) -> None:
    assert getattr(apiproxy_errors, name).__bases__ == (apiproxy_errors.Error,)
    assert not issubclass(apiproxy_errors.Error, mail.Error)


def test_an_error_of_a_call_passes_between_processes() -> None:
    error = pickle.loads(pickle.dumps(apiproxy_errors.ApplicationError(3, "detail")))
    assert (error.application_error, error.error_detail) == (3, "detail")
    interrupted = apiproxy_errors.InterruptedError(KeyError("a"), "rpc")
    assert (repr(interrupted.exception), interrupted.rpc) == ("KeyError('a')", "rpc")


def test_paths_are_the_contracts() -> None:
    assert mail.INCOMING_MAIL_URL_PATTERN == "/_ah/mail/.+"
    assert mail.BOUNCE_NOTIFICATION_URL_PATH == "/_ah/bounce"


def test_everything_named_exists() -> None:
    assert [name for name in mail.__all__ if not hasattr(mail, name)] == []
    for private in ("_EmailMessageBase", "_GetMimeType", "_decode_and_join_header"):
        assert hasattr(mail, private)


def test_importing_the_names_loads_neither_trio_nor_a_store() -> None:
    heavy = {"trio", "apsw", "structlog", "dns", "msgspec"}
    code = f"import sys; from postroad.appengine import mail; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
