"""A spool that was restored from a backup sends nothing by itself; and nothing else is taken for a restored one."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path

import apsw
import pytest
import trio
from structlog.testing import capture_logs

from postroad import Filter, Submission, Verdict
from postroad.config import load_config
from postroad.errors import StoreError
from postroad.gate_protocol import ReleaseAll, Written
from postroad.housekeeping import VIRTUAL_SECONDS
from postroad.offline import open_offline
from postroad.reached import Progress, Reached
from postroad.salvage import salvage
from postroad.spool import SpoolPlace
from postroad.store.contract import CLOCK, IN_DOUBT, RESTORED, Remember
from postroad.store.sqlite import SqliteStore, sqlite_store
from postroad.store.states import State
from postroad.testing.engine import open_test_engine
from postroad.testing.fakes import ScriptedTransport

RAW = b"From: a@example.com\r\nTo: b@example.org\r\nSubject: Hello\r\n\r\nHello.\r\n"
LONG = 3600  # any message that waits is tried again within that
DOWN = Verdict.deferred("451 later", status="4.7.1")


def engine_at(folder, transport=None, **sections):
    spool = {"url": f"sqlite:{folder / 'p.db'}", "socket": False, "reserve_bytes": 0}
    return open_test_engine(transport=transport, spool=spool, **sections)


def submission(address="b@example.org"):
    return Submission(sender="a@example.com", recipients=(address,), content=RAW)


def backed_up(folder: Path, name: str = "backup.db") -> Path:
    """A copy of the database alone, by SQLite's online backup, as the documentation says."""
    copy = folder.with_name(name)
    source, target = apsw.Connection(str(folder / "p.db")), apsw.Connection(str(copy))
    with target.backup("main", source, "main") as backup:
        backup.step()
    source.close()
    target.close()
    return copy


