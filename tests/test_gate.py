"""The gate of a running engine, the hand-over that asks it, and the spool without an engine: real sockets, real SQLite."""

from __future__ import annotations

import itertools
import os
import socket
import stat
from contextlib import asynccontextmanager
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path

import msgspec
import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

import postroad
from postroad import Filter, Submission
from postroad import handover as handover_module
from postroad.errors import (
    ConfigError,
    EngineClosed,
    IdempotencyConflict,
    NotAuthorized,
    PostroadError,
    QueueFull,
    SpoolInUse,
    SubmissionError,
    SubmissionTooLarge,
    UnknownMessage,
)
from postroad.events import AttemptInDoubt, RecipientDeferred
from postroad.gate import _Gate
from postroad.gate_frames import PREAMBLE, BadFrame, Frames, address_of, framed
from postroad.gate_protocol import (
    Answer,
    Failed,
    Picture,
    Written,
    encode_request,
    error_of,
    failure_of,
    read_call,
    read_request,
    read_response,
)
from postroad.gate_wire import Wire
from postroad.handover import Handover
from postroad.message import NO_DSN, new_message_id
from postroad.offline import open_offline
from postroad.spool import SpoolLock, SpoolPlace
from postroad.store.states import State
from postroad.testing.engine import open_test_engine, test_config
from postroad.testing.fakes import ScriptedTransport
from postroad.verdict import Verdict

RAW = b"From: a@example.com\r\nTo: b@example.org\r\nSubject: Hello\r\n\r\nHello.\r\n"
FIELDS = {"sender": "a@example.com", "to": "b@example.org", "subject": "Hello", "body": "Hi"}


def submission(**fields):
    return Submission(**{"sender": "a@example.com", "recipients": ["b@example.org"], "content": RAW, **fields})


class Site:
    """A spool in a folder, an engine on it when wanted, and a door beside it."""

    def __init__(self, folder: Path, **sections) -> None:
        sections.setdefault("senders", {"authorized": ["*@example.com"]})
        spool = {"url": f"sqlite:{folder}/spool.db", **sections.pop("spool", {})}
        self.config = test_config(spool=spool, **sections)
        self.place = SpoolPlace.parse(self.config.spool.url, folder)
        self.transport = ScriptedTransport()

    @asynccontextmanager
    async def engine(self):
        """For at most a minute: what waits for something that never comes, fails."""
        with trio.fail_after(60):
            async with self._running() as engine:
                yield engine

    @asynccontextmanager
    async def _running(self):
        async with postroad.open_engine(self.config, plugins={"scripted": self.transport.plugin()}) as engine:
            yield engine

    def door(self, **options) -> Handover:
        return Handover(self.place, **{"config": self.config, **options})

    async def ask(self, method: str, *args, door: Handover | None = None, **options):
        """Call a door's method in a thread, as another process would."""

        def call():
            if door is not None:
                return getattr(door, method)(*args, **options)
            with self.door() as own:
                return getattr(own, method)(*args, **options)

        return await trio.to_thread.run_sync(call)


@pytest.fixture
def site(tmp_path):
    return Site(tmp_path)


# --- Through the gate ---


async def test_what_is_handed_over_is_delivered(site):
    async with site.engine() as engine:
        id = await site.ask("send", submission())
        assert (await (await engine.receipt(id)).settled()).is_delivered
    (call,) = site.transport.calls
    assert call.addresses == ("b@example.org",)
    assert call.content.endswith(b"\r\n\r\nHello.\r\n")


async def test_fields_are_composed_behind_the_gate_and_attachments_arrive_as_sent(site):
    fields = {**FIELDS, "attachments": [("a.bin", b"\0\xff"), ("ü.txt", "grün")], "headers": {"X-Any": "value"}}
    async with site.engine() as engine:
        id = await site.ask("send_mail", fields)
        await (await engine.receipt(id)).settled()
    message = message_from_bytes(site.transport.calls[0].content, policy=policy.default)
    assert message["X-Any"] == "value"
    assert message["Message-ID"] == f"<{id}@engine.test>"
    assert [part.get_filename() for part in message.iter_attachments()] == ["a.bin", "ü.txt"]
    assert [part.get_content() for part in message.iter_attachments()] == [b"\0\xff", "grün"]


