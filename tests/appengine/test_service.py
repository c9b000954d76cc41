"""The service behind send(): durable when it returns, by whatever road; what refuses it, in App Engine's terms."""

from __future__ import annotations

import subprocess
import sys
import threading
from traceback import format_exception_only
from unittest import mock

import msgspec
import pytest
from mail_site import WAIT_SECONDS, Site, request, send

from postroad.appengine import doors, mail, service, settings
from postroad.appengine.apiproxy_errors import (
    ApplicationError,
    CallNotFoundError,
    DeadlineExceededError,
    FeatureNotEnabledError,
    OverQuotaError,
    RequestTooLargeError,
    RPCFailedError,
)
from postroad.appengine.protocol import MailServiceError, VoidProto
from postroad.config import load_config
from postroad.errors import (
    ConfigError,
    NotAuthorized,
    QueueFull,
    QuotaExceeded,
    SpoolInUse,
    StoreError,
    SubmissionError,
    UnknownMessage,
)
from postroad.gate_line import GateLost, Line
from postroad.handover import Handover
from postroad.spool import SpoolLock, SpoolPlace
from postroad.store.contract import Filter

pytestmark = pytest.mark.usefixtures("nothing_said")


def refused(message=None, call="Send", **fields):
    with pytest.raises(ApplicationError) as caught:
        send(message, call, **fields)
    return caught.value


# --- durable, on every road ---


def test_a_message_is_in_the_spool_when_send_returns_though_no_engine_runs(site):
    id = send()
    stored, _ = site.only()
    assert stored.message.id == id
    assert [recipient.address for recipient in stored.recipients] == ["b@example.org"]


