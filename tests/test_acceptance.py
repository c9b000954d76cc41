"""From the door to the store: the queue's limit holds among those that come at once, and no content file is left or lost."""

from __future__ import annotations

import os
import threading
from contextlib import asynccontextmanager
from email.message import EmailMessage
from functools import partial

import pytest
import trio
import trio.testing

import postroad
from postroad import QueueFull, StoreError, Submission, Verdict
from postroad.door import Door
from postroad.draft import WrittenDraft
from postroad.errors import EngineClosed, IdempotencyConflict, StoreBroken
from postroad.intake import Intake
from postroad.message import new_message_id
from postroad.spool import ContentFolder, SpoolPlace
from postroad.store.contract import Accept
from postroad.store.executor import StoreExecutor
from postroad.testing.engine import open_test_engine, test_config
from postroad.testing.fakes import Hang, ScriptedTransport

RAW = b"From: a@example.com\r\nTo: b@example.org\r\nSubject: Hello\r\n\r\nHello.\r\n"
LARGE = RAW + b"0123456789\r\n" * 1000


def submission(**fields):
    return Submission(**{"sender": "a@example.com", "recipients": ["b@example.org"], "content": RAW, **fields})


def large(**fields):
    return submission(content=LARGE, **fields)


def written(one, id=None):
    """What the gate gives to `take_in`."""
    return partial(WrittenDraft, one, id)


class Site:
    """An engine on a spool in a folder, whose recipients all wait; and its content files."""

    def __init__(self, folder):
        self.config = test_config(spool={"url": f"sqlite:{folder}/spool.db", "content_file_bytes": 4096})
        self.folder = SpoolPlace.parse(self.config.spool.url, folder).content_folder

    @asynccontextmanager
    async def engine(self):
        plugin = ScriptedTransport(default=Verdict.deferred("451 later")).plugin()
        with trio.fail_after(60):
            async with postroad.open_engine(self.config, plugins={"scripted": plugin}) as engine:
                yield engine

    @property
    def files(self):
        return {file.name for file in self.folder.iterdir()} if self.folder.exists() else set()


@pytest.fixture
def site(tmp_path):
    return Site(tmp_path)


class Commits:
    """Holds up the engine's commits of acceptances, or lets them fail."""

    def __init__(self, monkeypatch, before=None, after=None):
        self.begun, self.may_go = trio.Event(), trio.Event()
        real = StoreExecutor.apply

        async def apply(executor, operations):
            if not any(isinstance(operation, Accept) for operation in operations):
                return await real(executor, operations)
            self.begun.set()
            if before is not None:
                raise before
            if after is None:
                with trio.CancelScope(shield=True):
                    await self.may_go.wait()
                return await real(executor, operations)
            await real(executor, operations)
            raise after

        monkeypatch.setattr(StoreExecutor, "apply", apply)


class Line:
    """Tells when so many callers stand in the line before the commit."""

    def __init__(self, monkeypatch):
        self._here, self._changed = 0, trio.Event()
        real = Intake.put_entries

        async def put_entries(intake, entries):
            self._here += 1
            self._changed.set()
            return await real(intake, entries)

        monkeypatch.setattr(Intake, "put_entries", put_entries)

    async def wait_for(self, count):
        while self._here < count:
            self._changed = trio.Event()
            await self._changed.wait()


# --- How much is held in memory ---


