"""Reports that come back are understood in the forms that hosts write them in; no octets make the reader raise."""

from __future__ import annotations

import email
import email.policy
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.dsn import ReceivedReport, read_report
from postroad.dsn.forms import decode_utf8_address, decode_xtext, encode_utf8_address
from postroad.dsn.mime import parts_of

OUR = "01k0000000aaaaaaaaaa"

DSN = f"""\
Return-Path: <>
From: MAILER-DAEMON@mx.example.org (Mail Delivery System)
To: a@example.com
Subject: Undelivered Mail Returned to Sender
Auto-Submitted: auto-replied
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status;
\tboundary="4F1.1700000000/mx.example.org"

This is a MIME-encapsulated message.

--4F1.1700000000/mx.example.org
Content-Description: Notification
Content-Type: text/plain; charset=us-ascii

I'm sorry to have to inform you that your message could not be delivered.

--4F1.1700000000/mx.example.org
Content-Description: Delivery report
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.example.org
Original-Envelope-Id: order-41
X-Queue-ID: 4F1
Arrival-Date: Sun, 15 Jun 2025 15:05:40 +0000 (UTC)

Final-Recipient: rfc822; box17@store.example.org
Original-Recipient: rfc822;b@example.org
Action: failed
Status: 5.2.2
Remote-MTA: dns; store.example.org
Diagnostic-Code: smtp; 552 5.2.2 <box17@store.example.org>: mailbox
    is over quota

Final-Recipient: rfc822; c@example.org
Action: DELAYED (soon)
Status: 4.4.1 (no answer)

--4F1.1700000000/mx.example.org
Content-Description: Undelivered Message Headers
Content-Type: text/rfc822-headers

Received: from mail.example.com
Message-ID: <{OUR}@example.com>
Subject: Lunch

--4F1.1700000000/mx.example.org--
"""

ARF = f"""\
From: <feedback@isp.example>
Subject: FW: Lunch
MIME-Version: 1.0
Content-Type: multipart/report; report-type=feedback-report; boundary=part1

--part1
Content-Type: text/plain

This is an email abuse report.

--part1
Content-Type: message/feedback-report

Feedback-Type: Abuse
User-Agent: SomeGenerator/1.0
Version: 1
Original-Rcpt-To: <b@isp.example>
Original-Rcpt-To: <c@isp.example>
Arrival-Date: Thu, 8 Mar 2005 14:00:00 EDT

--part1
Content-Type: message/rfc822

From: a@example.com
Message-ID: <{OUR}@example.com>

Hi.

--part1--
"""

PLAIN = f"""\
Return-Path: <>
From: MAILER-DAEMON@old.example.org
Subject: failure notice

Hi. This is the mail program at old.example.org.

<b@example.org>:
Sorry, no mailbox here by that name. (#5.1.1)

--- Below this line is a copy of the message.

From: a@example.com
Message-ID: <{OUR}@example.com>
"""

FAILED_RECIPIENTS = """\
X-Failed-Recipients: b@example.org, c@example.org
From: Mail Delivery System <Mailer-Daemon@x.example>
In-Reply-To: <abc@example.com>

A message that you sent could not be delivered.
"""


def read(text: str) -> ReceivedReport:
    report = read_report(text.encode())
    assert report is not None
    return report


# --- Delivery reports ---


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_a_delivery_report_is_read_whatever_its_line_ends(newline: str) -> None:
    report = read(DSN.replace("\n", newline))
    assert (report.kind, report.envid, report.our_id) == ("dsn", "order-41", OUR)
    assert report.original_message_id == f"{OUR}@example.com"
    first, second = report.recipients
    assert (first.address, first.action, first.status) == ("b@example.org", "failed", "5.2.2")
    assert first.diagnostic == "552 5.2.2 <box17@store.example.org>: mailbox is over quota"
    assert (second.address, second.action, second.status) == ("c@example.org", "delayed", "4.4.1")


def test_the_standard_librarys_parser_sees_the_same_parts() -> None:
    parsed = email.message_from_string(DSN, policy=email.policy.default)
    ours = [part.type for part in parts_of(DSN.encode())[1]]
    assert ours == [parsed.get_content_type(), *(part.get_content_type() for part in parsed.iter_parts())]


def test_a_report_inside_another_multipart_is_found() -> None:
    inner = DSN[DSN.index("Content-Type: multipart") :]
    wrapped = (
        f"From: gw@x.example\nContent-Type: multipart/mixed; boundary=out\n\n--out\n{inner}\n--out\n\nFooter\n--out--\n"
    )
    assert read(wrapped).our_id == OUR


