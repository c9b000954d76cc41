"""The application hears of bounces and gets incoming mail, whatever becomes of it, of the engine, and of the connection."""

from __future__ import annotations

from contextlib import contextmanager

import pytest
import trio
from scripted_application import Raw, closed_port, open_application
from structlog.testing import capture_logs

from postroad import ConfigError, DsnOptions, Filter, QueueFull, Submission, SubmissionError, Verdict, hookimpl
from postroad.config import load_config
from postroad.errors import EngineClosed, IdempotencyConflict, SubmissionTooLarge
from postroad.events import RecipientHeld, RemoteBounce
from postroad.message import BOUNCE_ADDRESS, Kind
from postroad.store.contract import Accept, Report
from postroad.store.memory import MemoryStore
from postroad.store.states import State
from postroad.testing import HttpReply
from postroad.testing.engine import open_test_engine, test_config
from postroad.testing.fakes import ScriptedTransport

DAY = 86_400
REFUSED = Verdict.refused("550 5.1.1 no such user", status="5.1.1")
RAW = b"From: b@example.org\r\nTo: support@app.example\r\nSubject: Help\r\n\r\nHelp me.\r\n"


class SharedStore(MemoryStore):
    """Outlives its engines, and remembers what they committed."""

    def __init__(self) -> None:
        super().__init__()
        self.commits = []

    def apply(self, operations):
        self.commits.append(list(operations))
        return super().apply(operations)

    @hookimpl
    def postroad_register_stores(self, register):
        register("shared", contextmanager(lambda url, *, folder: iter([self])))


def sections(application, **more):
    return {
        "transports": {"scripted": {"plugin": "scripted"}, "app": {"plugin": "appengine", "url": application.url}},
        "callbacks": {"transport": "app", **more},
    }


def engine_on(application, store=None, transport=None, callbacks=None, **more):
    shared = {"plugins": {"shared": store}, "spool": {"url": "shared:"}} if store else {}
    transport = transport or ScriptedTransport({"gone@example.org": [REFUSED] * 100})
    return open_test_engine(transport=transport, **{**sections(application, **(callbacks or {})), **shared, **more})


async def send(engine, to="gone@example.org", **more):
    given = {"sender": "a@example.com", "to": to, "subject": "Hello", "body": "Hello.\n", **more}
    return await engine.send_mail(**given)


async def waits(engine, states=(State.WAITING, State.IN_DOUBT, State.LEASED, State.HELD, State.FAILED)):
    """Recipients that are not done, by address."""
    found = await engine.find(Filter(states=tuple(states)))
    return {recipient.address: recipient for stored in found for recipient in stored.recipients}


async def wait_done(engine):
    """Virtual time passes until nothing is unfinished."""
    with trio.fail_after(30 * DAY):
        while (await engine.status()).messages:  # noqa: ASYNC110  # virtual time passes only by sleeping
            await trio.sleep(60)


# --- bounces ---


async def test_a_failure_is_told_to_the_sender_and_to_the_application_in_one_commit(autojump_clock):
    store, transport = SharedStore(), ScriptedTransport({"gone@example.org": [REFUSED]})
    async with open_application() as application, engine_on(application, store, transport) as engine:
        receipt = await send(engine, ["gone@example.org", "here@example.org"], cc="c@example.org")
        await wait_done(engine)
    (request,) = application.requests
    assert request.target == "/_ah/bounce"
    fields = request.fields
    assert fields["original-from"] == "a@example.com"
    assert fields["original-to"] == "gone@example.org, here@example.org"
    assert fields["original-cc"] == "c@example.org"
    assert (fields["original-bcc"], fields["original-subject"], fields["original-text"]) == ("", "Hello", "Hello.\n")
    assert fields["notification-to"] == "a@example.com"
    assert "550 5.1.1 no such user" in fields["notification-text"]
    assert fields["raw-message"].startswith("Date: ")
    mailed = [call for call in transport.calls if call.addresses == ("a@example.com",)]
    assert len(mailed) == 1, "the sender gets the report, too"
    (report,) = [operation for commit in store.commits for operation in commit if isinstance(operation, Report)]
    assert [to.address for to in report.accept.recipients] == ["a@example.com", BOUNCE_ADDRESS]
    assert request.headers["x-postroad-id"] == report.accept.message.id
    assert receipt.id != report.accept.message.id


