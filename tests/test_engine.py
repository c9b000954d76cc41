"""The engine as an application sees it: memory store, scripted transport, virtual time."""

from __future__ import annotations

import pytest
import trio

import postroad
from postroad import Filter, Submission, Verdict
from postroad.clock import Clock
from postroad.events import (
    AttemptInDoubt,
    MaybeDuplicate,
    MessageAccepted,
    RecipientDeferred,
    RecipientDelivered,
    RecipientFailed,
    RecipientHeld,
    ReportQueued,
    RingRestarted,
)
from postroad.testing import open_test_engine as open_engine_now
from postroad.testing import test_config
from postroad.testing.fakes import Hang, ScriptedTransport, Slow
from postroad.verdict import Scope

DAY = 86_400
START = 1_750_000_000.0


def open_test_engine(**arguments):
    return open_engine_now(start=START, **arguments)


RAW = b"From: a@example.com\r\nTo: b@example.org\r\nSubject: Hello\r\n\r\nHello.\r\n"


def submission(recipient="b@example.org", **fields):
    return Submission(**{"sender": "a@example.com", "recipients": [recipient], "content": RAW, **fields})


async def test_a_message_travels_from_send_mail_to_the_transport(autojump_clock):
    transport = ScriptedTransport()
    async with open_test_engine(transport=transport) as engine:
        receipt = await engine.send_mail(
            sender="a@example.com", to="Albert <b@example.org>", bcc=["c@example.org"], subject="Hello", body="Hi"
        )
        outcome = await receipt.settled()
    assert outcome.is_delivered
    assert set(outcome.recipients) == {"b@example.org", "c@example.org"}
    assert outcome.recipients["b@example.org"].attempts == 1
    (call,) = transport.calls
    assert b"Subject: Hello\r\n" in call.content
    assert b"c@example.org" not in call.content


async def test_a_deferred_recipient_is_tried_again_after_five_minutes(autojump_clock):
    transport = ScriptedTransport([Verdict.deferred("451 later", status="4.3.0")])
    async with open_test_engine(transport=transport) as engine:
        await (await engine.submit(submission())).settled()
    first, second = transport.calls
    assert 270 <= second.began - first.began <= 330


async def test_five_days_of_deferrals_end_in_one_report_to_the_sender(autojump_clock):
    transport = ScriptedTransport({"a@example.com": []}, default=Verdict.deferred("451 4.7.1 greylisted"))
    transport = ScriptedTransport(
        {"a@example.com": [Verdict.accepted("250 ok")]},
        default=Verdict.deferred("451 4.7.1 greylisted", status="4.7.1"),
    )
    async with open_test_engine(transport=transport) as engine:
        receipt = await engine.submit(submission())
        outcome = await receipt.settled()
        assert outcome.recipients["b@example.org"].state == "failed"
        assert outcome.recipients["b@example.org"].status == "4.4.7"
        await transport.wait_ended(len(transport.calls) + (transport.calls[-1].addresses != ("a@example.com",)))
    tries = [call for call in transport.calls if call.addresses == ("b@example.org",)]
    assert 100 <= len(tries) <= 125
    assert tries[-1].began - tries[0].began == pytest.approx(5 * DAY, abs=1)
    reports = [call for call in transport.calls if call.addresses == ("a@example.com",)]
    assert len(reports) == 1
    assert reports[0].request.message.sender == ""
    assert b"greylisted" in reports[0].content


async def test_a_refused_recipient_is_reported_at_once_and_the_others_are_delivered(autojump_clock):
    transport = ScriptedTransport({"no@example.org": [Verdict.refused("550 5.1.1 no such user", status="5.1.1")]})
    async with open_test_engine(transport=transport) as engine, engine.events() as events:
        message = submission(recipients=["yes@example.org", "no@example.org"])
        outcome = await (await engine.submit(message)).settled()
        async for event in events:
            if isinstance(event, RecipientDelivered) and event.recipient == "a@example.com":
                break
    assert outcome.recipients["yes@example.org"].state == "accepted"
    assert outcome.recipients["no@example.org"].state == "failed"
    assert transport.calls[1].addresses == ("a@example.com",)