def test_what_an_international_domain_needs_is_imported_while_no_fork_may_happen():
    """A child of a fork amid an import would wait for ever."""
    program = """
import sys, threading
from postroad.address import parse_address
from postroad.forking import no_fork

class Watch:
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] in ("idna", "ipaddress"):
            seen.append((name, no_fork._is_owned()))

seen = []
sys.meta_path.insert(0, Watch())
parse_address("a@b\u00fccher.example", "to")
first = len(seen)
parse_address("a@xn--bcher-kva.example", "to")
parse_address("a@[192.0.2.1]", "to")
assert ("idna.uts46data", True) in seen[:first] and ("ipaddress", True) in seen, seen
assert all(held for _, held in seen), seen
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_logging_may_be_replaced_by_the_name_that_mail_has_for_it(site):
    with mock.patch("postroad.appengine.mail.logging") as replaced:
        mail.send_mail("a@example.com", "b@example.org", "Hello", "Hi")
    assert [call.args for call in replaced.info.call_args_list] == [
        ("Sending email via App Engine Mail API.",),
        ("Email sent successfully via App Engine Mail API.",),
    ]


def test_a_message_that_is_refused_makes_no_spool(tmp_path):
    """Its place may be misspelt."""
    mail = {
        "spool": {"url": "sqlite:shpo/var/a.db"},
        "senders": {"authorized": ["*@example.com"]},
        "folder": str(tmp_path),
    }
    service.configure(mail)
    assert refused(Sender="nobody@example.net").application_error == MailServiceError.UNAUTHORIZED_SENDER
    assert refused(To=["none"]).application_error == MailServiceError.BAD_REQUEST
    assert list(tmp_path.iterdir()) == []
    send()
    assert [file.name for file in (tmp_path / "shpo/var").iterdir()] != []


@pytest.mark.parametrize(("name", "missing"), [("shpo/a.db", "folder {}/shpo"), ("spol.db", "file {}/spol.db")])
def test_a_spool_that_is_not_there_and_has_no_rules_is_named(name, missing, tmp_path):
    service.configure(spool=tmp_path / name)
    with pytest.raises(FeatureNotEnabledError, match=rf"\(there is no {missing.format(tmp_path)}\)"):
        send()
    assert list(tmp_path.iterdir()) == []


def test_looking_at_a_spool_that_is_not_there_makes_none(tmp_path):
    place = SpoolPlace.parse("sqlite:shpo/a.db", tmp_path)
    with Handover(place, load_config({})) as door:
        assert door.find(Filter()) == []
        assert door.cancel(Filter()).recipients == 0
        assert door.status().messages == 0
        with pytest.raises(UnknownMessage):
            door.message("x")
    assert list(tmp_path.iterdir()) == []


def test_a_running_engine_delivers_it(site):
    with site.engine(delivering=1):
        send()
    (call,) = site.transport.calls
    assert call.addresses == ("b@example.org",)


def test_what_was_sent_without_an_engine_is_delivered_by_the_next(site):
    ids = [send(To=[f"r{number}@example.org"]) for number in range(3)]
    assert len(set(ids)) == 3
    with site.engine(delivering=3):
        pass
    assert sorted(call.addresses[0] for call in site.transport.calls) == [f"r{n}@example.org" for n in range(3)]


def test_the_last_receipt_is_this_threads(site):
    assert service.last_receipt() is None
    id = send()
    seen = []

    def other():
        seen.append(service.last_receipt())
        seen.append(send())

    thread = threading.Thread(target=other)
    thread.start()
    thread.join(WAIT_SECONDS)
    assert seen[0] is None
    assert seen[1] != id == service.last_receipt()


def test_a_refused_message_leaves_the_last_receipt(site):
    id = send()
    refused(Sender="x@example.net")
    assert service.last_receipt() == id


def test_an_answer_that_is_lost_on_the_way_is_asked_for_again_and_nothing_is_doubled(site, monkeypatch):
    ask = Line.ask
    lost = []

    def lose_one(self, calls, until):
        answers = ask(self, calls, until)
        if not lost:
            lost.append(answers)
            self.close()
            raise GateLost
        return answers

    monkeypatch.setattr(Line, "ask", lose_one)
    with site.engine(delivering=1):
        id = send()
    assert lost == [[id]]
    assert len(site.transport.calls) == 1


def test_an_answer_that_is_lost_with_the_last_of_a_quota_is_no_refusal(site, monkeypatch):
    site.configure(quotas={"recipients_per_day": 1})
    test_an_answer_that_is_lost_on_the_way_is_asked_for_again_and_nothing_is_doubled(site, monkeypatch)


# --- where ---


def test_without_a_spool_the_error_says_what_to_set():
    service.configure()
    with pytest.raises(
        FeatureNotEnabledError, match=r"mail.configure\(\.\.\.\).*POSTROAD_CONFIG.*POSTROAD_SPOOL"
    ) as caught:
        send()
    assert isinstance(caught.value.__cause__, ConfigError)


def test_the_environment_names_the_configuration(site, tmp_path, monkeypatch):
    file = tmp_path / "postroad.toml"
    file.write_text('[spool]\nurl = "sqlite:spool.db"\n[senders]\nauthorized = ["a@example.com"]\n')
    service.configure()
    monkeypatch.setenv("POSTROAD_CONFIG", str(file))
    assert send() == site.only()[0].message.id


@pytest.mark.parametrize("prefix", ["", "sqlite:"])
def test_the_environment_names_the_spool_whose_last_engine_left_its_rules(site, monkeypatch, prefix):
    with site.engine():
        pass
    service.configure()
    monkeypatch.setenv("POSTROAD_SPOOL", f"{prefix}{site.file}")
    assert send() == site.only()[0].message.id
    assert "*@example.com" in refused(Sender="x@example.net").error_detail


def test_a_spool_that_no_engine_worked_on_is_refused_with_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("POSTROAD_SPOOL", str(tmp_path / "new.db"))
    with pytest.raises(FeatureNotEnabledError, match="no engine has worked on this spool yet"):
        send()


def test_the_environment_may_change_between_two_messages(tmp_path, monkeypatch):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        here = Site(tmp_path / name)
        with here.engine():
            pass
        service.configure()
        monkeypatch.setenv("POSTROAD_SPOOL", str(here.file))
        send()
        assert len(here.stored()) == 1


def test_another_spool_may_stand_beside_a_configuration(site, tmp_path):
    service.configure(site.config, spool=tmp_path / "other.db")
    send()
    assert site.stored() == []
    site.place = type(site.place).parse(f"sqlite:{tmp_path}/other.db", tmp_path)
    assert len(site.stored()) == 1


def test_a_spool_that_other_processes_cannot_reach_is_refused():
    service.configure(load_config({"spool": {"url": "memory:"}}))
    with pytest.raises(FeatureNotEnabledError, match="cannot be reached"):
        send()


def test_configure_refuses_what_cannot_be_used(tmp_path):
    with pytest.raises(ConfigError):
        service.configure(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match="deadline_seconds"):
        service.configure(deadline_seconds=0)


def test_configure_sets_how_strict_headers_are():
    service.configure(strict_headers=True)
    assert settings.strict_headers
    service.configure()
    assert not settings.strict_headers


def test_one_door_serves_all_calls_until_something_else_is_said(site):
    send()
    first = doors.current_door()
    send()
    assert doors.current_door() is first
    site.configure()
    assert doors.current_door() is not first


# --- refusals ---


def test_an_unknown_call_is_none_of_the_service():
    with pytest.raises(CallNotFoundError):
        service.make_sync_call("mail", "Receive", request(), VoidProto())


def test_a_sender_that_is_not_authorized_is_told_who_is_and_where_to_add_one(site):
    error = refused(Sender="Stranger <x@example.net>")
    assert error.application_error == MailServiceError.UNAUTHORIZED_SENDER
    assert error.error_detail.startswith("Unauthorized sender")
    assert "*@example.com" in error.error_detail
    assert "[senders] authorized" in error.error_detail
    assert isinstance(error.__cause__, NotAuthorized)
    assert site.stored() == []


def test_the_engines_own_error_is_the_cause_of_what_the_application_catches(site):
    for sender, error, cause in (
        ("x@example.net", mail.InvalidSenderError, NotAuthorized),
        ("a@example.com, b@example.com", mail.BadRequestError, SubmissionError),
    ):
        with pytest.raises(error) as caught:
            mail.send_mail(sender, "b@example.org", "Hello", "Hi")
        assert type(caught.value.__cause__) is cause
    with pytest.raises(mail.InvalidAttachmentTypeError) as caught:
        mail.send_mail("a@example.com", "b@example.org", "Hello", "Hi", attachments=[("README", b"")])
    assert isinstance(caught.value.__cause__, ApplicationError), "the engine was not asked"


@pytest.mark.parametrize(
    ("fields", "code", "said"),
    [
        ({"To": ["not an address"]}, MailServiceError.BAD_REQUEST, "to[0]"),
        ({"To": []}, MailServiceError.BAD_REQUEST, "there is no recipient"),
        ({"Sender": "a@example.com, b@example.com"}, MailServiceError.BAD_REQUEST, "sender"),
        ({"Subject": "x\nBcc: y@example.org"}, MailServiceError.BAD_REQUEST, "subject"),
        (
            {"headers": [("References", "<a@b>\nBcc: y@example.org")]},
            MailServiceError.BAD_REQUEST,
            "headers[References]",
        ),
        ({"headers": [("References", "grün")]}, MailServiceError.BAD_REQUEST, "headers[References]"),
        ({"headers": [("Subject", "x")]}, MailServiceError.INVALID_HEADER_NAME, "headers[Subject]"),
        ({"headers": [("No name", "x")]}, MailServiceError.INVALID_HEADER_NAME, "headers[No name]"),
        ({"attachments": [("a.png", b"", "<a b>")]}, MailServiceError.INVALID_CONTENT_ID, "attachments[0].content_id"),
        ({"attachments": [("a\n.png", b"")]}, MailServiceError.INVALID_ATTACHMENT_TYPE, "attachments[0].filename"),
    ],
)
def test_what_cannot_be_sent_is_refused_by_its_field(site, fields, code, said):
    error = refused(**fields)
    assert error.application_error == code
    assert said in error.error_detail
    assert isinstance(error.__cause__, SubmissionError)
    assert site.stored() == []


def test_a_request_over_32_mb_is_too_large_whatever_its_parts(site):
    attachments = [("a.pdf", b"\0" * (32 << 20))]
    with pytest.raises(RequestTooLargeError, match=r"^The request to API call mail.Send\(\) was too large.$"):
        send(attachments=attachments)


def test_a_message_over_31_5_mb_is_a_bad_request_and_one_of_31_5_mb_is_not(site):
    error = refused(attachments=[("a.pdf", b"\0" * 33_030_144)])
    assert error.application_error == MailServiceError.BAD_REQUEST
    assert "33,030,144 are allowed" in error.error_detail
    send(attachments=[("a.pdf", b"\0" * (33_030_144 - 2))])
    assert len(site.stored()) == 1


def test_quotas_are_refused_with_the_originals_text(site):
    site.configure(quotas={"recipients_per_day": 1})
    send()
    with pytest.raises(OverQuotaError) as caught:
        send()
    assert str(caught.value) == "The API call mail.Send() required more quota than is available."
    assert isinstance(caught.value.__cause__, QuotaExceeded)
    assert "1 of [quotas] recipients_per_day = 1 are used" in caught.value.detail
    assert "there is more from " in caught.value.detail
    assert caught.value.detail in "".join(format_exception_only(caught.value)), "a log shows it"
    assert len(site.stored()) == 1


def test_a_full_spool_is_over_quota(site):
    site.configure(limits={"queue_messages": 1})
    send()
    with pytest.raises(OverQuotaError) as caught:
        send()
    assert isinstance(caught.value.__cause__, QueueFull)


def test_a_locked_spool_ends_with_the_deadline_and_the_id_it_may_be_stored_by(site):
    service.configure(site.config, deadline_seconds=0.05)
    with SpoolLock(site.place.lock_path), pytest.raises(DeadlineExceededError) as caught:
        send()
    assert isinstance(caught.value.__cause__, SpoolInUse)
    assert len(caught.value.receipt) == 20
    assert service.last_receipt() is None
    assert site.stored() == []


def test_a_broken_spool_is_a_failed_call(site):
    send()
    service.configure(site.config)
    site.file.write_bytes(b"no database at all" * 100)
    with pytest.raises(RPCFailedError) as caught:
        send()
    assert isinstance(caught.value.__cause__, StoreError)
    assert len(caught.value.receipt) == 20


# --- administrators ---


def test_mail_to_administrators_goes_to_those_of_the_configuration_and_so_do_its_reports(site):
    with site.engine(delivering=1):
        send(call="SendToAdmins", To=["ignored@example.org"], Cc=["ignored@example.org"])
    (call,) = site.transport.calls
    assert call.addresses == ("ops@example.com",)
    send(call="SendToAdmins")
    stored = site.stored()[-1][0]
    assert stored.message.report_to == ("ops@example.com",)


@pytest.mark.parametrize("how", ["environment", "configure"])
def test_this_process_may_name_the_administrators(site, monkeypatch, how):
    if how == "environment":
        monkeypatch.setenv("APPENGINE_ADMIN_EMAIL_RECIPIENTS", "Root <root@example.org>, x@example.org")
    else:
        service.configure(site.config, admins=["Root <root@example.org>", "x@example.org"])
    send(call="SendToAdmins")
    stored, _ = site.only()
    assert [recipient.address for recipient in stored.recipients] == ["root@example.org", "x@example.org"]
    assert stored.message.report_to == ("root@example.org", "x@example.org")


def test_without_administrators_the_error_says_where_to_name_them(site):
    site.configure(senders={"authorized": ["*"]})
    assert "[senders] admins" in refused(call="SendToAdmins").error_detail


def test_an_administrator_is_one_however_the_domain_is_written(site):
    site.configure(senders={"authorized": ["*"], "admins": ["ops@Example.COM"]})
    assert "16,384 are allowed" in refused(TextBody="x" * 16_384, To=["ops@example.com"]).error_detail


@pytest.mark.parametrize("with_engine", [False, True])
def test_a_message_with_an_administrator_among_its_recipients_has_at_most_16_kb(site, with_engine):
    def try_all():
        for fields in ({"call": "SendToAdmins"}, {"To": ["b@example.org"], "Bcc": ["Ops <ops@example.com>"]}):
            error = refused(**{"TextBody": "x" * 16_384, **fields})
            assert error.application_error == MailServiceError.BAD_REQUEST
            assert "16,384 are allowed" in error.error_detail
            send(**{"TextBody": "x" * 16_000, **fields})
        send(TextBody="x" * 20_000)

    if with_engine:
        with site.engine():
            try_all()
    else:
        try_all()
    assert len(site.stored()) == 3


# --- quick to import ---


def test_importing_opens_nothing_and_loads_no_engine():
    code = (
        "import sys; from postroad.appengine import service, smtp_service; "
        "print([name for name in ('trio', 'structlog', 'apsw', 'sqlite3', 'pluggy') if name in sys.modules])"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"


def test_the_door_takes_fields_for_administrators_it_does_not_know(site):
    door = Handover(site.place, site.config)
    id = door.send_mail({"sender": "a@example.com", "subject": "x"}, to_admins=True)
    assert msgspec.structs.asdict(door.message(id).message)["report_to"] == ("ops@example.com",)
