"""The promises of the design, each with the tests that go red when it is broken.

PROMISES names them; `test_every_promise_has_its_tests` checks that they are there.  Tests that need their own room stand
elsewhere; the others follow here.
"""

from __future__ import annotations

import os
import stat
from contextlib import contextmanager
from pathlib import Path

import apsw
import pytest
import trio

import postroad
from postroad import Submission, Verdict, hookimpl
from postroad.events import MessageAccepted, Missed
from postroad.housekeeping import VIRTUAL_SECONDS
from postroad.spool import Reserve
from postroad.store.contract import Accept, Settle
from postroad.store.memory import MemoryStore
from postroad.testing.engine import open_test_engine
from postroad.testing.fakes import Hang, ScriptedTransport

HERE = Path(__file__).parent
RAW = b"From: a@example.com\r\nTo: b@example.org\r\nSubject: Hello\r\n\r\nHello.\r\n"

PROMISES = {
    "1: accepted means committed on synced storage, and every recipient reaches one end": [
        "test_promises.py::test_submit_returns_only_after_the_commit",
        "test_promises.py::test_every_commit_syncs_the_spool",
        "test_promises.py::test_a_content_file_is_on_disk_under_its_name_before_its_commit",
        "crash/test_kills.py::test_kills_before_and_after_every_step_break_no_promise",
        "test_engine.py::test_five_days_of_deferrals_end_in_one_report_to_the_sender",
    ],
    "2: at least once, duplicates only in the ambiguous window and announced, state per recipient": [
        "crash/test_kills.py::test_kills_before_and_after_every_step_break_no_promise",
        "test_engine.py::test_a_hang_after_the_hand_over_is_in_doubt_and_the_retry_is_announced",
        "test_promises.py::test_a_message_half_delivered_goes_on_with_the_other_half",
        "test_restarts.py::test_after_a_reboot_every_lease_is_in_doubt",
        "test_restarts.py::test_no_token_is_ever_used_again",
        "test_restarts.py::test_marks_of_an_earlier_life_are_read_once_and_forgotten",
    ],
    "3: trouble with storage stops acceptance first and drops nothing": [
        "test_promises.py::test_a_failing_store_refuses_submissions_and_keeps_what_it_has",
        "test_promises.py::test_settlements_outlive_a_failing_store_without_a_second_delivery",
        "test_promises.py::test_nothing_is_leased_while_the_store_is_sick",
        "test_promises.py::test_outcomes_get_the_reserve_and_nothing_is_accepted_until_there_is_room_again",
        "test_promises.py::test_a_broken_store_stops_the_engine_loudly",
    ],
    "4: unknown trouble is temporary; hooks harm nobody else": [
        "test_engine.py::test_a_transport_that_raises_hangs_or_answers_nonsense_defers_that_message_alone",
        "test_promises.py::test_a_hook_that_raises_at_the_door_refuses_that_submission_and_is_named",
    ],
    "5: no byte on the wire that the message did not mean": [
        "test_engine.py::test_every_wrong_argument_is_named_before_anything_is_stored",
        "compose/test_compose_injection.py::test_whatever_is_given_the_header_has_the_fields_that_were_meant",
        "compose/test_canonical.py::test_any_octets_are_made_clean_or_refused",
        "smtp/test_smtp_encoding.py::test_the_nine_smuggling_sequences_never_leave",
        "smtp/test_smtp_encoding.py::test_any_bytes_are_sent_as_they_are_or_refused",
    ],
    "6: nothing is unbounded": [
        "test_promises.py::test_waiting_submissions_are_bounded",
        "test_promises.py::test_leases_are_bounded",
        "test_promises.py::test_a_reader_too_slow_is_told_how_many_events_it_missed",
        "scale/test_scale.py::test_a_backlog_does_not_grow_in_memory_and_a_start_does_not_read_it",
        "scale/test_scale.py::test_many_large_messages_at_once_are_not_in_memory_all_at_once",
    ],
}


def test_every_promise_has_its_tests():
    for tests in PROMISES.values():
        for test in tests:
            file, _, name = test.partition("::")
            assert f"def {name}(" in (HERE / file).read_text(encoding="utf-8"), test


def submission(*recipients: str, content: bytes = RAW) -> Submission:
    return Submission(sender="a@example.com", recipients=recipients or ("b@example.org",), content=content)


class StorePlugin:
    """Puts a store of the test's own behind `fragile:`."""

    def __init__(self, store):
        self.store = store

    @hookimpl
    def postroad_register_stores(self, register):
        @contextmanager
        def factory(url, *, folder):
            yield self.store

        register("fragile", factory)


class FragileStore(MemoryStore):
    """Fails while `fails` says so: called with the operations, it returns an exception or None."""

    def __init__(self):
        super().__init__()
        self.fails = lambda operations: None
        self.applied = []

    def apply(self, operations):
        error = self.fails(operations)
        if error is not None:
            raise error
        results = super().apply(operations)
        self.applied.append(list(operations))
        return results


