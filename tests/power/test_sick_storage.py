"""Storage that fails under the store: syncs, writes, room, locks, pages.  What was accepted stays; the error says what to do."""

from __future__ import annotations

import errno
import os
import random
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from power_disk import Disk
from power_vfs import mounted
from power_workload import opened

from postroad.errors import PostroadError, StoreBroken, StoreError, StoreFull
from postroad.store.contract import Filter, Outcome, Prune, Recover, Settle, TakeLeases, Taken
from postroad.store.states import State, Step
from postroad.testing.store_bench import CONTENT, NOW, accept, recipient

_QUICK = "/dev/shm"
LOG = "postroad.db-wal"


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=_QUICK if Path(_QUICK).is_dir() else None) as name:
        yield Path(name)


@pytest.fixture
def disk(folder: Path) -> Disk:
    return Disk(folder / "disk")


def failing(action: str, ending: str, number: int) -> Callable[[str, str], OSError | None]:
    """Fails every such step."""

    def trouble(what: str, name: str) -> OSError | None:
        return OSError(number, os.strerror(number)) if what == action and name.endswith(ending) else None

    return trouble


def healthy(action: str, name: str) -> None:
    return None


def ids_of(spool: Any) -> set[str]:
    return {one.message.id for one in spool.store.find(Filter(), 1000)}


# --- A failed sync ---


def test_after_a_failed_sync_the_log_is_not_synced_by_the_same_store_again(disk: Disk) -> None:
    asked: list[str] = []
    with mounted(disk) as connect, opened(disk, connect) as spool:
        spool.store.apply([accept("m1")])
        disk.trouble = failing("sync", LOG, errno.EIO)
        with pytest.raises(StoreBroken):
            spool.store.apply([accept("m2")])

        def note(action: str, name: str) -> None:
            asked.extend([name] if action == "sync" else [])

        disk.trouble = note
        for _ in range(2):
            with pytest.raises(StoreBroken, match="start the engine again"):
                spool.store.apply([accept("m3")])
        with pytest.raises(StoreBroken):
            spool.store.maintain(idle=True)
        spool.store.close()
    assert asked == []


def test_what_is_committed_after_a_failed_sync_and_a_restart_survives_a_power_failure(disk: Disk, folder: Path) -> None:
    """The failed commit can still be read; it must not stand, in memory only, before those that follow in the log."""
    with mounted(disk) as connect:
        with opened(disk, connect) as spool:
            spool.store.apply([accept("before")])
            disk.trouble = failing("sync", LOG, errno.EIO)
            with pytest.raises(StoreBroken):
                spool.store.apply([accept("failed", content=b"x" * 9000)])
            disk.trouble = healthy
        with pytest.raises(StoreError, match="not closed cleanly"), opened(disk, connect) as spool:
            spool.store.apply([accept("after")])
            disk.cut_at = disk.steps + 1
    found = disk.after_cut(random.Random(1), folder / "found")
    with mounted(found) as connect, opened(found, connect) as spool:
        assert {"before", "after"} <= ids_of(spool)
        assert spool.store.check() == []


def test_where_the_log_gets_no_room_commits_go_on(disk: Disk) -> None:
    with mounted(disk) as connect:
        with opened(disk, connect) as spool:
            spool.store.apply([accept("m1")])
            log = next(disk.root.rglob(LOG))
            size = log.stat().st_size
            disk.trouble = failing("write", LOG, errno.ENOSPC)
            spool.store.maintain(idle=False)
            disk.trouble = healthy
            assert log.stat().st_size == size
            spool.store.apply([accept("m2")])
            assert ids_of(spool) == {"m1", "m2"}
        with opened(disk, connect) as spool:
            assert ids_of(spool) == {"m1", "m2"}


def test_room_that_the_disk_has_only_half_of_is_given_back(disk: Disk) -> None:
    with mounted(disk) as connect, opened(disk, connect) as spool:
        spool.store.apply([accept("m1")])
        log = next(disk.root.rglob(LOG))
        size = log.stat().st_size
        disk.trouble = lambda action, name: (
            OSError(errno.ENOSPC, "full") if action == "write" and log.stat().st_size > 1_000_000 else None
        )
        spool.store.maintain(idle=False)
        disk.trouble = healthy
        assert log.stat().st_size == size
        spool.store.apply([accept("m2")])
        assert spool.store.check() == []


def test_room_whose_sync_failed_ends_the_writing(disk: Disk) -> None:
    with mounted(disk) as connect:
        with opened(disk, connect) as spool:
            spool.store.apply([accept("m1")])
            disk.trouble = failing("sync", LOG, errno.EIO)
            try:
                with pytest.raises(StoreBroken, match="cannot be trusted"):
                    spool.store.maintain(idle=False)
            finally:
                disk.trouble = healthy
            with pytest.raises(StoreBroken):
                spool.store.apply([accept("m2")])
        with opened(disk, connect) as spool:
            assert ids_of(spool) == {"m1"}


