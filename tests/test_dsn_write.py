"""Reports say what happened in three parts that any mail program reads, whatever the peers and the mail contain."""

from __future__ import annotations

import email
import email.policy
from email.header import decode_header, make_header
from email.message import EmailMessage
from email.utils import parseaddr, parsedate_to_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.dsn import ReportedRecipient, ReportRequest, read_report, write_report
from postroad.dsn.advice import advice_for
from postroad.message import DsnOptions, Message

NOW = 1_750_000_000.0
ID = "01k0000000aaaaaaaaaa"
ORIGINAL = f"From: a@example.com\r\nSubject: Lunch\r\nMessage-ID: <{ID}@example.com>\r\n\r\nToday?\r\n".encode()


def failed(address: str = "b@example.org", **more: object) -> ReportedRecipient:
    fields: dict[str, object] = {
        "status": "5.1.1",
        "reply": "550 5.1.1 no such user",
        "remote": "mx1.example.org [192.0.2.1]:25",
        "attempts": 1,
        "last_attempt_at": NOW - 5,
    }
    return ReportedRecipient(address=address, action="failed", **(fields | more))  # type: ignore[arg-type]


def message(**more: object) -> Message:
    fields: dict[str, object] = {"message_id": f"{ID}@example.com", "size": len(ORIGINAL)}
    return Message(id=ID, sender="a@example.com", accepted_at=NOW - 60, **(fields | more))  # type: ignore[arg-type]


def request(*recipients: ReportedRecipient, **more: object) -> ReportRequest:
    fields: dict[str, object] = {
        "kind": "failed",
        "message": message(),
        "returned": ORIGINAL,
        "to": ("a@example.com",),
        "hostname": "mail.example.com",
        "from_name": "Mail Delivery System",
        "full_bytes": 50_000,
        "report_id": "01k0000001bbbbbbbbbb",
        "now": NOW,
    }
    return ReportRequest(recipients=recipients or (failed(),), **(fields | more))  # type: ignore[arg-type]


def parsed(raw: bytes) -> EmailMessage:
    assert_canonical(raw)
    report = email.message_from_bytes(raw, policy=email.policy.default)
    assert isinstance(report, EmailMessage)
    assert report.defects == []
    return report


def assert_canonical(raw: bytes) -> None:
    assert b"\0" not in raw
    assert raw.count(b"\r\n") == raw.count(b"\r") == raw.count(b"\n")
    assert max(map(len, raw.split(b"\r\n"))) <= 998
    assert raw.endswith(b"--\r\n")


def parts(raw: bytes) -> list[EmailMessage]:
    found = parsed(raw).get_payload()
    assert isinstance(found, list)
    return found  # type: ignore[return-value]


def status_groups(raw: bytes) -> list[EmailMessage]:
    return parts(raw)[1].get_payload()  # type: ignore[return-value]


def people_text(raw: bytes) -> str:
    return str(parts(raw)[0].get_content())


# --- The header ---


def test_the_header_names_this_host_the_sender_and_the_mail_it_answers() -> None:
    report = parsed(write_report(request()))
    assert report["From"] == "Mail Delivery System <mailer-daemon@mail.example.com>"
    assert report["To"] == "a@example.com"
    assert report["Subject"] == "Your message could not be delivered"
    assert report["Message-ID"] == "<01k0000001bbbbbbbbbb@mail.example.com>"
    assert report["In-Reply-To"] == report["References"] == f"<{ID}@example.com>"
    assert report["Auto-Submitted"] == "auto-replied"
    assert parsedate_to_datetime(report["Date"]).timestamp() == NOW
    assert report.get_content_type() == "multipart/report"
    assert report.get_param("report-type") == "delivery-status"


def test_several_administrators_get_one_report() -> None:
    to = tuple(f"admin{number}@example.com" for number in range(100))
    report = parsed(write_report(request(to=to)))
    assert tuple(address.addr_spec for address in report["To"].addresses) == to


