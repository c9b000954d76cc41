"""The stub for the tests of applications: what it keeps and finds, what it refuses, and that nothing leaves the process."""

from __future__ import annotations

import io
import logging
import os
import smtplib
import subprocess
import sys
import textwrap
import threading
import zipfile
from typing import Any

import pytest

from postroad.appengine import apiproxy_errors, apiproxy_stub_map, mail, testbed
from postroad.appengine import service as the_service
from postroad.appengine.mail_stub import MailServiceStub
from postroad.appengine.protocol import VoidProto
from postroad.appengine.testing import catch_mail

pytestmark = pytest.mark.usefixtures("nothing_said")

LETTER = {"sender": "s@example.com", "to": "t@example.org", "subject": "Hello", "body": "Hi"}
RULES = {
    "spool": {"url": "sqlite:never/made.db"},
    "senders": {"authorized": ["*@example.com"], "admins": ["ops@example.com"]},
    "transports": {"out": {"plugin": "file", "format": "maildir", "folder": "never"}},
    "routes": [{"transport": "out"}],
}


def send(**fields: Any) -> None:
    mail.EmailMessage(**{**LETTER, **fields}).send()


def subjects(stub: MailServiceStub, **patterns: Any) -> list[str]:
    return [message.subject for message in stub.get_sent_messages(**patterns)]


def test_what_is_sent_is_kept_and_looks_as_the_original_shows_it() -> None:
    with catch_mail() as stub:
        send(html="<p>Hi", headers={"List-Id": "list.example.com"}, bcc="b@example.org", attachments=[("a.txt", b"x")])
        mail.send_mail_to_admins("s@example.com", "Alarm", "It burns")
    first, second = stub.get_sent_messages()
    assert type(first) is mail.EmailMessage
    assert type(second) is mail.AdminEmailMessage
    assert (first.to, first.bcc, first.subject) == ("t@example.org", "b@example.org", "Hello")
    assert first.headers == {"List-Id": "list.example.com"}
    assert isinstance(first.body, mail.EncodedPayload)
    assert (first.body.decode(), first.html.decode()) == ("Hi", "<p>Hi")
    assert [each.filename for each in first.attachments] == ["a.txt"]


@pytest.mark.parametrize(
    ("patterns", "found"),
    [
        ({}, ["one", "two", "three"]),
        ({"to": "bob"}, ["one", "two"]),
        ({"to": r"^bob@example\.org$"}, ["one", "two"]),  # one of several recipients
        ({"to": "eve", "subject": "t"}, ["two"]),
        ({"sender": "^other@"}, ["three"]),
        ({"body": "H[ae]llo"}, ["one"]),
        ({"html": "<b>"}, ["two"]),
        ({"amp_html": "⚡"}, ["three"]),
        ({"subject": "^o", "body": "nothing of the kind"}, []),
    ],
)
def test_messages_are_found_by_regular_expressions(patterns: dict[str, str], found: list[str]) -> None:
    with catch_mail() as stub:
        send(subject="one", to=["al@example.org", "bob@example.org"], body="Hallo")
        send(subject="two", to="bob@example.org, Eve <eve@example.org>", html="<b>Hello</b>")
        send(subject="three", sender="other@example.com", amp_html="<html ⚡4email>")
    assert subjects(stub, **patterns) == found


def test_clear_forgets() -> None:
    with catch_mail() as stub:
        send()
        stub.clear()
        send(subject="second")
        assert subjects(stub) == ["second"]
        stub.Clear()
        assert stub.get_sent_messages() == []