class Source:
    """A caller's file that says when it is read; it ends there, or fails."""

    def __init__(self, read, octets=30_000, error=None):
        self._read, self._content, self._error = read, RAW + (b"x" * 76 + b"\r\n") * (octets // 78), error

    def read(self, octets):
        if self._error is not None:
            raise self._error
        if self._content:
            self._read.append(self)
        piece, self._content = self._content, b""
        return piece


@pytest.mark.parametrize("of_bytes", [4096, 1_000_000], ids=["content in files", "content in the database"])
async def test_of_many_submitters_only_some_have_their_content_in_memory(tmp_path, monkeypatch, of_bytes):
    commits, read, accepted = Commits(monkeypatch), [], []
    config = test_config(
        spool={"url": f"sqlite:{tmp_path}/spool.db", "content_file_bytes": of_bytes}, limits={"intake_bytes": 65_536}
    )

    async def submit(source):
        accepted.append(await engine.submit(submission(content=source)))

    with trio.fail_after(60):
        async with postroad.open_engine(config, plugins={"scripted": ScriptedTransport().plugin()}) as engine:
            async with trio.open_nursery() as nursery:
                for _ in range(20):
                    nursery.start_soon(submit, Source(read))
                await commits.begun.wait()
                await trio.testing.wait_all_tasks_blocked(0.05)
                held = len(read)
                commits.may_go.set()
            assert held == 3 + 4  # prepared, and read while they wait
            assert len({receipt.id for receipt in accepted}) == 20


async def test_who_leaves_the_line_or_is_refused_there_lets_the_next_one_in(site, monkeypatch):
    commits, read = Commits(monkeypatch), []
    site.config = test_config(spool={"url": site.config.spool.url}, limits={"intake_bytes": 65_536})
    async with site.engine() as engine, trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(engine.submit, submission(content=Source(read)))
        await commits.begun.wait()
        leaves = trio.CancelScope()

        async def leave():
            with leaves:
                await engine.submit(submission(content=Source(read)))

        async def refused(error):
            with pytest.raises(postroad.SubmissionError, match="cannot be read"):
                await engine.submit(submission(content=Source(read, error=error)))

        nursery.start_soon(leave)
        for _ in range(6):  # more than there are commits that let somebody in
            nursery.start_soon(refused, OSError("gone"))
        nursery.start_soon(engine.submit, submission(content=Source(read)))
        await trio.testing.wait_all_tasks_blocked(0.05)
        held = len(read)
        leaves.cancel()
        commits.may_go.set()
    assert (held, len(read)) == (5, 5)


def mail_with(octets):
    mail = EmailMessage()
    mail["From"], mail["To"] = "a@example.com", "b@example.org"
    mail.add_attachment(b"x" * octets, maintype="application", subtype="octet-stream")
    return mail


LARGE_ROADS = {
    "submit": lambda engine, octets: engine.submit(submission(content=RAW + b"x\r\n" * (octets // 3))),
    "submit an EmailMessage": lambda engine, octets: engine.submit(submission(content=mail_with(octets))),
    "send_mail": lambda engine, octets: engine.send_mail(
        sender="a@example.com", to="b@example.org", subject="x", body="x", attachments=[("a.bin", b"x" * octets)]
    ),
    "take_in": lambda engine, octets: engine.take_in(
        [written(submission()), written(submission(content=RAW + b"x\r\n" * (octets // 3)))]
    ),
}


@pytest.mark.parametrize("road", LARGE_ROADS)
async def test_while_a_large_message_is_read_and_written_everybody_else_goes_on(site, monkeypatch, road):
    begun, may_end = trio.Event(), threading.Event()
    token = trio.lowlevel.current_trio_token()

    def slow(real):
        def work(door, given, *rest):
            if threading.current_thread() is not threading.main_thread():
                token.run_sync_soon(begun.set)
                assert may_end.wait(10)
            return real(door, given, *rest)

        return work

    monkeypatch.setattr(Door, "read", slow(Door.read))
    monkeypatch.setattr(Door, "write", slow(Door.write))
    async with site.engine() as engine, trio.open_nursery() as nursery:
        nursery.start_soon(LARGE_ROADS[road], engine, 30_000)
        await begun.wait()
        await engine.submit(submission())
        may_end.set()


async def test_what_is_wrong_with_a_large_message_is_said_as_of_a_small_one(site):
    async with site.engine() as engine:
        for wrong, field in [
            ({"content": Source([], 200_000_000)}, "content"),
            ({"sender": "x", "content": LARGE}, "sender"),
        ]:
            with pytest.raises(postroad.SubmissionError) as caught:
                await engine.submit(submission(**wrong))
            assert caught.value.field == field
        await engine.submit(large())


def ends(run, seconds=30):
    """Whether a run ends, in a thread that is given up: what is shielded knows no deadline."""
    over = threading.Event()

    def go():
        trio.run(run)
        over.set()

    threading.Thread(target=go, daemon=True).start()
    return over.wait(seconds)


def test_who_stands_in_line_with_large_mail_when_the_engine_closes_is_told_so(site):
    told = []

    async def submit(engine):
        try:
            await engine.submit(submission(content=RAW + (b"x" * 76 + b"\r\n") * 30_000))
        except EngineClosed as error:
            told.append(error)
        else:
            told.append(None)

    async def life():
        async with trio.open_nursery() as outside, site.engine() as engine:
            for _ in range(6):
                outside.start_soon(submit, engine)
            await trio.testing.wait_all_tasks_blocked(0.01)

    assert ends(life)
    assert len(told) == 6


@pytest.mark.parametrize(("octets", "count", "limit"), [(1000, 200, 65_536), (100_000, 12, 100_000)])
async def test_what_is_handed_over_together_does_not_wait_for_itself(site, octets, count, limit):
    site.config = test_config(spool={"url": site.config.spool.url}, limits={"intake_bytes": limit})
    many = [written(submission(content=RAW + b"x\r\n" * (octets // 3))) for _ in range(count)]
    async with site.engine() as engine:
        assert all(isinstance(answer, str) for answer in await engine.take_in(many))
        await engine.submit(submission())


async def test_a_pipe_that_says_nothing_holds_up_no_other_large_mail_and_may_be_given_up(site):
    reader, writer = os.pipe()
    async with site.engine() as engine, trio.open_nursery() as nursery:
        with os.fdopen(reader, "rb") as pipe:
            nursery.start_soon(engine.submit, submission(content=pipe))
            await trio.testing.wait_all_tasks_blocked(0.05)
            await engine.submit(large())
            nursery.cancel_scope.cancel()
            os.close(writer)  # before the file is closed, which waits for its reader


# --- The queue's limit ---


async def outcome_of(function, answers):
    try:
        answers.append(await function())
    except QueueFull as error:
        answers.append(error)


@pytest.mark.parametrize("road", ["submit", "send_mail", "submit_many", "take_in"])
async def test_those_who_come_at_once_share_what_is_left_of_the_queue(autojump_clock, road):
    answers = []
    async with open_test_engine(
        transport=ScriptedTransport(default=Hang()), limits={"queue_messages": 10}, in_flight={"drain_seconds": 1}
    ) as engine:
        roads = {
            "submit": partial(engine.submit, submission()),
            "send_mail": partial(engine.send_mail, sender="a@example.com", to="b@example.org", subject="x", body="x"),
            "submit_many": partial(engine.submit_many, [submission()]),
            "take_in": partial(engine.take_in, [written(submission())]),
        }
        async with trio.open_nursery() as nursery:
            for _ in range(500):
                nursery.start_soon(outcome_of, roads[road], answers)
        flat = [each[0] if isinstance(each, list) else each for each in answers]
        assert len(flat) == 500
        assert sum(not isinstance(each, QueueFull) for each in flat) == 10
        assert (await engine.status()).messages == 10
        with pytest.raises(QueueFull):
            await engine.submit(submission())


async def test_octets_under_way_count_against_the_queue_too(autojump_clock):
    answers = []
    async with open_test_engine(
        transport=ScriptedTransport(default=Hang()),
        limits={"queue_bytes": 40_000, "message_bytes": 40_000},
        in_flight={"drain_seconds": 1},
    ) as engine:
        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(outcome_of, partial(engine.submit, large()), answers)
        assert sum(not isinstance(each, QueueFull) for each in answers) == 3


async def test_what_failed_or_was_refused_counts_no_more(autojump_clock, monkeypatch):
    async with open_test_engine(limits={"queue_messages": 3}) as engine:
        bad = submission(sender="nonsense")
        with pytest.raises(postroad.SubmissionError):
            await engine.submit_many([submission(), submission(), bad])
        with pytest.raises(ZeroDivisionError):
            await engine.submit_many(1 / 0 if index else submission() for index in range(2))
        with monkeypatch.context() as patched:
            Commits(patched, before=StoreError("no"))
            for _ in range(2):
                with pytest.raises(StoreError):
                    await engine.submit_many([submission()] * 3)
        assert len(await engine.submit_many([submission()] * 3)) == 3


async def test_what_was_given_up_counts_no_more(autojump_clock, monkeypatch):
    async with open_test_engine(limits={"queue_messages": 4}) as engine:
        with monkeypatch.context() as patched:
            commits = Commits(patched)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(engine.submit, submission())
                await commits.begun.wait()
                for _ in range(4):
                    with trio.move_on_after(1) as scope:
                        await engine.submit_many([submission()] * 3)
                    assert scope.cancelled_caught
                commits.may_go.set()
        assert len(await engine.submit_many([submission()] * 3)) == 3


async def test_a_failing_commit_of_many_gives_back_what_the_later_commits_held(autojump_clock, monkeypatch):
    async with open_test_engine(limits={"queue_messages": 2500}) as engine:
        with monkeypatch.context() as patched:
            Commits(patched, before=StoreError("no"))
            with pytest.raises(StoreError):
                await engine.submit_many([submission()] * 2500)
        assert len(await engine.submit_many([submission()] * 2500)) == 2500


# --- Files of large contents ---


async def test_while_the_disk_is_full_no_content_file_is_written(site, monkeypatch):
    async with site.engine() as engine:
        engine._ports.reserve.give_up()
        monkeypatch.setattr(ContentFolder, "write", lambda *_: pytest.fail("it was written"))
        for take in (
            partial(engine.submit, large()),
            partial(engine.submit_many, [submission(), large()]),
            partial(engine.take_in, [written(large())]),
        ):
            with pytest.raises(StoreError, match="the disk is full; nothing is accepted until there is room again"):
                await take()
    assert site.files == set()


async def test_a_duplicate_by_its_key_leaves_only_the_first_file(site):
    async with site.engine() as engine:
        first = await engine.submit(large(idempotency_key="k"))
        assert (await engine.submit(large(idempotency_key="k"))).id == first.id
        assert await engine.take_in([written(large(idempotency_key="k"), new_message_id())]) == [first.id]
        both = await engine.submit_many([large(idempotency_key="k"), large(idempotency_key="k")])
        assert [receipt.id for receipt in both] == [first.id] * 2
    assert site.files == {first.id}


async def test_a_conflict_of_keys_leaves_only_the_first_file(site):
    async with site.engine() as engine:
        first = await engine.submit(large(idempotency_key="k"))
        other = large(idempotency_key="k", priority=1)
        with pytest.raises(IdempotencyConflict):
            await engine.submit(other)
        (answer,) = await engine.take_in([written(other)])
        assert isinstance(answer, IdempotencyConflict)
    assert site.files == {first.id}


async def test_the_same_id_again_leaves_the_file_in_use_as_it_is(site):
    id = new_message_id()
    async with site.engine() as engine:
        assert (await engine.submit_as(large(), id)).id == id
        before = (site.folder / id).stat().st_mtime_ns  # the number of its inode may come again
        assert (await engine.submit_as(large(), id)).id == id
        assert await engine.take_in([written(large(), id), written(submission(), id)]) == [id, id]
        assert (site.folder / id).stat().st_mtime_ns == before
        assert (await engine.status()).messages == 1
    assert site.files == {id}


async def test_the_same_id_many_times_at_once_is_one_message_with_its_file(site):
    id, answers = new_message_id(), []

    async def hand_over(engine):
        answers.extend(await engine.take_in([written(large(), id), written(large(), id)]))

    async with site.engine() as engine:
        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(hand_over, engine)
        assert answers == [id] * 20
        assert (await engine.status()).messages == 1
        assert (site.folder / id).stat().st_size == (await engine.message(id)).message.size
    assert site.files == {id}


async def test_a_failed_commit_leaves_no_file(site, monkeypatch):
    async with site.engine() as engine:
        with monkeypatch.context() as patched:
            Commits(patched, before=StoreError("no room"))
            with pytest.raises(StoreError, match="no room"):
                await engine.submit(large())
    assert site.files == set()


async def test_a_content_file_that_cannot_be_written_takes_those_before_it_along(site, monkeypatch):
    real = ContentFolder.write

    def write(folder, id, content):
        if site.files:
            raise StoreError("no room")
        return real(folder, id, content)

    monkeypatch.setattr(ContentFolder, "write", write)
    async with site.engine() as engine:
        with pytest.raises(StoreError, match="no room"):
            await engine.submit_many([large(), large()])
        assert (await engine.status()).messages == 0
    assert site.files == set()


async def test_a_file_stays_where_the_message_was_stored_although_its_commit_reported_an_error(site, monkeypatch):
    id = new_message_id()
    async with site.engine() as engine:
        with monkeypatch.context() as patched:
            Commits(patched, after=StoreError("this was stored, but"))
            with pytest.raises(StoreError, match="this was stored, but"):
                await engine.submit_as(large(), id)
        assert (await engine.message(id)).message.id == id
    assert site.files == {id}


async def test_a_file_stays_where_the_store_does_not_answer_whether_its_message_was_stored(site, monkeypatch):
    id, real = new_message_id(), StoreExecutor.ask

    async def ask(executor, question):
        if commits.begun.is_set():
            raise StoreError("it is locked")
        return await real(executor, question)

    async with site.engine() as engine:
        with monkeypatch.context() as patched:
            commits = Commits(patched, after=StoreError("this was stored, but"))
            patched.setattr(StoreExecutor, "ask", ask)
            with pytest.raises(StoreError, match="this was stored, but"):
                await engine.submit_as(large(), id)
    assert site.files == {id}


async def test_a_file_stays_where_nobody_can_tell_whether_its_message_was_stored(site, monkeypatch):
    id = new_message_id()
    with pytest.raises(postroad.EngineCrashed):
        async with site.engine() as engine:
            Commits(monkeypatch, before=StoreBroken("the sync failed"))
            with pytest.raises(StoreBroken):
                await engine.submit_as(large(), id)
            await trio.sleep_forever()
    assert site.files == {id}


async def test_a_submitter_cancelled_before_the_commit_takes_its_file_along(site, monkeypatch):
    async with site.engine() as engine:
        with monkeypatch.context() as patched:
            commits, line = Commits(patched), Line(patched)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(engine.submit, submission())
                await commits.begun.wait()
                with trio.CancelScope() as scope:
                    nursery.start_soon(_cancel_when, line, 2, scope)
                    await engine.submit(large())
                assert scope.cancelled_caught
                assert site.files == set()
                commits.may_go.set()
        assert (await engine.status()).messages == 1


async def _cancel_when(line, count, scope):
    await line.wait_for(count)
    scope.cancel()


async def test_a_submitter_cancelled_during_the_commit_leaves_its_file_to_the_message(site, monkeypatch):
    id = new_message_id()
    async with site.engine() as engine:
        with monkeypatch.context() as patched:
            commits = Commits(patched)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(engine.submit_as, large(), id)
                await commits.begun.wait()
                nursery.cancel_scope.cancel()
                commits.may_go.set()
        assert (await engine.message(id)).message.id == id
    assert site.files == {id}


async def test_a_submitter_who_waits_when_the_engine_closes_leaves_no_file(site, monkeypatch):
    caught = []

    async def submit(engine):
        try:
            await engine.submit(large())
        except EngineClosed as error:
            caught.append(error)

    async with trio.open_nursery() as nursery, site.engine() as engine:
        commits, line = Commits(monkeypatch), Line(monkeypatch)
        nursery.start_soon(engine.submit, submission())
        await commits.begun.wait()
        nursery.start_soon(submit, engine)
        await line.wait_for(2)
        engine.shut()
        commits.may_go.set()
    assert len(caught) == 1
    assert site.files == set()