@pytest.mark.parametrize("name", ["Mail, the system", 'The "post"', "Zustellung für Kunden", "配送" * 30, "=?x?=", ""])
def test_any_from_name_reads_back(name: str) -> None:
    raw = write_report(request(from_name=name))
    assert_canonical(raw)
    # The old policy: the new one keeps white space between encoded words, against RFC 2047 section 6.2.
    phrase, address = parseaddr(email.message_from_bytes(raw)["From"])
    words = decode_header(phrase) if phrase.startswith("=?utf-8?") else [(phrase, None)]
    assert str(make_header(words)) == name
    assert address == "mailer-daemon@mail.example.com"


@pytest.mark.parametrize("message_id", ["", "with space@x", "a>\r\nBcc: x@y\r\n", "é@example.com", "x" * 2000])
def test_a_message_id_that_is_none_is_not_repeated(message_id: str) -> None:
    returned = b"Subject: Hello\r\n\r\n"
    report = parsed(write_report(request(message=message(message_id=message_id), returned=returned)))
    assert report["In-Reply-To"] is None
    assert report["Bcc"] is None


@pytest.mark.parametrize("field", [b"Message-ID: <own@example.com>", b"message-id:\r\n <own@example.com>"])
def test_mail_whose_record_cannot_be_read_is_named_by_its_own_header(field: bytes) -> None:
    returned = b"Subject: Hello\r\n" + field + b"\r\n\r\nMessage-ID: <quoted@example.com>\r\n"
    report = parsed(write_report(request(message=message(message_id=""), returned=returned)))
    assert report["In-Reply-To"] == report["References"] == "<own@example.com>"
    headless = write_report(request(message=message(message_id=""), returned=returned.replace(field, b"X: y")))
    assert parsed(headless)["In-Reply-To"] is None


def test_a_sender_with_utf8_local_part_makes_the_to_field_utf8() -> None:
    raw = write_report(request(to=("jürgen@example.com",)))
    assert "\r\nTo: jürgen@example.com\r\n".encode() in raw


def test_a_sender_with_only_a_utf8_domain_is_written_in_ascii() -> None:
    raw = write_report(request(to=("a@bücher.example",)))
    assert b"\r\nTo: a@xn--bcher-kva.example\r\n" in raw
    assert raw.isascii()


# --- The part for people ---


def test_people_read_what_happened_to_whom_and_what_to_do() -> None:
    text = people_text(write_report(request()))
    assert "could not be delivered" in text
    assert "<b@example.org>" in text
    assert "mx1.example.org [192.0.2.1]:25 said:" in text
    assert "550 5.1.1 no such user" in text
    assert "Check the address for mistakes" in text
    assert max(map(len, text.splitlines())) <= 76


def test_a_delay_says_that_nothing_need_be_done_and_until_when_it_is_tried() -> None:
    waiting = ReportedRecipient(
        address="b@example.org", action="delayed", status="4.4.1", reply="time-out", will_retry_until=NOW + 86_400
    )
    raw = write_report(request(waiting, kind="delayed"))
    text = people_text(raw)
    assert parsed(raw)["Subject"] == "Your message is delayed"
    assert "you need not send it" in text
    assert "It will be tried until Mon, 16 Jun 2025" in text
    assert "Check the address" not in text


def test_tries_are_counted_where_there_were_several() -> None:
    assert "It was tried 31 times." in people_text(write_report(request(failed(attempts=31))))


def test_words_in_other_scripts_stay_readable() -> None:
    text = people_text(write_report(request(failed("пользователь@пример.example", reply="550 нет такого"))))
    assert "<пользователь@пример.example>" in text
    assert "550 нет такого" in text


@pytest.mark.parametrize(
    ("status", "word"),
    [
        ("5.1.1", "address"),
        ("5.2.2", "full"),
        ("5.3.4", "large"),
        ("4.4.1", "could not be reached"),
        ("4.4.7", "no more time"),
        ("5.7.1", "rules"),
        ("5.6.3", "form"),
        ("", "words above"),
        ("5.99.9", "words above"),
    ],
)
def test_the_advice_fits_the_status(status: str, word: str) -> None:
    assert word in advice_for(status)


# --- The part for programs ---


