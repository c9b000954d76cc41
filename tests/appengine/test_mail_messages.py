"""The fields of messages: what may be set, in which order it is checked, what becomes of it."""

from __future__ import annotations

import copy
import logging
import pickle
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mail_users import User

from postroad.appengine import mail
from postroad.appengine.protocol import MailAttachment, MailHeader, MailMessage

KINDS = (mail.EmailMessage, mail.AdminEmailMessage, mail.InboundEmailMessage)
COMPLETE: dict[str, Any] = {"sender": "s@example.com", "to": "t@example.com"}


def as_generator(values: list[Any]) -> Iterator[Any]:
    yield from values


@pytest.mark.parametrize(
    ("kind", "field", "value", "error", "text"),
    [
        (mail.EmailMessage, "sender", None, mail.InvalidEmailError, "None email address for sender."),
        (mail.EmailMessage, "reply_to", [], mail.InvalidEmailError, "Invalid email address type for reply_to."),
        (mail.AdminEmailMessage, "sender", " ", mail.InvalidEmailError, "Empty email address for sender."),
        (mail.EmailMessage, "to", "", mail.InvalidEmailError, "Empty email address for to."),
        (mail.EmailMessage, "to", ["a@b", ""], mail.InvalidEmailError, "Empty email address for to."),
        (mail.EmailMessage, "cc", ("a@b", None), mail.InvalidEmailError, "None email address for cc."),
        (mail.EmailMessage, "bcc", [b"a@b"], mail.InvalidEmailError, "Invalid email address type for bcc."),
        (
            mail.EmailMessage,
            "bcc",
            as_generator(["a@b", 3]),
            mail.InvalidEmailError,
            "Invalid email address type for bcc.",
        ),
        (mail.EmailMessage, "to", None, TypeError, "'NoneType' object is not iterable"),
        (mail.EmailMessage, "cc", 3, TypeError, "'int' object is not iterable"),
        (mail.EmailMessage, "to", [], ValueError, "May not set empty value for 'to'"),
        (mail.EmailMessage, "to", as_generator([]), ValueError, "May not set empty value for 'to'"),
        (mail.AdminEmailMessage, "to", None, ValueError, "May not set empty value for 'to'"),
        (mail.EmailMessage, "html", "", ValueError, "May not set empty value for 'html'"),
        (mail.EmailMessage, "attachments", [], ValueError, "May not set empty value for 'attachments'"),
        (mail.EmailMessage, "headers", {}, ValueError, "May not set empty value for 'headers'"),
        (mail.EmailMessage, "headers", [], mail.InvalidEmailError, "Invalid type for headers. Should be a dictionary."),
        (mail.EmailMessage, "nothing", "", ValueError, "May not set empty value for 'nothing'"),
        (mail.EmailMessage, "nothing", "a", AttributeError, "'EmailMessage' has no attribute 'nothing'"),
        (mail.EmailMessage, "_mine", "a", AttributeError, "'EmailMessage' has no attribute '_mine'"),
        (mail.EmailMessage, "date", "a", AttributeError, "'EmailMessage' has no attribute 'date'"),
        (mail.AdminEmailMessage, "headers", {"X": 3}, AttributeError, "'EmailMessage' has no attribute 'headers'"),
        (mail.InboundEmailMessage, "headers", {"X": 3}, mail.InvalidEmailError, "Header values should be strings."),
        (
            mail.InboundEmailMessage,
            "headers",
            {"References": "a"},
            AttributeError,
            "'EmailMessage' has no attribute 'headers'",
        ),
        (mail.InboundEmailMessage, "to", " ", mail.InvalidEmailError, "Empty email address for to."),
        (mail.InboundEmailMessage, "date", "", ValueError, "May not set empty value for 'date'"),
        (
            mail.EmailMessage,
            "attachments",
            [("a.txt",)],
            TypeError,
            "Attachment.__init__() missing 1 required positional argument: 'payload'",
        ),
        (
            mail.EmailMessage,
            "attachments",
            [("a.txt", "b", "c")],
            TypeError,
            "__init__() takes at most 3 positional arguments (4 given)",
        ),
        (mail.EmailMessage, "attachments", [(b"a.txt", b"b")], TypeError, ""),
    ],
)
def test_what_may_not_be_set(kind: Any, field: str, value: Any, error: type[Exception], text: str) -> None:
    message = kind()
    with pytest.raises(Exception) as raised:  # noqa: PT011  # which error it is, is what is tested
        setattr(message, field, value)
    assert (type(raised.value), str(raised.value)) == (error, text)
    assert not hasattr(message, field)


