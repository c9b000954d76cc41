"""A damaged log is refused before SQLite cuts it: what it held was acknowledged."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from postroad.errors import StoreError
from postroad.store.contract import Accept
from postroad.store.sqlite import sqlite_store
from postroad.store.sqlite_log import Log, lost_commits, opened
from postroad.store.sqlite_pages import Pages
from postroad.testing.store_bench import accept, recipient

COMMITS = 30
HEADER, FRAME = 32, 24 + 4096


@pytest.fixture(scope="module")
def killed() -> Iterator[Path]:
    """A spool as a kill leaves it, each commit of one message."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as name:
        path = Path(name, "alive", "spool.db")
        path.parent.mkdir()
        with sqlite_store(str(path), folder=path.parent) as store:
            for number in range(COMMITS):
                store.apply([letter(number)])
            shutil.copytree(path.parent, Path(name, "killed"))
        yield Path(name, "killed", "spool.db")


def letter(number: int) -> Accept:
    return accept(f"m{number:02}", recipient("a@example.org"), content=b"Subject: x\r\n\r\n" + b"y" * (100 * number))


@pytest.fixture
def path(killed: Path, tmp_path: Path) -> Path:
    shutil.copytree(killed.parent, tmp_path / "spool")
    return tmp_path / "spool" / "spool.db"


def log_of(path: Path) -> Path:
    return path.with_name("spool.db-wal")


def flip(path: Path, at: int) -> None:
    octets = bytearray(log_of(path).read_bytes())
    octets[at] ^= 1
    log_of(path).write_bytes(octets)


def frames(path: Path) -> int:
    descriptor = opened(log_of(path))
    assert descriptor is not None
    return sum(frame.is_good for frame in Log(descriptor).frames())


def trouble_of(path: Path) -> str:
    """What salvage says of it."""
    pages = Pages(path)
    pages.close()
    return pages.trouble


def found_by_sqlite(path: Path) -> int:
    """How many messages SQLite finds, asked on a copy; in it nobody looks at the log first."""
    copied = path.parent.with_name("looked-at")
    shutil.copytree(path.parent, copied)
    with pytest.MonkeyPatch.context() as patch, sqlite_store_without_a_look(patch, copied / "spool.db") as store:
        found = store.tally().messages
    shutil.rmtree(copied)
    return found


def sqlite_store_without_a_look(patch, path):
    patch.setattr("postroad.store.sqlite_open.lost_commits", lambda path: "")
    return sqlite_store(str(path), folder=path.parent)


def test_a_sound_log_is_opened_as_it_is(path: Path) -> None:
    assert frames(path) > COMMITS
    assert lost_commits(path) == ""
    with sqlite_store(str(path), folder=path.parent) as store:
        assert store.tally().messages == COMMITS


@pytest.fixture
def with_room(path: Path) -> Path:
    """The same as a power failure leaves it where room was made: without its index."""
    path.with_name("spool.db-shm").unlink()
    log_of(path).write_bytes(log_of(path).read_bytes() + bytes(100 * FRAME + 7))
    return path


def test_room_behind_the_log_is_no_damage(with_room: Path) -> None:
    assert lost_commits(with_room) == ""
    assert trouble_of(with_room) == ""
    with sqlite_store(str(with_room), folder=with_room.parent) as store:
        assert store.tally().messages == COMMITS


def test_a_commit_that_the_power_cut_short_in_its_room_is_no_damage(with_room: Path) -> None:
    octets = bytearray(log_of(with_room).read_bytes())
    last = HEADER + (frames(with_room) - 1) * FRAME
    octets[last : last + FRAME] = bytes(FRAME)
    log_of(with_room).write_bytes(octets)
    assert lost_commits(with_room) == ""
    assert trouble_of(with_room) == ""
    assert found_by_sqlite(with_room) == COMMITS - 1


def test_in_a_log_with_room_damage_that_commits_follow_is_found(with_room: Path) -> None:
    flip(with_room, HEADER + frames(with_room) // 2 * FRAME + 2000)
    assert lost_commits(with_room)
    assert trouble_of(with_room)


@pytest.mark.parametrize("in_frame", [1, 10, 1000, 4000], ids=["page number", "salt", "page", "end of the page"])
@pytest.mark.parametrize("part", [0.0, 0.3, 0.5, 0.9, 0.97, 1.0])
def test_beside_its_index_one_octet_that_costs_a_commit_is_found(path: Path, part: float, in_frame: int) -> None:
    number = round(part * (frames(path) - 1))
    flip(path, HEADER + number * FRAME + in_frame)
    assert found_by_sqlite(path) < COMMITS
    assert lost_commits(path)


@pytest.mark.parametrize("at", [0, 17, 25], ids=["magic", "salt", "checksum"])
def test_a_damaged_header_is_found(path: Path, at: int) -> None:
    flip(path, at)
    path.with_name("spool.db-shm").unlink()
    assert "its log is damaged" in lost_commits(path)


def test_without_its_index_all_is_found_that_two_commits_follow(path: Path) -> None:
    """Of the last two it cannot be told whether they had been synced when the power went."""
    path.with_name("spool.db-shm").unlink()
    whole, lost = log_of(path).read_bytes(), []
    for number in range(0, frames(path), 3):
        flip(path, HEADER + number * FRAME + 2000)
        if not lost_commits(path):
            lost.append(COMMITS - found_by_sqlite(path))
        log_of(path).write_bytes(whole)
    assert lost
    assert max(lost) <= 2


@pytest.mark.parametrize("part", [0.1, 0.5, 0.95])
def test_a_log_without_its_end_is_found_by_its_index(path: Path, part: float) -> None:
    octets = log_of(path).read_bytes()
    log_of(path).write_bytes(octets[: int(part * len(octets))])
    assert "has lost its end" in lost_commits(path)


def test_zeros_in_the_middle_are_found(path: Path) -> None:
    octets = bytearray(log_of(path).read_bytes())
    middle = len(octets) // 2
    octets[middle : middle + 8192] = bytes(8192)
    log_of(path).write_bytes(octets)
    assert lost_commits(path)


def test_the_index_of_another_run_of_the_log_says_nothing(path: Path) -> None:
    index = path.with_name("spool.db-shm")
    octets = bytearray(index.read_bytes())
    octets[32] ^= 1
    octets[80] ^= 1
    index.write_bytes(octets)
    log = log_of(path).read_bytes()
    log_of(path).write_bytes(log[: HEADER + 40 * FRAME])
    assert lost_commits(path) == ""


def test_a_spool_with_a_damaged_log_is_refused_untouched_and_salvage_is_named(path: Path) -> None:
    flip(path, HEADER + 20 * FRAME + 2000)
    before = {file.name: file.read_bytes() for file in path.parent.iterdir() if file.is_file()}
    for _ in range(2):
        with (
            pytest.raises(StoreError, match=r"log is damaged.*postroad salvage"),
            sqlite_store(str(path), folder=path.parent),
        ):
            pass
    assert {file.name: file.read_bytes() for file in path.parent.iterdir() if file.is_file()} == before
