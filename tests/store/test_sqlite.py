"""What is SQLite's own: opening, durability settings, broken storage, damaged rows, and what questions cost."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest

from postroad.errors import SpoolForeign, SpoolTooNew, StoreBroken, StoreError
from postroad.store import sql
from postroad.store.contract import Accepted, Filter, Move, Prune, Recover, Release, Remember, TakeLeases, Taken
from postroad.store.sqlite import SqliteStore, sqlite_store
from postroad.store.sqlite_open import require_sqlite
from postroad.store.states import State, Step
from postroad.testing.store_bench import CONTENT, NOW, Bench, accept, lanes_of, recipient


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "spool.db"


@pytest.fixture
def bench(path: Path) -> Iterator[Bench]:
    with sqlite_store(str(path), folder=path.parent) as store:
        yield Bench(store)


class Tapped:
    """A connection that writes down its statements and fails where it is told to."""

    def __init__(self, path: str, log: list[str]) -> None:
        self._connection = apsw.Connection(path)
        self._log = log
        self.failures: dict[str, Exception] = {}

    def execute(self, statement: str, bindings: Any = None) -> Any:
        self._log.append(statement)
        if statement in self.failures:
            raise self.failures[statement]
        return self._connection.execute(statement, bindings)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    @property
    def in_transaction(self) -> bool:
        return self._connection.in_transaction


def tapped_store(path: Path, log: list[str] | None = None) -> tuple[SqliteStore, Tapped]:
    log = [] if log is None else log
    made: list[Tapped] = []

    def connect(path: str) -> Any:
        made.append(Tapped(path, log))
        return made[-1]

    return SqliteStore(path, connect=connect), made[0]


# --- Opening ---


def test_a_new_spool_goes_to_wal_in_the_order_that_survives_power_failures(path: Path) -> None:
    log: list[str] = []
    store, _ = tapped_store(path, log)
    store.close()
    order = [
        "PRAGMA locking_mode = NORMAL",
        "PRAGMA synchronous = EXTRA",
        "PRAGMA journal_mode = WAL",
        "PRAGMA synchronous = FULL",
        sql.SCHEMA[0],
    ]
    assert [statement for statement in log if statement in order][:5] == order


def test_the_folder_is_synced_after_the_files_are_there(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[tuple[str, set[str]]] = []
    monkeypatch.setattr(
        os, "fsync", lambda fd: synced.append((os.readlink(f"/proc/self/fd/{fd}"), set(os.listdir(path.parent))))
    )
    with sqlite_store(str(path), folder=path.parent):
        pass
    folder, files = synced[-1]
    assert folder == str(path.parent)
    assert {"spool.db", "spool.db-wal"} <= files


def test_the_settings_that_durability_depends_on(bench: Bench) -> None:
    store = bench.store
    assert isinstance(store, SqliteStore)
    found = {
        name: store._writer.execute(f"PRAGMA {name}").get
        for name in ("journal_mode", "synchronous", "locking_mode", "wal_autocheckpoint", "mmap_size")
    }
    assert found["journal_mode"] == "wal"
    assert found["synchronous"] == 2
    assert found["locking_mode"] == "normal"
    assert found["wal_autocheckpoint"] == 0
    assert found["mmap_size"] in (0, None)
    assert store._second.execute("PRAGMA query_only").get == 1


def test_only_the_owner_can_read_a_spool(bench: Bench, path: Path) -> None:
    for name in ("spool.db", "spool.db-wal", "spool.db-shm"):
        assert stat.S_IMODE(path.with_name(name).stat().st_mode) == 0o600


def test_a_sqlite_that_can_corrupt_a_wal_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apsw, "sqlite_lib_version", lambda: "3.51.2")
    with pytest.raises(StoreError, match=r"SQLite 3\.51\.2 .* install apsw"):
        SqliteStore(path)
    assert not path.exists()
    monkeypatch.setattr(apsw, "sqlite_lib_version", lambda: "3.51.3")
    require_sqlite()


def test_a_spool_of_a_later_version_is_left_alone(path: Path) -> None:
    SqliteStore(path).close()
    with apsw.Connection(str(path)) as connection:
        connection.execute(f"PRAGMA user_version = {sql.SCHEMA_VERSION + 1}")
    connection.close()
    with pytest.raises(SpoolTooNew, match="use the newer Postroad"):
        SqliteStore(path)


def test_another_programs_database_is_left_alone(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE theirs (x)")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(SpoolForeign, match=f"{re.escape(str(path))} is a database of another program"):
        SqliteStore(path)
    assert path.read_bytes() == before


def test_a_file_that_is_no_database_is_left_alone(path: Path) -> None:
    path.write_bytes(b"something else entirely\n" * 100)
    with pytest.raises(StoreError, match="cannot be opened"):
        SqliteStore(path)
    assert path.read_bytes() == b"something else entirely\n" * 100


def test_a_folder_that_is_missing_is_a_store_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be opened"):
        SqliteStore(tmp_path / "missing" / "spool.db")


def _fill(path: Path, messages: int = 30) -> None:
    with sqlite_store(str(path), folder=path.parent) as store:
        store.apply([accept(f"m{number:03}", content=b"x" * 9000) for number in range(messages)])


def test_a_truncated_spool_is_refused(path: Path) -> None:
    _fill(path)
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(StoreError):
        SqliteStore(path)


@pytest.mark.parametrize("part", [0.05, 0.5, 0.95])
def test_a_damaged_page_is_refused_at_opening(path: Path, part: float) -> None:
    """Also where opening would not come upon it by itself."""
    _fill(path)
    with path.open("r+b") as file:
        file.seek(4096 * int(part * path.stat().st_size / 4096))
        file.write(b"\xff" * 8192)
    with pytest.raises(StoreError, match="damaged"):
        SqliteStore(path)


def test_two_processes_may_open_a_new_spool_at_once(path: Path) -> None:
    """A door and an engine can meet there; the schema is made once."""
    one, two = SqliteStore(path), SqliteStore(path)
    one.apply([accept("m1")])
    (answer,) = two.apply([accept("m2")])
    assert isinstance(answer, Accepted)
    assert answer.handle == 2
    assert one.message("m2") is not None
    one.apply([accept("m3")])
    assert one.tally().messages == 3
    one.close()
    two.close()


# --- Broken storage ---


def test_after_a_failed_sync_nothing_is_written_any_more(path: Path) -> None:
    store, connection = tapped_store(path)
    store.apply([accept("m1")])
    connection.failures["COMMIT"] = apsw.IOError("disk I/O error")
    with pytest.raises(StoreBroken, match="cannot be trusted") as caught:
        store.apply([accept("m2")])
    assert isinstance(caught.value.__cause__, apsw.IOError)
    connection.failures.clear()
    commits = connection._log.count("COMMIT")
    for _ in range(2):
        with pytest.raises(StoreBroken, match="not written any more: disk I/O error"):
            store.apply([Remember("a", b"1")])
        with pytest.raises(StoreBroken):
            store.maintain(idle=True)
    assert connection._log.count("COMMIT") == commits
    assert store.message("m1") is not None
    assert store.tally().messages == 1
    store.close()


def test_a_full_disk_refuses_the_batch_and_nothing_else(path: Path) -> None:
    store, connection = tapped_store(path)
    store.apply([accept("m1")])
    connection.failures["COMMIT"] = apsw.FullError("database or disk is full")
    with pytest.raises(StoreError, match="disk is full") as caught:
        store.apply([accept("m2")])
    assert not isinstance(caught.value, StoreBroken)
    connection.failures.clear()
    assert store.message("m2") is None
    store.apply([accept("m3")])
    assert store.tally().messages == 2
    store.close()


def test_a_roll_back_that_fails_ends_the_writing(path: Path) -> None:
    store, connection = tapped_store(path)
    connection.failures.update({"COMMIT": apsw.FullError("full"), "ROLLBACK": apsw.Error("worse")})
    with pytest.raises(StoreError):
        store.apply([accept("m1")])
    with pytest.raises(StoreBroken, match="roll-back failed: worse"):
        store.apply([accept("m1")])
    store.close()


def test_a_locked_spool_is_a_store_error_and_works_again_later(bench: Bench, path: Path) -> None:
    assert isinstance(bench.store, SqliteStore)
    bench.store._writer.set_busy_timeout(1)
    other = apsw.Connection(str(path))
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match="cannot be written"):
        bench.store.apply([accept("m1")])
    other.execute("ROLLBACK")
    other.close()
    bench.accept("m1")


def test_a_forked_child_may_not_write(bench: Bench) -> None:
    child = os.fork()
    if child == 0:
        code = 1
        try:
            bench.store.apply([accept("m1")])
        except StoreError:
            code = 0
        os._exit(code)
    assert os.waitpid(child, 0)[1] == 0


# --- Damaged rows ---


def _damage(bench: Bench, id: str, record: bytes) -> bytes:
    assert isinstance(bench.store, SqliteStore)
    writer = bench.store._writer
    before: bytes = writer.execute("SELECT record FROM message WHERE id = ?", (id,)).get
    writer.execute("UPDATE message SET record = ? WHERE id = ?", (record, id))
    return before


@pytest.mark.parametrize("record", [b"", b"\xc1", b"\x80", b"\xff" * 50])
def test_a_record_that_cannot_be_read_is_parked_and_the_rest_flow(bench: Bench, record: bytes) -> None:
    bench.accept("m1", recipient("a@x"), recipient("b@x", "else"), recipient("c@x", state=State.HELD))
    bench.accept("m2")
    whole = _damage(bench, "m1", record)
    taken = bench.take()
    assert taken.parked == ("m1",)
    assert [lease.message.id for lease in taken.leases] == ["m2"]
    assert bench.states("m1") == [State.PARKED, State.PARKED, State.HELD]
    assert bench.message("m1").message.sender == "app@example.com"
    assert any("m1: its record cannot be read" in problem for problem in bench.store.check())
    assert bench.store.tally().recipients == 4
    _damage(bench, "m1", whole)
    bench.store.apply([Release(Filter(), NOW)])
    assert bench.states("m1")[0] is State.PARKED
    bench.store.apply([Release(Filter(states=(State.PARKED,)), NOW)])
    assert bench.states("m1") == [State.WAITING] * 3
    assert len(bench.take().leases) == 1


def test_a_leased_row_whose_state_was_damaged_settles_nothing_and_holds_up_no_other(bench: Bench) -> None:
    bench.accept("m1", recipient("a@x"), recipient("b@x"))
    lease = bench.lease()
    assert isinstance(bench.store, SqliteStore)
    bench.store._writer.execute("UPDATE recipient SET state = ? WHERE address = 'a@x'", (int(State.PARKED),))
    assert bench.settle(lease, Step.DELIVER).states == (None, State.ACCEPTED)
    assert bench.states("m1") == [State.PARKED, State.ACCEPTED]


def test_recipients_without_a_message_are_parked(bench: Bench) -> None:
    bench.accept("m1")
    bench.accept("m2")
    assert isinstance(bench.store, SqliteStore)
    bench.store._writer.execute("DELETE FROM message WHERE id = 'm1'")
    taken = bench.take()
    assert ([lease.message.id for lease in taken.leases], taken.parked) == (["m2"], ("?",))
    assert any("recipients of message 1, which is missing" in problem for problem in bench.store.check())


def test_lost_content_is_a_store_error_and_a_problem(bench: Bench) -> None:
    handle = bench.accept("m1")
    assert isinstance(bench.store, SqliteStore)
    bench.store._writer.execute("DELETE FROM content")
    with pytest.raises(StoreError, match="is gone"):
        bench.store.content(handle)
    assert bench.store.check() == ["Message m1 is unfinished, and its content is missing."]
    assert bench.take().parked == ("m1",)
    assert bench.row("m1").reason == "cannot be read: its content is gone"


def test_a_wrong_tally_is_a_problem(bench: Bench) -> None:
    bench.accept("m1")
    assert isinstance(bench.store, SqliteStore)
    bench.store._writer.execute("UPDATE spool SET messages = 7")
    bench.store._writer.execute("UPDATE message SET unfinished = 2")
    problems = bench.store.check()
    assert any("The tally says (7, 1, 24)" in problem for problem in problems)
    assert any("m1: its count of recipients is wrong" in problem for problem in problems)


# --- Threads, log, costs ---


def test_questions_are_answered_from_another_thread_while_a_batch_is_applied(bench: Bench) -> None:
    handle = bench.accept("m1")
    answers: list[object] = []

    def ask() -> None:
        answers.extend([bench.store.content(handle), bench.states("m1"), lanes_of(bench.store)])

    def choose(message: object, address: str) -> None:
        thread = threading.Thread(target=ask)
        thread.start()
        thread.join(10)

    bench.store.apply([Move("out/example.org", choose, NOW)])
    assert answers == [CONTENT, [State.WAITING], {"out/example.org": NOW}]
    assert bench.states("m1") == [State.HELD]


def test_the_log_is_folded_in_when_idle_and_when_it_grows(bench: Bench, path: Path) -> None:
    log = path.with_name("spool.db-wal")
    for number in range(3):
        bench.store.apply([accept(f"m{number}", content=b"x" * 1_000_000)])
    size = path.stat().st_size
    bench.store.maintain(idle=True)
    assert path.stat().st_size == size, "three megabytes are not worth it yet"
    bench.store.apply([accept("m3", content=b"x" * 2_000_000)])
    bench.store.maintain(idle=False)
    assert path.stat().st_size == size, "somebody waits"
    bench.store.maintain(idle=True)
    assert path.stat().st_size > 5_000_000
    grown = log.stat().st_size
    for number in range(4, 12):
        bench.store.apply([accept(f"m{number}", content=b"x" * 1_000_000)])
        bench.store.maintain(idle=True)
    assert log.stat().st_size <= grown + 1_000_000, "the log is used anew after it was folded in"
    assert bench.store.check() == []


def test_commits_go_into_room_that_was_made_for_them(bench: Bench, path: Path) -> None:
    """A file that grows costs each commit the file system's own journal."""
    log = path.with_name("spool.db-wal")
    bench.accept("m00")
    bench.store.maintain(idle=False)
    room = log.stat().st_size
    assert room == 4 << 20
    for number in range(1, 30):
        bench.accept(f"m{number:02}", content=b"x" * 50_000)
        bench.store.maintain(idle=False)
    assert log.stat().st_size == room
    assert bench.store.check() == []


