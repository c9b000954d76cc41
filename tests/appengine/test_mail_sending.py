"""send(), send_mail and send_mail_to_admins: what the service is called with, and what becomes of its errors."""

from __future__ import annotations

import inspect
import logging
import sys
from types import SimpleNamespace
from typing import Any

import pytest
from recording_service import RecordingService

from postroad.appengine import apiproxy_errors, mail
from postroad.appengine.protocol import MailMessage, MailServiceError

SENT = ("s@example.com", "t@example.com", "subject", "body")


def test_a_message_is_given_to_the_service(service: RecordingService) -> None:
    message = mail.EmailMessage(sender="s@example.com", to="t@example.com", subject="subject", body="body")
    assert message.send() is None
    assert service.calls == [("mail", "Send", message.ToProto())]


def test_a_message_to_administrators_is_another_call(service: RecordingService) -> None:
    assert mail.send_mail_to_admins("s@example.com", "subject", "body", html="<p>") is None
    message = mail.AdminEmailMessage(sender="s@example.com", subject="subject", body="body", html="<p>")
    assert service.calls == [("mail", "SendToAdmins", message.ToProto())]


def test_send_mail_takes_four_fields_by_position_and_others_by_name(service: RecordingService) -> None:
    assert mail.send_mail(*SENT, cc="c@example.com", headers={"References": "<a@b>"}) is None
    message = mail.EmailMessage(cc="c@example.com", headers={"References": "<a@b>"})
    message.sender, message.to, message.subject, message.body = SENT
    assert service.calls == [("mail", "Send", message.ToProto())]


def test_a_message_is_sent_again_after_a_change(service: RecordingService) -> None:
    message = mail.EmailMessage(sender="s@example.com", to="t@example.com", attachments=[("a.txt", "a")])
    message.Send()
    message.to = ["u@example.com"]
    message.body = "changed"
    message.Send()
    first, second = (request for _, _, request in service.calls)
    assert (list(first.To), first.TextBody) == (["t@example.com"], "")
    assert (list(second.To), second.TextBody) == (["u@example.com"], "changed")
    assert second.Attachment == first.Attachment


def test_another_call_is_honoured_wherever_it_is_given(service: RecordingService) -> None:
    other = RecordingService()
    mail.send_mail(*SENT, other)
    mail.SendMail(*SENT, make_sync_call=other)
    mail.send_mail_to_admins("s@example.com", "subject", "body", other)
    mail.SendMailToAdmins("s@example.com", "subject", "body", make_sync_call=other)
    mail.EmailMessage(sender="s@example.com", to="t@example.com").send(other)
    mail.AdminEmailMessage(sender="s@example.com").Send(make_sync_call=other)
    mail.InboundEmailMessage(sender="s@example.com", to="t@example.com").send(make_sync_call=other)
    calls = [call for _, call, _ in other.calls]
    assert calls == ["Send", "Send", "SendToAdmins", "SendToAdmins", "Send", "SendToAdmins", "Send"]
    assert service.calls == []


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (MailServiceError.BAD_REQUEST, mail.BadRequestError),
        (MailServiceError.UNAUTHORIZED_SENDER, mail.InvalidSenderError),
        (MailServiceError.INVALID_ATTACHMENT_TYPE, mail.InvalidAttachmentTypeError),
        (MailServiceError.INVALID_HEADER_NAME, mail.InvalidHeaderNameError),
        (MailServiceError.INTERNAL_ERROR, apiproxy_errors.ApplicationError),
        (MailServiceError.INVALID_CONTENT_ID, apiproxy_errors.ApplicationError),
        (77, apiproxy_errors.ApplicationError),
    ],
)
def test_errors_of_the_service_become_errors_of_the_api(
    code: int, error: type[Exception], service: RecordingService, caplog: pytest.LogCaptureFixture
) -> None:
    service.error = apiproxy_errors.ApplicationError(code, "in detail")
    with pytest.raises(error) as raised:
        mail.send_mail(*SENT)
    is_mapped = error is not apiproxy_errors.ApplicationError
    assert mail.ERROR_MAP.get(code) is (error if is_mapped else None)
    assert str(raised.value) == ("in detail" if is_mapped else f"ApplicationError: {code} in detail")
    if is_mapped:
        assert raised.value.__cause__ is service.error
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert [record.getMessage() for record in errors] == [f"App Engine Mail API error: {service.error}"]


@pytest.mark.parametrize(
    "error",
    [
        apiproxy_errors.OverQuotaError("quota"),
        apiproxy_errors.RequestTooLargeError("size"),
        KeyError("a"),
        OSError(5, "b"),
    ],
)
def test_other_errors_pass_unchanged(error: Exception, service: RecordingService) -> None:
    service.error = error
    with pytest.raises(type(error)) as raised:
        mail.send_mail(*SENT)
    assert raised.value is error


def test_an_error_of_the_originals_is_known_too(service: RecordingService) -> None:
    class ApplicationError(Exception):  # as that of the original's own module, which is not ours
        application_error = 3
        error_detail = "theirs"

    def refuse(*_: Any) -> None:
        raise ApplicationError

    with pytest.raises(mail.InvalidSenderError, match="theirs"):
        mail.send_mail(*SENT, make_sync_call=refuse)


