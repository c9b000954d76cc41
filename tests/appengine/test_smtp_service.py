"""The SMTP mode: what smtplib is asked, what arrives on the wire, and which errors come back."""

from __future__ import annotations

import logging
import smtplib
from contextlib import contextmanager
from email import message_from_bytes, policy
from unittest import mock

import pytest
from mail_site import Server

from postroad.appengine import mail, smtp_service
from postroad.appengine.apiproxy_errors import FeatureNotEnabledError

pytestmark = pytest.mark.usefixtures("nothing_said")

FIELDS = {"sender": "a@example.com", "to": "b@example.org", "subject": "Hello", "body": "Hi"}
OCTETS = bytes(range(256))


@pytest.fixture
def wanted(monkeypatch):
    for name, value in {
        "APPENGINE_USE_SMTP_MAIL_SERVICE": "true",
        "APPENGINE_SMTP_HOST": "smtp.example.com",
        "APPENGINE_SMTP_USER": "user",
        "APPENGINE_SMTP_PASSWORD": "password",
    }.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def smtp(wanted):
    with mock.patch("smtplib.SMTP") as made:
        made.server = made.return_value.__enter__.return_value
        yield made


def sent(smtp):
    """The message, the sender and the recipients that the server was given."""
    ((message,), options) = smtp.server.send_message.call_args
    return message, options["from_addr"], options["to_addrs"]


# --- what is asked of smtplib ---


def test_the_server_is_asked_as_the_original_does(smtp):
    mail.send_mail(**FIELDS, cc=["c@example.org", "d@example.org"], bcc="Eve <e@example.org>")
    smtp.assert_called_once_with("smtp.example.com", 587)
    smtp.server.starttls.assert_called_once_with()
    smtp.server.login.assert_called_once_with("user", "password")
    message, sender, recipients = sent(smtp)
    assert sender == "a@example.com"
    assert recipients == ["b@example.org", "c@example.org", "d@example.org", "Eve <e@example.org>"]
    assert {name: str(message[name]) for name in ("From", "To", "Cc", "Subject")} == {
        "From": "a@example.com",
        "To": "b@example.org",
        "Cc": "c@example.org, d@example.org",
        "Subject": "Hello",
    }
    assert "Bcc" not in message
    assert "Reply-To" not in message
    assert message.get_content_type() == "multipart/mixed"
    assert message.get_payload()[0].get_payload() == "Hi"


def test_the_library_may_be_replaced_by_the_name_that_the_module_has_for_it(wanted):
    with mock.patch("postroad.appengine.mail.smtplib") as replaced:
        mail.send_mail(**FIELDS)
    replaced.SMTP.assert_called_once_with("smtp.example.com", 587)


def test_so_may_logging(smtp):
    with mock.patch("postroad.appengine.mail.logging") as replaced:
        mail.send_mail(**FIELDS)
        mail.AdminEmailMessage(to="b@example.org")
    assert [call.args for call in replaced.info.call_args_list] == [
        ("Sending email via SMTP.",),
        ("Email sent successfully via SMTP.",),
    ]
    assert "not a valid property" in replaced.warning.call_args.args[0]


def test_headers_that_say_nothing_are_not_sent(smtp):
    mail.send_mail(**FIELDS, headers={"References": "", "In-Reply-To": " ", "List-Id": "<a.example.com>"})
    message, _, _ = sent(smtp)
    assert (message["References"], message["In-Reply-To"], message["List-Id"]) == (None, None, "<a.example.com>")


@pytest.mark.parametrize("named", ["POSTROAD_CONFIG", "POSTROAD_SPOOL", ""])
def test_a_spool_that_is_named_beside_it_is_told_once_to_be_passed_over(smtp, monkeypatch, caplog, named):
    smtp_service._warn_once.cache_clear()
    if named:
        monkeypatch.setenv(named, "var/x")
    for _ in range(2):
        mail.send_mail(**FIELDS)
    said = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert [text.partition(":")[0] for text in said] == (
        [f"APPENGINE_USE_SMTP_MAIL_SERVICE=true goes before {named}"] if named else []
    )


@pytest.mark.parametrize(("name", "value"), [("USER", ""), ("PASSWORD", "")])
def test_without_both_user_and_password_there_is_no_login(smtp, monkeypatch, name, value):
    monkeypatch.setenv(f"APPENGINE_SMTP_{name}", value)
    mail.send_mail(**FIELDS)
    smtp.server.login.assert_not_called()