def fragile_engine(store, transport=None, **sections):
    return open_test_engine(
        transport=transport, plugins={"fragile": StorePlugin(store)}, spool={"url": "fragile:"}, **sections
    )


async def test_submit_returns_only_after_the_commit(autojump_clock):
    store = FragileStore()
    async with fragile_engine(store, ScriptedTransport(default=Hang())) as engine:
        receipt = await engine.submit(submission())
        assert store.message(receipt.id) is not None


class CountingFile(apsw.VFSFile):
    def __init__(self, vfs, name, flags, counts):
        super().__init__(vfs, name, flags)
        self._counts = counts

    def xSync(self, flags):
        self._counts.append("sync")
        super().xSync(flags)

    def xWrite(self, data, offset):
        self._counts.append("write")
        super().xWrite(data, offset)


class CountingVfs(apsw.VFS):
    def __init__(self):
        self.counts = []
        super().__init__("counting", "")

    def xOpen(self, name, flags):
        return CountingFile("", name, flags, self.counts)


def test_every_commit_syncs_the_spool(tmp_path):
    from postroad.store.sqlite import sqlite_store

    vfs = CountingVfs()

    def connect(path):
        return apsw.Connection(path, vfs="counting")

    message = postroad.store.contract.Message(id="0" * 20, sender="a@example.com", accepted_at=1.0, size=3)
    recipient = postroad.store.contract.NewRecipient("b@example.org", "lane", 1.0)
    with sqlite_store(str(tmp_path / "spool.db"), folder=tmp_path, connect=connect, exclusive=True) as store:
        vfs.counts.clear()
        store.apply([Accept(message, (recipient,), b"abc")])
        assert "write" in vfs.counts
        assert vfs.counts[-1] == "sync", "the commit returned with unsynced writes"


async def test_a_content_file_is_on_disk_under_its_name_before_its_commit(monkeypatch):
    """What is not synced, octets or a rename, may be forgotten by a power failure, while the row that names the file is there."""
    synced, at_commit = [], []
    sync = os.fsync

    def watched(descriptor):
        sync(descriptor)
        found = os.fstat(descriptor)
        synced.append(os.listdir(descriptor) if stat.S_ISDIR(found.st_mode) else found.st_size)

    class Observing(FragileStore):
        def apply(self, operations):
            at_commit.extend(list(synced) for each in operations if isinstance(each, Accept))
            return super().apply(operations)

    monkeypatch.setattr(os, "fsync", watched)
    with trio.fail_after(30):
        async with fragile_engine(Observing()) as engine:
            receipt = await engine.submit(submission(content=RAW + b"x" * 70 * 5000))
            size = (await engine.message(receipt.id)).message.size
    assert at_commit == [[size, [receipt.id]]]


async def test_a_message_half_delivered_goes_on_with_the_other_half(autojump_clock):
    transport = ScriptedTransport({"late@example.org": [Verdict.deferred("451 later")]})
    async with open_test_engine(transport=transport) as engine:
        outcome = await (await engine.submit(submission("early@example.org", "late@example.org"))).settled()
        assert outcome.is_delivered
    assert [call.addresses for call in transport.calls] == [
        ("early@example.org", "late@example.org"),
        ("late@example.org",),
    ]


async def test_a_failing_store_refuses_submissions_and_keeps_what_it_has(autojump_clock):
    store = FragileStore()
    transport = ScriptedTransport([Verdict.deferred("451 later")])
    async with fragile_engine(store, transport) as engine:
        kept = await engine.submit(submission())
        await transport.wait_ended(1)
        await trio.sleep(1)
        full = postroad.StoreError("the disk is full")
        store.fails = lambda operations: full if any(isinstance(op, Accept) for op in operations) else None
        with pytest.raises(postroad.StoreError, match="the disk is full"):
            await engine.submit(submission())
        assert (await kept.settled()).is_delivered
        store.fails = lambda operations: None
        assert (await (await engine.submit(submission())).settled()).is_delivered


async def test_settlements_outlive_a_failing_store_without_a_second_delivery(autojump_clock):
    store = FragileStore()
    transport = ScriptedTransport()
    async with fragile_engine(store, transport) as engine:
        error = postroad.StoreError("the disk is full")
        store.fails = lambda operations: error if any(isinstance(op, Settle) for op in operations) else None
        receipt = await engine.submit(submission())
        await transport.wait_ended(1)
        await trio.sleep(600)
        assert len(transport.calls) == 1
        assert not (await receipt.outcome()).is_settled
        store.fails = lambda operations: None
        assert (await receipt.settled()).is_delivered
    assert len(transport.calls) == 1