def test_a_log_that_has_nothing_yet_gets_no_room(path: Path) -> None:
    """Zeros where its header will be would look like a damaged one."""
    for _ in range(2):
        with sqlite_store(str(path), folder=path.parent) as store:
            pass
    with sqlite_store(str(path), folder=path.parent) as store:
        for is_idle in (False, True):
            store.apply([])
            store.maintain(idle=is_idle)
        assert path.with_name("spool.db-wal").stat().st_size == 0


def test_a_log_that_many_commits_wrote_is_folded_in_though_somebody_waits(
    bench: Bench, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("postroad.store.sqlite._IDLE_PAGES", 20)
    log = path.with_name("spool.db-wal")
    bench.accept("m00")
    bench.store.maintain(idle=False)
    size, room = path.stat().st_size, log.stat().st_size
    for number in range(1, 200):
        bench.accept(f"m{number:03}", content=b"x" * 20_000)
        bench.store.maintain(idle=False)
        assert (path.stat().st_size > size) is (number >= 63), "64 commits with that of m00"
    assert log.stat().st_size == room, "8 MB went through its 4"


def test_a_log_that_was_cut_gets_room_again(bench: Bench, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, pages in (("_IDLE_PAGES", 1), ("_HUGE_PAGES", 10)):
        monkeypatch.setattr(f"postroad.store.sqlite.{name}", pages)
    log = path.with_name("spool.db-wal")
    bench.accept("m1", content=b"x" * 50_000)
    bench.store.maintain(idle=True)
    assert log.stat().st_size == 0
    bench.accept("m2")
    bench.store.maintain(idle=False)
    assert log.stat().st_size == 4 << 20
    assert bench.store.check() == []


def test_a_reader_that_stays_holds_up_no_commit_and_the_log_is_cut_afterwards(
    bench: Bench, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, pages in (("_IDLE_PAGES", 1), ("_BUSY_PAGES", 5), ("_HUGE_PAGES", 10)):
        monkeypatch.setattr(f"postroad.store.sqlite.{name}", pages)
    log = path.with_name("spool.db-wal")
    reader = apsw.Connection(str(path))
    reader.execute("BEGIN; SELECT * FROM spool")
    bench.accept("m1", content=b"x" * 100_000)
    began = time.monotonic()
    bench.store.maintain(idle=False)
    assert time.monotonic() - began < 5, "it does not wait for the reader"
    assert log.stat().st_size > 100_000
    reader.execute("ROLLBACK")
    reader.close()
    bench.store.maintain(idle=False)
    assert log.stat().st_size == 0
    bench.accept("m2")
    assert bench.store.check() == []


def test_a_copy_taken_behind_our_back_does_not_lose_the_log(bench: Bench, path: Path, tmp_path: Path) -> None:
    bench.accept("m1")
    for name in ("spool.db", "spool.db-wal"):
        shutil.copy(path.with_name(name), tmp_path / name.replace("spool", "copy"))
    with sqlite_store(str(tmp_path / "copy.db"), folder=tmp_path) as copy:
        assert copy.message("m1") is not None


def _steps(store: SqliteStore, work: Callable[[], object]) -> int:
    """How many hundred steps of SQLite's machine some work takes."""
    counted = [0]

    def count() -> bool:
        counted[0] += 1
        return False

    connections: list[Any] = [store._writer, store._second]
    for connection in connections:
        connection.set_progress_handler(count, 100)
    work()
    for connection in connections:
        connection.set_progress_handler(None)
    return counted[0]


@pytest.mark.parametrize("messages", [100, 5000])
def test_what_is_not_due_costs_nothing(bench: Bench, messages: int) -> None:
    store = bench.store
    assert isinstance(store, SqliteStore)
    later = [accept(f"l{n:05}", recipient(due=NOW + 99), content=b"", priority=n % 10) for n in range(messages)]
    store.apply([*later, accept("now", recipient(due=NOW))])
    take = TakeLeases("out/example.org", NOW, (1, 2, 3))
    taken: list[Any] = []
    assert _steps(store, lambda: taken.extend(store.apply([take]))) < 20
    assert isinstance(taken[0], Taken)
    assert [lease.message.id for lease in taken[0].leases] == ["now"]
    assert _steps(store, lambda: lanes_of(store)) < 20
    assert _steps(store, lambda: store.apply([accept("more")])) < 20
    assert _steps(store, lambda: store.counts()) > messages // 50, "a scan is seen as one"
    assert _steps(store, lambda: store.failures(5)) < 5
    assert _steps(store, lambda: store.delays(5)) < 5


@pytest.mark.parametrize("finished", [100, 3000])
def test_what_is_finished_costs_nothing(bench: Bench, finished: int) -> None:
    store = bench.store
    assert isinstance(store, SqliteStore)
    store.apply([accept(f"m{n:05}", content=b"") for n in range(finished)])
    for lease in bench.take(finished).leases:
        bench.settle(lease, Step.DELIVER)
    assert _steps(store, lambda: store.apply([Recover(frozenset(), rebooted=False, now=NOW)])) < 10
    assert _steps(store, lambda: store.apply([Prune(before=NOW, now=NOW)])) < 10
    assert _steps(store, lambda: lanes_of(store)) < 10


_ACCEPT_FOR_EVER = """
import itertools, pathlib, sys
from postroad.store.contract import Accept, NewRecipient, Outcome, Settle, TakeLeases
from postroad.store.sqlite import SqliteStore
from postroad.store.states import Step
from postroad.message import Message
store, run = SqliteStore(pathlib.Path(sys.argv[1])), sys.argv[2]
for turn in itertools.count():
    ids = [f"{run}-{turn:06}-{number}" for number in range(turn % 7 + 1)]
    fresh = [Accept(Message(id=id, sender="", accepted_at=0.0, size=len(id) * 300), (NewRecipient("a@x", "l", 0.0),),
                    id.encode() * 300) for id in ids]
    take = TakeLeases("l", 1.0, (turn + 1,))
    taken = store.apply([*fresh, take])[-1]
    for id in ids:
        print("accepted", id)
    store.maintain(idle=turn % 50 == 0)
    for lease in taken.leases:
        store.apply([Settle((Outcome(lease.token, lease.handle, 0, Step.DELIVER),), 1.0)])
        print("delivered", lease.message.id)
    sys.stdout.flush()
"""


def test_no_acknowledged_message_is_lost_when_the_process_is_killed(path: Path) -> None:
    """At a dozen different moments; what was said to be delivered is never leased again."""
    said: dict[str, set[str]] = {"accepted": set(), "delivered": set()}
    for run in range(12):
        command = [sys.executable, "-c", _ACCEPT_FOR_EVER, str(path), str(run)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            for _, line in zip(range(5 + 17 * run), child.stdout, strict=False):
                _note(said, line)
            child.kill()
            for line in child.stdout:
                _note(said, line)
        _all_there(path, said)
    assert len(said["accepted"]) > 300
    assert len(said["delivered"]) > 50


def _note(said: dict[str, set[str]], line: bytes) -> None:
    verb, _, id = line.decode().rstrip("\n").partition(" ")
    if line.endswith(b"\n"):
        said[verb].add(id)


def _all_there(path: Path, said: dict[str, set[str]]) -> None:
    with sqlite_store(str(path), folder=path.parent) as store:
        there = {one.message.id: one for one in store.find(Filter(), 1_000_000)}
        assert said["accepted"] <= there.keys()
        for id, one in there.items():
            if one.recipients[0].state is State.ACCEPTED:
                continue
            assert id not in said["delivered"]
            assert store.content(one.handle) == id.encode() * 300
        assert store.check() == []