def put_back(copy: Path, folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    for old in folder.glob("p.db-*"):
        old.unlink()
    shutil.copyfile(copy, folder / "p.db")


async def a_backup_with_a_message_that_waits(folder: Path, *addresses: str) -> Path:
    async with engine_at(folder, ScriptedTransport(default=DOWN)) as engine:
        for address in addresses or ("b@example.org",):
            await engine.submit(submission(address))
        await trio.sleep(1)
        return backed_up(folder)


async def delivered_at(folder: Path, *, seconds: float = LONG) -> list[str]:
    """What an engine with a server that takes everything delivers there in some time."""
    transport = ScriptedTransport()
    async with engine_at(folder, transport):
        await trio.sleep(seconds)
    return sorted(address for call in transport.calls for address in call.addresses)


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """Where the spool is.  Its store works in line: virtual time would jump on while a thread is at it."""
    monkeypatch.setattr(SqliteStore, "threaded", False)
    return tmp_path / "spool"


# --- restored ---


async def test_what_was_delivered_after_the_backup_is_held_in_doubt_and_not_sent_again(autojump_clock, folder):
    copy = await a_backup_with_a_message_that_waits(folder)
    assert await delivered_at(folder) == ["b@example.org"]
    put_back(copy, folder)
    transport = ScriptedTransport()
    with capture_logs() as logs:
        async with engine_at(folder, transport) as engine:
            await (await engine.submit(submission("new@example.org"))).settled()
            await trio.sleep(LONG)
            (stored,) = await engine.find(Filter(in_doubt=True))
            status = await engine.status()
    (recipient,) = stored.recipients
    assert [call.addresses for call in transport.calls] == [("new@example.org",)]
    assert (recipient.state, recipient.reason) == (State.HELD, f"{IN_DOUBT}: {RESTORED}")
    assert status.in_doubt == 1
    (line,) = [log for log in logs if log["event"] == "spool_restored"]
    assert (line["in_doubt"], line["log_level"]) == (1, "error")


async def test_what_is_held_is_sent_when_somebody_asks_for_it_and_stays_in_doubt(autojump_clock, folder):
    copy = await a_backup_with_a_message_that_waits(folder)
    await delivered_at(folder)
    put_back(copy, folder)
    transport = ScriptedTransport()
    async with engine_at(folder, transport) as engine:
        await engine.release(Filter())
        (call,) = await transport.wait_ended(1)
    assert [(to.address, to.in_doubt) for to in call.request.recipients] == [("b@example.org", True)]


async def test_what_is_held_can_be_taken_as_delivered(autojump_clock, folder):
    copy = await a_backup_with_a_message_that_waits(folder)
    await delivered_at(folder)
    put_back(copy, folder)
    async with engine_at(folder) as engine:
        assert (await engine.take_as_delivered(Filter())).recipients == 1
    with sqlite_store(str(folder / "p.db"), folder=folder) as store:
        assert store.counts() == {State.ACCEPTED: 1}


async def test_a_backup_of_the_same_life_is_noticed_once_housekeeping_has_been_there(autojump_clock, folder):
    async with engine_at(folder, ScriptedTransport([DOWN])) as engine:
        await engine.submit(submission())
        await trio.sleep(1)
        copy = backed_up(folder)
        await trio.sleep(VIRTUAL_SECONDS * 2)
        assert (await engine.status()).recipients == 0
    put_back(copy, folder)
    assert await delivered_at(folder) == []


async def test_a_backup_that_is_put_into_another_folder_without_the_file_beside_it_is_noticed(autojump_clock, folder):
    copy = await a_backup_with_a_message_that_waits(folder)
    await delivered_at(folder)
    other = folder.with_name("other")
    put_back(copy, other)
    assert await delivered_at(other) == []
    assert await delivered_at(other) == [], "the next start finds it held"


async def test_deleting_the_file_says_that_a_whole_folder_was_restored(autojump_clock, folder):
    await a_backup_with_a_message_that_waits(folder)
    whole = folder.with_name("whole")
    shutil.copytree(folder, whole)
    await delivered_at(folder)
    shutil.rmtree(folder)
    shutil.copytree(whole, folder)
    (folder / "p.db.reached").unlink()
    assert await delivered_at(folder) == []


async def test_every_backup_from_before_a_restore_is_noticed_after_it_too(autojump_clock, folder):
    first = await a_backup_with_a_message_that_waits(folder)
    for _ in range(3):
        await delivered_at(folder, seconds=1)
    later = backed_up(folder, "later.db")
    await delivered_at(folder)
    put_back(first, folder)
    assert await delivered_at(folder) == []
    put_back(later, folder)
    with sqlite_store(str(folder / "p.db"), folder=folder) as store:
        assert store.recall("incarnation") == b"4"
    with capture_logs() as logs:
        await delivered_at(folder)
    assert "spool_restored" in [log["event"] for log in logs]


async def test_what_waited_for_a_route_or_an_operator_is_in_doubt_too_and_found_no_route_by_itself(
    autojump_clock, folder
):
    nobody = {"routes": [{"transport": "scripted", "recipients": "*@example.org"}]}
    async with engine_at(folder, ScriptedTransport(default=DOWN), **nobody) as engine:
        await engine.submit(submission("a@elsewhere.example"))
        await engine.submit(submission("b@example.org"))
        await trio.sleep(1)
        await engine.hold(Filter(recipient="b@example.org"), "looks odd")
        copy = backed_up(folder)
    put_back(copy, folder.with_name("other"))
    async with engine_at(folder.with_name("other")) as engine:
        await trio.sleep(LONG)
        rows = {row.address: row for stored in await engine.find(Filter()) for row in stored.recipients}
    assert {(row.state, row.in_doubt) for row in rows.values()} == {(State.HELD, True)}
    assert rows["a@elsewhere.example"].reason == f"{IN_DOUBT}: {RESTORED}"
    assert rows["b@example.org"].reason == "looks odd"


# --- not restored ---


def not_restored(logs) -> bool:
    return "spool_restored" not in [log["event"] for log in logs]


@pytest.mark.parametrize("left", [b"", bytes(32), b"0" * 32, b"9" * 40, "older"])
async def test_a_file_that_is_behind_as_a_power_failure_leaves_it_holds_nothing(autojump_clock, folder, left):
    await a_backup_with_a_message_that_waits(folder)
    older = (folder / "p.db.reached").read_bytes()
    async with engine_at(folder, ScriptedTransport(default=DOWN)):
        await trio.sleep(VIRTUAL_SECONDS * 3)
    (folder / "p.db.reached").write_bytes(older if left == "older" else left)
    assert await delivered_at(folder) == ["b@example.org"]


@pytest.mark.parametrize("seconds", [0, 1, VIRTUAL_SECONDS + 1])
async def test_a_kill_is_no_restore(autojump_clock, folder, seconds):
    killed = folder.with_name("killed")
    async with engine_at(folder, ScriptedTransport(default=DOWN)) as engine:
        await engine.submit(submission())
        await trio.sleep(seconds)
        shutil.copytree(folder, killed)
    assert await delivered_at(killed) == ["b@example.org"]


async def test_the_file_is_never_ahead_of_what_is_committed_whichever_commit_a_kill_cuts(
    autojump_clock, folder, monkeypatch
):
    """Before and after each commit of two lives, the next start would not find a restored spool."""
    apply, looks = SqliteStore.apply, []

    def is_restored(store):
        life, clock = (int(store.recall(name) or b"0") for name in ("incarnation", CLOCK))
        return Reached(folder / "p.db.reached").is_ahead_of(Progress(life, clock))

    def watched(self, operations):
        looks.append(is_restored(self))
        answers = apply(self, operations)
        looks.append(is_restored(self))
        return answers

    monkeypatch.setattr(SqliteStore, "apply", watched)
    for _ in range(2):
        async with engine_at(folder, ScriptedTransport(default=DOWN)) as engine:
            await engine.submit(submission())
            await trio.sleep(VIRTUAL_SECONDS * 3 + 1)
    assert len(looks) > 20
    assert not any(looks)


async def test_a_start_whose_first_commit_fails_is_no_restore(autojump_clock, folder, monkeypatch):
    for address in ("b@example.org", "c@example.org"):
        with monkeypatch.context() as patched, suppress(StoreError):
            patched.setattr(SqliteStore, "apply", lambda self, operations: (_ for _ in ()).throw(StoreError("no")))
            async with engine_at(folder):
                pytest.fail("the engine has no spool")
        await a_backup_with_a_message_that_waits(folder, address)
    assert await delivered_at(folder) == ["b@example.org", "c@example.org"]


async def test_a_folder_that_was_moved_is_no_restore(autojump_clock, folder):
    await a_backup_with_a_message_that_waits(folder)
    moved = folder.rename(folder.with_name("moved"))
    assert await delivered_at(moved) == ["b@example.org"]


async def test_what_was_salvaged_and_put_into_the_old_place_is_no_restore(autojump_clock, folder):
    await a_backup_with_a_message_that_waits(folder)
    place = SpoolPlace.parse("sqlite:p.db", folder)
    salvage(place, folder / "new.db")
    for path in folder.glob("p.db*"):
        if path.name != "p.db.reached":
            path.unlink()
    (folder / "new.db").rename(folder / "p.db")
    with capture_logs() as logs:
        assert await delivered_at(folder) == ["b@example.org"]
    assert not_restored(logs)


async def test_what_other_processes_hand_over_while_no_engine_runs_is_sent(autojump_clock, folder):
    place = SpoolPlace.parse("sqlite:p.db", folder)
    config = load_config({"senders": {"authorized": ["*"]}, "reports": {"hostname": "engine.test"}})
    for number in range(2):
        with open_offline(place, config) as door:
            to = (f"{number}@example.org",)
            door.do(Written(id=f"{number:020}", sender="a@example.com", recipients=to, content=RAW))
        assert await delivered_at(folder) == [f"{number}@example.org"]


async def test_releasing_without_an_engine_after_a_restore_is_asking_for_it(autojump_clock, folder):
    copy = await a_backup_with_a_message_that_waits(folder)
    await delivered_at(folder)
    put_back(copy, folder)
    await delivered_at(folder)
    with open_offline(SpoolPlace.parse("sqlite:p.db", folder), None) as door:
        door.do(ReleaseAll(filter=Filter()))
    assert await delivered_at(folder) == ["b@example.org"]


@pytest.mark.parametrize("name", ["incarnation", CLOCK])
async def test_a_fact_that_was_damaged_and_forgotten_is_no_restore(autojump_clock, folder, name):
    await a_backup_with_a_message_that_waits(folder)
    with sqlite_store(str(folder / "p.db"), folder=folder) as store:
        store.apply([Remember(name, None)])
    with capture_logs() as logs:
        await delivered_at(folder)
    assert not_restored(logs)


async def test_a_spool_in_memory_has_no_file(tmp_path):
    reached = Reached(None)
    reached.make()
    reached.note(Progress(3, 4))
    assert not reached.is_ahead_of(Progress(1, 1))
    assert list(tmp_path.iterdir()) == []


# --- the file ---


def test_the_file_says_what_was_noted_and_a_later_note_replaces_it(tmp_path):
    path = tmp_path / "p.db.reached"
    reached = Reached(path)
    reached.make()
    for progress in (Progress(1, 1_700_000_000), Progress(1, 1_700_000_030), Progress(123, 7)):
        reached.note(progress)
        found = Reached(path)
        assert found.life == progress.life
        assert not found.is_ahead_of(progress)
        assert found.is_ahead_of(progress._replace(clock=progress.clock - 1))


@pytest.mark.parametrize("at", range(32))
def test_a_file_with_one_wrong_octet_says_nothing(tmp_path, at):
    path = tmp_path / "p.db.reached"
    reached = Reached(path)
    reached.make()
    reached.note(Progress(12, 1_700_000_000))
    octets = bytearray(path.read_bytes())
    octets[at] = ord("9") if octets[at] != ord("9") else ord("8")
    path.write_bytes(octets)
    assert Reached(path).life == 0


def test_a_file_that_was_deleted_is_not_made_again_by_a_note(tmp_path):
    reached = Reached(tmp_path / "p.db.reached")
    reached.note(Progress(1, 1))
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_used_is_named(tmp_path):
    (tmp_path / "p.db.reached").mkdir()
    with pytest.raises(StoreError, match=r"p\.db\.reached cannot be used"):
        Reached(tmp_path / "p.db.reached")