def test_programs_read_every_field_of_rfc_3464() -> None:
    raw = write_report(request(failed(will_retry_until=NOW + 60), message=message(dsn=DsnOptions(envid="order+41 x"))))
    about, recipient = status_groups(raw)
    assert dict(about.items()) == {
        "Reporting-MTA": "dns; mail.example.com",
        "Original-Envelope-Id": "order+41 x",
        "Arrival-Date": "Sun, 15 Jun 2025 15:05:40 +0000",
    }
    assert dict(recipient.items()) == {
        "Final-Recipient": "rfc822; b@example.org",
        "Action": "failed",
        "Status": "5.1.1",
        "Remote-MTA": "dns; mx1.example.org",
        "Diagnostic-Code": "smtp; 550 5.1.1 no such user",
        "Last-Attempt-Date": "Sun, 15 Jun 2025 15:06:35 +0000",
        "Will-Retry-Until": "Sun, 15 Jun 2025 15:07:40 +0000",
    }


def test_what_the_sender_did_not_give_is_not_invented() -> None:
    about, recipient = status_groups(write_report(request(failed(reply="", remote="", last_attempt_at=None))))
    assert list(about.keys()) == ["Reporting-MTA", "Arrival-Date"]
    assert list(recipient.keys()) == ["Final-Recipient", "Action", "Status"]


def test_the_original_recipient_stands_decoded_where_it_was_given() -> None:
    _, recipient = status_groups(write_report(request(failed(orcpt="rfc822;B+2Bx@Example.org"))))
    assert recipient["Original-Recipient"] == "rfc822; B+x@Example.org"


def test_an_original_recipient_that_hides_a_line_break_stays_one_field() -> None:
    _, recipient = status_groups(write_report(request(failed(orcpt="rfc822;b+0D+0AAction:+20delivered"))))
    assert recipient["Original-Recipient"] == r"rfc822; b\x0d\x0aAction: delivered"
    assert recipient.get_all("Action") == ["failed"]


def test_utf8_addresses_take_their_seven_bit_form() -> None:
    _, recipient = status_groups(write_report(request(failed("jü+x@bücher.example"))))
    assert recipient["Final-Recipient"] == r"utf-8; j\x{FC}\x{2B}x@b\x{FC}cher.example"


def test_only_a_servers_reply_is_called_smtp() -> None:
    _, recipient = status_groups(write_report(request(failed(reply="the connection timed out"))))
    assert recipient["Diagnostic-Code"] == "x-postroad; the connection timed out"


@pytest.mark.parametrize(
    ("remote", "host"),
    [
        ("mx1.example.org [192.0.2.1]:25", "dns; mx1.example.org"),
        ("[2001:db8::1]:25", "dns; [2001:db8::1]"),
        ("\r\nevil", None),
        ("", None),
    ],
)
def test_the_remote_is_named_by_its_host(remote: str, host: str | None) -> None:
    _, recipient = status_groups(write_report(request(failed(remote=remote))))
    assert recipient["Remote-MTA"] == host


@pytest.mark.parametrize(("status", "written"), [("", "5.0.0"), ("nonsense", "5.0.0"), ("4.4.7", "4.4.7")])
def test_a_status_is_always_there(status: str, written: str) -> None:
    _, recipient = status_groups(write_report(request(failed(status=status))))
    assert recipient["Status"] == written


def test_a_hostile_reply_is_escaped_and_cut_everywhere() -> None:
    reply = "550 x\r\n\r\n--=_01k\r\nAction: delivered\x1b[31m\u2028<script>\0" + "A" * 5000
    raw = write_report(request(failed(reply=reply)))
    _, recipient = status_groups(raw)
    assert recipient.get_all("Action") == ["failed"]
    assert recipient["Diagnostic-Code"].startswith(
        r"smtp; 550 x\x0d\x0a\x0d\x0a--=_01k\x0d\x0aAction: delivered\x1b[31m"
    )
    assert len(parts(raw)) == 3
    assert b"\x1b" not in raw
    assert len(raw) < 5000


def test_a_hundred_recipients_fit_and_more_are_refused() -> None:
    many = [failed(f"b{number}@example.org") for number in range(101)]
    assert len(status_groups(write_report(request(*many[:100])))) == 101
    with pytest.raises(ValueError, match="100"):
        write_report(request(*many))


# --- The returned mail ---


def test_a_small_mail_comes_back_whole() -> None:
    part = parts(write_report(request()))[2]
    assert part.get_content_type() == "message/rfc822"
    assert part.get_content().as_bytes(policy=email.policy.SMTP) == ORIGINAL


