"""Returned mail on its way to the bounce actor: checked, bounded, and nobody waits for ever."""

from __future__ import annotations

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from postroad.actors.bounce import RETURNED_AT_ONCE, Bounce
from postroad.config import Limits
from postroad.errors import EngineClosed, SubmissionError, SubmissionTooLarge
from postroad.returned import ReturnedMail
from postroad.testing.engine import open_test_engine


@pytest.mark.parametrize("raw", ["text", None, bytearray(b"x"), 3])
async def test_what_is_no_bytes_is_refused_by_name(autojump_clock, raw):
    async with open_test_engine() as engine:
        with pytest.raises(SubmissionError) as caught:
            await engine.receive_bounce(raw)
    assert caught.value.field == "raw"


async def test_a_mail_larger_than_a_message_may_be_is_refused(autojump_clock):
    async with open_test_engine(limits={"message_bytes": 2000}) as engine:
        await engine.receive_bounce(bytes(2000))
        with pytest.raises(SubmissionTooLarge) as caught:
            await engine.receive_bounce(bytes(2001))
    assert caught.value.field == "raw"


async def test_callers_that_wait_when_the_engine_shuts_are_told(autojump_clock, monkeypatch):
    async def run(bounce):
        await trio.sleep_forever()

    monkeypatch.setattr(Bounce, "run", run)
    answers = []

    async def receive(engine):
        try:
            answers.append(await engine.receive_bounce(b"x"))
        except EngineClosed as error:
            answers.append(error)

    async with trio.open_nursery() as nursery, open_test_engine() as engine:
        for _ in range(3 * RETURNED_AT_ONCE):
            nursery.start_soon(receive, engine)
        await wait_all_tasks_blocked()
        assert answers == []
    assert [type(answer) for answer in answers] == [EngineClosed] * 3 * RETURNED_AT_ONCE


async def test_what_came_back_is_read_although_the_actors_start_again(autojump_clock, monkeypatch):
    """Nobody waits for ever, and nothing that was handed over is forgotten."""

    async def fails(bounce):
        await wait_all_tasks_blocked()
        monkeypatch.undo()
        raise RuntimeError("a bug in bounce")

    monkeypatch.setattr(Bounce, "run", fails)
    async with open_test_engine() as engine:
        with trio.move_on_after(60) as scope:
            await engine.receive_bounce(b"x")
        assert not scope.cancelled_caught


async def test_what_was_read_just_before_the_end_counts_as_read():
    returned, notes, answers = ReturnedMail(Limits()), [], []

    async def hand_over():
        try:
            answers.append(await returned.hand_over(b"x", notes.append))
        except EngineClosed as error:
            answers.append(error)

    async with trio.open_nursery() as nursery:
        for _ in range(2):
            nursery.start_soon(hand_over)
        await wait_all_tasks_blocked()
        notes[0].done.set()
        returned.close()
    assert sorted(map(repr, map(type, answers))) == sorted(map(repr, [type(None), EngineClosed]))


async def test_what_cancelled_callers_left_behind_takes_room_until_it_is_read(autojump_clock):
    returned, notes = ReturnedMail(Limits()), []
    for _ in range(3 * RETURNED_AT_ONCE):
        with trio.move_on_after(1):
            await returned.hand_over(b"x", notes.append)
    assert len(notes) == RETURNED_AT_ONCE
    async with trio.open_nursery() as nursery:
        nursery.start_soon(returned.hand_over, b"y", notes.append)
        await wait_all_tasks_blocked()
        notes[0].done.set()
        await wait_all_tasks_blocked()
        assert notes[-1].raw == b"y"
        notes[-1].done.set()


async def test_without_actors_and_after_the_end_it_is_an_error_that_says_so(autojump_clock):
    async with open_test_engine() as engine:
        ring, engine._ring = engine._ring, None
        with pytest.raises(EngineClosed, match="do not run"):
            await engine.receive_bounce(b"x")
        engine._ring = ring
        await engine.receive_bounce(b"x")
    with pytest.raises(EngineClosed):
        await engine.receive_bounce(b"x")
