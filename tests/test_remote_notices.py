"""What a provider tells later: matched, reported once, told once, remembered; and what is not ours changes nothing."""

from __future__ import annotations

import msgspec
import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import wait_all_tasks_blocked

import postroad
from postroad.callbacks import Callbacks
from postroad.errors import EngineClosed, StoreError, SubmissionError
from postroad.events import (
    MessageAccepted,
    RemoteBounce,
    RemoteComplaint,
    RemoteDeferred,
    RemoteDelivered,
    RemoteUnsubscribe,
    ReportQueued,
)
from postroad.handover import Handover
from postroad.message import BOUNCE_ADDRESS, DsnOptions, Kind
from postroad.remote import Noted, RemoteNotice, Seen, digest_of
from postroad.spool import SpoolPlace
from postroad.store.contract import Filter
from postroad.testing.engine import open_test_engine
from postroad.testing.engine import test_config as make_config
from postroad.testing.fakes import Hang, ScriptedTransport
from postroad.verdict import Verdict

TWO = {
    "transports": {"letters": {"plugin": "scripted"}, "other": {"plugin": "scripted"}},
    "routes": [{"recipients": "*@other.example", "transport": "other"}, {"transport": "letters"}],
}


def notice(id, kind="bounced", recipient="b@example.org", key="e1", **more):
    return RemoteNotice(kind=kind, id=id, recipient=recipient, key=key, **more)


async def sent(engine, to="b@example.org", sender="a@example.com", **more):
    receipt = await engine.send_mail(sender=sender, to=to, subject="Hello", body="Hello\n", **more)
    await receipt.settled()
    return receipt.id


async def reports(engine):
    return [stored for stored in await engine.find(Filter()) if stored.message.kind is Kind.REPORT]


async def drained(events):
    """The events so far, without those of the report's own journey."""
    await wait_all_tasks_blocked()
    return [event for event in list(events._events) if isinstance(event, TOLD)]


TOLD = (RemoteBounce, RemoteDelivered, RemoteDeferred, RemoteComplaint, RemoteUnsubscribe, ReportQueued)


@pytest.mark.parametrize(
    ("kind", "event"),
    [
        ("delivered", RemoteDelivered),
        ("deferred", RemoteDeferred),
        ("complained", RemoteComplaint),
        ("unsubscribed", RemoteUnsubscribe),
        ("bounced", RemoteBounce),
    ],
)
async def test_each_kind_becomes_its_event_and_a_line(autojump_clock, kind, event):
    async with open_test_engine(**TWO) as engine, engine.events() as events:
        id = await sent(engine)
        with capture_logs() as logs:
            noted = await engine.receive_notices("letters", [notice(id, kind, status="5.1.1", said="no \x1bsuch user")])
        assert noted == Noted(told=1)
        told = [each for each in await drained(events) if not isinstance(each, ReportQueued)]
        assert [type(each) for each in told] == [event]
        assert (told[0].id, told[0].recipient, told[0].transport) == (id, "b@example.org", "letters")
        assert (told[0].status, told[0].diagnostic) == ("5.1.1", r"no \x1bsuch user")
        (line,) = [line for line in logs if line["event"] == "provider_said"]
        assert (line["id"], line["kind"], line["transport"]) == (id, kind, "letters")
        assert len(await reports(engine)) == (kind == "bounced")


async def test_a_bounce_becomes_the_senders_report_once(autojump_clock):
    transport = ScriptedTransport()
    async with open_test_engine(transport=transport, **TWO) as engine, engine.events() as events:
        id = await sent(engine)
        message = (await engine.message(id)).message
        for key in ("e1", "e1", "e2"):  # the same again, and the same bounce as another event
            await engine.receive_notices("letters", [notice(id, key=key, status="5.1.1", said="550 no such user")])
        told = await drained(events)
        assert [type(event) for event in told] == [RemoteBounce, ReportQueued, RemoteBounce]
        (report,) = await reports(engine)
        assert [recipient.address for recipient in report.recipients] == ["a@example.com"]
        assert report.message.sender == ""
        await (await engine.receipt(report.message.id)).settled()
        content = transport.calls[-1].content
        for words in (
            b"Final-Recipient: rfc822; b@example.org",
            b"Action: failed",
            b"Status: 5.1.1",
            b"550 no such user",
        ):
            assert words in content
        assert b"Content-Type: text/rfc822-headers" in content
        assert f"Message-ID: <{message.message_id}>".encode() in content
        assert (await engine.message(id)).recipients[0].state.name == "ACCEPTED", "no outcome changes"