async def test_many_travel_together_and_a_bad_one_harms_no_other(site):
    given = [submission(recipients=[f"r{number}@example.org"]) for number in range(150)]
    given[70] = submission(sender="stranger@example.net")
    async with site.engine() as engine:
        answers = await site.ask("send_many", given)
        assert isinstance(answers.pop(70), NotAuthorized)
        assert len(set(answers)) == 149
        for id in answers:
            await (await engine.receipt(id)).settled()
    assert sorted(address for _, address in site.transport.accepted) == sorted(
        f"r{number}@example.org" for number in range(150) if number != 70
    )


async def test_asking_twice_with_one_id_sends_once_on_any_road(site):
    id = new_message_id()
    async with site.engine() as engine:
        for _ in range(2):
            assert await site.ask("send", submission(), id) == id
        await (await engine.receipt(id)).settled()
    assert site.door().send(submission(), id) == id
    assert len(site.transport.calls) == 1


async def test_fields_handed_over_twice_with_one_id_are_sent_once_on_any_road(site):
    id = new_message_id()
    async with site.engine() as engine:
        for _ in range(2):
            assert await site.ask("send_mail", FIELDS, id) == id
        await (await engine.receipt(id)).settled()
    assert site.door().send_mail(FIELDS, id) == id
    assert len(site.transport.calls) == 1


async def test_one_key_gives_one_message_whether_or_not_the_engine_runs(site):
    fields = {**FIELDS, "idempotency_key": "order-7", "attachments": [("a.txt", "text"), ("b.bin", b"octets")]}
    id = site.door().send_mail(fields)
    async with site.engine():
        assert await site.ask("send_mail", fields) == id
        with pytest.raises(IdempotencyConflict, match="another submission"):
            await site.ask("send_mail", {**fields, "body": "other"})
    with pytest.raises(IdempotencyConflict):
        site.door().send_mail({**fields, "body": "other"})
    assert site.door().send_mail(fields) == id


@pytest.mark.parametrize("given", [{"atachments": []}, {"sned_at": 5}, {"id": "x"}, {"type": "Written"}])
def test_a_field_that_nobody_knows_is_an_error_and_stores_nothing(site, given):
    with pytest.raises(TypeError, match=f"unexpected keyword argument {next(iter(given))!r}"):
        site.door().send_mail({**FIELDS, **given})
    with pytest.raises(TypeError, match="'sender'"):
        site.door().send_mail({"to": "b@example.org"})
    assert site.door().status().messages == 0


@pytest.mark.parametrize(
    "given",
    [
        {"send_at": "x"},
        {"send_at": "2030-01-01T00:00:00Z"},
        {"expires_at": 3},
        {"priority": "high"},
        {"tags": ["x"] * 11},
        {"tags": 7},
        {"dsn": {"notify": ["never"]}},
        {"report_to": ["nobody"]},
        {"idempotency_key": ""},
        {"to": None},
        {"to": 5},
        {"headers": 5},
        {"attachments": 5},
        {"attachments": [("a.bin", 5)]},
    ],
)
async def test_wrong_fields_are_refused_as_the_engine_refuses_them(site, given):
    refusals = []
    async with site.engine() as engine:
        for send in (
            lambda: engine.send_mail(**{**FIELDS, **given}),
            lambda: site.ask("send_mail", {**FIELDS, **given}),
        ):
            with pytest.raises(SubmissionError) as caught:
                await send()
            refusals.append((caught.value.field.partition("[")[0], type(caught.value)))
        assert (await engine.status()).messages == 0
    assert refusals[0] == refusals[1]
    assert refusals[0][0] == next(iter(given))


