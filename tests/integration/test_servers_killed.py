"""A server that is killed in the middle of a message, and started again: the message is deferred or in doubt, never lost."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager

import trio
import trio.testing
from letters import as_sent, letter, new_mark, transactions
from real_opensmtpd import RealOpenSmtpd
from real_postfix import RealPostfix
from roads import open_road

from postroad.testing.fakes import MemoryContent
from postroad.verdict import Disposition, Verdict

Mortal = RealPostfix | RealOpenSmtpd
BODY = b"0123456789abcdef\r\n" * 40_000  # more than fits into the buffers between here and there, and streamed


class _Pieces:
    """Passes pieces on; in the middle of all of them something happens."""

    def __init__(self, pieces: AsyncIterator[bytes], half: int, happen: Callable[[], None]) -> None:
        self._pieces = pieces
        self._left = half
        self._happen = happen

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if self._left <= 0:
            self._left = sys.maxsize
            self._happen()
        piece = await anext(self._pieces)
        self._left -= len(piece)
        return piece


class Interrupted(MemoryContent):
    """Content in the middle of which something happens."""

    def __init__(self, data: bytes, happen: Callable[[], None]) -> None:
        super().__init__(data, at_hand=False)
        self._happen = happen

    @asynccontextmanager
    async def chunks(self) -> AsyncGenerator[AsyncIterator[bytes]]:
        async with super().chunks() as pieces:
            yield _Pieces(pieces, self.size // 2, self._happen)


async def test_killed_in_mid_content_it_defers_and_the_next_try_arrives_once(mortal: Mortal) -> None:
    mark, commits = new_mark(), []
    content = letter(mark, BODY)
    async with open_road(mortal) as road:
        interrupted = Interrupted(content, mortal.kill)
        first = await road.send_one(mark, content=interrupted, commit=lambda: commits.append(mark))
        mortal.start()
        assert commits == []
        second = await road.send_one(mark, content=content)
    assert first.disposition is Disposition.DEFERRED
    assert first.status == "4.4.2"
    assert second.disposition is Disposition.ACCEPTED
    (stored,) = await mortal.boxes.wait_stored("known", mark)
    assert as_sent(stored) == content


async def test_killed_before_its_answer_to_the_end_it_leaves_doubt(mortal: Mortal) -> None:
    mark = new_mark()
    verdicts: list[Verdict] = []

    async def send() -> None:
        verdicts.append(await road.send_one(mark, commit=mortal.freeze))

    async with open_road(mortal) as road:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            await _wait_frozen(mortal)
            await trio.testing.wait_all_tasks_blocked(0.05)
            mortal.kill()
        mortal.start()
        again = await road.send_one(mark)
    assert verdicts[0].disposition is Disposition.IN_DOUBT
    assert again.disposition is Disposition.ACCEPTED
    assert await mortal.boxes.wait_stored("known", mark)


async def _wait_frozen(server: Mortal) -> None:
    with trio.fail_after(20):
        while not server.is_frozen:  # noqa: ASYNC110 - a callback makes it true
            await trio.sleep(0.01)


async def test_an_idle_session_that_the_server_took_with_it_costs_nothing(mortal: Mortal) -> None:
    marks = new_mark(), new_mark()
    async with open_road(mortal) as road:
        first = await road.send_one(marks[0])
        mortal.kill()
        mortal.start()
        second = await road.send_one(marks[1])
    assert first.disposition is second.disposition is Disposition.ACCEPTED
    for mark in marks:
        assert len(transactions(await mortal.boxes.wait_stored("known", mark))) == 1


async def test_while_it_is_down_mail_is_deferred(mortal: Mortal) -> None:
    mark = new_mark()
    async with open_road(mortal) as road:
        mortal.kill()
        down = await road.send_one(mark)
        mortal.start()
        up = await road.send_one(mark)
    assert down.disposition is Disposition.DEFERRED
    assert down.status == "4.4.1"
    assert up.disposition is Disposition.ACCEPTED
    assert len(await mortal.boxes.wait_stored("known", mark)) == 1
