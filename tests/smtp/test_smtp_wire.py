"""A connection's stream: what needs no waiting does not wait, and closing reaches the socket."""

from __future__ import annotations

import socket
import sys

import pytest
import trio
from trio.testing import MockClock, assert_checkpoints, assert_no_checkpoints, memory_stream_pair

from postroad_smtp.plain import PlainStream, connect
from postroad_smtp.trouble import Trouble
from postroad_smtp.wire import Wire


def _wire() -> tuple[Wire, PlainStream, socket.socket]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.settimeout(10)
    plain = PlainStream(ours)
    return Wire(plain), plain, theirs


async def test_what_the_kernel_takes_at_once_is_sent_without_a_checkpoint() -> None:
    wire, _, theirs = _wire()
    with assert_no_checkpoints():
        await wire.send(b"EHLO client.example\r\n")
    assert theirs.recv(100) == b"EHLO client.example\r\n"
    await wire.close_forcefully()
    theirs.close()


async def test_what_it_does_not_take_is_waited_for_and_sent_once() -> None:
    wire, plain, theirs = _wire()
    there = PlainStream(theirs)
    theirs.setblocking(False)
    data, got = bytes(range(256)) * 32_768, bytearray()

    async def read() -> None:
        while piece := await there.receive_some():
            got.extend(piece)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        with assert_checkpoints():
            await wire.send(data)
        plain.socket.shutdown(socket.SHUT_WR)
    assert bytes(got) == data
    await wire.close_forcefully()
    await there.aclose()


async def test_closing_needs_no_checkpoint_and_wakes_who_reads() -> None:
    wire, plain, theirs = _wire()
    with trio.fail_after(10):
        await _close_while_reading(wire)
    assert plain.socket.fileno() < 0
    assert theirs.recv(1) == b""
    theirs.close()


async def _close_while_reading(wire: Wire) -> None:
    async with trio.open_nursery() as nursery:

        async def read() -> None:
            with pytest.raises(Trouble, match="the connection was lost"):
                await wire.receive()

        nursery.start_soon(read)
        await trio.testing.wait_all_tasks_blocked()
        with assert_no_checkpoints():
            await wire.close_forcefully()


async def test_closing_under_tls_closes_the_socket_below_without_another_word() -> None:
    wire, plain, theirs = _wire()
    wire.secured(memory_stream_pair()[0])
    await wire.close_forcefully()
    assert plain.socket.fileno() < 0
    assert theirs.recv(1) == b""
    theirs.close()


async def test_a_stream_that_is_no_socket_is_closed_too() -> None:
    ours, theirs = memory_stream_pair()
    await Wire(ours).close_forcefully()
    with trio.fail_after(10):
        assert await theirs.receive_some(1) == b""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the outcome is not asked for a second time")
async def test_a_connection_that_this_machine_answers_is_not_waited_for() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=50) as server:
        assert any([await _connects_at_once(server.getsockname()[1]) for _ in range(20)])  # a busy kernel may be late


async def _connects_at_once(port: int) -> bool:
    try:
        with assert_no_checkpoints():
            stream = await connect("127.0.0.1", port)
            stream.close_nowait()
    except AssertionError:
        return False
    return True


async def test_a_connection_that_is_refused_is_told_as_that() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        with pytest.raises(ConnectionRefusedError):
            await connect("127.0.0.1", nobody.getsockname()[1])


@pytest.mark.skipif(sys.platform != "linux", reason="how full a backlog is differs")
async def test_a_connection_that_is_not_answered_yet_is_waited_for(autojump_clock: MockClock) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=1) as server:
        streams = list[PlainStream]()
        with trio.move_on_after(60) as scope:
            for _ in range(10):
                streams.append(await connect("127.0.0.1", server.getsockname()[1]))
        assert scope.cancelled_caught
        assert 0 < len(streams) < 10
    for stream in streams:
        stream.close_nowait()