@pytest.mark.parametrize(("said", "is_asked"), [("TRUE", True), ("false", False), ("0", False)])
def test_tls_is_asked_for_unless_the_variable_says_otherwise(smtp, monkeypatch, said, is_asked):
    monkeypatch.setenv("APPENGINE_SMTP_USE_TLS", said)
    monkeypatch.setenv("APPENGINE_SMTP_PORT", "2525")
    mail.send_mail(**FIELDS)
    smtp.assert_called_once_with("smtp.example.com", 2525)
    assert smtp.server.starttls.called is is_asked


def test_a_call_that_is_handed_in_is_not_made(smtp):
    mail.send_mail(**FIELDS, make_sync_call=lambda *_: pytest.fail("it was called"))
    assert smtp.server.send_message.called


def test_administrators_are_those_of_the_variable(smtp, monkeypatch):
    with pytest.raises(mail.MissingRecipientsError):
        mail.send_mail_to_admins("a@example.com", "Hello", "Hi")
    monkeypatch.setenv("APPENGINE_ADMIN_EMAIL_RECIPIENTS", "x@example.org, y@example.org")
    mail.send_mail_to_admins("a@example.com", "Hello", "Hi")
    assert sent(smtp)[2] == ["x@example.org", "y@example.org"]


def test_names_in_other_letters_are_shown_as_they_were_and_addressed_without_them(smtp):
    mail.send_mail(
        **FIELDS | {"sender": "Jérôme <a@example.com>", "to": ['"Doe, Jöhn" <b@example.org>', "c@example.org"]}
    )
    message, sender, recipients = sent(smtp)
    assert (sender, recipients) == ("a@example.com", ["b@example.org", "c@example.org"])
    assert str(message["From"]) == "Jérôme <a@example.com>"
    assert str(message["To"]) == "Doe, Jöhn <b@example.org>, c@example.org"


@pytest.mark.parametrize(
    ("said", "is_wanted"), [("true", True), ("True", False), ("1", False), ("false", False), ("", False)]
)
def test_the_mode_is_wanted_by_exactly_true(monkeypatch, said, is_wanted):
    monkeypatch.setenv("APPENGINE_USE_SMTP_MAIL_SERVICE", said)
    assert smtp_service.is_wanted() is is_wanted
    monkeypatch.setenv("POSTROAD_QUEUE_SMTP", "false")
    assert smtp_service.is_wanted() is is_wanted


def test_with_a_queue_the_mode_is_not_wanted_and_contradictions_are_refused(wanted, monkeypatch):
    monkeypatch.setenv("POSTROAD_QUEUE_SMTP", "true")
    assert not smtp_service.is_wanted()
    monkeypatch.setenv("POSTROAD_QUEUE_SMTP", "yes")
    with pytest.raises(FeatureNotEnabledError, match="'yes' is neither"):
        mail.send_mail(**FIELDS)


# --- errors ---


def test_a_failed_login_is_an_invalid_sender(smtp):
    smtp.server.login.side_effect = smtplib.SMTPAuthenticationError(535, b"no")
    with pytest.raises(mail.InvalidSenderError, match=r"^SMTP authentication failed: b'no'$"):
        mail.send_mail(**FIELDS)


@pytest.mark.parametrize(
    "error", [smtplib.SMTPServerDisconnected("gone"), ConnectionRefusedError("gone"), TimeoutError("gone")]
)
def test_other_trouble_is_an_error_of_the_api(smtp, error):
    smtp.side_effect = error
    with pytest.raises(mail.Error, match=r"^Failed to send email via SMTP: gone$"):
        mail.send_mail(**FIELDS)


def test_a_missing_host_is_named(smtp, monkeypatch):
    monkeypatch.delenv("APPENGINE_SMTP_HOST")
    with pytest.raises(mail.Error, match=r"^Missing required SMTP environment variable: 'APPENGINE_SMTP_HOST'$"):
        mail.send_mail(**FIELDS)


def test_a_port_that_is_no_number_is_a_value_error(smtp, monkeypatch):
    monkeypatch.setenv("APPENGINE_SMTP_PORT", "smtp")
    with pytest.raises(ValueError, match="smtp"):
        mail.send_mail(**FIELDS)


def test_some_refused_recipients_are_logged(smtp, caplog):
    smtp.server.send_message.return_value = {"b@example.org": (550, b"no")}
    with caplog.at_level(logging.ERROR):
        mail.send_mail(**FIELDS, cc="c@example.org")
    assert "b@example.org" in caplog.text