async def test_one_commit_holds_the_report_and_the_callback(autojump_clock):
    sections = {
        **TWO,
        "transports": {**TWO["transports"], "app": {"plugin": "functions"}},
        "callbacks": {"transport": "app"},
    }
    async with open_test_engine(**sections, plugins={"application": Callbacks()}) as engine:
        id = await sent(engine)
        await engine.receive_notices("letters", [notice(id)])
        (report,) = await reports(engine)
        assert [recipient.address for recipient in report.recipients] == ["a@example.com", BOUNCE_ADDRESS]


async def test_who_wants_no_report_gets_none(autojump_clock):
    async with open_test_engine(**TWO) as engine, engine.events() as events:
        never = await sent(engine, dsn=DsnOptions(notify=("never",)))
        noted = await engine.receive_notices("letters", [notice(never), notice(never, "delivered")])
        assert noted == Noted(told=2)
        assert [type(event) for event in await drained(events)] == [RemoteBounce, RemoteDelivered]
        assert await reports(engine) == []


async def test_a_report_that_bounces_is_not_reported(autojump_clock):
    async with open_test_engine(**TWO) as engine:
        await engine.receive_notices("letters", [notice(await sent(engine))])
        (report,) = await reports(engine)
        await (await engine.receipt(report.message.id)).settled()
        said = notice(report.message.id, recipient="a@example.com")
        assert await engine.receive_notices("letters", [said]) == Noted(told=1)
        assert await reports(engine) == [await engine.message(report.message.id)]


@pytest.mark.parametrize("what", ["id", "recipient", "transport", "unknown transport"])
async def test_what_is_not_of_mail_that_this_transport_carried_changes_nothing(autojump_clock, what):
    """A stranger with an account of his own knows ids and addresses, and has only his own transport's address."""
    async with open_test_engine(**TWO) as engine, engine.events() as events:
        id = await sent(engine)
        said = notice(
            "x" * 20 if what == "id" else id, recipient="c@example.org" if what == "recipient" else "b@example.org"
        )
        by = {"transport": "other", "unknown transport": "nobody"}.get(what, "letters")
        with capture_logs() as logs:
            assert await engine.receive_notices(by, [said]) == Noted(unmatched=1)
        assert await drained(events) == []
        assert await reports(engine) == []
        assert [line["event"] for line in logs] == ["provider_event_unmatched"]
        assert await engine.receive_notices("letters", [notice(id)]) == Noted(told=1), (
            "it can still be said by whom it concerns"
        )


async def test_addresses_in_small_letters_are_found_where_they_are_clear(autojump_clock):
    async with open_test_engine(**TWO) as engine:
        one = await sent(engine, to="Bob@example.org")
        two = await sent(engine, to=["Bob@example.org", "BOB@example.org"])
        said = [notice(one, recipient="bob@EXAMPLE.org"), notice(two, recipient="bob@example.org")]
        assert await engine.receive_notices("letters", said) == Noted(told=1, unmatched=1)


async def test_a_bounce_before_the_answer_is_settled_comes_again(autojump_clock):
    transport = ScriptedTransport([Hang()])
    async with open_test_engine(transport=transport, **TWO) as engine:
        receipt = await engine.send_mail(sender="a@example.com", to="b@example.org", subject="Hello", body="Hello\n")
        done = await sent(engine, to="c@example.org")
        both = [notice(receipt.id), notice(done, recipient="c@example.org")]
        assert await engine.receive_notices("letters", both, token="t") == Noted(told=1, unsettled=1)
        assert await engine.receive_notices("letters", both, token="t") == Noted(known=1, unsettled=1)
        assert len(await reports(engine)) == 1


async def test_a_bounce_of_mail_in_doubt_comes_again_and_is_reported_then(autojump_clock):
    """The provider took it, its answer was lost, and the next attempt hears that it was taken long ago."""
    transport = ScriptedTransport([Verdict.in_doubt("cut"), Verdict.accepted("taken before")])
    async with open_test_engine(transport=transport, **TWO) as engine:
        receipt = await engine.send_mail(sender="a@example.com", to="b@example.org", subject="Hello", body="Hello\n")
        await wait_all_tasks_blocked()
        assert await engine.receive_notices("letters", [notice(receipt.id)]) == Noted(unsettled=1)
        assert await engine.receive_notices("letters", [notice(receipt.id, "delivered")]) == Noted(told=1)
        await receipt.settled()
        assert await engine.receive_notices("letters", [notice(receipt.id)]) == Noted(told=1)
        assert len(await reports(engine)) == 1