def test_a_report_that_somebody_forwards_is_no_report() -> None:
    outer = "From: x@y.example\nContent-Type: multipart/mixed; boundary=out\n\n"
    forwarded = f"{outer}--out\nContent-Type: message/rfc822\n\n{DSN}\n--out--\n"
    assert read_report(forwarded.encode()) is None


def test_an_envelope_id_of_our_form_names_the_message() -> None:
    report = read(DSN.replace("order-41", "01k0000009bbbbbbbbbb").replace(f"Message-ID: <{OUR}@example.com>\n", ""))
    assert (report.our_id, report.original_message_id) == ("01k0000009bbbbbbbbbb", "")


def test_another_hosts_message_id_is_no_id_of_ours() -> None:
    report = read(DSN.replace(OUR, "CAF+abc.123"))
    assert (report.our_id, report.original_message_id) == ("", "CAF+abc.123@example.com")


def test_utf8_addresses_are_read_in_both_forms() -> None:
    embedded = DSN.replace("rfc822;b@example.org", r"utf-8;j\x{FC}@example.org")
    raw = DSN.replace("rfc822;b@example.org", "utf-8; jü@example.org").replace(
        "message/delivery-status", "message/global-delivery-status"
    )
    assert read(embedded).recipients[0].address == read(raw).recipients[0].address == "jü@example.org"


def test_an_encoded_status_part_is_decoded() -> None:
    encoded = DSN.replace(
        "message/delivery-status\n", "message/delivery-status\nContent-Transfer-Encoding: quoted-printable\n"
    )
    assert read(encoded.replace("box17@store", "box17=40store")).our_id == OUR


def test_a_missing_empty_line_before_the_recipient_is_forgiven() -> None:
    report = read(DSN.replace("+0000 (UTC)\n\nFinal", "+0000 (UTC)\nFinal"))
    assert report.recipients[0].address == "b@example.org"
    assert report.envid == "order-41"


def test_a_report_cut_short_is_still_read() -> None:
    assert read(DSN[: DSN.index("Remote-MTA")]).recipients[0].status == "5.2.2"


def test_an_mbox_line_before_it_does_no_harm() -> None:
    assert read("From MAILER-DAEMON Sun Jun 15 15:05:40 2025\n" + DSN).our_id == OUR


def test_hostile_fields_come_out_printable_and_cut() -> None:
    hostile = DSN.replace("mailbox\n    is over quota", "\x1b[31m\u202e" + "x" * 9000)
    diagnostic = read(hostile).recipients[0].diagnostic
    assert r"\x1b[31m\u{202e}xxx" in diagnostic
    assert len(diagnostic) == 512


def test_a_status_part_without_recipients_is_only_a_bounce() -> None:
    start = DSN.index("Final-Recipient")
    empty = DSN[:start] + DSN[DSN.index("--4F1", start) :]
    assert (read(empty).kind, read(empty).recipients, read(empty).our_id) == ("other", (), OUR)


# --- Complaints ---


def test_a_complaint_names_the_message_and_who_complains() -> None:
    report = read(ARF)
    assert (report.kind, report.our_id) == ("arf", OUR)
    assert [(r.address, r.action) for r in report.recipients] == [
        ("b@isp.example", "abuse"),
        ("c@isp.example", "abuse"),
    ]


@pytest.mark.parametrize(
    "broken",
    [
        ARF.replace("Version: 1\n", ""),
        ARF.replace("Version: 1\n", "Version: 1\nVersion: 1\n"),
        ARF.replace("Feedback-Type: Abuse\n", ""),
        ARF.replace("Arrival-Date", "Received-Date: x\nArrival-Date"),
        ARF.replace("Version: 1", "Version: 1\nSource-IP: 192.0.2.1\nSource-IP: 192.0.2.2"),
    ],
    ids=["no version", "two versions", "no type", "both dates", "two addresses"],
)
def test_a_malformed_complaint_accuses_nobody(broken: str) -> None:
    report = read(broken)
    assert (report.kind, report.recipients) == ("other", ())


# --- Other bounces, and what is none ---


def test_an_old_bounce_is_known_by_its_sender_and_null_return_path() -> None:
    report = read(PLAIN)
    assert (report.kind, report.our_id, report.recipients) == ("other", OUR, ())


def test_plainly_named_recipients_are_taken() -> None:
    report = read(FAILED_RECIPIENTS)
    assert [r.address for r in report.recipients] == ["b@example.org", "c@example.org"]
    assert report.original_message_id == "abc@example.com"