async def test_who_was_only_in_bcc_is_named_where_it_failed(autojump_clock):
    async with open_application() as application, engine_on(application) as engine:
        await send(engine, "Here <here@example.org>", bcc=["Gone@example.org", "gone@example.org"])
        await wait_done(engine)
    assert application.requests[0].fields["original-bcc"] == "gone@example.org"


async def test_of_a_large_mail_the_header_comes_back(autojump_clock):
    async with open_application() as application, engine_on(application) as engine:
        await send(engine, body="x" * 70 * 1000)
        await wait_done(engine)
    fields = application.requests[0].fields
    assert (fields["original-subject"], fields["original-text"]) == ("Hello", "")
    assert fields["raw-message"].startswith("Date: ")
    assert len(fields["raw-message"]) < 2000


async def test_mail_to_admins_tells_the_application_too(autojump_clock):
    more = {"senders": {"authorized": ["*"], "admins": ["gone@example.org"]}}
    async with open_application() as application, engine_on(application, **more) as engine:
        await engine.send_mail_to_admins(sender="a@example.com", subject="Alarm", body="x")
        await wait_done(engine)
    assert application.requests[0].fields["original-subject"] == "Alarm"


@pytest.mark.parametrize("dsn", [DsnOptions(notify=("never",)), DsnOptions(notify=("delay",))])
async def test_who_wants_no_report_wants_no_callback(autojump_clock, dsn):
    async with open_application() as application, engine_on(application) as engine:
        await send(engine, dsn=dsn)
        await wait_done(engine)
    assert application.requests == []


async def test_a_notice_of_delay_is_not_told(autojump_clock):
    transport = ScriptedTransport({"slow@example.org": [Verdict.deferred("451 later")] * 20})
    more = {"reports": {"hostname": "engine.test", "delay_notice_seconds": 600}, "transport": transport}
    async with open_application() as application, engine_on(application, **more) as engine:
        await send(engine, "slow@example.org")
        await wait_done(engine)
    assert "a@example.com" in [address for call in transport.calls for address in call.addresses]
    assert application.requests == []


@pytest.mark.parametrize("callbacks", [{"transport": ""}, {"bounces": False}])
async def test_without_the_wish_nothing_is_told(autojump_clock, callbacks):
    store = SharedStore()
    async with open_application() as application, engine_on(application, store, callbacks=callbacks) as engine:
        await send(engine)
        await wait_done(engine)
    assert application.requests == []
    (report,) = [operation for commit in store.commits for operation in commit if isinstance(operation, Report)]
    assert [to.address for to in report.accept.recipients] == ["a@example.com"]


async def test_a_recipient_with_the_reserved_address_is_mail(autojump_clock):
    transport = ScriptedTransport()
    async with open_application() as application, engine_on(application, transport=transport) as engine:
        await send(engine, BOUNCE_ADDRESS)
        await wait_done(engine)
    assert [call.addresses for call in transport.calls] == [(BOUNCE_ADDRESS,)]
    assert application.requests == []


# --- the application in trouble ---


async def test_an_application_that_is_down_hears_of_it_when_it_is_up(autojump_clock):
    async with closed_port() as port, engine_on(port) as engine:
        for _ in range(10):
            await send(engine)
        await trio.sleep(12 * 3600)
        assert set(await waits(engine)) == {BOUNCE_ADDRESS, "a@example.com"}
        held = [stored for stored in await engine.find(Filter(lane="callbacks")) if stored.finished_at is None]
        assert len(held) == 10
        async with open_application(at=port) as application:
            await wait_done(engine)
    assert len(application.requests) == len(set(application.keys())) == 10


async def test_errors_are_tried_again_with_the_same_key(autojump_clock):
    script = (500, 404, 503, HttpReply(302, headers=[("location", "/x")]), Raw(), 401, Raw(b"HTTP/1.1 500 x\r\n\r\n"))
    async with open_application(*script) as application, engine_on(application) as engine:
        await send(engine)
        await wait_done(engine)
    assert len(application.requests) == len(script) + 1
    assert len(set(application.keys())) == 1
    doubts = ["x-postroad-maybe-duplicate" in request.headers for request in application.requests]
    assert doubts == [False] * 5 + [True] * 3, "from the cut connection on"