async def test_nothing_is_leased_while_the_store_is_sick(autojump_clock):
    """What cannot be settled is delivered again after a crash: no more of that than is under way already."""
    store = FragileStore()
    transport = ScriptedTransport({"later@example.org": [Verdict.deferred("451 later")]})
    error = postroad.StoreError("the disk is full")
    async with fragile_engine(store, transport, retry={"first_seconds": 300, "jitter": 0}) as engine:
        older = await engine.submit(submission("later@example.org"))
        await transport.wait_ended(1)
        await trio.sleep(298.5)
        store.fails = lambda operations: error if any(isinstance(op, Settle) for op in operations) else None
        await engine.submit(submission("lost@example.org"))
        await transport.wait_ended(2)
        await trio.sleep(1.7)  # the second rest, of two seconds, has begun: the older mail became due in it
        fresh = await engine.submit(submission("fresh@example.org"))
        await trio.sleep(0.9)
        assert len(transport.calls) == 2
        store.fails = lambda operations: None
        assert (await older.settled()).is_delivered
        assert (await fresh.settled()).is_delivered


async def test_outcomes_get_the_reserve_and_nothing_is_accepted_until_there_is_room_again(autojump_clock, tmp_path):
    store = FragileStore()
    transport = ScriptedTransport()
    async with fragile_engine(store, transport) as engine:
        reserve = engine._ports.reserve = Reserve(tmp_path / "reserve", 4096)
        assert reserve.keep()
        error = postroad.StoreFull("the disk is full")
        store.fails = lambda operations: error if any(isinstance(op, Settle) for op in operations) else None
        receipt = await engine.submit(submission())
        await transport.wait_ended(1)
        await trio.sleep(1)
        assert not (tmp_path / "reserve").exists()
        store.fails = lambda operations: None
        assert (await receipt.settled()).is_delivered
        with pytest.raises(postroad.StoreError, match="disk is full"):
            await engine.submit(submission())
        await trio.sleep(VIRTUAL_SECONDS)
        assert (tmp_path / "reserve").exists()
        assert (await (await engine.submit(submission())).settled()).is_delivered


async def test_a_broken_store_stops_the_engine_loudly(autojump_clock):
    store = FragileStore()
    with pytest.raises(postroad.EngineCrashed, match="spool"):
        async with fragile_engine(store) as engine:
            store.fails = lambda operations: postroad.StoreBroken("a sync failed")
            with pytest.raises(postroad.PostroadError):
                await engine.submit(submission())
            await trio.sleep_forever()


async def test_a_hook_that_raises_at_the_door_refuses_that_submission_and_is_named(autojump_clock):
    class Watchman:
        @hookimpl
        def postroad_admit(self, submission):
            if "bad@example.org" in submission.recipients:
                raise RuntimeError("a bug in the plugin")

    async with open_test_engine(plugins={"watchman": Watchman()}) as engine:
        with pytest.raises(postroad.SubmissionError, match="watchman"):
            await engine.submit(submission("bad@example.org"))
        assert (await (await engine.submit(submission("good@example.org"))).settled()).is_delivered


async def test_waiting_submissions_are_bounded(autojump_clock):
    store = FragileStore()
    most = 0
    async with fragile_engine(store, limits={"intake_messages": 10}) as engine, trio.open_nursery() as nursery:
        for number in range(200):
            nursery.start_soon(engine.submit, submission(f"u{number}@example.org"))
        for _ in range(100):
            await trio.lowlevel.checkpoint()
            most = max(most, (await engine.status()).intake)
    assert most <= 10
    assert sum(isinstance(op, Accept) for batch in store.applied for op in batch) == 200
    assert max(sum(isinstance(op, Accept) for op in batch) for batch in store.applied) <= 10


async def test_leases_are_bounded(autojump_clock):
    transport = ScriptedTransport(default=Hang())
    async with open_test_engine(
        transport=transport, in_flight={"leases": 7}, windows={"start": 100, "max": 100}
    ) as engine:
        await engine.submit_many([submission(f"u{number}@example.org") for number in range(50)])
        await trio.sleep(10)
        assert transport.running == 7
        assert (await engine.status()).in_flight == 7


async def test_a_reader_too_slow_is_told_how_many_events_it_missed(autojump_clock):
    async with (
        open_test_engine(limits={"event_buffer": 4}) as engine,
        engine.events() as slow,
        engine.events() as quick,
    ):
        told = []
        for number in range(10):
            receipt = await engine.submit(submission(f"u{number}@example.org"))
            await receipt.settled()
            told += [await anext(quick), await anext(quick)]
        with trio.fail_after(60):
            first = [await anext(slow) for _ in range(5)]
        assert first[:4] == told[:4]
        assert first[4] == Missed(at=told[-1].at, count=16)
        await engine.submit(submission())
        assert isinstance(await anext(slow), MessageAccepted)