async def test_one_tag_and_nothing_for_lists_mean_the_same_on_every_road(site):
    fields = {**FIELDS, "tags": "news", **dict.fromkeys(("cc", "bcc", "reply_to", "headers", "attachments"))}
    async with site.engine() as engine:
        first = (await engine.message((await engine.send_mail(**fields)).id)).message
        second = (await engine.message(await site.ask("send_mail", fields))).message
    assert first.tags == second.tags == ("news",)


async def test_one_key_gives_one_message_to_the_application_and_to_other_processes(site):
    given = {"idempotency_key": "order-8", "headers": {"X-Any": "value"}, "attachments": [("a.txt", "text")]}
    async with site.engine() as engine:
        receipt = await engine.send_mail(**{**FIELDS, **given})
        assert await site.ask("send_mail", {**FIELDS, **given}) == receipt.id


@pytest.mark.parametrize("runs", [True, False])
@pytest.mark.parametrize(
    ("given", "kind", "field"),
    [
        ({"sender": "x@example.net"}, NotAuthorized, "sender"),
        ({"recipients": ["b@exa\nmple.org"]}, SubmissionError, "recipients[0]"),
        ({"recipients": []}, SubmissionError, "recipients"),
        ({"content": RAW + b"x" * 2000}, SubmissionTooLarge, "content"),
        ({"priority": 10}, SubmissionError, "priority"),
        ({"priority": "high"}, SubmissionError, "priority"),
        ({"tags": ["\udc80"]}, SubmissionError, "tags"),
        ({"content": "text"}, SubmissionError, "content"),
    ],
)
async def test_a_refusal_is_the_same_error_on_both_roads(tmp_path, runs, given, kind, field):
    site = Site(tmp_path, limits={"message_bytes": 2000})

    async def refused():
        with pytest.raises(SubmissionError) as caught:
            await site.ask("send", submission(**given))
        assert type(caught.value) is kind
        assert caught.value.field.partition("[")[0] == field.partition("[")[0]
        assert str(caught.value).startswith(caught.value.field)

    if runs:
        async with site.engine() as engine:
            await refused()
            assert (await engine.status()).messages == 0
    else:
        await refused()
        assert site.door().status().messages == 0


@pytest.mark.parametrize("runs", [True, False])
async def test_a_full_queue_is_told_as_such(tmp_path, runs):
    site = Site(tmp_path, limits={"queue_messages": 1})
    site.transport = ScriptedTransport(default=Verdict.deferred("451 later"))
    site.door().send(submission())
    if runs:
        async with site.engine():
            with pytest.raises(QueueFull, match="queue_messages"):
                await site.ask("send", submission())
    else:
        with pytest.raises(QueueFull, match="queue_messages"):
            site.door().send(submission())


@pytest.mark.parametrize("runs", [True, False])
async def test_the_queue_is_operated_from_outside(tmp_path, runs):
    site = Site(tmp_path)
    site.transport = ScriptedTransport(default=Verdict.deferred("451 later"))

    async def operate(one, other):
        assert (await site.ask("hold", Filter(id=one), "under review")).recipients == 1
        stored = await site.ask("message", one)
        assert (stored.recipients[0].state, stored.recipients[0].reason) == (State.HELD, "under review")
        assert [found.message.id for found in await site.ask("find", Filter(states=(State.HELD,)))] == [one]
        assert (await site.ask("release", Filter(id=one))).recipients == 1
        assert (await site.ask("cancel", Filter(recipient="c@example.org"))).recipients == 1
        assert (await site.ask("message", other)).recipients[0].state is State.CANCELLED
        assert (await site.ask("retry", Filter(id=other))).recipients == 0
        status = await site.ask("status")
        assert (status.messages, status.by_state["cancelled"]) == (1, 1)
        with pytest.raises(UnknownMessage, match="nowhere"):
            await site.ask("message", "nowhere")

    async def send_two():
        return [
            await site.ask("send", submission(recipients=[address])) for address in ("b@example.org", "c@example.org")
        ]

    if not runs:
        await operate(*await send_two())
        return
    async with site.engine() as engine, engine.events() as events:
        ids = await send_two()
        deferred = 0
        async for event in events:  # ends with the engine
            deferred += isinstance(event, RecipientDeferred)
            if deferred == 2:
                break
        await operate(*ids)