@pytest.mark.parametrize(
    "mail",
    [
        "",
        "\n\n",
        "no header at all",
        "From: a@example.com\nSubject: Lunch\n\nToday?\n",
        "From: postmaster@example.org\nSubject: We write to you ourselves\n\nHello.\n",
        "From: b@example.org\nAuto-Submitted: auto-replied\nSubject: On holiday\n\nBack on Monday.\n",
        "Content-Type: multipart/mixed\n\n--x\n\n--x--\n",
    ],
)
def test_ordinary_mail_is_no_report(mail: str) -> None:
    assert read_report(mail.encode()) is None


def test_a_read_receipt_is_a_report_of_another_kind() -> None:
    mail = "Content-Type: multipart/report; report-type=disposition-notification; boundary=x\n\n--x\n\nRead.\n--x--\n"
    assert read(mail).kind == "other"


# --- Hostile input ---


@given(st.binary(max_size=2000))
def test_no_octets_raise(raw: bytes) -> None:
    read_report(raw)


PIECES = [*DSN.splitlines(keepends=True), *ARF.splitlines(keepends=True), *PLAIN.splitlines(keepends=True)]
ODD = ["\n", "\0", "--part1--\n", "Content-Type:\n", "Final-Recipient: ;\n", " \n", "\x80", ":\n", "Status: 5\n", "<>"]
ODD += [
    "Content-Transfer-Encoding: base64\n",
    'Content-Type: multipart/report; boundary="\\\n',
    r"utf-8;\x{D800}\x{FFFFFF}",
]


@given(st.lists(st.sampled_from(PIECES + ODD), max_size=60))
def test_no_shuffled_report_raises(pieces: list[str]) -> None:
    read_report("".join(pieces).encode("latin-1", "replace"))


@given(st.sampled_from([DSN, ARF, PLAIN, FAILED_RECIPIENTS]), st.data())
def test_no_damaged_report_raises(mail: str, data: st.DataObject) -> None:
    raw = bytearray(mail.encode())
    for _ in range(data.draw(st.integers(1, 8))):
        at = data.draw(st.integers(0, len(raw) - 1))
        raw[at : at + data.draw(st.integers(0, 20))] = data.draw(st.binary(max_size=8))
        raw += b"\n"
    read_report(bytes(raw))


def nested(depth: int) -> str:
    opening = "".join(f"Content-Type: multipart/mixed; boundary=b{n}\n\n--b{n}\n" for n in range(depth))
    return "From: x@y.example\n" + opening + "deep\n"


HUGE = {
    "nested": nested(20_000),
    "parts": "Content-Type: multipart/report; boundary=x\n\n" + "--x\n\na\n" * 200_000,
    "fields": "X: y\n" * 300_000,
    "folded": "X-Failed-Recipients: " + "a@b,\n " * 200_000,
    "one line": "Content-Type: multipart/report; boundary=" + "x" * 2_000_000,
    "semicolons": "Content-Type: multipart/report" + "; " * 1_000_000,
    "spaces": DSN.replace("Status: 5.2.2", "Status: " + " " * 1_000_000 + "5.2.2"),
    "groups": DSN.replace("X-Queue-ID", "\nFinal-Recipient: rfc822; z@example.org\n" * 25_000 + "X"),
    "brackets": PLAIN + "Message-ID: <" * 80_000,
    "dashes": "Content-Type: multipart/report; boundary=-\n\n" + "-" * 1_000_000,
    "many lines": "Content-Type: multipart/report; boundary=x\n\n--x\nContent-Type: message/delivery-status\n"
    + "\n" * 1_000_000,
}


@pytest.mark.parametrize("mail", HUGE.values(), ids=HUGE.keys())
def test_huge_input_is_read_within_bounds(mail: str) -> None:
    began = time.process_time()
    report = read_report(mail.encode())
    assert time.process_time() - began < 1.0  # 0.02 s on an idle machine
    assert report is None or len(report.recipients) <= 1000


# --- Written forms ---


@given(st.text(st.characters(codec="utf-8"), max_size=40))
def test_utf8_addresses_survive_their_seven_bit_form(address: str) -> None:
    encoded = encode_utf8_address(address)
    assert encoded.isascii()
    assert not set(encoded) & set(" +=")
    assert decode_utf8_address(encoded) == address


def test_an_impossible_code_point_stays_as_written() -> None:
    assert decode_utf8_address(r"\x{D800}\x{110000}\x{41}") == r"\x{D800}\x{110000}A"


def test_xtext_is_decoded_and_other_text_left() -> None:
    assert decode_xtext("b+2Bx+3D1") == "b+x=1"
    assert decode_xtext("a+b +zz +2b") == "a+b +zz +2b"
