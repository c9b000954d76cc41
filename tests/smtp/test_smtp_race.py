"""Happy Eyeballs (RFC 8305): who is started when, who wins, and that nothing stays open."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from postroad_smtp.plain import connect
from postroad_smtp.race import in_turns, race

V6, V4, NEXT_V6, NEXT_V4 = "2001:db8::1", "192.0.2.1", "2001:db8::2", "192.0.2.2"


class Line(trio.abc.Stream):
    """A connection that knows only whether it is open."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.is_open = True

    async def send_all(self, data: object) -> None: ...
    async def wait_send_all_might_not_block(self) -> None: ...
    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        return b""

    async def aclose(self) -> None:
        self.is_open = False
        await trio.lowlevel.checkpoint()


class Net:
    """Dials by a plan: for each address after how many seconds it answers; negative: it then fails."""

    def __init__(self, plan: Mapping[str, float]) -> None:
        self._plan = plan
        self.started: list[tuple[str, float]] = []
        self.given_up: list[str] = []
        self.lines: list[Line] = []

    async def dial(self, address: str) -> trio.abc.Stream:
        self.started.append((address, trio.current_time()))
        seconds = self._plan[address]
        try:
            await trio.sleep(abs(seconds))
        except trio.Cancelled:
            self.given_up.append(address)
            raise
        if seconds < 0:
            raise ConnectionRefusedError(111, f"{address} refuses")
        self.lines.append(Line(address))
        return self.lines[-1]

    @property
    def open(self) -> list[str]:
        return [line.address for line in self.lines if line.is_open]


async def test_only_the_first_is_started_where_it_answers_in_time(autojump_clock: MockClock) -> None:
    net = Net({V6: 0.2, V4: 0.0})
    finish = await race(net.dial, [V6, V4])
    assert (finish.address, net.started, net.open) == (V6, [(V6, 0.0)], [V6])


async def test_the_next_is_started_after_250_ms_and_may_win(autojump_clock: MockClock) -> None:
    net = Net({V6: 100, V4: 0.1, NEXT_V6: 0.0})
    finish = await race(net.dial, [V6, V4, NEXT_V6])
    assert finish.address == V4
    assert net.started == [(V6, 0.0), (V4, 0.25)]
    assert net.given_up == [V6]
    assert (net.open, list(finish.overtaken)) == ([V4], [V6])


async def test_the_first_may_still_win_once_others_are_started(autojump_clock: MockClock) -> None:
    net = Net({V6: 0.6, V4: 100, NEXT_V6: 100, NEXT_V4: 0.0})
    finish = await race(net.dial, [V6, V4, NEXT_V6, NEXT_V4])
    assert finish.address == V6
    assert net.started == [(V6, 0.0), (V4, 0.25), (NEXT_V6, 0.5)]
    assert sorted(net.given_up) == sorted([V4, NEXT_V6])
    assert (net.open, finish.overtaken) == ([V6], [])


async def test_the_next_is_started_at_once_when_the_one_before_it_fails(autojump_clock: MockClock) -> None:
    net = Net({V6: -0.0625, V4: -0.0625, NEXT_V6: 0.0})
    finish = await race(net.dial, [V6, V4, NEXT_V6])
    assert net.started == [(V6, 0.0), (V4, 0.0625), (NEXT_V6, 0.125)]
    assert finish.address == NEXT_V6
    assert list(finish.failures) == [V6, V4]


async def test_the_failure_of_an_earlier_one_starts_nobody(autojump_clock: MockClock) -> None:
    net = Net({V6: -0.375, V4: 100, NEXT_V6: 0.0})
    await race(net.dial, [V6, V4, NEXT_V6])
    assert net.started == [(V6, 0.0), (V4, 0.25), (NEXT_V6, 0.5)]


async def test_when_all_fail_each_failure_is_told(autojump_clock: MockClock) -> None:
    net = Net({V6: -1.0, V4: -0.25, NEXT_V6: -0.125})
    finish = await race(net.dial, [V6, V4, NEXT_V6])
    assert (finish.stream, finish.address) == (None, "")
    assert {address: error.strerror for address, error in finish.failures.items()} == {
        address: f"{address} refuses" for address in (V6, V4, NEXT_V6)
    }
    assert net.open == []


