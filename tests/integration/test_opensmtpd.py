"""OpenSMTPD, which answers 500 to pipelined commands; behind something that announces PIPELINING nevertheless."""

from __future__ import annotations

import trio
from letters import letter, new_mark
from middlebox import open_middlebox
from real_opensmtpd import RealOpenSmtpd
from roads import open_road

from postroad.verdict import Disposition, Verdict


async def test_nothing_is_pipelined_where_it_is_not_offered(opensmtpd: RealOpenSmtpd) -> None:
    mark = new_mark()
    async with open_middlebox(opensmtpd) as box:
        async with open_road(box.place) as road:
            verdict = await road.send_one(mark)
        assert verdict.disposition is Disposition.ACCEPTED
        assert len(box.connections) == 1
        assert all(piece.count(b"\r\n") == 1 for piece in box.said(0) if not piece.startswith(b"X-Mark"))
    assert len(await opensmtpd.boxes.wait_stored("known", mark)) == 1


async def test_a_server_confused_by_pipelining_gets_the_message_once_and_is_remembered(
    opensmtpd: RealOpenSmtpd,
) -> None:
    marks = [new_mark() for _ in range(3)]
    async with open_middlebox(opensmtpd, announce=b"PIPELINING") as box:
        async with open_road(box.place, messages_per_session=1) as road:
            verdicts = [await road.send_one(mark) for mark in marks]
        assert [verdict.disposition for verdict in verdicts] == [Disposition.ACCEPTED] * 3
        assert len(box.connections) == 4, "one more for the message that was sent again"
        assert any(b"Pipelining not supported" in data for who, data in box.connections[0] if who == "server")
        for connection in (1, 2, 3):
            assert not any(b"RCPT TO" in piece for piece in box.said(connection) if piece.startswith(b"MAIL"))
    for mark in marks:
        assert len(await opensmtpd.boxes.wait_stored("known", mark)) == 1


async def test_messages_that_wait_for_a_confused_server_arrive_once_each(opensmtpd: RealOpenSmtpd) -> None:
    marks = [new_mark() for _ in range(6)]
    verdicts: dict[str, Verdict] = {}

    async def send(mark: str) -> None:
        verdicts[mark] = await road.send_one(mark)

    async with (
        open_middlebox(opensmtpd, announce=b"PIPELINING") as box,
        open_road(box.place, sessions=2) as road,
        trio.open_nursery() as nursery,
    ):
        for mark in marks:
            nursery.start_soon(send, mark)
    assert {verdict.disposition for verdict in verdicts.values()} == {Disposition.ACCEPTED}
    for mark in marks:
        assert len(await opensmtpd.boxes.wait_stored("known", mark)) == 1


async def test_each_recipient_has_its_own_answer(opensmtpd: RealOpenSmtpd) -> None:
    mark = new_mark()
    async with open_road(opensmtpd) as road:
        known, unknown, later, other = await road.send(
            mark, "known@example.org", "nobody-here@example.org", "later@example.org", "other@example.org"
        )
    assert known.disposition is other.disposition is Disposition.ACCEPTED
    assert unknown.disposition is Disposition.REFUSED
    assert later.disposition is Disposition.DEFERRED
    assert later.status == "4.2.1"
    for user in ("known", "other"):
        assert len(await opensmtpd.boxes.wait_stored(user, mark)) == 1


async def test_a_message_over_its_size_is_refused_before_it_is_sent(opensmtpd: RealOpenSmtpd) -> None:
    mark = new_mark()
    content = letter(mark, b"0123456789abcdef\r\n" * 2_100_000)
    async with open_road(opensmtpd) as road:
        verdict = await road.send_one(mark, content=content)
    assert verdict.disposition is Disposition.REFUSED
    assert verdict.status == "5.3.4"
    assert opensmtpd.boxes.stored("known", mark) == []