async def test_what_nobody_takes_is_held_told_loudly_and_reported_to_nobody(autojump_clock):
    transport = ScriptedTransport({"gone@example.org": [REFUSED]})
    async with (
        open_application(default=500) as application,
        engine_on(application, transport=transport) as engine,
        engine.events() as events,
    ):
        with capture_logs() as logs:
            await send(engine)
            await trio.sleep(6 * DAY)
            waiting = await waits(engine)
            kept = waiting[BOUNCE_ADDRESS]
            assert (kept.state, kept.reason) == (State.HELD, "given up: HTTP 500")
            tried = len(application.requests)
            await trio.sleep(30 * DAY)
            assert len(application.requests) == tried
            assert (await engine.release(Filter(lane="callbacks"))).recipients == 1
            await trio.sleep(DAY)
            assert len(application.requests) == tried + 1, "once more, and held again"
            application.default = 200
            await engine.release(Filter(lane="callbacks"))
            await wait_done(engine)
            told = [event async for event in _now(events)]
    assert [call.addresses for call in transport.calls] == [("gone@example.org",), ("a@example.com",)]
    assert [event.recipient for event in told if isinstance(event, RecipientHeld)] == [BOUNCE_ADDRESS] * 2
    held = [log for log in logs if log["event"] == "held"]
    assert [(log["log_level"], log["reply"]) for log in held] == [("warning", "given up: HTTP 500")] * 2


async def _now(events):
    """What has been told until now."""
    with trio.move_on_after(0.1):
        async for event in events:
            yield event


async def test_what_is_released_while_the_application_is_down_waits_for_a_try(autojump_clock):
    """Its age is over, but what waits behind a probe that fails was not tried: it must not be given up for that."""
    async with open_application(default=401) as application:
        more = {"windows": {"hold_seconds": 3600, "hold_max_seconds": 3600}}
        async with engine_on(application, callbacks=more) as engine:
            for _ in range(4):
                await send(engine)
            await trio.sleep(8 * DAY)
            await engine.release(Filter(lane="callbacks"))
            await trio.sleep(3 * 3600)
            application.default, refused = 200, len(application.requests)
            await engine.release(Filter(lane="callbacks"))
            await wait_done(engine)
    assert len(set(application.keys()[refused:])) == 4, "all were taken in the end"


async def test_giving_up_may_be_asked_for(autojump_clock):
    transport = ScriptedTransport({"gone@example.org": [REFUSED]})
    store = SharedStore()
    callbacks = {"give_up": "drop", "retry": {"first_seconds": 60, "max_seconds": 600, "give_up_seconds": 3600}}
    async with (
        open_application(default=500) as application,
        engine_on(application, store, transport, callbacks) as engine,
    ):
        await send(engine)
        await wait_done(engine)
    states = {to.address: to.state for stored in store.find(Filter(), 10) for to in stored.recipients}
    assert states[BOUNCE_ADDRESS] is State.UNREPORTED
    assert len(transport.calls) == 2, "no report about the report"


async def test_a_doubt_may_be_held(autojump_clock):
    async with open_application(Raw()) as application, engine_on(application, callbacks={"in_doubt": "hold"}) as engine:
        await send(engine)
        await trio.sleep(DAY)
        kept = (await waits(engine))[BOUNCE_ADDRESS]
        assert (kept.state, kept.in_doubt) == (State.HELD, True)
        assert len(application.requests) == 1


async def test_retry_after_is_honoured(autojump_clock):
    busy = HttpReply(503, headers=[("retry-after", "7200")])
    async with open_application(busy) as application, engine_on(application) as engine:
        await send(engine)
        await application.wait_requests(1)
        await trio.sleep(7100)
        assert len(application.requests) == 1
        await wait_done(engine)
    assert len(application.requests) == 2