async def test_a_failing_report_is_never_reported(autojump_clock):
    transport = ScriptedTransport(default=Verdict.refused("550 no", status="5.0.0"))
    async with open_test_engine(transport=transport) as engine:
        await (await engine.submit(submission())).settled()
        await transport.wait_ended(2)
        await trio.sleep(DAY)
        status = await engine.status()
    assert [call.addresses for call in transport.calls] == [("b@example.org",), ("a@example.com",)]
    assert status.messages == 0
    assert status.by_state == {"reported": 1, "unreported": 1}


async def test_one_notice_of_delay_when_it_is_switched_on(autojump_clock):
    transport = ScriptedTransport(
        {"a@example.com": [Verdict.accepted("250 ok")] * 5}, default=Verdict.deferred("451 busy", status="4.3.2")
    )
    async with open_test_engine(
        transport=transport, reports={"delay_notice_seconds": 4 * 3600, "hostname": "e.test"}
    ) as engine:
        receipt = await engine.submit(submission())
        await trio.sleep(2 * DAY)
        assert not (await receipt.outcome()).is_settled
    notices = [call for call in transport.calls if call.addresses == ("a@example.com",)]
    assert len(notices) == 1
    assert b"Action: delayed" in notices[0].content


async def test_local_trouble_that_lasts_is_told_to_the_sender_and_given_up_at_the_same_age(autojump_clock):
    trouble = Verdict.postponed("192.0.2.9 is no address of this machine", retry_after_seconds=3600)
    transport = ScriptedTransport({"a@example.com": [Verdict.accepted("250 ok")] * 2}, default=trouble)
    reports = {"hostname": "engine.test", "delay_notice_seconds": 14_400}
    async with open_test_engine(transport=transport, reports=reports) as engine:
        begun = trio.current_time()
        outcome = await (await engine.submit(submission())).settled()
        assert trio.current_time() - begun == pytest.approx(5 * DAY, abs=5)
        await trio.sleep(60)
    (recipient,) = outcome.recipients.values()
    assert (recipient.state, recipient.status, recipient.attempts) == ("failed", "4.4.7", 0)
    notice, report = [call.content for call in transport.calls if call.addresses == ("a@example.com",)]
    for content, action in ((notice, b"delayed"), (report, b"failed")):
        assert b"Action: " + action in content
        assert b"Diagnostic-Code: x-postroad; 192.0.2.9 is no address of this machine" in content
        assert b"Last-Attempt-Date" not in content


async def test_events_tell_the_story_in_order(autojump_clock):
    transport = ScriptedTransport([Verdict.deferred("451 later"), Verdict.refused("550 no")])
    seen = []
    async with open_test_engine(transport=transport) as engine, engine.events() as events:
        receipt = await engine.submit(submission())
        async for event in events:
            seen.append(event)
            if isinstance(event, ReportQueued):
                break
    about = [type(event) for event in seen if getattr(event, "id", "") == receipt.id]
    assert about == [MessageAccepted, RecipientDeferred, RecipientFailed, ReportQueued]


async def test_a_transport_that_raises_hangs_or_answers_nonsense_defers_that_message_alone(autojump_clock):
    transport = ScriptedTransport(
        {
            "raises@example.org": [RuntimeError("bug")],
            "hangs@example.org": [Hang()],
            "nonsense@example.org": [lambda request, recipient: "yes"],
        }
    )
    async with open_test_engine(transport=transport) as engine:
        receipts = [
            await engine.submit(submission(address))
            for address in ("raises@example.org", "hangs@example.org", "nonsense@example.org", "fine@example.org")
        ]
        assert (await receipts[3].settled()).recipients["fine@example.org"].attempts == 1
        for receipt in receipts[:3]:
            (outcome,) = (await receipt.settled()).recipients.values()
            assert outcome.state == "accepted"
            assert outcome.attempts == 2


async def test_a_hang_after_the_hand_over_is_in_doubt_and_the_retry_is_announced(autojump_clock):
    transport = ScriptedTransport([Hang(committed=True)])
    async with open_test_engine(transport=transport) as engine, engine.events() as events:
        receipt = await engine.submit(submission())
        async for event in events:
            if isinstance(event, MaybeDuplicate):
                assert event.recipient == "b@example.org"
                break
        assert (await receipt.settled()).is_delivered
    assert transport.calls[0].content == transport.calls[1].content


