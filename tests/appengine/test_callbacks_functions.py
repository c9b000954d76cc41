"""Functions of the application that embeds the engine: `postroad.callbacks.Callbacks`."""

from __future__ import annotations

import threading
from functools import partial

import pytest
import trio
from structlog.testing import capture_logs

from postroad import Filter, Verdict
from postroad.callbacks import Callbacks, TryAgain
from postroad.store.states import State
from postroad.testing import check_transport
from postroad.testing.engine import open_test_engine
from postroad.testing.fakes import ScriptedTransport

DAY = 86_400
RAW = b"From: b@example.org\r\nTo: support@app.example\r\nSubject: Help\r\n\r\nHelp me.\r\n"


def engine_with(*, settings=None, callbacks=None, **functions):
    transport = ScriptedTransport({"gone@example.org": [Verdict.refused("550 no", status="5.1.1")] * 9})
    return open_test_engine(
        transport=transport,
        plugins={"application": Callbacks(**functions)},
        transports={"scripted": {"plugin": "scripted"}, "app": {"plugin": "functions", **(settings or {})}},
        callbacks={"transport": "app", **(callbacks or {})},
    )


async def receive(engine, **more):
    return await engine.receive(**{"sender": "b@example.org", "recipients": "support@app.example", "raw": RAW, **more})


async def fail(engine):
    return await engine.send_mail(sender="a@example.com", to="gone@example.org", subject="Hello", body="Hello.\n")


async def wait_done(engine):
    with trio.fail_after(30 * DAY):
        while (await engine.status()).messages:  # noqa: ASYNC110  # virtual time passes only by sleeping
            await trio.sleep(60)


async def test_an_async_function_gets_the_bounce(autojump_clock):
    told = []

    async def on_bounce(bounce):
        told.append(bounce)

    async with engine_with(bounce=on_bounce) as engine:
        await fail(engine)
        await wait_done(engine)
    (bounce,) = told
    assert bounce.original["to"] == "gone@example.org"
    assert bounce.notification["to"] == "a@example.com"
    assert bounce.raw.startswith(b"Date: ")
    assert bounce.raw in bounce.report
    assert len(bounce.fields()) == 12
    assert bounce.post_vars() == {**bounce.fields(), "raw-message": bounce.raw}
    assert (bounce.key, bounce.maybe_duplicate) == (f"{bounce.id}-1", False)


async def test_an_async_function_gets_the_mail(autojump_clock):
    told = []

    async def on_mail(mail):
        told.append(mail)

    async with engine_with(mail=on_mail) as engine:
        receipt = await receive(engine, recipients=["support@app.example", "sales@app.example"])
        assert (await receipt.settled()).is_delivered
    assert sorted(mail.address for mail in told) == ["sales@app.example", "support@app.example"]
    assert {(mail.sender, mail.raw, mail.id) for mail in told} == {("b@example.org", RAW, receipt.id)}


async def test_a_function_that_is_not_async_runs_in_a_thread():
    told, here = [], threading.get_ident()
    async with engine_with(mail=lambda mail: told.append((mail.raw, threading.get_ident()))) as engine:
        await (await receive(engine)).settled()
    ((raw, there),) = told
    assert raw == RAW
    assert there != here


class Handler:
    def __init__(self):
        self.told = []

    async def __call__(self, mail):
        self.told.append(mail)

    async def method(self, mail, extra=None):
        self.told.append(mail)

    def quick(self, mail):
        return self.method(mail)


@pytest.mark.parametrize("kind", ["object", "method", "partial"])
async def test_whatever_is_async_is_awaited(autojump_clock, kind):
    handler = Handler()
    functions = {"object": handler, "method": handler.method, "partial": partial(handler.method, extra=1)}
    async with engine_with(mail=functions[kind]) as engine:
        await (await receive(engine)).settled()
    assert len(handler.told) == 1


async def test_what_a_thread_returns_to_be_awaited_is_awaited():
    handler = Handler()
    async with engine_with(mail=handler.quick) as engine:
        await (await receive(engine)).settled()
    assert len(handler.told) == 1


async def test_what_was_told_shows_no_content_in_a_log(autojump_clock):
    async def on_mail(mail):
        raise ValueError(mail)

    with capture_logs() as logs:
        async with engine_with(mail=on_mail) as engine:
            await receive(engine)
            await trio.sleep(60)
    assert "support@app.example" in str(logs)
    assert "Help me" not in str(logs)


async def test_one_that_raises_is_called_again(autojump_clock):
    calls = []

    async def on_mail(mail):
        calls.append((trio.current_time(), mail.key))
        if len(calls) < 4:
            raise ValueError("the database is away")

    with capture_logs() as logs:
        async with engine_with(mail=on_mail) as engine:
            await (await receive(engine)).settled()
    assert len(calls) == 4
    assert len({key for _, key in calls}) == 1
    failed = [log for log in logs if log["event"] == "callback_failed"]
    assert [str(log["exc_info"]) for log in failed] == ["the database is away"] * 3
    replies = [log["reply"] for log in logs if log["event"] == "deferred"]
    assert all("the database is away" in reply for reply in replies)


@pytest.mark.parametrize("error", [RuntimeError, OSError, KeyError, trio.BrokenResourceError, StopAsyncIteration])
async def test_whatever_it_raises_harms_nobody_else(autojump_clock, error):
    told = []

    async def on_mail(mail):
        if mail.address.startswith("bad"):
            raise error()
        told.append(mail.address)

    async with engine_with(mail=on_mail) as engine:
        await receive(engine, recipients=["bad@app.example", "good@app.example"])
        await trio.sleep(60)
    assert told == ["good@app.example"]


async def test_it_may_name_the_moment(autojump_clock):
    calls = []

    async def on_mail(mail):
        calls.append(trio.current_time())
        if len(calls) == 1:
            raise TryAgain(7200)

    async with engine_with(mail=on_mail) as engine:
        await (await receive(engine)).settled()
    assert calls[1] - calls[0] == pytest.approx(7200, abs=1)


async def test_one_that_outlives_its_time_is_in_doubt_and_called_again(autojump_clock):
    told = []

    async def on_mail(mail):
        told.append(mail.maybe_duplicate)
        if len(told) == 1:
            await trio.sleep_forever()

    async with engine_with(mail=on_mail, settings={"seconds": 5}) as engine:
        await (await receive(engine)).settled()
    assert told == [False, True]


async def test_without_a_function_it_waits_and_is_held(autojump_clock):
    async with engine_with(mail=None) as engine:
        await receive(engine)
        await trio.sleep(6 * DAY)
        (stored,) = await engine.find(Filter(lane="callbacks"))
    assert stored.recipients[0].state is State.HELD


async def test_it_does_a_transports_duties(autojump_clock):
    taken = []

    async def on_mail(mail):
        taken.append(mail.raw)

    async def never(mail):
        await trio.sleep_forever()

    def factory(settings):
        return Callbacks(mail=never if "seconds" in settings else on_mail)._open(settings)

    report = await check_transport(factory, {}, handed_over=lambda: taken, silent={"seconds": 3600.0})
    done = {result.case for result in report.results if not result.skipped}
    assert {"committing_comes_first", "large_content", "silent_peer", "ten_at_once"} <= done