HEADER = ORIGINAL.partition(b"\r\n\r\n")[0] + b"\r\n"


@pytest.mark.parametrize(
    "more",
    [
        {"full_bytes": len(ORIGINAL) - 1},
        {"message": message(dsn=DsnOptions(ret="headers"))},
        {"kind": "delayed"},
        {"returned": ORIGINAL + "ä\r\n".encode()},
        {"returned": ORIGINAL + b"x" * 999 + b"\r\n"},
        {"returned": ORIGINAL + b"bare\nline\r\n"},
        {"returned": ORIGINAL + b"nul\0\r\n"},
    ],
    ids=["too large", "RET=HDRS", "delayed", "8-bit", "long line", "bare LF", "NUL"],
)
def test_otherwise_only_its_header_comes_back(more: dict[str, object]) -> None:
    raw = write_report(request(**more))
    part = parts(raw)[2]
    assert part.get_content_type() == "text/rfc822-headers"
    assert part.get_payload(decode=True) == HEADER
    assert b"Today?" not in raw
    assert "The header of your message is attached" in people_text(raw).replace("\n", " ")


def test_a_header_with_raw_utf8_is_encoded() -> None:
    raw = write_report(request(returned="Subject: Übung\r\nTo: b@example.org\r\n\r\nx\r\n".encode()))
    part = parts(raw)[2]
    assert raw.isascii()
    assert part.get_payload(decode=True).decode() == "Subject: Übung\r\nTo: b@example.org\r\n"  # type: ignore[union-attr]


def test_a_huge_header_is_cut_at_a_line() -> None:
    raw = write_report(request(returned=b"".join(b"X-%05d: x\r\n" % number for number in range(100_000))))
    last = parts(raw)[2].get_payload(decode=True).splitlines()[-1]  # type: ignore[union-attr]
    assert len(raw) < 40_000
    assert last.endswith(b": x")


def test_nothing_is_returned_where_the_mail_cannot_be_read() -> None:
    raw = write_report(request(returned=b""))
    assert [part.get_content_type() for part in parts(raw)] == ["text/plain", "message/delivery-status"]


def test_a_mail_that_holds_the_boundary_cannot_break_out_of_its_part() -> None:
    boundary = parsed(write_report(request())).get_boundary()
    hostile = ORIGINAL + f"--{boundary}\r\nContent-Type: text/plain\r\n\r\nforged\r\n--{boundary}--\r\n".encode()
    raw = write_report(request(returned=hostile))
    assert parsed(raw).get_boundary() != boundary
    assert len(parts(raw)) == 3
    assert parts(raw)[2].get_content().as_bytes(policy=email.policy.SMTP) == hostile


# --- Both ways ---


def test_what_is_written_reads_back() -> None:
    two = (failed(), failed("jürgen@bücher.example", status="5.7.1", reply="554 5.7.1 no"))
    report = read_report(write_report(request(*two, message=message(dsn=DsnOptions(envid="order+41")))))
    assert report is not None
    assert report.kind == "dsn"
    assert report.envid == "order+41"
    assert report.original_message_id == f"{ID}@example.com"
    assert report.our_id == ID
    assert [(r.address, r.action, r.status, r.diagnostic) for r in report.recipients] == [
        ("b@example.org", "failed", "5.1.1", "550 5.1.1 no such user"),
        ("jürgen@bücher.example", "failed", "5.7.1", "554 5.7.1 no"),
    ]


ANY = st.text(st.characters(), max_size=80)


@given(ANY, ANY, ANY, ANY, st.binary(max_size=300), st.sampled_from(["failed", "delayed"]))
def test_whatever_it_is_told_the_report_is_sound(
    address: str, reply: str, remote: str, orcpt: str, returned: bytes, kind: str
) -> None:
    recipient = failed(address, reply=reply, remote=remote, orcpt=orcpt, status=reply[:5])
    raw = write_report(request(recipient, kind=kind, returned=returned, message=message(message_id=remote)))
    assert raw.isascii()
    assert [part.get_content_type() for part in parts(raw)][:2] == ["text/plain", "message/delivery-status"]
    assert len(parts(raw)) == 2 + bool(returned)
    assert len(status_groups(raw)) == 2
    report = read_report(raw)
    assert report is not None
    assert report.recipients[0].action == "failed"