async def test_a_doubt_stays_visible_until_the_end_and_after_it(autojump_clock):
    transport = ScriptedTransport([Verdict.in_doubt("no reply"), Verdict.deferred("451 later")])
    async with open_test_engine(transport=transport) as engine, engine.events() as events:
        receipt = await engine.submit(submission())
        told = []
        async for event in events:
            told.append((type(event), getattr(event, "in_doubt", None)))
            if isinstance(event, RecipientDeferred):
                break
        (recipient,) = (await engine.message(receipt.id)).recipients
        assert (recipient.state.name, recipient.in_doubt) == ("WAITING", True)
        assert (await engine.status()).in_doubt == 1
        assert [one.message.id for one in await engine.find(Filter(in_doubt=True))] == [receipt.id]
        outcome = (await receipt.settled()).recipients["b@example.org"]
        assert (outcome.state, outcome.in_doubt, (await engine.status()).in_doubt) == ("accepted", True, 0)
    assert told == [(MessageAccepted, None), (AttemptInDoubt, True), (MaybeDuplicate, True), (RecipientDeferred, True)]


def route(choice):
    return [{"transport": "scripted", "in_doubt": choice}]


@pytest.mark.parametrize(
    ("choice", "step"),
    [
        ("hold", Verdict.in_doubt("no reply", handed_over=True)),
        ("hold", Hang(committed=True)),
        ("take_as_delivered", Verdict.in_doubt("lost while sending")),
        ("take_as_delivered", Hang(committed=True)),
    ],
)
async def test_a_doubt_is_held_where_the_route_says_so_and_where_it_is_not_known_to_have_left(
    autojump_clock, choice, step
):
    transport = ScriptedTransport([step])
    async with open_test_engine(transport=transport, routes=route(choice)) as engine, engine.events() as events:
        receipt = await engine.submit(submission())
        async for event in events:
            if isinstance(event, RecipientHeld):
                break
        await trio.sleep(10 * DAY)
        (recipient,) = (await engine.message(receipt.id)).recipients
        assert (recipient.state.name, recipient.in_doubt, recipient.attempts) == ("HELD", True, 1)
        assert recipient.reason.startswith("in doubt: ")
        assert (event.reply, event.in_doubt) == (recipient.reason, True)
        assert len(transport.calls) == 1
        await engine.release(Filter(id=receipt.id))
        assert (await receipt.settled()).is_delivered
    assert transport.calls[1].request.recipients[0].in_doubt


async def test_somebody_decides_that_what_is_held_in_doubt_was_delivered(autojump_clock):
    transport = ScriptedTransport([Verdict.in_doubt("no reply", handed_over=True)])
    async with open_test_engine(transport=transport, routes=route("hold")) as engine, engine.events() as events:
        receipt = await engine.submit(submission())
        other = await engine.submit(submission(send_at=START + 2 * DAY))
        async for event in events:
            if isinstance(event, RecipientHeld):
                break
        await engine.hold(Filter(id=other.id))
        assert (await engine.take_as_delivered(Filter())).recipients == 1
        outcome = await receipt.settled()
        async for event in events:
            if isinstance(event, RecipientDelivered):
                break
        assert (await other.outcome()).recipients["b@example.org"].state == "held"
    recipient = outcome.recipients["b@example.org"]
    assert (recipient.state, recipient.in_doubt) == ("accepted", True)
    assert recipient.reply == "in doubt, taken as delivered: no reply"
    assert (event.id, event.recipient, event.in_doubt) == (receipt.id, "b@example.org", True)
    assert len(transport.calls) == 1


async def test_a_doubt_is_taken_as_delivered_where_the_route_says_so_and_says_that(autojump_clock):
    transport = ScriptedTransport([Verdict.in_doubt("no reply", handed_over=True)])
    async with open_test_engine(transport=transport, routes=route("take_as_delivered")) as engine:
        outcome = await (await engine.submit(submission())).settled()
        await trio.sleep(DAY)
    assert outcome.is_delivered
    recipient = outcome.recipients["b@example.org"]
    assert (recipient.in_doubt, recipient.reply) == (True, "in doubt, taken as delivered: no reply")
    assert len(transport.calls) == 1