# --- on the wire ---


@contextmanager
def serving(monkeypatch, **options):
    server = Server(**options)
    server.start()
    monkeypatch.setenv("APPENGINE_SMTP_HOST", "127.0.0.1")
    monkeypatch.setenv("APPENGINE_SMTP_PORT", str(server.port))
    monkeypatch.setenv("APPENGINE_SMTP_USE_TLS", "false")
    monkeypatch.setenv("APPENGINE_SMTP_USER", "")
    try:
        yield server
    finally:
        server.is_over.set()
        server.join(60)
        server.listener.close()


def test_the_defects_of_the_original_are_put_right_on_the_wire(wanted, monkeypatch):
    with serving(monkeypatch) as server:
        mail.send_mail(
            sender="Jérôme <a@example.com>",
            to='"Doe, John" <b@example.org>, "Ünal, B." <c@example.org>',
            bcc="Team: d@example.org, e@example.org;",
            subject="Grüße",
            body="x" * 2000,
            html="<b>ü</b>",
            attachments=[("a.bin", OCTETS), ("ü.txt", "grün"), mail.Attachment("c.png", OCTETS, content_id="<logo>")],
        )
    rcpt = [command for command in server.commands if command.startswith(b"rcpt")]
    assert b"mail FROM:<a@example.com>" in server.commands
    assert rcpt == [b"rcpt TO:<%s@example.org>" % local for local in (b"b", b"c", b"d", b"e")]
    content = server.content
    assert content.isascii()
    assert all(len(line) <= 998 for line in content.split(b"\r\n"))
    read = message_from_bytes(content, policy=policy.default)
    assert [(each.display_name, each.addr_spec) for each in read["To"].addresses] == [
        ("Doe, John", "b@example.org"),
        ("Ünal, B.", "c@example.org"),
    ]
    assert read["From"].addresses[0].display_name == "Jérôme"
    assert read["Subject"] == "Grüße"
    assert read["Date"].datetime.tzinfo is not None
    assert read["Message-ID"].endswith("@example.com>")
    assert "Bcc" not in read
    assert "Reply-To" not in read
    attached = list(read.iter_attachments())[-3:]
    assert [part.get_filename() for part in attached] == ["a.bin", "ü.txt", "c.png"]
    assert attached[0].get_content() == OCTETS
    assert attached[1].get_content().strip() == "grün"
    assert attached[2]["content-id"] == "<logo>"
    assert read.get_body(("plain",)).get_content().strip() == "x" * 2000


def test_an_address_in_other_letters_is_sent_to_where_the_server_takes_them(wanted, monkeypatch):
    server = Server(extensions=(b"SMTPUTF8", b"8BITMIME"))
    server.start()
    monkeypatch.setenv("APPENGINE_SMTP_HOST", "127.0.0.1")
    monkeypatch.setenv("APPENGINE_SMTP_PORT", str(server.port))
    monkeypatch.setenv("APPENGINE_SMTP_USE_TLS", "false")
    monkeypatch.delenv("APPENGINE_SMTP_USER")
    mail.send_mail(**FIELDS | {"to": "Jörg <jörg@example.org>"})
    server.join(60)
    server.listener.close()
    assert "rcpt TO:<jörg@example.org>".encode() in server.commands
    assert any(command.startswith(b"mail ") and b"SMTPUTF8" in command for command in server.commands)
    assert b"Subject: Hello" in server.content


def test_a_server_that_says_nothing_ends_the_call(wanted, monkeypatch):
    monkeypatch.setattr(smtp_service, "_TIMEOUT_SECONDS", 0.05)
    with serving(monkeypatch, is_silent=True), pytest.raises(mail.Error, match="timed out"):
        mail.send_mail(**FIELDS)


def test_port_465_means_tls_from_the_first_octet_on(wanted, monkeypatch):
    monkeypatch.setenv("APPENGINE_SMTP_PORT", "465")
    made = mock.Mock(side_effect=ConnectionRefusedError("seen"))
    monkeypatch.setattr(smtp_service, "_ImplicitTls", made)
    with pytest.raises(mail.Error, match="seen"):
        mail.send_mail(**FIELDS)
    made.assert_called_once_with("smtp.example.com", 465)


def test_certificates_are_looked_at_where_that_is_asked_for(monkeypatch):
    assert not smtp_service._context().check_hostname
    monkeypatch.setenv("POSTROAD_SMTP_TLS", "verified")
    assert smtp_service._context().check_hostname
