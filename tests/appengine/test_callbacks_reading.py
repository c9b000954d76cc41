"""What is read from a bounce: the twelve fields, and the mail that came back octet by octet; from any octets."""

from __future__ import annotations

import base64
import email
import email.policy
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.callbacks.reading import read_notice

MULTIPART = b"Content-Type: multipart/mixed; boundary=x\r\n\r\n"
NAMES = {"from", "to", "cc", "bcc", "subject", "text"}


def report(
    returned=b"From: a@x\r\n\r\nHi\r\n", *, kind="message/rfc822", text=b"Sorry.", encoding="", failed=("b@y.example",)
):
    groups = b"".join(
        b"\r\nFinal-Recipient: rfc822; %b\r\nAction: failed\r\nStatus: 5.1.1\r\n" % to.encode() for to in failed
    )
    cte = f"Content-Transfer-Encoding: {encoding}\r\n".encode() if encoding else b""
    return (
        b'From: d@mx\r\nSubject: =?utf-8?b?w6Q=?=\r\nContent-Type: multipart/report; boundary="=_b"\r\n\r\npreamble\r\n'
        b"--=_b\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n" + text + b"\r\n"
        b"--=_b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx\r\n" + groups + b"\r\n"
        b"--=_b\r\nContent-Type: " + kind.encode() + b"\r\n" + cte + b"\r\n" + returned + b"\r\n--=_b--\r\nepilogue\r\n"
    )


@pytest.mark.parametrize("kind", ["message/rfc822", "text/rfc822-headers", "message/global"])
@pytest.mark.parametrize(
    "returned",
    [
        b"From: a@x\r\nSubject: one\r\n\r\nbody\r\n",
        b"From: a@x\r\nSubject: one\r\n",
        b"From: a@x\nSubject: bare lines\n\nbody\n\n\n",
        b"From: a@x\r\n\r\n\xff\xfe\x00 octets \r\n",
        b"From: a@x\r\n folded\r\nX: " + b"y" * 3000 + b"\r\n\r\n--=_\r\n--=_c\r\n",
    ],
)
def test_the_returned_mail_is_what_the_report_holds(returned, kind):
    assert read_notice(report(returned, kind=kind)).raw == returned


def test_an_encoded_part_is_decoded():
    returned = "From: a@x\r\nSubject: grün\r\n\r\n".encode()
    assert read_notice(report(base64.encodebytes(returned), encoding="base64")).raw == returned
    assert read_notice(report(b"From: a@x=0D=0ASubject: gr=C3=BCn", encoding="quoted-printable")).raw == (
        "From: a@x\r\nSubject: grün".encode()
    )


def test_texts_are_decoded_by_their_charsets():
    returned = (
        b"From: =?iso-8859-1?q?J=FCrgen?= <a@x>\r\nTo: b@y.example,\r\n c@y.example\r\nTo: d@y.example\r\n"
        b"Content-Type: multipart/alternative; boundary=i\r\n\r\n--i\r\nContent-Type: text/html\r\n\r\n<b>\r\n"
        b"--i\r\nContent-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
        b"Gr=FC=DFe\r\n--i--\r\n"
    )
    notice = read_notice(report(returned, text="Täglich".encode()))
    assert notice.original["from"] == "Jürgen <a@x>"
    assert notice.original["to"] == "b@y.example, c@y.example, d@y.example"
    assert notice.original["text"] == "Grüße"
    assert (notice.notification["subject"], notice.notification["text"]) == ("ä", "Täglich")


@pytest.mark.parametrize("charset", ["nonsense", "hex", "undefined", "utf-16", ""])
def test_a_charset_that_means_nothing_harms_nothing(charset):
    returned = f"Content-Type: text/plain; charset={charset}\r\n\r\nHello\r\n".encode()
    assert isinstance(read_notice(report(returned)).original["text"], str)


def test_a_header_cannot_bring_lines_of_its_own():
    returned = b"Subject: =?utf-8?q?a=0D=0ABcc:_x?=\r\n\r\n"
    assert read_notice(report(returned)).original["subject"] == "a  Bcc: x"