@pytest.mark.parametrize("runs", [True, False])
async def test_what_is_held_in_doubt_is_decided_from_outside(tmp_path, runs):
    site = Site(tmp_path)
    site.transport = ScriptedTransport(default=Verdict.in_doubt("no reply"))

    async def decide(id):
        assert (await site.ask("status")).in_doubt == 1
        assert (await site.ask("take_as_delivered", Filter(id=id))).recipients == 0, "it is to be sent again"
        assert (await site.ask("hold", Filter(in_doubt=True))).recipients == 1
        assert (await site.ask("take_as_delivered", Filter(id=id))).recipients == 1
        (recipient,) = (await site.ask("message", id)).recipients
        assert (recipient.state, recipient.in_doubt) == (State.ACCEPTED, True)
        assert recipient.reply == "in doubt, taken as delivered: no reply"

    async with site.engine() as engine, engine.events() as events:
        id = await site.ask("send", submission())
        async for event in events:  # ends with the engine
            if isinstance(event, AttemptInDoubt):
                break
        if runs:
            await decide(id)
    if not runs:
        await decide(id)


async def test_a_thread_keeps_its_connection_and_none_survives_a_fork_or_the_engine(site):
    with site.door() as door:
        async with site.engine():
            await site.ask("status", door=door)
        assert door.went_by_gate
        assert door.send(submission())  # in this thread, with no connection yet, and the engine gone
        assert not door.went_by_gate
        async with site.engine():

            def in_one_thread():
                door.status()
                kept = door._own.line
                door.status()
                assert door._own.line is kept
                kept._pid = -1  # as in the child of a fork
                door.status()
                assert door._own.line is not kept

            await trio.to_thread.run_sync(in_one_thread)


async def test_a_door_whose_connection_died_with_an_engine_finds_the_next_one(site):
    with site.door() as door:

        def in_this_thread():
            return door.send(submission())

        async with site.engine() as engine:
            in_thread = await trio.to_thread.run_sync(in_this_thread)
            await (await engine.receipt(in_thread)).settled()
        async with site.engine() as engine:
            id = await trio.to_thread.run_sync(in_this_thread)
            await (await engine.receipt(id)).settled()
    assert len(site.transport.calls) == 2


async def test_written_messages_come_as_bytes_paths_files_and_message_objects(site, tmp_path):
    path = tmp_path / "message.eml"
    path.write_bytes(RAW)
    written = EmailMessage()
    written["From"], written["Subject"] = "a@example.com", "Grüße"
    written.set_content("Hello.\n")
    async with site.engine():
        for content in (RAW, bytearray(RAW), path, written):
            assert await site.ask("send", submission(content=content))
        with path.open("rb") as file:
            assert await site.ask("send", submission(content=file))
        with path.open() as text, pytest.raises(SubmissionError, match="binary mode"):
            await site.ask("send", submission(content=text))
        with pytest.raises(SubmissionError, match="cannot be read"):
            await site.ask("send", submission(content=tmp_path / "missing"))
        with pytest.raises(SubmissionTooLarge):
            await site.ask("send", submission(content=Path("/dev/zero")))
        await site.transport.wait_ended(5)
    assert all(b"Hello.\r\n" in call.content for call in site.transport.calls)


# --- Without an engine ---


async def test_what_came_in_while_no_engine_ran_is_delivered_by_the_next(site):
    ids = [site.door().send(submission()), site.door().send_mail(FIELDS)]
    async with site.engine() as engine:
        for id in ids:
            assert (await (await engine.receipt(id)).settled()).is_delivered
    assert len(site.transport.calls) == 2


