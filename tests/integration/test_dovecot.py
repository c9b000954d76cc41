"""Dovecot's LMTP: a reply for each recipient after the content, by TCP and by a unix socket."""

from __future__ import annotations

import pytest
import trio
from letters import as_sent, letter, new_mark
from middlebox import open_middlebox
from real_dovecot import RealDovecot
from roads import open_road

from postroad.verdict import Disposition, Verdict

ACCEPTED, DEFERRED, REFUSED = Disposition.ACCEPTED, Disposition.DEFERRED, Disposition.REFUSED
KNOWN, OTHER, BROKEN, UNKNOWN = (f"{user}@example.org" for user in ("known", "other", "broken", "nobody-here"))


@pytest.fixture(params=["tcp", "unix"])
def place(request: pytest.FixtureRequest, dovecot: RealDovecot) -> str:
    return dovecot.place if request.param == "tcp" else f"unix:{dovecot.socket}"


async def test_each_recipient_has_its_own_answer_before_and_after_the_content(dovecot: RealDovecot, place: str) -> None:
    mark = new_mark()
    async with open_road(place, protocol="lmtp") as road:
        unknown, known, broken, other = await road.send(mark, UNKNOWN, KNOWN, BROKEN, OTHER)
    assert unknown.disposition is REFUSED
    assert unknown.status == "5.1.1"
    assert known.disposition is other.disposition is ACCEPTED, (known, other)
    assert f"<{KNOWN}>" in known.reply
    assert f"<{OTHER}>" in other.reply
    assert broken.disposition is DEFERRED, broken
    assert f"<{BROKEN}>" in broken.reply
    for user in ("known", "other"):
        (stored,) = await dovecot.boxes.wait_stored(user, mark)
        assert as_sent(stored) == letter(mark)


async def test_many_messages_go_over_one_session(dovecot: RealDovecot, place: str) -> None:
    marks = [new_mark() for _ in range(20)]
    verdicts: dict[str, list[Disposition]] = {}

    async def send(mark: str) -> None:
        verdicts[mark] = [verdict.disposition for verdict in await road.send(mark, KNOWN, UNKNOWN, OTHER)]

    async with open_road(place, protocol="lmtp", sessions=1) as road, trio.open_nursery() as nursery:
        for mark in marks:
            nursery.start_soon(send, mark)
    assert list(verdicts.values()) == [[ACCEPTED, REFUSED, ACCEPTED]] * 20
    for mark in marks:
        for user in ("known", "other"):
            assert len(await dovecot.boxes.wait_stored(user, mark)) == 1


async def test_nobody_known_ends_without_content(dovecot: RealDovecot, place: str) -> None:
    marks = new_mark(), new_mark()
    async with open_road(place, protocol="lmtp") as road:
        refused = await road.send_one(marks[0], UNKNOWN)
        after = await road.send_one(marks[1])
    assert refused.disposition is REFUSED
    assert after.disposition is ACCEPTED
    assert len(await dovecot.boxes.wait_stored("known", marks[1])) == 1


async def test_messages_follow_each_other_on_a_session_and_never_behind_content(dovecot: RealDovecot) -> None:
    marks = [new_mark() for _ in range(10)]
    verdicts: list[Verdict] = []

    async def send(mark: str) -> None:
        verdicts.extend(await road.send(mark, KNOWN, OTHER))

    async with open_middlebox(dovecot) as box:
        async with (
            open_road(box.place, protocol="lmtp", sessions=1, chunking="off") as road,
            trio.open_nursery() as nursery,
        ):
            for mark in marks:
                nursery.start_soon(send, mark)
        assert not any(b"\r\n.\r\nMAIL FROM:" in piece for piece in box.said(0))
    assert [verdict.disposition for verdict in verdicts] == [ACCEPTED] * 20
    for mark in marks:
        for user in ("known", "other"):
            assert len(await dovecot.boxes.wait_stored(user, mark)) == 1
