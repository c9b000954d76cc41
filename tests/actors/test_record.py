"""The record: the log alone tells a message's story, observers hear it in order, receipts are poked at the end."""

from __future__ import annotations

import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs

from postroad.actors.record import Recorder
from postroad.events import (
    AttemptInDoubt,
    MessageAccepted,
    RecipientCancelled,
    RecipientDeferred,
    RecipientDelivered,
    RecipientFailed,
    RecipientHeld,
)
from postroad.store.contract import TAKEN, Accept, NewRecipient
from postroad.store.states import State, Step
from postroad.verdict import Verdict

STORY = [
    (Step.DELIVER, State.ACCEPTED, "delivered", RecipientDelivered, True),
    (Step.DEFER, State.WAITING, "deferred", RecipientDeferred, False),
    (Step.POSTPONE, State.WAITING, "deferred", RecipientDeferred, False),
    (Step.DOUBT, State.IN_DOUBT, "in_doubt", AttemptInDoubt, False),
    (Step.FAIL, State.FAILED, "failed", RecipientFailed, True),
    (Step.HOLD, State.HELD, "held", RecipientHeld, False),
    (Step.DEFER, State.CANCELLED, "cancelled", RecipientCancelled, True),
]


@pytest.fixture
async def ports(parts):
    return parts.ports()


@pytest.mark.parametrize(("step", "state", "name", "event", "is_end"), STORY)
async def test_each_step_is_one_line_one_event_and_at_an_end_a_poke(parts, ports, step, state, name, event, is_end):
    lease = parts.lease(1, to=("b@example.org", "c@example.org"))
    lease.verdicts = [Verdict.accepted("250", tls="none"), Verdict.accepted("250", tls="verified TLSv1.3")]
    outcome = parts.outcomes(lease, step, due=parts.START + 60, status="4.3.0", reply="said", remote="mx")[1]
    with ports.observers.subscribed() as events, ports.waiters.waiting("m1") as poked, capture_logs() as logs:
        Recorder(ports).settled(lease, outcome, 1, state, parts.START)
        told = await anext(events)
        assert poked.is_set() is is_end
    (line,) = logs
    assert line["event"] == name
    assert (line["id"], line["recipient"], line["attempts"], line["tls"]) == (
        "m1",
        "c@example.org",
        1,
        "verified TLSv1.3",
    )
    assert line.get("due_in") == (60 if state in (State.WAITING, State.IN_DOUBT) else None)
    assert type(told) is event
    assert (told.id, told.recipient, told.status, told.reply, told.remote, told.tls) == (
        "m1",
        "c@example.org",
        "4.3.0",
        "said",
        "mx",
        "verified TLSv1.3",
    )
    assert getattr(told, "due", parts.START + 60) == parts.START + 60


async def test_what_is_due_already_is_due_in_no_time(parts, ports):
    """A recipient that changes its road is due since the moment of its attempt."""
    lease = parts.lease()
    (outcome,) = parts.outcomes(lease, Step.DEFER, due=parts.START - 0.004, reply="held: 401")
    with capture_logs() as logs:
        Recorder(ports).settled(lease, outcome, 0, State.WAITING, parts.START)
    assert str(logs[0]["due_in"]) == "0.0"


@pytest.mark.parametrize(("before", "step", "told"), [
    (False, Step.DEFER, False), (False, Step.DOUBT, True), (True, Step.DEFER, True), (True, Step.DELIVER, True),
])  # fmt: skip
async def test_a_doubt_is_told_with_every_later_step(parts, ports, before, step, told):
    state = {Step.DEFER: State.WAITING, Step.DOUBT: State.IN_DOUBT, Step.DELIVER: State.ACCEPTED}[step]
    lease = parts.lease()
    lease.recipients = (replace(lease.recipients[0], in_doubt=before),)
    with ports.observers.subscribed() as events, capture_logs() as logs:
        Recorder(ports).settled(lease, parts.outcomes(lease, step)[0], 0, state, parts.START)
        assert (await anext(events)).in_doubt is told
    assert logs[0].get("in_doubt", False) is told


async def test_acceptance_is_told_with_what_is_held_from_the_beginning(parts, ports):
    recipients = (
        NewRecipient("b@example.org", "out", 0.0),
        NewRecipient("c@example.org", "?", 0.0, state=State.HELD, reason="no route"),
    )
    with ports.observers.subscribed() as events, capture_logs() as logs:
        Recorder(ports).accepted(Accept(parts.message(), recipients, b"secret text"), parts.START)
        assert await anext(events) == MessageAccepted(
            at=parts.START, id="m1", sender="a@example.com", recipients=2, size=5
        )
        held = await anext(events)
    assert isinstance(held, RecipientHeld)
    assert (held.recipient, held.reply) == ("c@example.org", "no route")
    assert [log["event"] for log in logs] == ["accepted", "held"]
    assert "secret text" not in repr(logs)


async def test_a_cancellation_is_told_and_pokes(parts, ports):
    with ports.observers.subscribed() as events, ports.waiters.waiting("m1") as poked:
        Recorder(ports).cancelled("m1", "b@example.org", parts.START)
        assert await anext(events) == RecipientCancelled(at=parts.START, id="m1", recipient="b@example.org")
        assert poked.is_set()


async def test_a_doubt_that_somebody_takes_as_delivered_is_told_and_pokes(parts, ports):
    told = {"id": "m1", "recipient": "b@example.org", "reply": TAKEN, "in_doubt": True}
    with ports.observers.subscribed() as events, ports.waiters.waiting("m1") as poked, capture_logs() as logs:
        Recorder(ports).taken_as_delivered("m1", "b@example.org", parts.START)
        assert await anext(events) == RecipientDelivered(at=parts.START, **told)
        assert poked.is_set()
    assert logs == [{"event": "delivered", "log_level": "info", **told}]


async def test_events_are_not_built_for_nobody(parts, ports, monkeypatch):
    monkeypatch.setattr(ports.observers, "publish", lambda event: pytest.fail("nobody listens"))
    lease = parts.lease()
    Recorder(ports).accepted(parts.accept(), parts.START)
    Recorder(ports).settled(lease, parts.outcomes(lease)[0], 0, State.ACCEPTED, parts.START)
    Recorder(ports).cancelled("m1", "b@example.org", parts.START)