async def test_a_wrong_secret_holds_the_lane_and_one_goes_first(autojump_clock):
    async with open_application(default=403) as application, engine_on(application) as engine:
        with capture_logs() as logs:
            for _ in range(20):
                await send(engine)
            await trio.sleep(3600)
            assert len(application.requests) < 40, "not 20 for each of its tries"
            application.default = 200
            await wait_done(engine)
    assert "site_held" in [log["event"] for log in logs]
    assert len(set(application.keys())) == 20


# --- the engine in trouble ---


async def test_nothing_is_lost_between_the_report_and_the_post(autojump_clock):
    store = SharedStore()
    async with closed_port() as port:
        async with engine_on(port, store) as engine:
            await send(engine)
            await trio.sleep(60)
        for _ in range(3):
            async with engine_on(port, store):
                await trio.sleep(600)
    async with open_application() as application, engine_on(application, store) as engine:
        await wait_done(engine)
    assert len(application.requests) == 1


async def test_what_was_under_way_when_the_engine_ended_comes_again_as_perhaps_a_duplicate(autojump_clock):
    store = SharedStore()
    async with open_application(HttpReply(after_seconds=50)) as application:
        with trio.move_on_after(20):
            async with engine_on(application, store, in_flight={"drain_seconds": 1, "doubt_seconds": 1}) as engine:
                await send(engine)
                await trio.sleep_forever()
        async with engine_on(application, store) as engine:
            await wait_done(engine)
    assert len(application.requests) == 2
    assert len(set(application.keys())) == 1
    assert "x-postroad-maybe-duplicate" in application.requests[1].headers


async def test_callbacks_that_are_switched_off_wait_until_they_are_on_again(autojump_clock):
    store = SharedStore()
    async with closed_port() as port, engine_on(port, store) as engine:
        await send(engine)
        await trio.sleep(60)
    async with open_application() as application:
        async with engine_on(application, store, callbacks={"transport": ""}) as engine:
            await trio.sleep(DAY)
            kept = (await waits(engine))[BOUNCE_ADDRESS]
            assert (kept.state, kept.reason.startswith("no route")) == (State.HELD, True)
        async with engine_on(application, store) as engine:
            await wait_done(engine)
    assert len(application.requests) == 1


# --- incoming mail ---


async def test_each_address_gets_a_post_of_its_own(autojump_clock):
    store = SharedStore()
    async with open_application() as application, engine_on(application, store) as engine:
        to = ["support@app.example", "Sales@APP.example", "support@app.example"]
        receipt = await engine.receive(sender="b@example.org", recipients=to, raw=RAW)
        assert any(isinstance(operation, Accept) for commit in store.commits for operation in commit), "durable"
        outcome = await receipt.settled()
    assert outcome.is_delivered
    posted = sorted((request.target, request.body) for request in application.requests)
    assert posted == [("/_ah/mail/Sales@app.example", RAW), ("/_ah/mail/support@app.example", RAW)]
    assert len(set(application.keys())) == 2


@pytest.mark.parametrize("sender", ["", "<>"])
async def test_the_null_sender_and_any_octets_are_taken(autojump_clock, sender):
    raw = bytes(range(256)) * 3
    async with open_application() as application, engine_on(application) as engine:
        await engine.receive(sender=sender, recipients="support@app.example", raw=raw)
        await wait_done(engine)
    assert application.requests[0].body == raw
    assert application.requests[0].headers["x-postroad-sender"] == ""


async def test_senders_need_no_authorization_and_routes_do_not_count(autojump_clock):
    transport = ScriptedTransport()
    more = {"senders": {"authorized": ["a@example.com"]}, "transport": transport}
    async with open_application() as application, engine_on(application, **more) as engine:
        await engine.receive(sender="stranger@example.net", recipients="support@app.example", raw=RAW)
        await wait_done(engine)
    assert (len(application.requests), transport.calls) == (1, [])


async def test_a_large_mail_lies_in_a_file_and_is_streamed(tmp_path):
    raw = b"Subject: large\r\n\r\n" + bytes(range(256)) * 12_000
    async with open_application() as application:
        more = {"spool": {"url": f"sqlite:{tmp_path / 'spool.db'}", "socket": False, "reserve_bytes": 0}}
        async with engine_on(application, **more) as engine:
            receipt = await engine.receive(sender="b@example.org", recipients="support@app.example", raw=raw)
            await receipt.settled()
    assert application.requests[0].body == raw


