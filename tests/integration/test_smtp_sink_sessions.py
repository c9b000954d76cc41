"""smtp-sink's faults between messages and between sessions, and how many it takes of either."""

from __future__ import annotations

import pytest
import trio
from letters import new_mark
from middlebox import open_middlebox
from roads import open_road
from sink_places import StartSink, send_to_healthy

from postroad.verdict import Disposition, Verdict

ACCEPTED, DEFERRED, IN_DOUBT = Disposition.ACCEPTED, Disposition.DEFERRED, Disposition.IN_DOUBT


@pytest.mark.parametrize("fault", ["-q RSET", "-Q RSET", "-r RSET", "-f RSET"])
async def test_a_failing_reset_between_two_messages_costs_a_connection(fault: str, start_sink: StartSink) -> None:
    sink = start_sink("-f", "RCPT", *fault.split())
    async with open_middlebox(sink) as box, open_road(box.place) as road:
        verdicts = [await road.send_one(new_mark()) for _ in range(2)]
        assert [verdict.status for verdict in verdicts] == ["5.3.0"] * 2, "the second is the recipient's own, too"
        assert len(box.connections) == 2
        assert any(b"RSET" in piece for piece in box.said(0))
        await send_to_healthy(start_sink, road)


async def test_a_server_that_ends_after_a_session_takes_no_mail_with_it(start_sink: StartSink) -> None:
    sink, marks = start_sink("-c", "-n", "1"), [new_mark() for _ in range(2)]
    async with open_road(sink, messages_per_session=1) as road:
        first = await road.send_one(marks[0])
        await trio.to_thread.run_sync(sink.wait_ended)
        second = await road.send_one(marks[1])
        assert (first.disposition, second.disposition) == (ACCEPTED, DEFERRED)
        assert second.status == "4.4.1"
        assert len(sink.messages(marks[0])) == 1
        await send_to_healthy(start_sink, road)


async def test_a_server_that_ends_among_pipelined_messages_accepts_what_it_answered(start_sink: StartSink) -> None:
    sink, marks = start_sink("-M", "3"), [new_mark() for _ in range(6)]
    verdicts: dict[str, Verdict] = {}

    async def send(mark: str) -> None:
        verdicts[mark] = await road.send_one(mark)

    async with open_road(sink, sessions=1) as road:
        async with trio.open_nursery() as nursery:
            for mark in marks:
                nursery.start_soon(send, mark)
        for mark in marks:
            taken, verdict = len(sink.messages(mark)), verdicts[mark]
            assert (taken, verdict.disposition) in ((1, ACCEPTED), (1, IN_DOUBT), (0, DEFERRED)), verdict
        assert len(sink.messages()) == 3
        await send_to_healthy(start_sink, road)


async def test_a_server_that_takes_one_connection_at_a_time_gets_all_mail(start_sink: StartSink) -> None:
    sink, marks = start_sink("-m", "1"), [new_mark() for _ in range(6)]
    verdicts: list[Verdict] = []

    async def send(mark: str) -> None:
        verdicts.append(await road.send_one(mark))

    async with open_road(sink, sessions=3, idle_seconds=0.2) as road:
        async with trio.open_nursery() as nursery:
            for mark in marks:
                nursery.start_soon(send, mark)
        assert [verdict.disposition for verdict in verdicts] == [ACCEPTED] * 6
        assert [len(sink.messages(mark)) for mark in marks] == [1] * 6
        await send_to_healthy(start_sink, road)


async def test_a_session_that_the_server_found_idle_too_long_costs_nothing(start_sink: StartSink) -> None:
    sink, marks = start_sink("-t", "1"), [new_mark() for _ in range(2)]
    async with open_middlebox(sink) as box, open_road(box.place, idle_seconds=60) as road:
        first = await road.send_one(marks[0])
        await box.wait_server_closed(0)
        second = await road.send_one(marks[1])
        assert first.disposition is second.disposition is ACCEPTED
        assert [len(sink.messages(mark)) for mark in marks] == [1, 1]
        await send_to_healthy(start_sink, road)


@pytest.mark.parametrize("flags", ["", "-p"])
async def test_pipelining_is_used_where_it_is_offered(flags: str, start_sink: StartSink) -> None:
    sink, mark = start_sink(*flags.split()), new_mark()
    async with open_middlebox(sink) as box, open_road(box.place) as road:
        verdict = await road.send_one(mark)
        assert verdict.disposition is ACCEPTED
        (envelope,) = [piece for piece in box.said(0) if piece.startswith(b"MAIL")]
        assert envelope.count(b"\r\n") == (1 if flags else 3)