def test_no_thread_is_lost() -> None:
    with catch_mail(RULES) as stub:
        threads = [threading.Thread(target=lambda n=n: [send(subject=f"{n}-{i}") for i in range(20)]) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert sorted(subjects(stub)) == sorted(f"{n}-{i}" for n in range(8) for i in range(20))


def test_the_receipt_is_there_and_the_service_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(the_service, "current_door", lambda: pytest.fail("a spool was looked for"))
    with catch_mail():
        send()
        first = mail_receipt()
        send()
    assert first
    assert mail_receipt() not in (None, first)


def mail_receipt() -> str | None:
    return the_service.last_receipt()


def test_behind_the_block_the_service_is_back() -> None:
    with catch_mail() as outer, catch_mail() as inner:
        send()
    assert (len(outer.get_sent_messages()), len(inner.get_sent_messages())) == (0, 1)
    with pytest.raises(apiproxy_errors.FeatureNotEnabledError, match=r"mail\.configure"):
        send()


def test_mail_that_would_go_by_smtp_is_caught_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APPENGINE_USE_SMTP_MAIL_SERVICE", "true")
    monkeypatch.setenv("APPENGINE_SMTP_HOST", "smtp.invalid")
    monkeypatch.setattr(smtplib, "SMTP", lambda *args, **kwargs: pytest.fail("a server was called"))
    with catch_mail() as stub:
        send()
    assert subjects(stub) == ["Hello"]


def archive(name: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as made:
        made.writestr(name, b"MZ")
    return file.getvalue()


@pytest.mark.parametrize(
    ("attachment", "text"),
    [
        ((".profile", b""), "attachments cannot be hidden files. Received '.profile'."),
        (("README", b""), "attachments must have a file extension, Received 'README'."),
        (("a.zip", archive("x.exe")), "blacklisted. Received 'a.zip/x.exe'"),
    ],
)
def test_attachments_are_refused_as_by_the_service(attachment: tuple[str, bytes], text: str) -> None:
    with catch_mail() as stub, pytest.raises(mail.InvalidAttachmentTypeError) as raised:
        send(attachments=[attachment])
    assert text in str(raised.value)
    assert stub.get_sent_messages() == []


def test_a_request_that_is_too_large_is_refused() -> None:
    with catch_mail() as stub, pytest.raises(apiproxy_errors.RequestTooLargeError):
        send(attachments=[("a.bin", bytes(32 << 20))])
    assert stub.get_sent_messages() == []


def test_without_a_configuration_any_sender_may_send() -> None:
    with catch_mail() as stub:
        send(sender="whoever", to="not an address")
    assert len(stub.get_sent_messages()) == 1


@pytest.mark.parametrize("way", ["argument", "configure", "environment"])
def test_with_a_configuration_its_rules_hold(way: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    if way == "configure":
        the_service.configure(RULES)
    elif way == "environment":
        file = tmp_path / "postroad.toml"
        file.write_text(
            '[spool]\nurl="sqlite:never/made.db"\n[senders]\nauthorized=["*@example.com"]\n'
            '[transports.out]\nplugin="file"\nformat="maildir"\nfolder="never"\n[[routes]]\ntransport="out"\n'
        )
        monkeypatch.setenv("POSTROAD_CONFIG", str(file))
    with catch_mail(RULES if way == "argument" else None) as stub:
        with pytest.raises(mail.InvalidSenderError, match="Unauthorized sender"):
            send(sender="s@elsewhere.example")
        with pytest.raises(mail.BadRequestError):
            send(to="not an address")
        send()
    assert len(stub.get_sent_messages()) == 1
    assert not (tmp_path / "never").exists()


def test_mail_to_administrators_is_limited_as_by_the_service() -> None:
    with catch_mail(RULES), pytest.raises(mail.BadRequestError, match="16,384"):
        mail.send_mail_to_admins("s@example.com", "Alarm", "x" * 17_000)


def test_quotas_count_and_begin_anew_when_cleared() -> None:
    with catch_mail({**RULES, "quotas": {"recipients_per_day": 2}}) as stub:
        send(to=["a@example.org", "b@example.org"])
        with pytest.raises(apiproxy_errors.OverQuotaError):
            send()
        stub.clear()
        send()
    assert len(stub.get_sent_messages()) == 1


def test_an_error_of_the_service_is_played() -> None:
    with catch_mail() as stub:
        stub.SetError(apiproxy_errors.OverQuotaError("no more"), method="Send")
        with pytest.raises(apiproxy_errors.OverQuotaError):
            send()
        mail.send_mail_to_admins("s@example.com", "Alarm", "It burns")
        stub.SetError(None, method="Send")
        send()
    assert subjects(stub) == ["Alarm", "Hello"]


def test_the_log_has_the_originals_form(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with catch_mail(show_mail_body=True):
        send(cc=["c@example.org"], reply_to="r@example.com", html="<p>", attachments=[("a.txt", b"123")])
    (found,) = [record.getMessage() for record in caplog.records if "MailService" in record.getMessage()]
    assert found.splitlines() == [
        *["MailService.Send", "  From: s@example.com", "  To: t@example.org", "  Cc: c@example.org"],
        *["  Reply-to: r@example.com", "  Subject: Hello"],
        *["  Body:", "    Content-type: text/plain", "    Data length: 2", "-----", "Hi", "-----"],
        *["  Body:", "    Content-type: text/html", "    Data length: 3", "-----", "<p>", "-----"],
        *["  Attachment:", "    File name: a.txt", "    Data length: 3"],
    ]


def test_a_stub_with_a_server_sends_as_the_originals_does(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[Any] = []

    class Server:
        def __getattr__(self, name: str) -> Any:
            return lambda *args: sent.append((name, *args)) or True

    request = mail.EmailMessage(**LETTER, bcc="b@example.org", attachments=[("a.png", bytes(range(256)))]).ToProto()
    MailServiceStub("smtp.example.com", 2525, "me", "secret")._Send(request, VoidProto(), smtp_lib=Server)
    assert [each[0] for each in sent] == [
        *["connect", "ehlo_or_helo_if_needed", "has_extn", "starttls", "ehlo", "login", "sendmail", "quit"]
    ]
    assert sent[6][1:3] == ("s@example.com", ["t@example.org", "b@example.org"])
    assert "Content-Transfer-Encoding: base64" in sent[6][3]


# --- testbed ---


def test_the_originals_testbed_needs_its_import_changed_only() -> None:
    bed = testbed.Testbed()
    bed.activate()
    bed.init_mail_stub(show_mail_body=True)
    mail.send_mail(to="alice@example.com", subject="This is a test", sender="bob@example.com", body="a test e-mail")
    stub = bed.get_stub(testbed.MAIL_SERVICE_NAME)
    (message,) = stub.get_sent_messages(to="alice@example.com")
    assert message.to == "alice@example.com"
    bed.deactivate()
    with pytest.raises(testbed.NotActivatedError):
        bed.get_stub("mail")


@pytest.mark.parametrize("prepare", [lambda bed: None, lambda bed: bed.init_mail_stub(enable=False)])
def test_an_active_testbed_never_leads_to_the_real_service(prepare: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(the_service, "make_sync_call", lambda *args: pytest.fail("sent"))
    bed = testbed.Testbed()
    bed.activate()
    prepare(bed)
    try:
        with pytest.raises(AssertionError, match='No api proxy found for service "mail"'):
            send()
    finally:
        bed.deactivate()


def test_a_testbed_sets_the_environment_and_puts_it_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERVER_NAME", "mine")
    before = dict(os.environ)
    bed = testbed.Testbed()
    bed.setup_env(app_id="dev~shop", custom="x")
    bed.activate()
    assert (os.environ["GOOGLE_CLOUD_PROJECT"], os.environ["CUSTOM"], os.environ["SERVER_NAME"]) == (
        "shop",
        "x",
        "mine",
    )
    assert os.environ["AUTH_DOMAIN"] == "gmail.com"
    bed.setup_env(overwrite=True, server_name="theirs")
    assert os.environ["SERVER_NAME"] == "theirs"
    bed.deactivate()
    for name in ("GAE_APPLICATION", "GOOGLE_CLOUD_PROJECT", "CUSTOM"):
        os.environ.pop(name, None)  # set before it was active, as in the original
    assert {name: os.environ.get(name) for name in before} == before


def test_stubs_of_other_services_are_the_originals_business() -> None:
    with pytest.raises(testbed.StubNotSupportedError, match="none for datastore_v3"):
        testbed.Testbed().init_datastore_v3_stub()
    assert not hasattr(testbed.Testbed, "init_datastore_v3_stub")


def test_a_stub_is_registered_by_hand_as_in_the_original(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apiproxy_stub_map, "apiproxy", apiproxy_stub_map.APIProxyStubMap())
    stub = MailServiceStub()
    apiproxy_stub_map.apiproxy.RegisterStub("mail", stub)
    with pytest.raises(AssertionError):
        apiproxy_stub_map.apiproxy.RegisterStub("mail", stub)
    apiproxy_stub_map.MakeSyncCall("mail", "Send", mail.EmailMessage(**LETTER).ToProto(), VoidProto())
    assert subjects(stub) == ["Hello"]


def test_a_call_of_the_applications_own_goes_the_same_way() -> None:
    heard: list[str] = []
    with catch_mail() as stub:
        rpc = apiproxy_stub_map.UserRPC("mail", callback=lambda: heard.append("done"))
        rpc.make_call("Send", mail.EmailMessage(**LETTER).ToProto(), VoidProto())
        assert rpc.get_result() is None
        rpc.wait()
        stub.SetError(apiproxy_errors.OverQuotaError("no more"))
        rpc.make_call("Send", mail.EmailMessage(**LETTER).ToProto(), VoidProto(), get_result_hook=lambda rpc: "mine")
        assert rpc.get_result() == "mine"
        with pytest.raises(apiproxy_errors.OverQuotaError):
            rpc.check_success()
    assert (subjects(stub), heard) == (["Hello"], ["done"])


def test_without_a_stub_a_call_of_the_applications_own_reaches_the_service() -> None:
    rpc = apiproxy_stub_map.UserRPC("mail")
    rpc.make_call("Send", mail.EmailMessage(**LETTER).ToProto(), VoidProto())
    with pytest.raises(apiproxy_errors.FeatureNotEnabledError):
        rpc.check_success()


# --- pytest and unittest ---

SUITE = """
import unittest
import pytest
from postroad.appengine import mail
from postroad.appengine.testing import catch_mail

def test_welcome(mail_stub):
    mail.send_mail("s@example.com", "t@example.org", "Welcome", "Hi")
    assert mail_stub.get_sent_messages(subject="Welcome")

def test_nothing_is_left_of_it(mail_stub):
    assert not mail_stub.get_sent_messages()

class Rules:
    @pytest.fixture
    def mail_stub_options(self):
        return {"config": RULES}

class TestOptions(Rules):
    def test_refused(self, mail_stub):
        with pytest.raises(mail.InvalidSenderError):
            mail.send_mail("s@elsewhere.example", "t@example.org", "Welcome", "Hi")

class SignUpTest(unittest.TestCase):
    def setUp(self):
        self.mail_stub = self.enterContext(catch_mail())

    def test_welcome(self):
        mail.send_mail("s@example.com", "t@example.org", "Welcome", "Hi")
        self.assertEqual(1, len(self.mail_stub.get_sent_messages(to="t@example.org")))
"""


def test_the_fixture_and_unittest_work_in_a_suite_of_its_own(tmp_path: Any) -> None:
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["postroad.appengine.testing.pytest_plugin"]\n')
    (tmp_path / "test_suite.py").write_text(f"RULES = {RULES!r}\n" + textwrap.dedent(SUITE))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert "4 passed" in done.stdout, done.stdout + done.stderr