async def test_of_several_in_one_instant_the_first_in_order_wins(autojump_clock: MockClock) -> None:
    for _ in range(20):  # trio runs what is due at the same time in random order
        net = Net({V6: 0.75, V4: 0.5, NEXT_V6: 0.25})
        finish = await race(net.dial, [V6, V4, NEXT_V6])
        assert (finish.address, net.open, len(net.lines)) == (V6, [V6], 3)


async def test_one_address_is_dialled_by_the_caller_itself(autojump_clock: MockClock) -> None:
    dialler: list[trio.lowlevel.Task] = []

    async def dial(address: str) -> trio.abc.Stream:
        dialler.append(trio.lowlevel.current_task())
        await trio.lowlevel.checkpoint()
        return Line(address)

    assert (await race(dial, [V4])).address == V4
    assert dialler == [trio.lowlevel.current_task()]


@pytest.mark.parametrize("addresses", [[V4], [V4, V6]])
async def test_a_mistake_of_dial_is_raised_as_it_is(addresses: list[str], autojump_clock: MockClock) -> None:
    async def dial(address: str) -> trio.abc.Stream:
        await trio.sleep(0.1)
        raise LookupError(address)

    with pytest.raises(LookupError, match=V4):
        await race(dial, addresses)


@pytest.mark.parametrize("moment", [0.0, 0.1, 0.3, 0.6, 0.75, 0.8])
async def test_who_is_cancelled_leaves_nothing_open(moment: float, autojump_clock: MockClock) -> None:
    net = Net({V6: 0.8, V4: 0.5, NEXT_V6: 100})
    with trio.move_on_after(moment) as scope:
        await race(net.dial, [V6, V4, NEXT_V6])
        await trio.sleep_forever()
    assert scope.cancelled_caught
    assert [line.address for line in net.lines if line.is_open] == ([V4] if moment == 0.8 else [])


async def test_a_connection_made_in_the_moment_of_cancelling_is_closed(autojump_clock: MockClock) -> None:
    net = Net({V6: 100, V4: 0.5})
    scope = trio.CancelScope()

    async def dial(address: str) -> trio.abc.Stream:
        stream = await net.dial(address)
        scope.cancel()
        return stream

    with scope:
        await race(dial, [V6, V4])
    assert scope.cancelled_caught
    assert len(net.lines) == 1
    assert net.open == []


@contextmanager
def _deaf() -> Iterator[tuple[int, ExitStack]]:
    """A port of 127.0.0.1, .2 and .3 whose listeners have a full backlog: a connection there is never made."""
    with ExitStack() as stack:
        port = 0
        for address in ("127.0.0.1", "127.0.0.2", "127.0.0.3"):
            listener = stack.enter_context(socket.socket())
            listener.bind((address, port))
            listener.listen(0)
            port = listener.getsockname()[1]
            for _ in range(4):
                filler = stack.enter_context(socket.socket())
                filler.settimeout(0)
                filler.connect_ex((address, port))
        yield port, stack


def _descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize("moment", [0.1, 0.3, 0.6])
async def test_no_half_open_socket_is_left_when_cancelled(moment: float, autojump_clock: MockClock) -> None:
    with _deaf() as (port, _):
        before = _descriptors()
        with trio.move_on_after(moment) as scope:
            await race(lambda address: connect(address, port), ["127.0.0.1", "127.0.0.2", "127.0.0.3"])
        assert scope.cancelled_caught
        assert _descriptors() == before


async def test_no_half_open_socket_is_left_by_those_who_lose() -> None:
    with _deaf() as (port, stack):
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.4", port))
        listener.listen()
        before = _descriptors()
        finish = await race(lambda address: connect(address, port), ["127.0.0.1", "127.0.0.2", "127.0.0.4"])
        assert finish.address == "127.0.0.4"
        assert len(_descriptors()) == len(before) + 1
        assert finish.stream is not None
        await finish.stream.aclose()
        assert _descriptors() == before


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([], []),
        ([V4], [V4]),
        ([V6, NEXT_V6, V4, NEXT_V4], [V6, V4, NEXT_V6, NEXT_V4]),
        ([V4, NEXT_V4, V6], [V4, V6, NEXT_V4]),
        ([V6, V4, NEXT_V4], [V6, V4, NEXT_V4]),
        ([V6, NEXT_V6], [V6, NEXT_V6]),
    ],
)
def test_families_take_turns(given: list[str], expected: list[str]) -> None:
    assert in_turns(given) == expected