async def test_the_same_key_is_one_mail(autojump_clock):
    async with open_application() as application, engine_on(application) as engine:
        given = {"sender": "b@example.org", "recipients": "support@app.example", "raw": RAW}
        receipts = [await engine.receive(**given, idempotency_key="k") for _ in range(3)]
        assert len({receipt.id for receipt in receipts}) == 1
        with pytest.raises(IdempotencyConflict):
            await engine.receive(**{**given, "raw": RAW + b"x"}, idempotency_key="k")
        await send(engine, "here@example.org", sender="b@example.org", idempotency_key="k")
        await wait_done(engine)
    assert len(application.requests) == 1


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"sender": "nobody"}, "sender"),
        ({"sender": None}, "sender"),
        ({"recipients": ()}, "recipients"),
        ({"recipients": ["x"]}, "recipients[0]"),
        ({"recipients": 7}, "recipients"),
        ({"recipients": BOUNCE_ADDRESS}, "recipients"),
        ({"recipients": [f"b{number}@example.org" for number in range(1001)]}, "recipients"),
        ({"raw": "text"}, "raw"),
        ({"idempotency_key": ""}, "idempotency_key"),
    ],
)
async def test_what_is_wrong_is_refused_by_name(autojump_clock, wrong, field):
    given = {"sender": "b@example.org", "recipients": "support@app.example", "raw": RAW, **wrong}
    async with open_application() as application, engine_on(application) as engine:
        with pytest.raises(SubmissionError) as caught:
            await engine.receive(**given)
        assert (await engine.status()).messages == 0
    assert caught.value.field == field


async def test_limits_hold_for_incoming_mail(autojump_clock):
    limits = {"limits": {"message_bytes": 2000, "queue_messages": 1}}
    async with open_application(default=500) as application, engine_on(application, **limits) as engine:
        given = {"sender": "b@example.org", "recipients": "support@app.example"}
        with pytest.raises(SubmissionTooLarge) as caught:
            await engine.receive(**given, raw=bytes(2001))
        assert caught.value.field == "raw"
        await engine.receive(**given, raw=RAW)
        with pytest.raises(QueueFull):
            await engine.receive(**given, raw=RAW)
        with pytest.raises(QueueFull):
            await engine.receive_bounce(bounce_of("x" * 20))


async def test_without_callbacks_it_says_what_to_set(autojump_clock):
    async with open_test_engine() as engine:
        with pytest.raises(ConfigError) as caught:
            await engine.receive(sender="", recipients="support@app.example", raw=RAW)
    assert caught.value.key == "callbacks.transport"


async def test_after_the_end_it_is_refused(autojump_clock):
    async with open_application() as application:
        async with engine_on(application) as engine:
            pass
        with pytest.raises(EngineClosed):
            await engine.receive(sender="", recipients="support@app.example", raw=RAW)


async def test_incoming_mail_that_nobody_takes_is_held_and_reported_to_nobody(autojump_clock):
    transport = ScriptedTransport()
    async with open_application(default=500) as application, engine_on(application, transport=transport) as engine:
        await engine.receive(sender="b@example.org", recipients="support@app.example", raw=RAW)
        await trio.sleep(7 * DAY)
        assert (await waits(engine))["support@app.example"].state is State.HELD
    assert transport.calls == []


# --- bounces that come back ---


def bounce_of(id, *, action="failed", address="b@example.org", sender="mailer-daemon@mx.example.org"):
    return (
        f"From: {sender}\r\nTo: a@example.com\r\nSubject: Undelivered\r\nAuto-Submitted: auto-replied\r\n"
        'Content-Type: multipart/report; report-type=delivery-status; boundary="b"\r\n\r\n'
        "--b\r\n\r\nSorry.\r\n--b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.example.org\r\n\r\n"
        f"Final-Recipient: rfc822; {address}\r\nAction: {action}\r\nStatus: 5.1.1\r\n\r\n"
        f"--b\r\nContent-Type: text/rfc822-headers\r\n\r\nMessage-ID: <{id}@engine.test>\r\nSubject: Hello\r\n"
        f"From: a@example.com\r\nTo: {address}\r\n\r\n--b--\r\n"
    ).encode()