async def test_send_at_waits_and_expires_at_gives_up(autojump_clock):
    transport = ScriptedTransport(default=Verdict.deferred("451 later"))
    async with open_test_engine(transport=transport) as engine:
        now = START
        begun = trio.current_time()
        receipt = await engine.submit(submission(send_at=now + 3600, expires_at=now + 7200))
        outcome = await receipt.settled()
        assert outcome.recipients["b@example.org"].state == "failed"
        assert trio.current_time() - begun == pytest.approx(7200, abs=5)
    assert transport.calls[0].began - begun == pytest.approx(3600, abs=1)
    assert all(call.began - begun <= 7200 for call in transport.calls if call.addresses == ("b@example.org",))


async def test_priorities_order_a_lane(autojump_clock):
    transport = ScriptedTransport(default=Slow(1.0, Verdict.accepted("250 ok")))
    async with open_test_engine(transport=transport, windows={"start": 1, "max": 1}) as engine:
        receipts = await engine.submit_many(
            [submission(f"p{priority}@example.org", priority=priority) for priority in (9, 5, 0, 7)]
        )
        for receipt in receipts:
            await receipt.settled()
    order = [call.addresses[0] for call in transport.calls]
    assert order[-1] in ("p9@example.org", "p7@example.org")
    assert order.index("p0@example.org") < order.index("p7@example.org")


async def test_cancel_withdraws_what_waits(autojump_clock):
    transport = ScriptedTransport()
    async with open_test_engine(transport=transport) as engine:
        receipt = await engine.submit(submission(send_at=START + 3600))
        cancelled = await engine.cancel(receipt.id)
        assert cancelled.recipients == 1
        assert (await receipt.settled()).recipients["b@example.org"].state == "cancelled"
        await trio.sleep(DAY)
    assert transport.calls == []


async def test_hold_and_release(autojump_clock):
    transport = ScriptedTransport()
    async with open_test_engine(transport=transport) as engine:
        receipt = await engine.submit(submission(send_at=START + 60))
        assert (await engine.hold(Filter(domain="example.org"))).recipients == 1
        await trio.sleep(DAY)
        assert transport.calls == []
        assert (await engine.release(Filter(id=receipt.id))).recipients == 1
        assert (await receipt.settled()).is_delivered


async def test_retry_makes_a_deferred_message_due_now(autojump_clock):
    transport = ScriptedTransport([Verdict.deferred("451 later")])
    async with open_test_engine(transport=transport) as engine, engine.events() as events:
        receipt = await engine.submit(submission())
        async for event in events:
            if isinstance(event, RecipientDeferred):
                break
        await engine.retry(Filter(id=receipt.id))
        await receipt.settled()
    assert transport.calls[1].began - transport.calls[0].began < 1


async def test_an_idempotency_key_gives_the_same_receipt_and_refuses_other_fields(autojump_clock):
    transport = ScriptedTransport()
    async with open_test_engine(transport=transport) as engine:
        fields = {
            "sender": "a@example.com",
            "to": "b@example.org",
            "subject": "Hello",
            "body": "Hi",
            "idempotency_key": "k",
        }
        first = await engine.send_mail(**fields)
        await trio.sleep(60)
        again = await engine.send_mail(**fields)
        assert again.id == first.id
        with pytest.raises(postroad.IdempotencyConflict) as caught:
            await engine.send_mail(**{**fields, "body": "Other"})
        assert caught.value.field == "idempotency_key"
        await first.settled()
    assert len(transport.calls) == 1


async def test_a_full_queue_refuses_and_says_so(autojump_clock):
    transport = ScriptedTransport(default=Hang())
    async with open_test_engine(transport=transport, limits={"queue_messages": 2}) as engine:
        for _ in range(2):
            await engine.submit(submission())
        with pytest.raises(postroad.QueueFull, match="queue_messages"):
            await engine.submit(submission())


async def test_a_site_in_trouble_is_held_and_probed(autojump_clock):
    down = Verdict.deferred("connection refused", status="4.4.1", scope=Scope.SITE)
    transport = ScriptedTransport(default=down)
    async with open_test_engine(transport=transport) as engine:
        await engine.submit_many([submission(f"u{n}@example.org") for n in range(100)])
        await trio.sleep(50)
        assert len(transport.calls) <= 12, "a window of five, and the attempts that were under way"
        before = len(transport.calls)
        await trio.sleep(30)
        assert len(transport.calls) - before <= 2, "one probe after the hold"


