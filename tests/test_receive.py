"""Incoming mail from other processes, by the gate of a running engine and under the spool's lock: real sockets, real SQLite."""

from __future__ import annotations

from contextlib import asynccontextmanager

import pytest
import trio

import postroad
from postroad import Filter
from postroad.callbacks import Callbacks
from postroad.errors import (
    ConfigError,
    EngineClosed,
    IdempotencyConflict,
    QueueFull,
    SubmissionError,
    SubmissionTooLarge,
)
from postroad.events import RemoteBounce
from postroad.handover import Handover
from postroad.message import BOUNCE_ADDRESS, Kind, Submission, new_message_id
from postroad.spool import SpoolPlace
from postroad.store.states import State
from postroad.testing.engine import test_config as make_config
from postroad.testing.fakes import ScriptedTransport
from postroad.verdict import Verdict

RAW = b"From: b@example.org\r\nTo: support@app.example\r\nSubject: Help\r\n\r\nHelp me.\r\n"
TO = "support@app.example"
CALLBACKS = {"callbacks": {"transport": "app"}}
PAUSED = Filter(states=tuple(State))


def bounce_of(id, action="failed"):
    return (
        "From: mailer-daemon@mx.example.org\r\nTo: a@example.com\r\nSubject: Undelivered\r\n"
        'Content-Type: multipart/report; report-type=delivery-status; boundary="b"\r\n\r\n'
        "--b\r\n\r\nSorry.\r\n--b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.example.org\r\n\r\n"
        f"Final-Recipient: rfc822; b@example.org\r\nAction: {action}\r\nStatus: 5.1.1\r\n\r\n"
        f"--b\r\nContent-Type: text/rfc822-headers\r\n\r\nMessage-ID: <{id}@engine.test>\r\nSubject: Hello\r\n"
        "From: a@example.com\r\nTo: b@example.org\r\n\r\n--b--\r\n"
    ).encode()


class Site:
    """A spool in a folder; an engine on it when wanted, whose application keeps what it is told; and doors beside it."""

    def __init__(self, folder, **sections) -> None:
        spool = {"url": f"sqlite:{folder}/spool.db", "reserve_bytes": 0, **sections.pop("spool", {})}
        transports = {"scripted": {"plugin": "scripted"}, "app": {"plugin": "functions"}}
        self.config = make_config(spool=spool, transports=transports, **{**CALLBACKS, **sections})
        self.place = SpoolPlace.parse(self.config.spool.url, folder)
        self.transport = ScriptedTransport()
        self.told = []
        self.bounces = []  # events

    @asynccontextmanager
    async def engine(self):
        async def on_mail(mail):
            self.told.append(("mail", mail.address, mail.sender, mail.raw))

        async def on_bounce(bounce):
            self.told.append(("bounce", bounce.original["to"]))

        plugins = {"scripted": self.transport.plugin(), "application": Callbacks(mail=on_mail, bounce=on_bounce)}
        with trio.fail_after(60):
            async with trio.open_nursery() as nursery, postroad.open_engine(self.config, plugins=plugins) as engine:
                await nursery.start(self._listen, engine)
                yield engine

    async def _listen(self, engine, task_status):
        """Until the engine has closed."""
        async with engine.events() as events:
            task_status.started()
            self.bounces += [event async for event in events if isinstance(event, RemoteBounce)]

    def door(self, **options) -> Handover:
        return Handover(self.place, **{"config": self.config, **options})

    async def ask(self, method, *args, **options):
        """Call a door's method in a thread, as another process would, and see that it went by the gate."""

        def call():
            with self.door() as door:
                answer = getattr(door, method)(*args, **options)
                assert door.went_by_gate
                return answer

        return await trio.to_thread.run_sync(call)

    def ask_offline(self, method, *args, **options):
        with self.door() as door:
            answer = getattr(door, method)(*args, **options)
            assert door.went_by_gate is False
            return answer

    def stored(self):
        return self.door().find(PAUSED)


@pytest.fixture
def site(tmp_path):
    return Site(tmp_path)