@pytest.mark.parametrize("runs", [True, False])
async def test_large_content_goes_into_a_file_of_its_own(tmp_path, runs):
    site = Site(tmp_path, spool={"content_file_bytes": 4096})
    site.transport = ScriptedTransport([Verdict.deferred("451 later")] * 2)
    large = RAW + b"0123456789\r\n" * 1000
    id = new_message_id()
    if runs:
        async with site.engine():
            for _ in range(2):
                assert await site.ask("send", submission(content=large), id) == id
            await site.transport.wait_ended(1)
    else:
        assert [site.door().send(submission(content=large), id) for _ in range(2)] == [id, id]
    (file,) = site.place.content_folder.iterdir()
    assert file.name == id
    assert file.read_bytes().endswith(large.partition(b"\r\n\r\n")[2])


async def test_a_door_without_a_configuration_goes_by_the_last_engines_rules(site):
    with pytest.raises(ConfigError, match="no engine has worked on this spool"):
        site.door(config=None).send(submission())
    async with site.engine():
        pass
    door = site.door(config=None)
    id = door.send_mail(FIELDS)
    assert door.message(id).message.message_id == f"{id}@engine.test"
    with pytest.raises(NotAuthorized):
        door.send(submission(sender="x@example.net"))


def test_a_spool_that_is_busy_for_good_is_an_error_after_the_deadline(site):
    with SpoolLock(site.place.lock_path), pytest.raises(SpoolInUse, match=r"0\.02 s.*nobody\s+answers"):
        site.door(deadline_seconds=0.02).send(submission())


def test_a_spool_that_is_busy_for_a_moment_is_waited_for(site, monkeypatch):
    lock = SpoolLock(site.place.lock_path)
    lock.acquire()
    pauses = []

    def pause(seconds):
        pauses.append(seconds)
        if len(pauses) == 5:
            lock.release()

    monkeypatch.setattr(handover_module.time, "sleep", pause)
    assert site.door().send(submission())
    assert len(pauses) == 5
    assert all(0 < seconds <= 0.1 for seconds in pauses)


def test_what_an_ending_engine_did_not_take_goes_by_another_road(site, monkeypatch):
    """Whoever hands over is not told that the engine ends: the id makes it safe to try again."""

    class Ending:
        is_usable = True

        def ask(self, calls, until):
            return [EngineClosed("the engine is closed; it takes no more submissions")] * len(calls)

        def close(self):
            monkeypatch.undo()

    monkeypatch.setattr(Handover, "_line", lambda door, until: Ending())
    with site.door() as door:
        (taken,) = door.send_many([submission()])
        assert isinstance(taken, str)
        assert door.message(taken).message.id == taken


async def test_an_engine_waits_for_a_door_that_is_at_work(site):
    lock = SpoolLock(site.place.lock_path)
    lock.acquire()
    trio.lowlevel.current_trio_token().run_sync_soon(lock.release)
    async with site.engine() as engine:
        assert (await engine.status()).messages == 0


async def test_a_second_engine_is_refused(site):
    async with site.engine():
        with pytest.raises(SpoolInUse, match=str(os.getpid())):
            async with site.engine():
                pass


def test_a_spool_in_memory_has_no_door(tmp_path):
    with pytest.raises(ConfigError, match=r"spool\.url"):
        Handover(SpoolPlace.parse("memory:", tmp_path))


def test_a_spool_opened_offline_holds_the_lock(site):
    with open_offline(site.place, site.config), pytest.raises(SpoolInUse):
        SpoolLock(site.place.lock_path).acquire()
    with SpoolLock(site.place.lock_path):
        pass


# --- The socket ---


async def test_the_socket_is_the_owners_alone_and_goes_with_the_engine(site):
    site.place.socket_path.touch()  # what a killed engine leaves behind
    async with site.engine():
        mode = site.place.socket_path.stat().st_mode
        assert stat.S_ISSOCK(mode)
        assert stat.S_IMODE(mode) == 0o600
    assert not site.place.socket_path.exists()


async def test_a_spool_with_a_very_long_path_has_a_gate_too(tmp_path):
    folder = tmp_path / ("d" * 100) / ("e" * 100)
    site = Site(folder)
    async with site.engine():
        with site.door() as door:
            await site.ask("send", submission(), door=door)
            assert door.went_by_gate