async def test_mail_behind_refused_credentials_waits_and_is_all_given_up_when_its_time_is_over(autojump_clock):
    refused = Verdict.refused("535 wrong password", status="5.7.8", scope=Scope.TRANSPORT, site="smart.example")
    transport = ScriptedTransport(default=refused)
    async with open_test_engine(transport=transport) as engine:
        receipts = await engine.submit_many([submission(f"u{number}@example.org") for number in range(300)])
        await trio.sleep(4 * DAY)
        assert (await engine.status()).by_state == {"waiting": 300}
        await trio.sleep(1.5 * DAY)
        outcomes = [next(iter((await receipt.outcome()).recipients.values())) for receipt in receipts]
        assert (await engine.status()).by_state == {"reported": 300, "waiting": 300}, "the reports have to wait, too"
    assert {(outcome.state, outcome.status) for outcome in outcomes} == {("failed", "4.4.7")}
    assert {outcome.reply.removeprefix("given up: ") for outcome in outcomes} == {"535 wrong password"}
    assert len(transport.calls) < 300, "one login after each hold"


async def test_an_unknown_receipt_is_an_error_that_says_so(autojump_clock):
    async with open_test_engine() as engine:
        with pytest.raises(postroad.UnknownMessage, match="no message"):
            await engine.receipt("01m84hkbq0hy1d69zpz3")


async def test_a_closed_engine_takes_nothing(autojump_clock):
    async with open_test_engine() as engine:
        pass
    with pytest.raises(postroad.EngineClosed):
        await engine.submit(submission())


async def test_leaving_the_block_by_an_error_gives_that_very_error(autojump_clock):
    with pytest.raises(KeyError):
        async with open_test_engine():
            raise KeyError("mine")


async def test_an_actor_that_fails_is_restarted_and_a_received_answer_is_kept(autojump_clock, monkeypatch):
    from postroad.actors.policy import Policy

    transport = ScriptedTransport()
    original, failures = Policy._return, iter([True])

    def fails_once(self, note, now):
        if next(failures, False):
            raise RuntimeError("a bug in policy")
        original(self, note, now)

    monkeypatch.setattr(Policy, "_return", fails_once)
    async with open_test_engine(transport=transport) as engine:
        receipt = await engine.submit(submission())
        assert (await receipt.settled()).is_delivered
        second = await engine.submit(submission("c@example.org"))
        assert (await second.settled()).is_delivered
    assert len(transport.accepted) == 2, "the first one's 250 was not thrown away"


@pytest.mark.parametrize(
    ("choice", "state"), [("send_again", "IN_DOUBT"), ("hold", "HELD"), ("take_as_delivered", "HELD")]
)
async def test_a_hand_over_that_a_restart_of_the_actors_cuts_is_never_taken_as_delivered(
    autojump_clock, monkeypatch, choice, state
):
    from postroad.actors.policy import Policy

    transport = ScriptedTransport([Hang(committed=True)])

    def fails(self, note, now):
        monkeypatch.undo()
        raise RuntimeError("a bug in policy")

    async with open_test_engine(transport=transport, routes=route(choice)) as engine, engine.events() as events:
        receipt = await engine.submit(submission())
        await transport.wait_calls(1)
        monkeypatch.setattr(Policy, "_return", fails)
        await engine.submit(submission("c@example.org"))
        async for event in events:
            if isinstance(event, RingRestarted):
                break
        (recipient,) = (await engine.message(receipt.id)).recipients
    assert (recipient.state.name, recipient.in_doubt, recipient.attempts) == (state, True, 1)
    assert recipient.reason.startswith("in doubt: ") is (state == "HELD")


async def test_an_actor_that_keeps_failing_stops_the_engine_loudly(autojump_clock, monkeypatch):
    from postroad.actors.policy import Policy

    def fails(self, note, now):
        raise RuntimeError("a bug in policy")

    monkeypatch.setattr(Policy, "_take", fails)
    with pytest.raises(postroad.EngineCrashed):
        async with open_test_engine() as engine:
            await engine.submit(submission())
            await trio.sleep_forever()