def test_who_failed_and_is_not_named_was_in_bcc():
    returned = b'From: a@x\r\nTo: "B" <B@y.example>\r\nCc: c@y.example\r\n\r\n'
    notice = read_notice(report(returned, failed=("b@y.example", "c@y.example", "d@y.example", "e@y.example")))
    assert notice.original["bcc"] == "d@y.example, e@y.example"


def test_without_the_mail_who_failed_is_to():
    raw = report(failed=("b@y.example", "c@y.example")).replace(b"message/rfc822", b"application/x")
    notice = read_notice(raw)
    assert (notice.raw, notice.original["to"], notice.original["bcc"]) == (b"", "b@y.example, c@y.example", "")


def test_a_bounce_in_a_form_of_its_own_is_its_text():
    raw = b"From: MAILER-DAEMON@x\r\nTo: a@x\r\nSubject: failure notice\r\n\r\nHi. This is the qmail-send program.\r\n"
    notice = read_notice(raw)
    assert notice.notification["text"] == "Hi. This is the qmail-send program.\n"
    assert notice.raw == b""


@given(
    st.binary(max_size=300), st.sampled_from(["message/rfc822", "text/rfc822-headers", "multipart/mixed; boundary=x"])
)
def test_any_octets_are_read(octets, kind):
    for raw in (octets, report(octets, kind=kind), report(text=octets)):
        notice = read_notice(raw)
        assert set(notice.original) == set(notice.notification) == NAMES
        for text in (*notice.original.values(), *notice.notification.values()):
            text.encode()  # no lone surrogates
        assert all("\n" not in notice.original[name] for name in NAMES - {"text"})


@given(
    st.lists(st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20), min_size=1, max_size=3),
    st.binary(max_size=200).filter(lambda body: b"=_b" not in body),
)
def test_it_reads_what_the_standard_library_writes(words, body):
    mail = email.message.EmailMessage(policy=email.policy.SMTP)
    mail["From"], mail["Subject"] = "a@x.example", " ".join(words).strip()
    mail.set_content(" ".join(words))
    mail.add_attachment(body, maintype="application", subtype="octet-stream")
    returned = mail.as_bytes()
    notice = read_notice(report(returned))
    assert notice.raw == returned
    whole = email.message_from_bytes(returned, policy=email.policy.default)
    assert notice.original["subject"].split() == str(whole["Subject"]).split()
    assert notice.original["text"].splitlines() == whole.get_body().get_content().splitlines()


@pytest.mark.parametrize(
    "raw",
    [
        MULTIPART + b"--x\r\n" * 200_000,
        b"Content-Type: multipart/mixed; boundary=x\r\n\r\n"
        + b"--x\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n" * 20_000,
        b"Content-Type: text/plain" + b'; a="' * 200_000,
        b"Subject: " + b"=?utf-8?q?a?= " * 70_000 + b"\r\n\r\n",
        b"To: " + b"a@b.example, " * 80_000 + b"\r\n\r\n",
        b"\r\n" * 500_000,
        b"From " * 200_000,
        report(b"To: " + b"x" * 1_000_000),
        report(b"Content-Type: text/plain; charset=punycode\r\n\r\n" + b"a" * 30_000 + b"-" + b"zzzzz9" * 160_000),
        b"Content-Type: text/plain; charset=punycode\r\n\r\n" + b"a" * 30_000 + b"-" + b"zzzzz9" * 160_000,
        b"".join(b"To: " + b"".join(b"=?x-%d-%d?q?a?= " % (n, m) for m in range(60)) + b"\r\n" for n in range(60)),
    ],
    ids=range(11),
)
def test_a_hostile_mebibyte_takes_no_time(raw):
    begun = time.process_time()
    read_notice(raw[:1_048_576])
    assert time.process_time() - begun < 0.5  # what the engine calls slow; a tenth of it is usual