def test_a_file_name_that_no_socket_can_have_is_a_configuration_error(tmp_path):
    with pytest.raises(ConfigError, match=r"spool\.url"), address_of(tmp_path / ("x" * 150)):
        pass


async def test_without_a_socket_a_door_says_what_is_the_matter(tmp_path):
    site = Site(tmp_path, spool={"socket": False})
    async with site.engine():
        with pytest.raises(SpoolInUse, match="socket = false"):
            await site.ask("send", submission(), door=site.door(deadline_seconds=0.02))


# --- Clients that behave badly: memory streams and virtual time ---


async def answer_of(stream) -> Answer | Failed | None:
    frames = Frames(1 << 20)
    while (payload := frames.take()) is None:
        data = await stream.receive_some(4096)
        if not data:
            return None
        frames.put(data)
    return read_response(payload)


async def test_bad_frames_end_that_connection_only(autojump_clock):
    async with open_test_engine() as engine, trio.open_nursery() as nursery:
        gate = _Gate(engine)
        clients = []
        for _ in range(4):
            client, server = trio.testing.memory_stream_pair()
            nursery.start_soon(gate.receive, server)
            clients.append(client)
        good, nonsense, stranger, giant = clients
        await good.send_all(PREAMBLE + encode_request(1, Picture()))
        assert (await answer_of(good)).number == 1
        await nonsense.send_all(PREAMBLE + framed(b"\xc1 what is this"))
        assert await answer_of(nonsense) is None
        await stranger.send_all(b"GET / HTTP/1.1\r\n\r\n")
        refused = await answer_of(stranger)
        assert refused.number == 0
        assert "version" in refused.text
        await giant.send_all(PREAMBLE + b"\xff\xff\xff\xff")
        assert (await answer_of(giant)).kind == "SubmissionTooLarge"
        await good.send_all(encode_request(2, Picture()))
        assert (await answer_of(good)).number == 2
        await good.aclose()


async def test_a_call_that_makes_no_sense_is_answered_and_the_connection_goes_on(autojump_clock):
    async with open_test_engine() as engine, trio.open_nursery() as nursery:
        client, server = trio.testing.memory_stream_pair()
        nursery.start_soon(_Gate(engine).receive, server)
        odd = framed(msgspec.msgpack.encode((1, {"type": "Written", "id": "../../etc/passwd"})))
        await client.send_all(PREAMBLE + odd + encode_request(2, Picture()))
        failed = await answer_of(client)
        assert (failed.number, failed.kind, failed.field) == (1, "SubmissionError", "id")
        await client.aclose()


@pytest.mark.parametrize("octets", [2, -1])
async def test_half_a_frame_is_waited_for_only_so_long(autojump_clock, octets):
    """Also half of its length: who has begun to speak is not idle, and could not be sent away."""
    async with open_test_engine() as engine:
        client, server = trio.testing.memory_stream_pair()
        await client.send_all(PREAMBLE + encode_request(1, Picture())[:octets])
        begun = trio.current_time()
        with trio.move_on_after(60):
            await _Gate(engine).receive(server)
        assert trio.current_time() - begun == pytest.approx(30, abs=1)


async def test_a_client_that_takes_no_answer_is_left(autojump_clock):
    async with open_test_engine() as engine, trio.open_nursery() as nursery:
        client, server = trio.testing.lockstep_stream_pair()
        nursery.start_soon(client.send_all, PREAMBLE + encode_request(1, Picture()))
        begun = trio.current_time()
        await _Gate(engine).receive(server)
        assert trio.current_time() - begun == pytest.approx(30, abs=1)


async def test_a_silent_client_may_stay_until_others_need_its_place(autojump_clock):
    async with open_test_engine() as engine, trio.open_nursery() as nursery:
        gate = _Gate(engine)
        clients = []
        for _ in range(129):
            client, server = trio.testing.memory_stream_pair()
            nursery.start_soon(gate.receive, server)
            await client.send_all(PREAMBLE)
            await trio.testing.wait_all_tasks_blocked()
            clients.append(client)
        await trio.sleep(3600)
        assert await clients[0].receive_some() == b""
        for client in clients[1:]:
            await client.send_all(encode_request(1, Picture()))
            assert (await answer_of(client)).number == 1
            await client.aclose()