async def test_closing_ends_hanging_attempts_and_gives_their_leases_back(autojump_clock):
    transport = ScriptedTransport(default=Hang())
    begun = trio.current_time()
    async with open_test_engine(transport=transport) as engine:
        await engine.submit(submission())
        await transport.wait_calls(1)
    assert trio.current_time() - begun <= 35
    assert transport.running == 0


async def test_closing_waits_for_an_attempt_that_ends_within_the_grace(autojump_clock):
    transport = ScriptedTransport(default=Slow(20, Verdict.accepted("250 ok")))
    async with open_test_engine(transport=transport, in_flight={"drain_seconds": 30}) as engine:
        await engine.submit(submission())
        await transport.wait_calls(1)
    assert len(transport.accepted) == 1


async def test_every_wrong_argument_is_named_before_anything_is_stored(autojump_clock):
    good = {"sender": "a@example.com", "to": "b@example.org", "subject": "Hello", "body": "Hi"}
    wrong = [
        ("sender", {"sender": "nobody"}),
        ("sender", {"sender": "a@exam\r\nple.com"}),
        ("to", {"to": "b@"}),
        ("subject", {"subject": "a\r\nBcc: x@example.org"}),
        ("headers", {"headers": {"X-A": "b\nc"}}),
        ("headers", {"headers": {"Fro m": "b"}}),
        ("attachments", {"attachments": [("a\r\n.txt", b"")]}),
        ("priority", {"priority": 10}),
        ("to", {"to": ()}),
    ]
    async with open_test_engine() as engine:
        for field, change in wrong:
            with pytest.raises(postroad.SubmissionError) as caught:
                await engine.send_mail(**{**good, **change})
            assert caught.value.field.startswith(field), (change, caught.value)
        assert (await engine.status()).by_state == {}


@pytest.mark.parametrize("back", [3600.0, 365 * DAY])
async def test_a_wall_clock_that_is_set_back_freezes_no_retry(autojump_clock, back):
    begun, offset = trio.current_time(), 0.0
    clock = Clock(wall=lambda: START + trio.current_time() - begun + offset)
    transport = ScriptedTransport([Verdict.deferred("451 later")] * 2)
    plugins = {"scripted": transport.plugin("scripted")}
    async with postroad.open_engine(test_config(), plugins=plugins, clock=clock) as engine:
        receipt = await engine.submit(submission())
        await transport.wait_ended(1)
        offset = -back
        await receipt.settled()
        later = await engine.submit(submission(send_at=clock.now() - back + 60))
        await later.settled()
    assert transport.calls[1].began - transport.calls[0].began <= 400
    assert transport.calls[3].began - transport.calls[2].began == pytest.approx(60, abs=5)


async def test_slow_large_mail_to_one_place_holds_up_nobody_else(autojump_clock):
    transport = ScriptedTransport({f"slow{n}@example.org": [Hang()] for n in range(10)}, keep_content=False)
    large = RAW + b"x" * 70 + b"\r\n" + (b"y" * 70 + b"\r\n") * 200_000
    async with open_test_engine(transport=transport, windows={"start": 20, "max": 20}) as engine:
        for number in range(10):
            await engine.submit(submission(f"slow{number}@example.org", content=large))
        await transport.wait_calls(10)
        begun = trio.current_time()
        assert (await (await engine.submit(submission("quick@example.net"))).settled()).is_delivered
        assert trio.current_time() - begun < 10


async def test_mail_to_administrators_reaches_them_and_so_do_its_failures(autojump_clock):
    transport = ScriptedTransport({"ops@example.com": [Verdict.refused("550 no", status="5.0.0")]})
    senders = {"authorized": ["*"], "admins": ["ops@example.com", "boss@example.com"]}
    async with open_test_engine(transport=transport, senders=senders) as engine:
        receipt = await engine.send_mail_to_admins(sender="app@example.net", subject="disk", body="nearly full")
        outcome = await receipt.settled()
        await transport.wait_ended(2)
    assert set(outcome.recipients) == {"ops@example.com", "boss@example.com"}
    report = transport.calls[1]
    assert (report.request.message.sender, report.addresses) == ("", ("ops@example.com", "boss@example.com"))


async def test_mail_to_administrators_needs_some(autojump_clock):
    async with open_test_engine() as engine:
        with pytest.raises(postroad.SubmissionError, match="admins"):
            await engine.send_mail_to_admins(sender="app@example.net", subject="disk", body="nearly full")
