"""A receipt tells what is known, waits for the end, and misses no news."""

from __future__ import annotations

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from postroad.errors import EngineClosed
from postroad.message import Message
from postroad.receipt import FINAL_NAMES, Outcome, Receipt, RecipientOutcome, Waiters, outcome_of
from postroad.store.contract import StoredMessage, StoredRecipient
from postroad.store.states import ENDS, State


def stored(*states):
    return StoredMessage(
        handle=1,
        message=Message(id="m", sender="a@example.com", accepted_at=0.0, size=1),
        recipients=tuple(
            StoredRecipient(
                number=number,
                address=f"{number}@example.org",
                lane="out",
                state=state,
                due=0.0,
                attempts=number,
                status="2.0.0",
                reply="said",
                remote="mx",
            )
            for number, state in enumerate(states)
        ),
    )


def test_an_outcome_tells_each_recipients_state_by_address():
    outcome = outcome_of(stored(State.ACCEPTED, State.WAITING))
    assert outcome.id == "m"
    assert outcome.recipients["0@example.org"] == RecipientOutcome(
        state="accepted", status="2.0.0", reply="said", remote="mx", attempts=0
    )
    assert outcome.recipients["1@example.org"].state == "waiting"
    assert not outcome.is_settled
    assert not outcome.is_delivered


@pytest.mark.parametrize("state", list(State))
def test_a_recipient_is_settled_at_its_end_and_at_failure_before_the_report(state):
    outcome = outcome_of(stored(state))
    assert outcome.is_settled is (state in ENDS or state is State.FAILED)
    assert outcome.is_settled is (state in FINAL_NAMES)
    assert outcome.is_delivered is (state is State.ACCEPTED)


def receipt_of(waiters, outcomes):
    async def read(id):
        await trio.lowlevel.checkpoint()
        return outcomes.pop(0)

    return Receipt("m", waiters, read)


def one(state):
    return Outcome(id="m", recipients={"b@example.org": RecipientOutcome(state=state)})


async def test_settled_waits_until_every_recipient_is_done():
    waiters, got = Waiters(), []
    receipt = receipt_of(waiters, [one("waiting"), one("leased"), one("accepted")])

    async def wait():
        got.append(await receipt.settled())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await wait_all_tasks_blocked()
        waiters.poke("another")
        await wait_all_tasks_blocked()
        waiters.poke("m")
        await wait_all_tasks_blocked()
        assert not got
        waiters.poke("m")
    assert got == [one("accepted")]
    assert not waiters._events


async def test_news_between_the_question_and_the_wait_are_not_missed():
    waiters, asked = Waiters(), []

    async def read(id):
        asked.append(id)
        if len(asked) == 1:
            waiters.poke("m")  # it is settled while the spool is asked
            return one("leased")
        await trio.lowlevel.checkpoint()
        return one("failed")

    assert await Receipt("m", waiters, read).settled() == one("failed")


async def test_a_closing_engine_lets_nobody_wait():
    waiters, is_closed = Waiters(), []

    async def read(id):
        await trio.lowlevel.checkpoint()
        if is_closed:
            raise EngineClosed("closed")
        return one("waiting")

    async def wait():
        with pytest.raises(EngineClosed):
            await Receipt("m", waiters, read).settled()

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(wait)
        await wait_all_tasks_blocked()
        is_closed.append(True)
        waiters.poke_all()
    assert not waiters._events


async def test_a_cancelled_waiter_leaves_nothing_behind():
    waiters = Waiters()
    receipt = receipt_of(waiters, [one("waiting")])
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(receipt.settled)
            await wait_all_tasks_blocked()
            scope.cancel()
    assert not waiters._events


async def test_a_receipt_shows_its_id_and_what_is_known_now():
    receipt = receipt_of(Waiters(), [one("held")])
    assert repr(receipt) == "Receipt('m')"
    assert await receipt.outcome() == one("held")