async def wait_done(engine):
    for stored in await engine.find(PAUSED):
        await (await engine.receipt(stored.message.id)).settled()


async def test_what_is_received_reaches_the_application_of_a_running_engine(site):
    async with site.engine() as engine:
        id = await site.ask("receive", "b@example.org", [TO, "sales@app.example", TO], RAW)
        assert (await engine.message(id)).message.kind is Kind.INCOMING, "durable when it returns"
        assert (await (await engine.receipt(id)).settled()).is_delivered
    assert sorted(site.told) == [
        ("mail", "sales@app.example", "b@example.org", RAW),
        ("mail", TO, "b@example.org", RAW),
    ]
    assert site.transport.calls == []


async def test_what_is_received_while_no_engine_runs_waits_for_the_next(site):
    id = site.ask_offline("receive", "", TO, RAW)
    (stored,) = site.stored()
    assert (stored.message.id, stored.message.kind) == (id, Kind.INCOMING)
    assert [recipient.state for recipient in stored.recipients] == [State.WAITING]
    async with site.engine() as engine:
        await wait_done(engine)
    assert site.told == [("mail", TO, "", RAW)]


async def test_without_a_configuration_the_rules_of_the_last_engine_count(site):
    async with site.engine():
        pass
    with site.door(config=None) as door:
        door.receive("b@example.org", TO, RAW)
        with pytest.raises(SubmissionError):
            door.receive("nobody", TO, RAW)
    async with site.engine() as engine:
        await wait_done(engine)
    assert site.told == [("mail", TO, "b@example.org", RAW)]


async def test_asking_twice_with_one_id_is_one_mail_on_any_road(site):
    id, bounce = new_message_id(), new_message_id()
    for _ in range(2):
        assert site.ask_offline("receive", "b@example.org", TO, RAW, id=id) == id
        site.ask_offline("receive_bounce", bounce_of("x" * 20), id=bounce)
    async with site.engine() as engine:
        assert await site.ask("receive", "b@example.org", TO, RAW, id=id) == id
        await site.ask("receive_bounce", bounce_of("x" * 20), id=bounce)
        await wait_done(engine)
    assert sorted(site.told) == [("bounce", "b@example.org"), ("mail", TO, "b@example.org", RAW)]
    assert {stored.message.id for stored in site.stored()} == {id, bounce}


async def test_a_bounce_that_is_asked_twice_is_told_once(site):
    id = new_message_id()
    async with site.engine() as engine:
        for _ in range(2):
            await site.ask("receive_bounce", bounce_of("x" * 20), id=id)
        await wait_done(engine)
    assert len(site.bounces) == 1
    assert site.told == [("bounce", "b@example.org")]


async def test_a_large_mail_arrives_once_by_either_road(tmp_path):
    site = Site(tmp_path, spool={"content_file_bytes": 4096})
    raw, ids = RAW + bytes(range(256)) * 12_000, [new_message_id(), new_message_id()]
    for _ in range(2):
        site.ask_offline("receive", "", TO, raw, id=ids[0])
    async with site.engine() as engine:
        for _ in range(2):
            await site.ask("receive", "", TO, raw, id=ids[1])
        await wait_done(engine)
    assert site.told == [("mail", TO, "", raw)] * 2


