"""Postfix: pipelining, recipients' own answers, sizes, UTF-8 addresses, TLS."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Literal

import pytest
import trio
from letters import as_sent, letter, new_mark
from middlebox import open_middlebox
from real_postfix import SIZE_LIMIT, RealPostfix
from roads import KNOWN, open_road

from postroad.message import DsnOptions, Message
from postroad.testing import make_request
from postroad.transport import LeasedRecipient
from postroad.verdict import Disposition, Scope, Verdict
from postroad_smtp.features import Features

ACCEPTED, DEFERRED, REFUSED = Disposition.ACCEPTED, Disposition.DEFERRED, Disposition.REFUSED


@pytest.mark.parametrize("pipelining", ["auto", "off"])
async def test_each_recipient_has_its_own_answer(postfix: RealPostfix, pipelining: str) -> None:
    mark = new_mark()
    async with open_middlebox(postfix) as box:
        async with open_road(box.place, pipelining=pipelining) as road:
            known, unknown, later, other = await road.send(
                mark, "known@example.org", "nobody-here@example.org", "later@example.org", "other@example.org"
            )
        envelopes = [piece for piece in box.said(0) if piece.startswith(b"MAIL")]
    assert envelopes[0].count(b"\r\n") == (6 if pipelining == "auto" else 1)
    assert (known.disposition, unknown.disposition, later.disposition, other.disposition) == (
        ACCEPTED,
        REFUSED,
        DEFERRED,
        ACCEPTED,
    )
    assert (unknown.status, later.status) == ("5.1.1", "4.2.1")
    assert "User unknown" in unknown.reply
    for user in ("known", "other"):
        assert len(await postfix.boxes.wait_stored(user, mark)) == 1


async def test_nobody_is_delivered_to_when_all_are_refused_and_the_session_goes_on(postfix: RealPostfix) -> None:
    mark, next_mark = new_mark(), new_mark()
    async with open_middlebox(postfix) as box, open_road(box.place) as road:
        verdicts = await road.send(mark, "nobody-here@example.org", "later@example.org")
        after = await road.send_one(next_mark)
        assert len(box.connections) == 1
    assert [verdict.disposition for verdict in verdicts] == [REFUSED, DEFERRED]
    assert after.disposition is ACCEPTED
    (stored,) = await postfix.boxes.wait_stored("known", next_mark)
    assert as_sent(stored) == letter(next_mark)


async def test_twenty_messages_go_over_one_session_each_envelope_behind_the_content_before(
    postfix: RealPostfix,
) -> None:
    marks = [new_mark() for _ in range(20)]
    verdicts: list[Verdict] = []

    async def send(mark: str) -> None:
        verdicts.append(await road.send_one(mark))

    async with open_middlebox(postfix) as box:
        async with open_road(box.place, sessions=1) as road, trio.open_nursery() as nursery:
            for mark in marks:
                nursery.start_soon(send, mark)
        assert len(box.connections) == 1
        assert sum(b"\r\n.\r\nMAIL FROM:" in piece for piece in box.said(0)) == 19
    assert [verdict.disposition for verdict in verdicts] == [ACCEPTED] * 20
    for mark in marks:
        (stored,) = await postfix.boxes.wait_stored("known", mark)
        assert as_sent(stored) == letter(mark)


async def test_the_last_content_of_a_connection_has_quit_behind_it(postfix: RealPostfix) -> None:
    marks = [new_mark() for _ in range(5)]
    async with open_middlebox(postfix) as box:
        async with open_road(box.place, messages_per_session=1, sessions=1) as road:
            verdicts = [await road.send_one(mark) for mark in marks]
        assert [box.said(number)[-1][-11:] for number in range(5)] == [b"\r\n.\r\nQUIT\r\n"] * 5
        assert all(any(b"221 2.0.0" in data for _, data in each) for each in box.connections)
    assert [verdict.disposition for verdict in verdicts] == [ACCEPTED] * 5
    for mark in marks:
        (stored,) = await postfix.boxes.wait_stored("known", mark)
        assert as_sent(stored) == letter(mark)


async def test_a_message_over_its_size_is_refused_before_it_is_sent(postfix: RealPostfix) -> None:
    mark = new_mark()
    async with open_middlebox(postfix) as box:
        async with open_road(box.place) as road:
            verdict = await road.send_one(mark, content=letter(mark, b"x" * 76 + b"\r\n" * SIZE_LIMIT))
        assert sum(map(len, box.said(0))) < 1000
    assert verdict.disposition is REFUSED
    assert verdict.status == "5.3.4"
    assert postfix.boxes.stored("known", mark) == []


@pytest.mark.parametrize("pipelining", ["auto", "off"])
async def test_an_address_in_utf8_is_delivered_to(postfix: RealPostfix, pipelining: str) -> None:
    mark = new_mark()
    content = letter(mark, more="X-Name: Grüße\r\n".encode())
    async with open_road(postfix, pipelining=pipelining) as road:
        verdict = await road.send_one(mark, "jörg@example.org", content=content)
    assert verdict.disposition is ACCEPTED
    (stored,) = await postfix.boxes.wait_stored("jörg", mark)
    assert as_sent(stored) == content
    assert b"UTF8SMTP" in stored, "the server was told that it is UTF-8"


async def test_mail_with_the_null_sender_arrives_with_it(postfix: RealPostfix) -> None:
    mark = new_mark()
    async with open_road(postfix) as road:
        verdict = await road.send_one(mark, sender="")
    assert verdict.disposition is ACCEPTED
    (stored,) = await postfix.boxes.wait_stored("known", mark)
    assert stored.startswith(b"Return-Path: <>\n")


# --- What the sender asks to be told (RFC 3461) ---

HAS_DSN = any("dsn" in field.name for field in fields(Features))


@pytest.mark.skipif(not HAS_DSN, reason="the transport does not know DSN yet")
@pytest.mark.parametrize("ret", ["headers", "full"])
@pytest.mark.parametrize(("recipient", "action"), [(KNOWN, "delivered"), ("bounced@example.org", "failed")])
async def test_a_report_is_what_was_asked_for(
    postfix: RealPostfix, recipient: str, action: str, ret: Literal["headers", "full"]
) -> None:
    mark = new_mark()
    content = letter(mark, b"The body itself\r\n")
    request = make_request(
        [LeasedRecipient(0, recipient, notify=("success", "failure"), orcpt="rfc822;first+2B1@example.net")],
        content=content,
        message=Message(
            id="01k0000000aaaaaaaaaa",
            sender="sender@example.org",
            accepted_at=1_750_000_000.0,
            size=len(content),
            dsn=DsnOptions(notify=("success", "failure"), ret=ret, envid=f"{mark}+id=1"),
        ),
    )
    async with open_road(postfix) as road:
        (verdict,) = await road.transport.deliver(request)
    assert verdict.disposition is ACCEPTED
    (report,) = await postfix.boxes.wait_stored("sender", mark)
    assert f"Action: {action}\n".encode() in report
    assert f"Original-Envelope-Id: {mark}+id=1\n".encode() in report
    assert b"Original-Recipient: rfc822;first+1@example.net\n" in report
    assert (b"The body itself" in report) == (ret == "full" and action == "failed"), "RFC 3461 section 4.3"


@pytest.mark.skipif(not HAS_DSN, reason="the transport does not know DSN yet")
async def test_never_means_that_a_failure_is_not_reported(postfix: RealPostfix) -> None:
    mark, later_mark = new_mark(), new_mark()
    async with open_road(postfix) as road:
        await road.send(mark, LeasedRecipient(0, "bounced@example.org", notify=("never",)))
        await road.send(later_mark, LeasedRecipient(0, "bounced@example.org"))
    assert await postfix.boxes.wait_stored("sender", later_mark)
    assert postfix.boxes.stored("sender", mark) == []


@pytest.mark.skipif(not HAS_DSN, reason="the transport does not know DSN yet")
async def test_nothing_is_reported_where_nothing_was_asked_for(postfix: RealPostfix) -> None:
    mark, later_mark = new_mark(), new_mark()
    async with open_road(postfix) as road:
        await road.send_one(mark)
        await road.send(later_mark, LeasedRecipient(0, KNOWN, notify=("success",)))
    assert await postfix.boxes.wait_stored("sender", later_mark)
    assert postfix.boxes.stored("sender", mark) == []


# --- TLS ---


@pytest.mark.parametrize("level", ["opportunistic", "required", "verified"])
async def test_starttls_protects_the_mail_at_every_level(postfix: RealPostfix, ca_file: Path, level: str) -> None:
    marks = new_mark(), new_mark()
    async with open_middlebox(postfix) as box:
        pinned = {"ca_file": str(ca_file)} if level == "verified" else {}
        async with open_road(box.place, tls=level, **pinned) as road:
            verdicts = [await road.send_one(mark) for mark in marks]
        assert not any(b"MAIL FROM" in piece for piece in box.said(0))
    assert [verdict.disposition for verdict in verdicts] == [ACCEPTED] * 2
    assert verdicts[0].tls == f"{level} TLSv1.3"
    for mark in marks:
        (stored,) = await postfix.boxes.wait_stored("known", mark)
        assert b"using TLSv1.3" in stored
        assert as_sent(stored) == letter(mark)


async def test_a_certificate_of_a_stranger_defers_at_level_verified(postfix: RealPostfix) -> None:
    mark = new_mark()
    async with open_road(postfix, tls="verified") as road:
        verdict = await road.send_one(mark)
    assert verdict.disposition is DEFERRED
    assert verdict.status == "4.7.5"
    assert verdict.scope is Scope.SITE
    assert postfix.boxes.stored("known", mark) == []
