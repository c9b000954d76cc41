"""How many round trips a message takes, over a link on which nothing but the distance takes time."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MemoryReceiveStream, MockClock, memory_stream_pair

from postroad.testing import make_request
from postroad.testing.smtp_peer import Behaviour, SmtpPeer
from postroad.verdict import Disposition
from postroad_smtp.settings import SmtpSettings
from postroad_smtp.transport import SmtpTransport

WAY = 0.025  # seconds of a virtual clock
MESSAGES = 40


async def _delay(source: trio.abc.ReceiveStream, sink: trio.abc.SendStream, nursery: trio.Nursery) -> None:
    """Pass on what comes, so much later, in one piece what came in one instant; what is under way is not waited for."""
    come, go = trio.open_memory_channel[tuple[bytearray, float]](1000)
    piece, due = bytearray(), 0.0

    async def arrive() -> None:
        async for data, at in go:
            await trio.sleep_until(at)
            await sink.send_all(data)

    nursery.start_soon(arrive)
    async for data in source:
        if trio.current_time() + WAY != due:
            piece, due = bytearray(), trio.current_time() + WAY
            come.send_nowait((piece, due))
        piece += data


async def _round_trips(extensions: tuple[str, ...]) -> float:
    """For each message, over one connection on which one was sent before."""
    peer = SmtpPeer(Behaviour(extensions=extensions))
    async with trio.open_nursery() as link, trio.open_nursery() as sessions:

        async def dial(address: str, port: int) -> trio.abc.Stream:
            (ours, near), far = memory_stream_pair(), peer.connect(link)
            assert isinstance(near.receive_stream, MemoryReceiveStream)
            link.start_soon(_delay, near, far, link)
            link.start_soon(_delay, far, near, link)
            return ours

        transport = SmtpTransport(SmtpSettings(smarthost="192.0.2.1", sessions=1), sessions, dial=dial)
        await _send(transport, 1)
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            for _ in range(2):
                nursery.start_soon(_send, transport, MESSAGES // 2)
        taken = trio.current_time() - began
        transport.close()
        link.cancel_scope.cancel()
    assert len(peer.transactions) == MESSAGES + 1
    assert peer.faults == []
    assert len(peer.connections) == 1
    return taken / (2 * WAY) / MESSAGES


async def _send(transport: SmtpTransport, count: int) -> None:
    for _ in range(count):
        (verdict,) = await transport.deliver(make_request())
        assert verdict.disposition is Disposition.ACCEPTED


async def test_with_pipelining_a_message_takes_one_round_trip(autojump_clock: MockClock) -> None:
    assert await _round_trips(("PIPELINING",)) <= 1.1


async def test_without_it_takes_four(autojump_clock: MockClock) -> None:
    assert await _round_trips(()) == pytest.approx(4, abs=0.1)
