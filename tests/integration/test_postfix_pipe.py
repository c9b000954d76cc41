"""`postroad receive` as a transport of a real Postfix: mail and bounces come in, and nothing is lost while no engine runs."""

from __future__ import annotations

import smtplib

import pytest
from letters import letter, new_mark
from piped_site import MESSAGE_BYTES, Site
from real_postfix import RealPostfix

SENDER = "sender@example.org"


@pytest.fixture
def site(piped: tuple[Site, RealPostfix]) -> Site:
    piped[0].posted.clear()
    return piped[0]


@pytest.fixture
def piping(piped: tuple[Site, RealPostfix]) -> RealPostfix:
    return piped[1]


def give(server: RealPostfix, sender: str, *recipients: str, content: bytes) -> None:
    with smtplib.SMTP("127.0.0.1", server.port, timeout=20) as client:
        assert client.sendmail(sender, recipients, content) == {}


def test_mail_reaches_the_application_of_a_running_engine(site: Site, piping: RealPostfix) -> None:
    mark = new_mark()
    with site.engine():
        give(piping, SENDER, "one@app.example", "two@app.example", content=letter(mark))
        site.wait(lambda: len(site.posted) == 2, "two addresses, two POSTs")
    assert sorted(path for path, _, _ in site.posted) == ["/_ah/mail/one@app.example", "/_ah/mail/two@app.example"]
    for _, sender, body in site.posted:
        assert sender == SENDER
        assert mark.encode() in body
        assert not body.startswith(b"From ")


def test_without_an_engine_the_spool_takes_it_and_the_next_engine_tells_it(site: Site, piping: RealPostfix) -> None:
    mark, before = new_mark(), piping.logged().count(": removed")
    give(piping, "", "one@app.example", content=letter(mark))
    site.wait(lambda: piping.logged().count(": removed") > before, "Postfix hands it over")
    assert not site.posted
    with site.engine():
        site.wait(lambda: bool(site.posted), "the next engine tells it")
    ((path, sender, body),) = site.posted
    assert (path, sender) == ("/_ah/mail/one@app.example", "")
    assert mark.encode() in body


def test_what_cannot_be_taken_now_stays_with_postfix_until_it_can(site: Site, piping: RealPostfix) -> None:
    mark, aside = new_mark(), site.config.with_suffix(".aside")
    before = piping.logged().count("status=deferred")
    site.config.rename(aside)
    try:
        give(piping, SENDER, "one@app.example", content=letter(mark))
        site.wait(lambda: piping.logged().count("status=deferred") > before, "Postfix keeps it")
    finally:
        aside.rename(site.config)
    assert "status=bounced" not in piping.logged()
    with site.engine():
        site.wait(lambda: piping.flush() or bool(site.posted), "Postfix tries again")
    assert [mark.encode() in body for _, _, body in site.posted] == [True]


def test_a_bounce_of_our_own_mail_is_told_as_one(site: Site, piping: RealPostfix) -> None:
    with site.engine():
        site.send("return@app.example", "bounced@example.org")
        site.wait(lambda: bool(site.posted), "Postfix returns it, and it is told")
    ((path, _, body),) = site.posted
    assert path == "/_ah/bounce"
    assert b"bounced@example.org" in body


def test_mail_that_is_too_large_goes_back_to_its_sender(site: Site, piping: RealPostfix) -> None:
    mark = new_mark()
    with site.engine():
        give(piping, SENDER, "one@app.example", content=letter(mark, b"0123456789abcdef\r\n" * (MESSAGE_BYTES // 16)))
        site.wait(lambda: bool(piping.boxes.stored("sender", mark)), "Postfix returns it")
    (returned,) = piping.boxes.stored("sender", mark)
    assert b"one@app.example" in returned
    assert b"5.6.0" in returned, "EX_DATAERR"
    assert not site.posted