async def test_one_key_is_one_mail_whether_or_not_the_engine_runs(site):
    id = site.ask_offline("receive", "b@example.org", TO, RAW, idempotency_key="k")
    async with site.engine() as engine:
        assert await site.ask("receive", "b@example.org", TO, RAW, idempotency_key="k") == id
        own = await engine.receive(sender="b@example.org", recipients=TO, raw=RAW, idempotency_key="k")
        assert own.id == id
        with pytest.raises(IdempotencyConflict):
            await site.ask("receive", "b@example.org", TO, RAW + b"x", idempotency_key="k")
        await wait_done(engine)
    with pytest.raises(IdempotencyConflict):
        site.ask_offline("receive", "b@example.org", TO, RAW + b"x", idempotency_key="k")
    assert len(site.told) == 1


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"sender": "nobody"}, "sender"),
        ({"sender": None}, "sender"),
        ({"recipients": ()}, "recipients"),
        ({"recipients": ["x"]}, "recipients[0]"),
        ({"recipients": [TO, 7]}, "recipients[1]"),
        ({"recipients": 7}, "recipients"),
        ({"recipients": BOUNCE_ADDRESS}, "recipients"),
        ({"recipients": [f"b{number}@example.org" for number in range(1001)]}, "recipients"),
        ({"raw": "text"}, "raw"),
        ({"raw": bytes(2001)}, "raw"),
        ({"idempotency_key": ""}, "idempotency_key"),
    ],
)
async def test_what_is_wrong_is_refused_as_the_engine_refuses_it_and_nothing_is_stored(tmp_path, wrong, field):
    site = Site(tmp_path, limits={"message_bytes": 2000})
    given = {"sender": "b@example.org", "recipients": TO, "raw": RAW, **wrong}
    refusals = []
    async with site.engine() as engine:
        for receive in (lambda: engine.receive(**given), lambda: site.ask("receive", **given)):
            with pytest.raises(SubmissionError) as caught:
                await receive()
            refusals.append(caught.value)
    with pytest.raises(SubmissionError) as caught:
        site.ask_offline("receive", **given)
    refusals.append(caught.value)
    assert {(type(error), error.field) for error in refusals} == {(type(refusals[0]), field)}
    assert site.stored() == []


async def test_a_bounce_that_is_no_octets_or_too_large_is_refused_on_both_roads(tmp_path):
    site = Site(tmp_path, limits={"message_bytes": 2000})
    with pytest.raises(SubmissionTooLarge, match=r"^raw:"):
        site.door().receive_bounce(bytes(2001))
    with pytest.raises(SubmissionError, match=r"^raw:"):
        site.door().receive_bounce("text")
    async with site.engine():
        roomy = site.door(config=None)  # it does not know the limit
        with pytest.raises(SubmissionTooLarge, match=r"^raw:"):
            await trio.to_thread.run_sync(roomy.receive_bounce, bytes(2001))
    roomy.close()
    with pytest.raises(SubmissionTooLarge, match=r"^raw:"):
        site.door(config=None).receive_bounce(bytes(2001))


async def test_a_full_queue_takes_none_on_either_road(tmp_path):
    site = Site(tmp_path, limits={"queue_messages": 1}, callbacks={"transport": "app", "retry": {"first_seconds": 900}})
    site.ask_offline("receive", "", TO, RAW)
    for method, args in (("receive", ("", TO, RAW)), ("receive_bounce", (bounce_of("x" * 20),))):
        with pytest.raises(QueueFull):
            site.ask_offline(method, *args)


@pytest.mark.parametrize("named", [True, False])
async def test_without_callbacks_it_is_the_engines_error_on_both_roads(tmp_path, named):
    site = Site(tmp_path, callbacks={})
    options = {} if named else {"config": None}
    async with site.engine() as engine:
        with pytest.raises(ConfigError) as own:
            await engine.receive(sender="", recipients=TO, raw=RAW)
        with pytest.raises(ConfigError) as by_gate:
            await site.ask("receive", "", TO, RAW)
    with pytest.raises(ConfigError) as offline:
        site.door(**options).receive("", TO, RAW)
    assert own.value.key == "callbacks.transport"
    assert str(own.value) == str(by_gate.value) == str(offline.value)


# --- bounces ---


async def sent(site):
    async with site.engine() as engine:
        message = Submission(sender="a@example.com", recipients=["b@example.org"], content=RAW)
        receipt = await engine.submit(message)
        await receipt.settled()
        return receipt.id


async def test_a_bounce_reaches_the_application_and_the_events(site):
    id = await sent(site)
    async with site.engine() as engine:
        await site.ask("receive_bounce", bounce_of(id))
        assert [stored.message.kind for stored in await engine.find(PAUSED)][-1] is Kind.INCOMING, "durable"
        await wait_done(engine)
    assert [event.id for event in site.bounces] == [id]
    assert site.told == [("bounce", "b@example.org")]