@pytest.mark.parametrize("action", ["write", "sync"])
def test_an_io_error_ends_the_writing_and_loses_nothing(disk: Disk, action: str) -> None:
    with mounted(disk) as connect:
        with opened(disk, connect) as spool:
            spool.store.apply([accept("m1")])
            disk.trouble = failing(action, LOG, errno.EIO)
            with pytest.raises(StoreBroken, match="cannot be trusted"):
                spool.store.apply([accept("m2")])
            disk.trouble = healthy
            with pytest.raises(StoreBroken):
                spool.store.apply([accept("m3")])
            assert ids_of(spool) == {"m1"}
        with opened(disk, connect) as spool:
            assert "m1" in ids_of(spool)
            assert "m3" not in ids_of(spool)
            spool.store.apply([accept("m4")])


# --- A full disk ---


def test_a_full_disk_refuses_with_the_remedy_and_goes_on_when_there_is_room(disk: Disk) -> None:
    with mounted(disk) as connect, opened(disk, connect) as spool:
        spool.store.apply([accept("m1", recipient(lease=7))])
        disk.trouble = failing("write", LOG, errno.ENOSPC)
        with pytest.raises(StoreFull, match="free some room"):
            spool.store.apply([accept("m2")])
        disk.trouble = healthy
        spool.store.apply([Settle((Outcome(7, 1, 0, Step.DELIVER),), NOW), accept("m3")])
        assert ids_of(spool) == {"m1", "m3"}
        assert spool.store.check() == []


@pytest.mark.parametrize("action", ["create", "sync"])
def test_a_content_that_finds_no_room_is_refused_and_leaves_nothing(disk: Disk, action: str) -> None:
    with mounted(disk) as connect, opened(disk, connect) as spool:
        spool.contents.write("m0", b"x" * 5000)
        disk.trouble = failing(action, ".part", errno.ENOSPC)
        with pytest.raises(StoreFull, match="free some room"):
            spool.contents.write("m1", b"x" * 5000)
        disk.trouble = healthy
        assert os.listdir(disk.root / "var/spool/postroad.db.content") == ["m0"]


def test_a_full_disk_keeps_nobody_from_the_lock(disk: Disk) -> None:
    with mounted(disk) as connect:
        with opened(disk, connect):
            pass
        disk.trouble = failing("write", ".lock", errno.ENOSPC)
        with opened(disk, connect) as spool:
            assert ids_of(spool) == set()


# --- Locked, read-only ---


def test_a_spool_locked_for_a_minute_refuses_at_its_deadline_and_works_again(disk: Disk) -> None:
    with mounted(disk) as connect, opened(disk, connect) as spool:
        spool.store.apply([accept("m1")])
        other = connect(str(disk.root / "var/spool/postroad.db"))
        other.execute("BEGIN IMMEDIATE")
        for number in range(6):  # ten seconds each, which cost nothing here
            with pytest.raises(StoreError, match="cannot be written"):
                spool.store.apply([accept(f"refused{number}")])
        other.execute("ROLLBACK")
        other.close()
        spool.store.apply([accept("m2")])
        assert ids_of(spool) == {"m1", "m2"}


def test_a_disk_that_became_read_only_ends_the_writing(disk: Disk) -> None:
    with mounted(disk) as connect, opened(disk, connect) as spool:
        spool.store.apply([accept("m1")])
        disk.trouble = failing("write", "", errno.EROFS)
        with pytest.raises(StoreBroken, match="start the engine again"):
            spool.store.apply([accept("m2")])
        assert ids_of(spool) == {"m1"}


# --- Damage ---


def filled(disk: Disk) -> Path:
    with mounted(disk) as connect, opened(disk, connect) as spool:
        spool.store.apply([accept(f"m{number:02}", content=b"x" * 3000) for number in range(30)])
    return disk.root / "var/spool/postroad.db"


@pytest.mark.parametrize("size", [100, 4096 * 3, 4096 * 20 + 512])
def test_a_truncated_spool_is_refused_with_what_to_do(disk: Disk, size: int) -> None:
    path = filled(disk)
    os.truncate(path, size)
    before = path.read_bytes()
    with mounted(disk) as connect, pytest.raises(StoreError, match="restore a backup"), opened(disk, connect):
        pass
    assert path.read_bytes() == before