class RemoteStub:
    """Named as what the original's remote_api registers for every service."""


@pytest.mark.parametrize(
    ("stubs", "default", "is_used"),
    [
        ({"mail": "a stub"}, None, True),
        ({"mail": "a stub"}, "default", True),
        ({"datastore": "a stub"}, "default", False),
        ({"mail": RemoteStub()}, None, False),
        ({}, None, False),
    ],
)
def test_a_stub_is_used_where_a_test_has_registered_one_for_mail(
    stubs: dict[str, object],
    default: object,
    is_used: bool,
    service: RecordingService,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stubbed = RecordingService()
    apiproxy = SimpleNamespace(GetStub=lambda name: stubs.get(name, default))
    stub_map = SimpleNamespace(apiproxy=apiproxy, MakeSyncCall=stubbed)
    monkeypatch.setitem(sys.modules, "google.appengine.api.apiproxy_stub_map", stub_map)  # type: ignore[arg-type]  # as one
    mail.send_mail(*SENT)
    assert (len(stubbed.calls), len(service.calls)) == ((1, 0) if is_used else (0, 1))


def test_an_applications_tests_with_the_originals_testbed_go_on_to_work(service: RecordingService) -> None:
    original: Any = pytest.importorskip("google.appengine.ext.testbed")
    testbed = original.Testbed()
    testbed.activate()
    try:
        testbed.init_mail_stub()
        mail.send_mail(*SENT, html="<p>Zoë</p>", attachments=[("a.bin", b"\x00\xff")], reply_to="Zoë <r@example.com>")
        (sent,) = testbed.get_stub(original.MAIL_SERVICE_NAME).get_sent_messages(to="t@example.com", subject="sub")
        assert (sent.body.decode(), sent.html.decode()) == ("body", "<p>Zoë</p>")
        with pytest.raises(mail.InvalidAttachmentTypeError, match="attachments cannot be hidden files"):
            mail.send_mail(*SENT, attachments=[(".hidden", b"")])
    finally:
        testbed.deactivate()
    assert service.calls == []


def test_what_is_not_valid_is_not_sent(service: RecordingService) -> None:
    with pytest.raises(mail.MissingRecipientsError):
        mail.EmailMessage(sender="s@example.com").send()
    with pytest.raises(mail.InvalidAttachmentTypeError):
        mail.send_mail(*SENT, attachments=[("a.exe", b"")])
    with pytest.raises(TypeError):
        mail.send_mail("s@example.com", "t@example.com", "subject")  # type: ignore[call-arg]  # that is what is tested
    assert service.calls == []


def test_the_log_says_what_the_originals_says(service: RecordingService, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    mail.send_mail(*SENT)
    assert [(record.name, record.levelno, record.getMessage()) for record in caplog.records] == [
        ("root", logging.INFO, "Sending email via App Engine Mail API."),
        ("root", logging.INFO, "Email sent successfully via App Engine Mail API."),
    ]


def test_where_smtp_is_wanted_the_message_goes_there_and_no_call_is_made(
    service: RecordingService, smtp_hand_overs: list[Any]
) -> None:
    message = mail.EmailMessage(sender="s@example.com", to="t@example.com")
    assert message.send(make_sync_call=service) is None
    mail.send_mail_to_admins("s@example.com", "subject", "body")
    assert smtp_hand_overs[0] is message
    assert isinstance(smtp_hand_overs[1], mail.AdminEmailMessage)
    assert service.calls == []


def test_what_a_test_puts_in_place_of_the_classes_and_of_send_is_used(
    service: RecordingService, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = list[Any]()
    monkeypatch.setattr(mail.EmailMessage, "send", lambda message, **_: sent.append(message.subject))
    mail.send_mail(*SENT)
    mail.EmailMessage(subject="again").Send()
    assert sent == ["subject", "again"]

    class Other(mail.AdminEmailMessage):
        def send(self, make_sync_call: Any = None) -> None:
            sent.append(self.body)

    monkeypatch.setattr(mail, "AdminEmailMessage", Other)
    mail.send_mail_to_admins("s@example.com", "subject", "body")
    assert sent == ["subject", "again", "body"]
    assert service.calls == []


def test_positions_are_the_contracts() -> None:
    assert list(inspect.signature(mail.send_mail).parameters) == [
        "sender",
        "to",
        "subject",
        "body",
        "make_sync_call",
        "kw",
    ]
    assert list(inspect.signature(mail.send_mail_to_admins).parameters) == [
        "sender",
        "subject",
        "body",
        "make_sync_call",
        "kw",
    ]


def test_an_application_error_says_code_and_detail() -> None:
    error = apiproxy_errors.ApplicationError(3, "detail")
    assert (error.application_error, error.error_detail) == (3, "detail")
    assert str(error) == "ApplicationError: 3 detail"
    assert str(apiproxy_errors.ApplicationError(3)) == "ApplicationError: 3 "


def test_the_request_of_a_call_may_be_inspected_with_has_field(service: RecordingService) -> None:
    mail.send_mail(*SENT)
    request = service.calls[0][2]
    assert isinstance(request, MailMessage)
    assert not request.HasField("ReplyTo")
    assert request.HasField("TextBody")