async def sent(engine):
    receipt = await send(engine, "b@example.org")
    await receipt.settled()
    return receipt.id


async def test_returned_mail_reaches_the_application_and_the_events(autojump_clock):
    store = SharedStore()
    async with open_application() as application, engine_on(application, store) as engine, engine.events() as events:
        id = await sent(engine)
        await engine.receive_bounce(bounce_of(id))
        kinds = [o.message.kind for commit in store.commits for o in commit if isinstance(o, Accept)]
        assert kinds[-1] is Kind.INCOMING, "durable when it returns"
        await wait_done(engine)
        told = [event async for event in _now(events)]
    (request,) = application.requests
    assert request.target == "/_ah/bounce"
    assert request.fields["original-to"] == "b@example.org"
    assert request.fields["notification-text"] == "Sorry."
    assert [(event.id, event.recipient) for event in told if isinstance(event, RemoteBounce)] == [(id, "b@example.org")]


async def test_a_bounce_without_names_is_told_where_it_is_said_to_be_one(autojump_clock):
    raw = b"From: MAILER-DAEMON@x.example\r\nReturn-Path: <>\r\nTo: a@example.com\r\n\r\nHi. This is the qmail-send program.\r\n"
    async with open_application() as application, engine_on(application) as engine:
        await engine.receive_bounce(raw)
        await wait_done(engine)
    assert application.requests[0].fields["notification-text"].startswith("Hi. This is")


@pytest.mark.parametrize(
    "raw", [RAW, b"", bounce_of("x" * 20, action="delayed"), bounce_of("x" * 20, action="delivered")]
)
async def test_what_tells_no_failure_is_no_bounce(autojump_clock, raw):
    async with open_application() as application, engine_on(application) as engine:
        await engine.receive_bounce(raw)
        assert (await engine.status()).messages == 0
    assert application.requests == []


async def test_incoming_mail_that_is_a_bounce_of_ours_is_told_as_one(autojump_clock):
    async with open_application() as application, engine_on(application) as engine, engine.events() as events:
        raw = bounce_of(await sent(engine))
        await engine.receive(sender="", recipients=["a@example.com", "other@app.example"], raw=raw)
        await wait_done(engine)
        told = [event async for event in _now(events)]
    assert [request.target for request in application.requests] == ["/_ah/bounce"]
    assert [event.recipient for event in told if isinstance(event, RemoteBounce)] == ["b@example.org"]


async def test_a_report_on_mail_that_is_not_ours_is_mail(autojump_clock):
    """Anybody can write one: it must not take mail away from its handler."""
    async with open_application() as application, engine_on(application) as engine, engine.events() as events:
        await engine.receive(sender="", recipients="a@example.com", raw=bounce_of("01k0000000aaaaaaaaaa"))
        await wait_done(engine)
        told = [event async for event in _now(events)]
    assert [request.target for request in application.requests] == ["/_ah/mail/a@example.com"]
    assert not [event for event in told if isinstance(event, RemoteBounce)]


def as_it_comes_back(report):
    """A report of ours as the sender's mailbox hands it in: with what servers put before it."""
    return b"Return-Path: <>\r\nReceived: from mx.example.com by mail.example.com; now\r\n" + report


async def failed(engine, transport):
    """Have a message fail, and return the report that its sender got."""
    await send(engine)
    await wait_done(engine)
    (mailed,) = [call for call in transport.calls if call.addresses == ("a@example.com",)]
    return as_it_comes_back(mailed.content)