def test_torn_pages_are_refused_or_found_and_nothing_else_is_raised(disk: Disk) -> None:
    """A page of which some sectors are old or gone: refused at opening, or whatever is asked ends in an error of ours."""
    path = filled(disk)
    whole, draw = path.read_bytes(), random.Random(1)
    refused = 0
    for _ in range(60):
        sector = 512 * draw.randrange(len(whole) // 512)
        path.write_bytes(whole[:sector] + draw.choice((bytes(512), draw.randbytes(512))) + whole[sector + 512 :])
        try:
            with mounted(disk) as connect, opened(disk, connect) as spool:
                spool.store.apply([TakeLeases("out/example.org", NOW, tuple(range(1, 40)), 99_999)])
                spool.store.check()
        except PostroadError:
            refused += 1
    assert refused > 10


def set_raw(spool: Any, statement: str) -> None:
    """Write into the tables what no code of ours would."""
    spool.store._writer.execute(statement)


@pytest.mark.parametrize("column", ["address", "orcpt", "notify"])
def test_a_recipient_that_is_no_text_is_parked_and_the_rest_flow(disk: Disk, column: str) -> None:
    with mounted(disk) as connect, opened(disk, connect) as spool:
        spool.store.apply([accept("bad"), accept("good")])
        set_raw(spool, f"UPDATE recipient SET {column} = CAST(x'ff61' AS TEXT) WHERE place >> 20 = 1")
        (taken,) = spool.store.apply([TakeLeases("out/example.org", NOW, (1, 2, 3))])
        assert isinstance(taken, Taken)
        assert [lease.message.id for lease in taken.leases] == ["good"]
        assert taken.parked == ("bad",)
        assert any("bad" in problem for problem in spool.store.check())
        assert spool.store.counts()[State.PARKED] == 1


def test_a_damaged_text_in_a_lease_is_parked_by_the_next_start_and_shown_as_far_as_it_can_be_read(disk: Disk) -> None:
    with mounted(disk) as connect, opened(disk, connect) as spool:
        spool.store.apply([accept("bad", recipient(lease=1)), accept("good", recipient(lease=2))])
        set_raw(spool, "UPDATE recipient SET address = CAST(x'ff61' AS TEXT) WHERE place >> 20 = 1")
        shown = spool.store.message("bad").recipients[0]
        assert (shown.address, shown.state) == ("\ufffda", State.PARKED)
        spool.store.apply([Recover(frozenset(), rebooted=True, now=NOW)])
        found = [spool.store.message(id).recipients[0] for id in ("bad", "good")]
        assert [(row.state, row.in_doubt) for row in found] == [(State.PARKED, True), (State.IN_DOUBT, True)]


def test_a_count_that_is_too_low_never_lets_a_message_go_that_has_unfinished_recipients(disk: Disk) -> None:
    with mounted(disk) as connect, opened(disk, connect) as spool:
        spool.store.apply([accept("m1", recipient(lease=7), recipient("b@example.org", lease=7))])
        set_raw(spool, "UPDATE message SET unfinished = 1")
        (settled,) = spool.store.apply([Settle((Outcome(7, 1, 0, Step.DELIVER),), NOW)])
        assert settled.finished == ()
        assert spool.store.content(1) == CONTENT
        (settled,) = spool.store.apply([Settle((Outcome(7, 1, 1, Step.DELIVER),), NOW)])
        assert settled.finished == (1,)


def test_pruning_keeps_what_is_unfinished_whatever_its_date_says(disk: Disk) -> None:
    with mounted(disk) as connect, opened(disk, connect) as spool:
        spool.store.apply([accept("m1")])
        set_raw(spool, "UPDATE message SET finished_at = 5.0")
        (pruned,) = spool.store.apply([Prune(before=NOW, now=NOW)])
        assert (pruned.messages, ids_of(spool)) == (0, {"m1"})


@contextmanager
def without_telling(spool: Any, index: str, was: str, becomes: str) -> Iterator[None]:
    """What is written meanwhile is written by another definition of an index, as a page damaged in its place leaves it."""
    for old, new in ((was, becomes), (becomes, was)):
        set_raw(spool, "PRAGMA writable_schema = ON")
        set_raw(spool, f"UPDATE sqlite_schema SET sql = replace(sql, '{old}', '{new}') WHERE name = '{index}'")
        set_raw(spool, "PRAGMA writable_schema = RESET")
        if old == was:
            yield


def test_an_index_that_was_not_told_of_an_end_makes_no_lease_and_holds_up_nobody(disk: Disk) -> None:
    with mounted(disk) as connect, opened(disk, connect) as spool:
        spool.store.apply([accept("ended"), accept("good")])
        with without_telling(spool, "due", "state IN (0, 1)", "state IN (0, 6)"):
            set_raw(spool, "UPDATE recipient SET state = 6 WHERE place >> 20 = 1")
        (taken,) = spool.store.apply([TakeLeases("out/example.org", NOW, (1, 2, 3))])
        assert [lease.message.id for lease in taken.leases] == ["good"]
        assert spool.store.message("ended").recipients[0].state is State.ACCEPTED


def test_an_index_that_was_not_told_of_a_time_ends_the_writing_and_names_salvage(disk: Disk) -> None:
    with mounted(disk) as connect, opened(disk, connect) as spool:
        spool.store.apply([accept("bad"), accept("good")])
        with without_telling(spool, "due", "(lane, priority, due)", "(lane, priority, settled_at)"):
            set_raw(spool, "UPDATE recipient SET due = 9e11 WHERE place >> 20 = 1")
        with pytest.raises(StoreBroken, match="postroad salvage"):
            spool.store.apply([TakeLeases("out/example.org", NOW, (1, 2, 3))])
        assert any("due" in problem for problem in spool.store.check())
