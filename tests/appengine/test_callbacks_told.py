"""How a bounce is read off the engine's loop, and what its mail is as a text."""

from __future__ import annotations

import threading

import pytest
from scripted_application import open_application
from test_callbacks_http import REPORT, bounce, verdict

from postroad.callbacks import Bounce, read_bounce, told
from postroad.verdict import Disposition


@pytest.mark.parametrize(("octets", "is_apart"), [(0, False), (1_000_000, True)])
async def test_a_long_report_is_read_in_a_thread(monkeypatch, octets, is_apart):
    threads = []

    def read(report):
        threads.append(threading.current_thread())
        return read_notice(report)

    read_notice = told.read_notice
    monkeypatch.setattr(told, "read_notice", read)
    await read_bounce(bounce(REPORT + b"x" * octets))
    assert [thread is not threading.main_thread() for thread in threads] == [is_apart]


async def test_a_form_that_may_take_long_is_written_in_a_thread(monkeypatch):
    threads = []

    def in_seven_bits(mail):
        threads.append(threading.current_thread())
        return mail

    monkeypatch.setattr(told, "_in_seven_bits", in_seven_bits)
    returned = b"Subject: " + b"\xff " * 10_000
    raw = REPORT.partition(b"From: a@example.com\r\nTo: b@example.org\r\n")[0] + returned + b"\r\n\r\n--x--\r\n"
    async with open_application() as application:
        answer = await verdict(application, bounce(raw))
    assert answer.disposition is Disposition.ACCEPTED
    assert [thread is not threading.main_thread() for thread in threads] == [True]


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ("Subject: Grüße\r\n\r\nGrüße".encode(), "Subject: Grüße\r\n\r\nGrüße"),
        (b"Subject: \xff\r\n\r\n", "Subject: \xff\r\n\r\n"),
        (b"\xff" * 40_000, "\xff" * 40_000),
    ],
)
def test_what_is_no_utf_8_and_cannot_be_rewritten_is_one_character_an_octet(raw, text):
    assert Bounce(id="a", key="a-1", original={}, notification={}, raw=raw, report=b"").raw_text() == text


def test_octets_of_a_charset_are_written_in_seven_bits():
    raw = b"Content-Type: text/plain; charset=iso-8859-1\r\n\r\nGr\xfc\xdfe\r\n"
    text = Bounce(id="a", key="a-1", original={}, notification={}, raw=raw, report=b"").raw_text()
    assert "Gr=FC=DFe" in text
    assert "charset=iso-8859-1" in text