async def test_a_bounce_while_no_engine_runs_is_told_by_the_next(site):
    site.ask_offline("receive_bounce", bounce_of("x" * 20).replace(b"\r\n", b"\n"))
    async with site.engine() as engine:
        await wait_done(engine)
    assert site.told == [("bounce", "b@example.org")]


@pytest.mark.parametrize("online", [True, False])
async def test_a_bounce_of_ours_among_incoming_mail_is_told_as_one_on_both_roads(site, online):
    id = await sent(site)
    given = ("receive", "", ["a@example.com", TO])
    raws = [bounce_of(id), bounce_of(id, "delayed"), bounce_of("01k0000000aaaaaaaaaa")]
    if not online:
        for raw in raws:
            site.ask_offline(*given, raw)
    async with site.engine() as engine:
        if online:
            for raw in raws:
                await site.ask(*given, raw)
        await wait_done(engine)
    assert sorted(site.told) == sorted(
        [("bounce", "b@example.org")]
        + [("mail", address, "", raw) for raw in raws[1:] for address in ("a@example.com", TO)]
    )


@pytest.mark.parametrize("online", [True, False])
async def test_a_report_that_told_the_application_is_told_no_second_time_on_either_road(site, online):
    site.transport = ScriptedTransport({"gone@example.org": [Verdict.refused("550 no such user", status="5.1.1")]})
    async with site.engine() as engine:
        message = Submission(sender="a@example.com", recipients=["gone@example.org"], content=RAW)
        await engine.submit(message)
        _, report = await site.transport.wait_ended(2)
    assert report.addresses == ("a@example.com",)
    again = ("receive", "", ["a@example.com"], report.content)
    if not online:
        ids = [site.ask_offline(*again) for _ in range(2)]
        site.ask_offline("receive_bounce", report.content)
    async with site.engine() as engine:
        if online:
            ids = [await site.ask(*again) for _ in range(2)]
            await site.ask("receive_bounce", report.content)
        await wait_done(engine)
    assert ids == [report.request.message.id] * 2
    assert site.told == [("bounce", TO)]
    assert site.bounces == []


async def test_what_would_be_events_alone_waits_for_an_engine(site):
    delayed = bounce_of("x" * 20, "delayed")
    with pytest.raises(EngineClosed, match="no engine runs"):
        site.door().receive_bounce(delayed)
    site.ask_offline("receive_bounce", RAW)  # it says nothing, and so it does to an engine
    assert site.stored() == []
    async with site.engine():
        await site.ask("receive_bounce", delayed)
    assert [event.action for event in site.bounces] == ["delayed"]


async def test_where_bounces_are_not_told_they_are_events_and_mail(tmp_path):
    site = Site(tmp_path, callbacks={"transport": "app", "bounces": False})
    id = await sent(site)
    with pytest.raises(EngineClosed):
        site.door().receive_bounce(bounce_of(id))
    site.ask_offline("receive", "", TO, bounce_of(id))
    async with site.engine() as engine:
        await site.ask("receive_bounce", bounce_of(id))
        await wait_done(engine)
    assert site.told == [("mail", TO, "", bounce_of(id))]


async def test_an_ending_engine_leaves_it_to_another_road(site, monkeypatch):
    async with site.engine() as engine:

        async def closed(*args):
            engine_is_gone.set()
            raise EngineClosed("the engine is closed")

        engine_is_gone = trio.Event()
        monkeypatch.setattr(engine.incoming, "take_mail", closed)
        ids = []
        async with trio.open_nursery() as nursery:

            async def hand_over():
                ids.append(await trio.to_thread.run_sync(site.door().receive, "", TO, RAW))

            nursery.start_soon(hand_over)
            await engine_is_gone.wait()
            monkeypatch.undo()
    assert isinstance(ids[0], str)
    assert [stored.message.id for stored in site.stored()] == ids