@pytest.mark.parametrize("kind", KINDS)
def test_fields_are_unset_until_they_are_set(kind: Any) -> None:
    message = kind()
    assert not any(hasattr(message, field) for field in message.PROPERTIES)
    message.subject = ""
    assert message.subject == ""
    del message.subject
    assert not hasattr(message, "subject")
    with pytest.raises(AttributeError):
        del message.subject


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("field", ["subject", "body", "amp_html"])
@pytest.mark.parametrize("value", ["", None])
def test_what_may_be_empty(kind: Any, field: str, value: Any) -> None:
    assert getattr(kind(**{field: value}), field) == value


def test_the_fields_of_each_kind_are_the_contracts() -> None:
    common = {"sender", "reply_to", "subject", "body", "html", "amp_html", "attachments", "to", "cc", "bcc"}
    assert common == mail.AdminEmailMessage.PROPERTIES
    assert common | {"headers"} == mail.EmailMessage.PROPERTIES
    assert common | {"alternate_bodies", "date", "message_id"} == mail.InboundEmailMessage.PROPERTIES
    assert {"subject", "body", "amp_html"} == mail.EmailMessage.ALLOWED_EMPTY_PROPERTIES
    assert [kind._API_CALL for kind in KINDS] == ["Send", "SendToAdmins", "Send"]
    assert mail.InboundEmailMessage.ALLOW_BLANK_EMAIL
    assert not hasattr(mail.EmailMessage, "ALLOW_BLANK_EMAIL")


@pytest.mark.parametrize("value", ["a@b", "a@b, c@d", ["a@b"], ("a@b", "c@d"), {"a@b"}])
def test_recipients_are_kept_as_they_were_given(value: Any) -> None:
    message = mail.EmailMessage(to=value)
    assert message.to is value


def test_recipients_of_a_generator_are_not_lost() -> None:
    message = mail.EmailMessage(sender="s@example.com", to=as_generator(["a@b", "c@d"]), bcc=map(str, ["e@f"]))
    assert list(message.ToProto().To) == ["a@b", "c@d"]
    assert list(message.ToProto().Bcc) == ["e@f"]
    assert message.to == ["a@b", "c@d"]


def test_attachments_of_a_generator_are_not_lost() -> None:
    message = mail.EmailMessage(**COMPLETE, attachments=as_generator([("a.txt", "a"), ("b.txt", "b")]))
    assert [part.FileName for part in message.ToProto().Attachment] == ["a.txt", "b.txt"]


def test_users_are_their_addresses() -> None:
    user = User("u@example.com")
    message = mail.EmailMessage(sender=user, reply_to=user, to=user, cc=[user, "c@d"])
    assert message.sender is user
    request = message.ToProto()
    assert (request.Sender, request.ReplyTo, list(request.To)) == ("u@example.com", "u@example.com", ["u@example.com"])
    assert list(request.Cc) == ["u@example.com", "c@d"]


def test_no_subject_and_no_body_are_none() -> None:
    request = mail.EmailMessage(**COMPLETE, subject=None, body=None, amp_html=None).ToProto()
    assert request == mail.EmailMessage(**COMPLETE).ToProto()
    assert request.HasField("Subject")
    assert not request.HasField("TextBody")


@pytest.mark.parametrize("field", ["subject", "body", "html", "amp_html"])
def test_a_field_of_another_type_is_refused_when_it_is_sent(field: str) -> None:
    message = mail.EmailMessage(**COMPLETE, **{field: 3})
    with pytest.raises(TypeError, match="should be a str, not int"):
        message.ToProto()


def test_an_inbound_message_ignores_blank_recipients_that_are_set() -> None:
    message = mail.InboundEmailMessage(to="", cc="", bcc="")
    assert not any(hasattr(message, field) for field in ("to", "cc", "bcc"))