async def test_a_bug_at_one_call_is_answered_without_its_text(autojump_clock, monkeypatch):
    async with open_test_engine() as engine, trio.open_nursery() as nursery:

        async def broken():
            raise RuntimeError("secret")

        monkeypatch.setattr(engine, "status", broken)
        client, server = trio.testing.memory_stream_pair()
        nursery.start_soon(_Gate(engine).receive, server)
        await client.send_all(PREAMBLE + encode_request(1, Picture()))
        failed = await answer_of(client)
        assert failed.kind == "PostroadError"
        assert "RuntimeError" in failed.text
        assert "secret" not in failed.text
        await client.aclose()


# --- Frames and errors ---


@given(st.lists(st.binary(max_size=300), max_size=8), st.integers(1, 50), st.binary(max_size=3))
def test_frames_come_out_as_they_went_in_however_they_are_cut(payloads, step, trailing):
    wire = b"".join(framed(payload) for payload in payloads) + trailing
    frames, found = Frames(300), []
    for start in range(0, len(wire), step):
        frames.put(wire[start : start + step])
        while (payload := frames.take()) is not None:
            found.append(payload)
    assert found == payloads
    assert len(frames) == len(trailing)


@given(st.lists(st.binary(max_size=300), max_size=8), st.integers(0, 304), st.binary(max_size=3))
def test_small_frames_come_out_together_up_to_the_first_large_one(payloads, most, trailing):
    frames = Frames(300)
    frames.put(b"".join(framed(payload) for payload in payloads) + trailing)
    small = list(itertools.takewhile(lambda payload: len(payload) + 4 <= most, payloads))
    assert frames.take_small(most) == small
    assert [frames.take() for _ in payloads[len(small) :]] == payloads[len(small) :]
    assert len(frames) == len(trailing)


async def test_what_arrives_in_pieces_is_whole_and_what_nobody_takes_waits_its_time(autojump_clock):
    ours, theirs = socket.socketpair()
    stream = trio.SocketStream(trio.socket.from_stdlib_socket(ours))
    theirs.setblocking(False)
    async with stream:
        wire = Wire(stream)
        theirs.send(b"a" * 100_000)
        assert await wire.receive() == b"a" * 100_000
        with pytest.raises(trio.TooSlowError):
            await wire.send(b"b" * 10_000_000)
        theirs.close()
        with pytest.raises(trio.BrokenResourceError):
            await wire.send(b"c")


def test_a_call_that_asks_for_nothing_special_is_read_as_such_behind_the_gate():
    call = Written(id="0" * 20, sender="a@example.com", recipients=("a@example.org",), content=b"")
    frames = Frames(1000)
    frames.put(encode_request(1, call))
    read = read_call(read_request(frames.take()))
    assert read == call
    assert read.submission().dsn is NO_DSN


def test_a_frame_over_the_limit_is_refused_by_its_length_alone():
    frames = Frames(10)
    frames.put(b"\0\0\0\x0b")
    with pytest.raises(BadFrame):
        frames.take()


@pytest.mark.parametrize(
    "error",
    [
        SubmissionError("to", "give one"),
        NotAuthorized("sender", "no"),
        ConfigError("spool.url", "bad"),
        QueueFull("full"),
        UnknownMessage("there is no such message"),
        SpoolInUse("busy"),
    ],
)
def test_an_error_is_the_same_behind_the_gate(error):
    again = error_of(failure_of(1, error))
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert getattr(again, "field", None) == getattr(error, "field", None)


@pytest.mark.parametrize("kind", ["SystemExit", "annotations", "Nonsense"])
def test_no_foreign_class_is_raised_by_name(kind):
    error = error_of(Failed(1, kind, "", "text"))
    assert type(error) is PostroadError


def test_an_id_is_checked_before_it_becomes_a_file_name():
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"id": "../x", "sender": "", "recipients": [], "content": b""}, Written)