async def test_what_is_kept_is_told_also_where_the_call_is_cancelled(autojump_clock, monkeypatch):
    async with open_test_engine(**TWO) as engine, engine.events() as events:
        id = await sent(engine)
        put = engine._ports.intake.put

        async def put_and_leave(operations):
            answers = await put(operations)
            scope.cancel()
            await trio.lowlevel.checkpoint()
            return answers

        with monkeypatch.context() as left, trio.CancelScope() as scope:
            left.setattr(engine._ports.intake, "put", put_and_leave)
            await engine.receive_notices("letters", [notice(id)])
        assert [type(event) for event in await drained(events)] == [RemoteBounce, ReportQueued]
        assert await engine.receive_notices("letters", [notice(id)]) == Noted(known=1)


async def test_of_a_huge_batch_some_reports_at_a_time_are_in_memory(autojump_clock, monkeypatch):
    async with open_test_engine(**TWO) as engine:
        to = [f"b{number}@example.org" for number in range(250)]
        id = await sent(engine, to=to)
        put, most = engine._ports.intake.put, []

        async def counted(operations):
            most.append(len(operations))
            return await put(operations)

        monkeypatch.setattr(engine._ports.intake, "put", counted)
        said = [notice(id, recipient=each) for each in to]
        assert await engine.receive_notices("letters", said, token="t") == Noted(told=250)
        assert max(most) <= 102
        assert await engine.receive_notices("letters", [notice(id)], token="t") == Noted(known=1)


async def test_what_the_engine_itself_reports_is_reported_by_it_alone(autojump_clock):
    transport = ScriptedTransport({"b@example.org": [Verdict.refused("no", status="5.1.1")]})
    async with open_test_engine(transport=transport, **TWO) as engine:
        id = await sent(engine)
        await wait_all_tasks_blocked()
        assert await engine.receive_notices("letters", [notice(id)]) == Noted(told=1)
        assert len(await reports(engine)) == 1


async def test_a_token_is_taken_once_whatever_comes_with_it(autojump_clock):
    async with open_test_engine(**TWO) as engine:
        id = await sent(engine)
        assert await engine.receive_notices("letters", [], token="t") == Noted()
        assert await engine.receive_notices("letters", [notice(id)], token="t") == Noted(known=1)
        assert await reports(engine) == []
        assert await engine.receive_notices("letters", [notice(id)], token="u") == Noted(told=1)


async def test_what_was_taken_is_known_after_a_restart(tmp_path):
    config = make_config(spool={"url": f"sqlite:{tmp_path}/spool.db", "reserve_bytes": 0}, **TWO)
    async with open_test_engine(config, transport=ScriptedTransport()) as engine:
        id = await sent(engine)
        assert await engine.receive_notices("letters", [notice(id), notice(id, "delivered")], token="t") == Noted(
            told=2
        )
    async with open_test_engine(config, transport=ScriptedTransport()) as engine, engine.events() as events:
        assert await engine.receive_notices("letters", [notice(id), notice(id, "delivered")]) == Noted(known=2)
        assert await engine.receive_notices("letters", [notice(id, key="e9")], token="t") == Noted(known=1)
        assert await engine.receive_notices("letters", [notice(id, key="e9")]) == Noted(told=1)
        assert [type(event) for event in await drained(events)] == [RemoteBounce]
        assert len(await reports(engine)) == 1, "another event of the same bounce"


async def test_where_the_store_fails_nothing_is_told_and_it_comes_again(autojump_clock, monkeypatch):
    async with open_test_engine(**TWO) as engine, engine.events() as events:
        id = await sent(engine)

        async def fail(operations):
            raise StoreError("the disk is gone")

        with monkeypatch.context() as broken:
            broken.setattr(engine._ports.intake, "put", fail)
            with pytest.raises(StoreError):
                await engine.receive_notices("letters", [notice(id)])
        assert await drained(events) == []
        assert await engine.receive_notices("letters", [notice(id)]) == Noted(told=1)
        assert [type(event) for event in await drained(events)] == [RemoteBounce, ReportQueued]