def test_setting_a_recipient_of_an_admin_message_warns(caplog: pytest.LogCaptureFixture) -> None:
    message = mail.AdminEmailMessage(sender="s@example.com", to=["anything", None], cc="b", bcc=3)
    assert message.bcc == 3
    assert [(record.name, record.levelno, record.getMessage()) for record in caplog.records] == [
        (
            "root",
            logging.WARNING,
            f"'{field}' is not a valid property to set for AdminEmailMessage.  It is unused.",
        )
        for field in ("to", "cc", "bcc")
    ]
    assert message.ToProto() == MailMessage(Sender="s@example.com", Subject="")


def test_keywords_and_attributes_do_the_same() -> None:
    by_keyword = mail.EmailMessage(**COMPLETE, subject="a", body="b")
    by_attribute = mail.EmailMessage()
    by_attribute.initialize(sender="s@example.com")
    by_attribute.Initialize(to="t@example.com")
    by_attribute.subject = "a"
    by_attribute.body = "b"
    assert by_keyword.ToProto() == by_attribute.ToProto()
    with pytest.raises(AttributeError):
        mail.EmailMessage(nothing="a")


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({}, mail.MissingRecipientsError),
        ({"sender": "a"}, mail.MissingRecipientsError),
        ({"sender": "a", "to": " , "}, mail.MissingRecipientsError),
        ({"to": "a"}, mail.MissingSenderError),
        ({"bcc": "a", "body": mail.EncodedPayload(b"a", "strange")}, mail.MissingSenderError),
        (
            {**COMPLETE, "body": mail.EncodedPayload(b"a", "strange"), "attachments": ("a.exe", "")},
            mail.UnknownCharsetError,
        ),
        ({**COMPLETE, "html": mail.EncodedPayload(b"a", None, "strange")}, mail.UnknownEncodingError),
        ({**COMPLETE, "amp_html": mail.EncodedPayload(b"\x80", "ascii")}, mail.PayloadEncodingError),
        ({**COMPLETE, "attachments": [("a.exe", "a")]}, mail.InvalidAttachmentTypeError),
        (
            {**COMPLETE, "attachments": [("a.exe", mail.EncodedPayload(b"a", "strange"))]},
            mail.InvalidAttachmentTypeError,
        ),
        (
            {**COMPLETE, "attachments": [("a.txt", mail.EncodedPayload(b"a", "strange")), ("a.exe", "")]},
            mail.UnknownCharsetError,
        ),
        (COMPLETE, None),
        ({"sender": "a", "cc": ["b"]}, None),
        ({"sender": "a", "bcc": "b", "attachments": (".hidden", b"")}, None),
    ],
)
def test_whether_a_message_can_be_sent(fields: dict[str, Any], error: type[Exception] | None) -> None:
    message = mail.EmailMessage(**fields)
    assert message.is_initialized() == message.IsInitialized() == (error is None)
    if error is None:
        message.check_initialized()
        return
    for check in (message.check_initialized, message.CheckInitialized, message.ToProto, message.to_mime_message):
        with pytest.raises(mail.Error) as raised:
            check()
        assert type(raised.value) is error


def test_missing_recipients_and_senders_have_no_text() -> None:
    with pytest.raises(mail.MissingRecipientsError) as raised:
        mail.EmailMessage().check_initialized()
    assert str(raised.value) == ""
    with pytest.raises(mail.MissingSenderError) as raised_sender:
        mail.AdminEmailMessage().check_initialized()
    assert str(raised_sender.value) == ""


def test_recipients_that_were_taken_away_are_missed() -> None:
    recipients = ["a@b"]
    message = mail.EmailMessage(sender="s@example.com", to=recipients)
    recipients.clear()
    assert not message.is_initialized()