async def test_a_report_of_ours_that_comes_back_from_the_senders_mailbox_is_told_no_second_time(autojump_clock):
    transport = ScriptedTransport({"gone@example.org": [REFUSED]})
    async with (
        open_application() as application,
        engine_on(application, transport=transport) as engine,
        engine.events() as events,
    ):
        report = await failed(engine, transport)
        receipt = await engine.receive(sender="", recipients=["a@example.com"], raw=report)
        await engine.receive_bounce(report)
        await wait_done(engine)
        told = [event async for event in _now(events)]
    assert [request.target for request in application.requests] == ["/_ah/bounce"]
    assert receipt.id == application.requests[0].headers["x-postroad-id"], "the receipt of what told it"
    assert not [event for event in told if isinstance(event, RemoteBounce)], "it is none of somebody else's"


async def test_a_report_that_told_nobody_is_told_when_it_comes_back(autojump_clock):
    """It was written before there were callbacks."""
    store, transport = SharedStore(), ScriptedTransport({"gone@example.org": [REFUSED]})
    async with open_application() as application:
        async with engine_on(application, store, transport, {"transport": ""}) as engine:
            report = await failed(engine, transport)
        async with engine_on(application, store, transport) as engine:
            await engine.receive(sender="", recipients=["a@example.com"], raw=report)
            await wait_done(engine)
    assert [request.target for request in application.requests] == ["/_ah/bounce"]


@pytest.mark.parametrize("mail", ["answer", "other_report"])
async def test_mail_that_only_seems_to_be_a_report_of_ours_is_brought(autojump_clock, mail):
    """It bears the id of a report, and is none; or is one, and bears the id of a mail."""
    transport = ScriptedTransport({"gone@example.org": [REFUSED]})
    async with open_application() as application, engine_on(application, transport=transport) as engine:
        report = await failed(engine, transport)
        own = next(line for line in report.split(b"\r\n") if line.startswith(b"Message-ID: "))
        raw = own + b"\r\n" + RAW if mail == "answer" else report.replace(own, b"Message-ID: <%s@x>" % (b"0" * 20))
        await engine.receive(sender="", recipients=["a@example.com"], raw=raw)
        await wait_done(engine)
    assert len(application.requests) == 2


async def test_a_notice_of_delay_on_mail_of_ours_is_read_and_brought_as_mail(autojump_clock):
    async with open_application() as application, engine_on(application) as engine, engine.events() as events:
        raw = bounce_of(await sent(engine), action="delayed")
        await engine.receive(sender="", recipients="a@example.com", raw=raw)
        await wait_done(engine)
        told = [event async for event in _now(events)]
    assert [request.target for request in application.requests] == ["/_ah/mail/a@example.com"]
    assert [event.action for event in told if isinstance(event, RemoteBounce)] == ["delayed"]


# --- configuration ---


@pytest.mark.parametrize(
    ("callbacks", "key"),
    [
        ({"transport": "nowhere"}, "callbacks.transport"),
        ({"transport": "scripted", "give_up": "bounce"}, "callbacks.give_up"),
        ({"transport": "scripted", "retry": {"first_seconds": 9000}}, "callbacks.retry.first_seconds"),
        ({"transport": "scripted", "windows": {"start": 90}}, "callbacks.windows.start"),
    ],
)
def test_contradictions_are_refused(callbacks, key):
    with pytest.raises(ConfigError) as caught:
        test_config(callbacks=callbacks)
    assert caught.value.key == key


def test_no_route_may_have_the_lane_of_callbacks():
    raw = {
        "transports": {"app": {"plugin": "file"}},
        "routes": [{"transport": "app", "name": "callbacks"}],
    }
    load_config(raw)
    with pytest.raises(ConfigError):
        load_config({**raw, "callbacks": {"transport": "app"}})


async def test_a_transport_that_carries_mail_tells_no_application(autojump_clock):
    with pytest.raises(ConfigError) as caught:
        async with open_test_engine(callbacks={"transport": "scripted"}):
            pass
    assert caught.value.key == "callbacks.transport"


async def test_mail_routed_to_the_application_is_brought_like_incoming_mail(autojump_clock):
    async with open_application() as application:
        more = {"routes": [{"transport": "app", "recipients": "*@app.example"}, {"transport": "scripted"}]}
        async with engine_on(application, **more) as engine:
            receipt = await engine.submit(Submission(sender="a@example.com", recipients=["x@app.example"], content=RAW))
            await receipt.settled()
    assert application.requests[0].target == "/_ah/mail/x@app.example"
