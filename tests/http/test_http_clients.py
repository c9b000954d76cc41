"""A client for each connection: no more than were said, the newest first, and none kept that nobody needs."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing
from http_road import Road

from postroad.testing import make_request
from postroad_http.clients import Clients


class StubClient:
    is_closed = False

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()
        self.is_closed = True


class Made:
    """The clients that were made.  most: of those taken at once."""

    def __init__(self, most: int = 3) -> None:
        self.all: list[StubClient] = []
        make: Any = self._make
        self.clients = Clients(make, most, idle_seconds=5.0)

    def _make(self) -> StubClient:
        self.all.append(StubClient())
        return self.all[-1]

    @property
    def closed(self) -> list[bool]:
        return [client.is_closed for client in self.all]

    async def use(self, seconds: float = 0.0) -> Any:
        async with self.clients.one() as client:
            await trio.sleep(seconds)
        return client

    async def use_at_once(self, number: int) -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(number):
                nursery.start_soon(self.use, 1.0)


async def test_no_more_are_taken_than_were_said_and_the_rest_wait(autojump_clock: trio.testing.MockClock) -> None:
    made, begun = Made(3), trio.current_time()
    await made.use_at_once(7)
    assert len(made.all) == 3
    assert trio.current_time() - begun == pytest.approx(3.0)


async def test_the_newest_is_taken_and_the_oldest_is_closed_when_it_was_idle_for_long(
    autojump_clock: trio.testing.MockClock,
) -> None:
    made = Made(3)
    await made.use_at_once(3)
    newest = await made.use()
    for _ in range(6):
        await trio.sleep(2.0)
        assert await made.use() is newest
    assert sorted(made.closed) == [False, True, True]
    assert not newest.is_closed


async def test_at_the_end_all_are_closed_and_one_that_was_cancelled_is_given_back(
    autojump_clock: trio.testing.MockClock,
) -> None:
    made = Made(1)
    with trio.move_on_after(1.0):
        await made.use(9.0)
    await made.use()
    await made.clients.close()
    assert made.closed == [True]


async def test_one_that_cannot_be_made_takes_nobodys_turn(autojump_clock: trio.testing.MockClock) -> None:
    made = Made(1)

    def fail() -> Any:
        raise OSError("no memory")

    make, made.clients._make = made.clients._make, fail
    for _ in range(2):
        with pytest.raises(OSError, match="no memory"), trio.fail_after(1.0):
            await made.use()
    made.clients._make = make
    await made.use()


async def test_one_call_after_the_other_needs_one_connection(postmark: Road) -> None:
    content = b"From: a@example.com\r\nSubject: x\r\n\r\nHello\r\n"
    async with postmark.open() as transport:
        for _ in range(5):
            await transport.deliver(make_request(("b@example.org",), content=content))
    assert postmark.peer.connections == 1


async def test_as_many_connections_as_were_said(postmark: Road) -> None:
    content = b"From: a@example.com\r\nSubject: x\r\n\r\nHello\r\n"
    async with postmark.open(connections=2, batch=1) as transport, trio.open_nursery() as nursery:
        for _ in range(8):
            nursery.start_soon(transport.deliver, make_request(("b@example.org",), content=content))
    assert postmark.peer.connections == 2
    assert len(postmark.fake.mails) == 8