def test_the_request_has_every_field() -> None:
    message = mail.EmailMessage(
        sender="Zoë <z@example.com>",
        reply_to="r@example.com",
        to='"Doe, John" <j@example.com>, k@example.com',
        cc=["c, d"],
        bcc=("b@example.com",),
        subject="Zoë",
        body=mail.EncodedPayload(b"Zo\xeb", "latin-1"),
        html=b"<p>",
        amp_html="",
        attachments=[
            ("a.txt", "Zoë"),
            mail.Attachment("b.bin", mail.EncodedPayload(b"AP8=", None, "base64"), content_id="<id>"),
            mail.Attachment("c.bin", b"\x00\xff", content_id=""),
        ],
        headers={" References ": "<a@b>", "list-id": "x"},
    )
    assert message.ToProto() == MailMessage(
        Sender="Zoë <z@example.com>",
        ReplyTo="r@example.com",
        To=['"Doe, John" <j@example.com>', "k@example.com"],
        Cc=["c, d"],
        Bcc=["b@example.com"],
        Subject="Zoë",
        TextBody="Zoë",
        HtmlBody="<p>",
        AmpHtmlBody="",
        Attachment=[
            MailAttachment(FileName="a.txt", Data="Zoë".encode()),
            MailAttachment(FileName="b.bin", Data=b"\x00\xff", ContentID="<id>"),
            MailAttachment(FileName="c.bin", Data=b"\x00\xff"),
        ],
        Header=[MailHeader(name="References", value="<a@b>"), MailHeader(name="list-id", value="x")],
    )
    assert message.attachments[1].payload == b"\x00\xff"  # decoded for good, as in the original


def test_a_body_that_is_no_text_is_an_error_of_the_api() -> None:
    message = mail.EmailMessage(**COMPLETE, body=mail.EncodedPayload(b"\xff"))
    with pytest.raises(mail.PayloadEncodingError, match="Could read characters: 'utf-8' codec can't decode"):
        message.ToProto()


@pytest.mark.parametrize(
    "value", [("a.txt", "b"), ["a.txt", "b"], [("a.txt", "b")], (("a.txt", "b"),), mail.Attachment("a.txt", "b")]
)
def test_one_attachment_needs_no_list(value: Any) -> None:
    message = mail.EmailMessage(**COMPLETE, attachments=value)
    assert message.attachments is value
    assert list(message.ToProto().Attachment) == [MailAttachment(FileName="a.txt", Data=b"b")]


def test_an_attachment_without_a_payload_is_not_sent_as_an_empty_one() -> None:
    """A function that returned nothing."""
    message = mail.EmailMessage(sender="a@example.com", to="b@example.org", attachments=[("report.pdf", None)])
    with pytest.raises(TypeError, match=r"'report\.pdf' should be bytes or a str, not NoneType"):
        message.ToProto()


def test_bodies_come_with_their_types() -> None:
    message = mail.InboundEmailMessage(
        body="b", html="h", amp_html="a", alternate_bodies=[("text/plain", "c"), ("application/pdf", "d")]
    )
    assert list(message.bodies()) == [
        ("text/html", "h"),
        ("text/plain", "b"),
        ("text/plain", "c"),
        ("application/pdf", "d"),
    ]
    assert list(message.bodies("text/plain")) == [("text/plain", "b"), ("text/plain", "c")]
    assert [its for its, _ in message.bodies("text")] == ["text/html", "text/plain", "text/plain"]
    assert list(message.bodies("tex")) == []
    assert list(mail.EmailMessage(body="b", html="h").bodies()) == [("text/html", "h"), ("text/plain", "b")]


def test_messages_can_be_copied_and_pickled() -> None:
    message = mail.EmailMessage("From: a@b\nTo: c@d\n\nbody", subject="s")
    for twin in (copy.deepcopy(message), pickle.loads(pickle.dumps(message))):
        assert twin.ToProto() == message.ToProto()
        assert twin.original.as_string() == message.original.as_string()


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.binary(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.tuples(inner, inner) | st.dictionaries(st.text(max_size=3), inner, max_size=2)
    ),
    max_leaves=5,
)
FIELDS = sorted(mail.EmailMessage.PROPERTIES | mail.InboundEmailMessage.PROPERTIES | {"nothing"})


@given(st.sampled_from(KINDS), st.lists(st.tuples(st.sampled_from(FIELDS), ANYTHING), max_size=6))
def test_whatever_is_set_is_kept_or_refused_and_never_sent_half(kind: Any, values: list[tuple[str, Any]]) -> None:
    message = kind()
    for field, value in values:
        before = getattr(message, field, None)
        try:
            setattr(message, field, value)
        except (mail.InvalidEmailError, ValueError, TypeError, AttributeError, LookupError):
            assert getattr(message, field, None) is before
    try:
        request = message.ToProto()
    except (mail.Error, TypeError, AttributeError, UnicodeError):
        return
    assert request.IsInitialized()
    assert mail.MailMessageToMIMEMessage(request).get_content_type() == "multipart/mixed"
