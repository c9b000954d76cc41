"""What strangers can do by mail that comes in, and an application by its answers: nothing to deliveries that are not theirs."""

from __future__ import annotations

import pytest
import trio
from scripted_application import Deaf, Hang, Raw, open_application
from test_callbacks import RAW, SharedStore, bounce_of, engine_on, send, sent, wait_done

from postroad import QueueFull, Verdict
from postroad.events import RemoteBounce
from postroad.message import Kind, new_message_id
from postroad.store.contract import Accept
from postroad.testing import HttpReply
from postroad.testing.fakes import ScriptedTransport

LIMITS = {"queue_messages": 20, "queue_bytes": 1_000_000, "message_bytes": 500_000}


async def _flood(take):
    """How many were taken until one was not."""
    taken = 0
    with pytest.raises(QueueFull, match="nine tenths"):
        while taken < 100:
            await take(taken)
            taken += 1
    return taken


@pytest.mark.parametrize("kind", ["mail", "bounces", "large mail"])
async def test_a_flood_that_the_application_does_not_take_leaves_room_for_our_own_mail(autojump_clock, kind):
    async with open_application(default=500) as application, engine_on(application, limits=LIMITS) as engine:
        id = await sent(engine)
        take = {
            "mail": lambda number: engine.receive(sender="b@example.org", recipients="in@app.example", raw=RAW),
            "bounces": lambda number: engine.receive_bounce(bounce_of(id)),
            "large mail": lambda number: engine.receive(sender="", recipients="in@app.example", raw=bytes(100_000)),
        }
        assert await _flood(take[kind]) == (9 if kind == "large mail" else 18)
        outcome = await (await send(engine, "b@example.org")).settled()
        assert outcome.is_delivered


async def test_forged_bounces_change_no_outcome_and_cause_no_mail(autojump_clock):
    """Of a message that was delivered, and of one that waits: who forges it knows the id, and names whom he likes."""
    store, transport = SharedStore(), ScriptedTransport({"later@example.org": [Verdict.deferred("451 later")] * 3})
    async with open_application() as application, engine_on(application, store, transport) as engine:
        delivered = await send(engine, "b@example.org")
        await delivered.settled()
        waiting = await send(engine, "later@example.org")
        for receipt in (delivered, waiting):
            for address in ("b@example.org", "later@example.org", "victim@example.net", "a@example.com"):
                await engine.receive(sender="", recipients="a@example.com", raw=bounce_of(receipt.id, address=address))
                await engine.receive_bounce(bounce_of(receipt.id, address=address))
        assert (await delivered.settled()).is_delivered
        assert (await waiting.settled()).is_delivered
        await wait_done(engine)
    assert {request.target for request in application.requests} == {"/_ah/bounce"}
    assert len(application.requests) == 16
    kinds = [o.message.kind for commit in store.commits for o in commit if isinstance(o, Accept)]
    assert kinds.count(Kind.MAIL) == 2
    assert kinds.count(Kind.REPORT) == 0, "nobody is written to because of what strangers say"
    assert [len(call.addresses) for call in transport.calls] == [1] * 5


async def test_guessed_ids_make_mail_and_nothing_else(autojump_clock):
    async with open_application() as application, engine_on(application) as engine, engine.events() as events:
        real = await sent(engine)
        guesses = [new_message_id(0.0) for _ in range(200)] + [real[:-1], real.upper(), real[:-1] + "u", f"{real} x"]
        for guess in guesses:
            await engine.receive(sender="", recipients="a@example.com", raw=bounce_of(guess))
        await wait_done(engine)
        await engine.receive_bounce(b"")
        with trio.move_on_after(1):
            async for event in events:
                assert not isinstance(event, RemoteBounce)
    assert {request.target for request in application.requests} == {"/_ah/mail/a@example.com"}
    assert len(application.requests) == len(guesses)


SLOW = HttpReply(200, after_seconds=3600)
ENDLESS = HttpReply(200, headers=(("x", "y" * 200_000),))
ELSEWHERE = HttpReply(307, headers=(("location", "http://127.0.0.1:9/"),))


@pytest.mark.parametrize(
    "step",
    [Hang(), Deaf(), Raw(), Raw(b"\0" * 5000), Raw(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000), SLOW, ENDLESS, ELSEWHERE],
    ids=["hangs", "deaf", "closes", "garbage", "100 for ever", "slow", "endless header", "redirect"],
)
async def test_whatever_an_application_does_mail_goes_on_and_nothing_is_lost(autojump_clock, step):
    async with open_application(default=step) as application, engine_on(application) as engine:
        for number in range(30):
            await engine.receive(sender="", recipients=f"in{number}@app.example", raw=RAW)
        await send(engine)  # whose failure is told, too
        begun = trio.current_time()
        outcomes = [await (await send(engine, f"b{number}@example.org")).settled() for number in range(30)]
        assert all(outcome.is_delivered for outcome in outcomes)
        assert trio.current_time() - begun < 5
        await trio.sleep(1800)
        application.default = 200
        await wait_done(engine)
    keys = {request.key: request for request in application.requests}
    assert len(keys) == 31