async def test_a_report_that_was_stored_before_the_rest_failed_is_not_stored_again(autojump_clock, monkeypatch):
    async with open_test_engine(**TWO) as engine, engine.events() as events:
        id = await sent(engine)
        put = engine._ports.intake.put

        async def half(operations):
            await put(operations[:1])
            raise StoreError("the disk is gone")

        with monkeypatch.context() as broken:
            broken.setattr(engine._ports.intake, "put", half)
            with pytest.raises(StoreError):
                await engine.receive_notices("letters", [notice(id)])
        assert await engine.receive_notices("letters", [notice(id)]) == Noted(told=1)
        assert len(await reports(engine)) == 1
        assert [type(event) for event in await drained(events)] == [RemoteBounce]


async def test_two_at_once_tell_one(autojump_clock):
    async with open_test_engine(**TWO) as engine, engine.events() as events:
        id = await sent(engine)
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(engine.receive_notices, "letters", [notice(id), notice(id)])
        assert [type(event) for event in await drained(events)] == [RemoteBounce, ReportQueued]


async def test_a_huge_batch_is_taken_whole(autojump_clock):
    async with open_test_engine(**TWO) as engine:
        ids = [await sent(engine, to=f"b{number}@example.org") for number in range(150)]
        said = [notice(id, recipient=f"b{number}@example.org") for number, id in enumerate(ids)]
        said += [
            notice(id, "delivered", f"b{n}@example.org", f"k{key}") for n, id in enumerate(ids) for key in range(20)
        ]
        assert await engine.receive_notices("letters", said) == Noted(told=3150)
        assert await engine.receive_notices("letters", said) == Noted(known=3150)
        assert len(await engine.find(Filter(sender=""), 1000)) == 150
        with pytest.raises(SubmissionError, match="notices"):
            await engine.receive_notices("letters", said * 7)


async def test_by_another_process(tmp_path):
    config = make_config(
        spool={"url": f"sqlite:{tmp_path}/spool.db", "reserve_bytes": 0}, limits={"message_bytes": 20_000}, **TWO
    )
    door = Handover(SpoolPlace.parse(config.spool.url, tmp_path), config, deadline_seconds=5)
    async with postroad.open_engine(config, plugins={"scripted": _Plugin()}) as engine:
        id = await sent(engine)
        took = await trio.to_thread.run_sync(lambda: door.receive_notices("letters", [notice(id)], token="t"))
        assert took == Noted(told=1)
        assert await trio.to_thread.run_sync(lambda: door.receive_notices("letters", [notice(id)])) == Noted(known=1)
        many = [notice(id, "delivered", key=f"k{number}", said="x" * 500) for number in range(1800)]
        assert await trio.to_thread.run_sync(lambda: door.receive_notices("letters", many)) == Noted(told=1800)
        assert await trio.to_thread.run_sync(lambda: door.receive_notices("letters", many)) == Noted(known=1800)
        assert await trio.to_thread.run_sync(lambda: door.receive_notices("letters", [], token="t")) == Noted()
        assert await trio.to_thread.run_sync(lambda: door.receive_notices("letters", [])) == Noted()
    with door, pytest.raises(EngineClosed):
        await trio.to_thread.run_sync(lambda: door.receive_notices("letters", [notice(id)]))


class _Plugin:
    @postroad.hookimpl
    def postroad_register_transports(self, register):
        register("scripted", ScriptedTransport().factory)


# --- The memory ---


def test_the_last_of_many_are_remembered_and_the_oldest_forgotten():
    seen = Seen([None] * 64)
    facts: dict[str, bytes] = {}
    digests = [digest_of(str(number)) for number in range(70_000)]
    for start in range(0, len(digests), 100):
        facts.update(seen.add(digests[start : start + 100]))
    again = Seen([facts.get(name) for name in Seen.names])
    for memory in (seen, again):
        assert all(digest in memory for digest in digests[-64_000:])
        assert not any(digest in memory for digest in digests[:4000])
    assert len(facts) == 64
    assert max(map(len, facts.values())) <= 8200


@pytest.mark.parametrize("fact", [b"", b"x", b"123456789", None, bytes(8)])
def test_a_damaged_fact_is_no_memory(fact):
    seen = Seen([fact] * 64)
    assert digest_of("a") not in seen
    assert digest_of("a") in Seen(list(seen.add([digest_of("a")]).values()))


def test_words_do_not_run_together():
    assert digest_of("a", "bc") != digest_of("ab", "c")
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(notice("x")), type=RemoteNotice) == notice("x")
    assert MessageAccepted
