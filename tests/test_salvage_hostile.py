"""Salvaging what is worse than torn: parts that contradict each other, other names, and files that are no spool."""

from __future__ import annotations

import os
import random
import shutil
import sys
from pathlib import Path
from typing import Any

import apsw
import pytest

from postroad.errors import SpoolInUse, StoreError
from postroad.message import Message
from postroad.salvage import salvage
from postroad.spool import ContentFolder, SpoolLock, SpoolPlace
from postroad.store.contract import Accept, NewRecipient, Outcome, Settle, TakeLeases
from postroad.store.sqlite import SqliteStore, sqlite_store
from postroad.store.sqlite_log import lost_commits
from postroad.store.states import State, Step

NOW = 1_700_000_000.0
FRAME = 24 + 4096


def accept(store: SqliteStore, id: str, content: bytes = b"Subject: x\r\n\r\nHello.\r\n") -> None:
    message = Message(id=id, sender="a@example.com", accepted_at=NOW, size=len(content))
    recipients = (NewRecipient(f"{id}@example.org", "out", NOW), NewRecipient("later@example.org", "slow", NOW + 9e9))
    store.apply([Accept(message, recipients, content)])


def place_of(path: Path) -> SpoolPlace:
    return SpoolPlace.parse(f"sqlite:{path}", path.parent)


def states_in(path: Path) -> dict[str, State]:
    with sqlite_store(str(path), folder=path.parent) as store:
        found = store.message("m1")
        assert found is not None
        return {row.address: row.state for row in found.recipients}


# --- A log that was folded in ---


@pytest.fixture
def folded(tmp_path: Path) -> tuple[Path, int]:
    """A delivered message, all of its log in the main file, as a kill leaves it; and the log's octets before the delivery."""
    path = tmp_path / "spool.db"
    (tmp_path / "killed").mkdir()
    with sqlite_store(str(path), folder=tmp_path) as store:
        accept(store, "m1")
        before = os.path.getsize(tmp_path / "spool.db-wal")
        store.apply([TakeLeases("out", NOW, (7,))])
        store.apply([Settle((Outcome(7, 1, 0, Step.DELIVER, reply="250 ok"),), NOW)])
        store._fold()
        for ending in ("", "-wal", "-shm"):
            shutil.copy(f"{path}{ending}", tmp_path / "killed" / f"spool.db{ending}")
    return tmp_path / "killed" / "spool.db", before


def test_what_is_left_of_a_log_that_was_folded_in_brings_nothing_older_back(folded: tuple[Path, int]) -> None:
    path, before = folded
    os.truncate(f"{path}-wal", before)
    done = salvage(place_of(path), path.with_name("new.db"))
    assert (done.recipients, done.is_whole) == ({"accepted": 1, "waiting": 1}, True)
    assert states_in(path.with_name("new.db"))["m1@example.org"] is State.ACCEPTED


def test_a_damaged_frame_that_was_folded_in_costs_nothing(folded: tuple[Path, int]) -> None:
    path, _ = folded
    whole = path.with_name("spool.db-wal").read_bytes()
    for number, at in enumerate(range(32, len(whole), FRAME)):
        path.with_name("spool.db-wal").write_bytes(whole[:at] + bytes(FRAME) + whole[at + FRAME :])
        new = path.with_name(f"{number}.db")
        done = salvage(place_of(path), new)
        assert (done.recipients, done.is_whole) == ({"accepted": 1, "waiting": 1}, True), number


def test_no_engine_starts_on_what_is_left_of_a_log_that_was_folded_in(folded: tuple[Path, int]) -> None:
    path, before = folded
    os.truncate(f"{path}-wal", before)
    with (
        pytest.raises(StoreError, match=r"lost its end.*postroad salvage"),
        sqlite_store(str(path), folder=path.parent),
    ):
        pass


@pytest.fixture
def restarted(tmp_path: Path) -> tuple[Path, int]:
    """As `folded`, and the kill came when the index was of the log's next run already, and the log not yet."""
    path, killed = tmp_path / "spool.db", tmp_path / "killed" / "spool.db"
    killed.parent.mkdir()
    with sqlite_store(str(path), folder=tmp_path) as store:
        accept(store, "m1")
        before = os.path.getsize(tmp_path / "spool.db-wal")
        store.apply([TakeLeases("out", NOW, (7,))])
        store.apply([Settle((Outcome(7, 1, 0, Step.DELIVER, reply="250 ok"),), NOW)])
        store._fold()
        for ending in ("", "-wal"):
            shutil.copy(f"{path}{ending}", f"{killed}{ending}")
        accept(store, "m2")
        index = bytearray(Path(f"{path}-shm").read_bytes())
    for at in (16, 48 + 16, 96):  # walIndexHdr.mxFrame, twice, and WalCkptInfo.nBackfill
        index[at : at + 4] = bytes(4)
    Path(f"{killed}-shm").write_bytes(index)
    return killed, before


def test_what_is_left_of_a_log_that_is_about_to_begin_anew_brings_nothing_older_back(
    restarted: tuple[Path, int],
) -> None:
    path, before = restarted
    os.truncate(f"{path}-wal", before)
    done = salvage(place_of(path), path.with_name("new.db"))
    assert (done.recipients, done.is_whole) == ({"accepted": 1, "waiting": 1}, True)


def test_a_damaged_frame_of_a_log_that_is_about_to_begin_anew_costs_nothing(restarted: tuple[Path, int]) -> None:
    path, _ = restarted
    whole = path.with_name("spool.db-wal").read_bytes()
    for number, at in enumerate(range(32, len(whole), FRAME)):
        path.with_name("spool.db-wal").write_bytes(whole[:at] + bytes(FRAME) + whole[at + FRAME :])
        done = salvage(place_of(path), path.with_name(f"{number}.db"))
        assert (done.recipients, done.is_whole) == ({"accepted": 1, "waiting": 1}, True), number


def test_no_engine_starts_on_a_damaged_log_that_is_about_to_begin_anew(restarted: tuple[Path, int]) -> None:
    """All of it was synced before: one commit behind the damage is no remnant of a power failure."""
    path, before = restarted
    whole = bytearray(path.with_name("spool.db-wal").read_bytes())
    assert lost_commits(path) == ""
    whole[before : before + 2 * FRAME] = bytes(2 * FRAME)
    path.with_name("spool.db-wal").write_bytes(whole)
    assert "more commits follow" in lost_commits(path)


def test_a_log_of_the_run_before_the_indexs_has_lost_all(restarted: tuple[Path, int]) -> None:
    """The index knew of frames of the next run."""
    path, _ = restarted
    index = bytearray(path.with_name("spool.db-shm").read_bytes())
    for at in (16, 48 + 16):
        index[at : at + 4] = (5).to_bytes(4, sys.byteorder)
    path.with_name("spool.db-shm").write_bytes(index)
    done = salvage(place_of(path), path.with_name("new.db"))
    assert "lost its end: 0 of 5" in done.trouble


# --- Pages that two messages lead to ---

PAGE = 4096
LONG = {word: (f"Subject: {word}\r\n\r\n" + (word * 8 + "\r\n") * 400).encode() for word in ("public", "secret")}


@pytest.fixture
def two(tmp_path: Path) -> tuple[Path, dict[str, list[int]], dict[str, int]]:
    """Two long contents of one size; the numbers of the pages of each; and where in the file the row points to the first."""
    path = tmp_path / "two.db"
    with sqlite_store(str(path), folder=tmp_path) as store:
        for word, content in LONG.items():
            accept(store, word, content)
    octets = path.read_bytes()
    pages = [octets[at : at + PAGE] for at in range(0, len(octets), PAGE)]
    own = {
        word: [n for n, page in enumerate(pages, 1) if page[0] == 0 and page.count(word.encode()) > 99] for word in LONG
    }
    assert all(len(numbers) > 3 for numbers in own.values())
    firsts = {}
    for word, numbers in own.items():
        leaf = next(at for at, page in enumerate(pages) if page[0] == 13 and f"Subject: {word}\r\n".encode() in page)
        firsts[word] = leaf * PAGE + pages[leaf].index(numbers[0].to_bytes(4, "big"))
    return path, own, firsts


def point(path: Path, at: int, number: int) -> None:
    with open(path, "r+b") as file:
        file.seek(at)
        file.write(number.to_bytes(4, "big"))


def saved_contents(path: Path) -> tuple[dict[str, bytes], dict[str, str]]:
    """What is in the new spool; and of those that are named as not whole, what is missing."""
    new = path.with_name("new.db")
    done = salvage(place_of(path), new)
    with sqlite_store(str(new), folder=new.parent) as store:
        found = {word: message for word in LONG if (message := store.message(word)) is not None}
        contents = {word: bytes(store.content(message.handle)) for word, message in found.items()}
    return contents, {one.id: one.missing for one in done.incomplete}


def test_long_contents_are_saved_each_with_its_own(two: tuple[Path, dict[str, list[int]], dict[str, int]]) -> None:
    assert saved_contents(two[0]) == (LONG, {})


def test_a_content_that_leads_into_anothers_pages_spoils_both_and_is_never_sent_as_its_own(
    two: tuple[Path, dict[str, list[int]], dict[str, int]],
) -> None:
    path, own, firsts = two
    point(path, firsts["public"], own["secret"][0])
    assert saved_contents(path) == ({}, {"public": "its content", "secret": "its content"})


def test_a_content_that_goes_over_to_anothers_pages_on_its_way_is_not_whole(
    two: tuple[Path, dict[str, list[int]], dict[str, int]],
) -> None:
    path, own, _ = two
    point(path, (own["secret"][0] - 1) * PAGE, own["public"][1])
    assert saved_contents(path) == ({}, {"public": "its content", "secret": "its content"})


@pytest.mark.parametrize("to", [0, 1, 2], ids=["itself", "the root of a table", "a page that is nobody's"])
def test_a_content_whose_last_page_points_on_is_not_whole(
    two: tuple[Path, dict[str, list[int]], dict[str, int]], to: int
) -> None:
    path, own, _ = two
    number = (own["secret"][-1], 2, 9999)[to]
    point(path, (own["secret"][-1] - 1) * PAGE, number)
    assert saved_contents(path) == ({"public": LONG["public"]}, {"secret": "its content"})


def test_a_content_that_leads_to_the_page_of_a_table_is_not_whole(
    two: tuple[Path, dict[str, list[int]], dict[str, int]],
) -> None:
    path, own, firsts = two
    leaf = firsts["secret"] // PAGE + 1
    point(path, (own["secret"][-2] - 1) * PAGE, leaf)
    assert saved_contents(path) == ({"public": LONG["public"]}, {"secret": "its content"})


def test_contents_on_leaves_that_nothing_leads_to_do_not_share_pages_either(
    two: tuple[Path, dict[str, list[int]], dict[str, int]],
) -> None:
    path, own, firsts = two
    root = next(
        at for at in range(0, path.stat().st_size, PAGE) if is_inner_page_to(path, at, firsts["public"] // PAGE + 1)
    )
    with open(path, "r+b") as file:
        file.seek(root)
        file.write(bytes(PAGE))
    whole = path.read_bytes()
    assert saved_contents(path) == (LONG, {})
    path.with_name("new.db").unlink()
    path.write_bytes(whole)
    point(path, firsts["public"], own["secret"][0])
    assert saved_contents(path) == ({}, {"public": "its content", "secret": "its content"})


def is_inner_page_to(path: Path, at: int, child: int) -> bool:
    page = path.read_bytes()[at : at + PAGE]
    return page[0] == 5 and child.to_bytes(4, "big") in page


# --- Names ---


def linked(tmp_path: Path) -> tuple[Path, SpoolPlace]:
    """A spool with a content in a file, whose newest commits are in its log only; and its place by another name."""
    path = tmp_path / "var" / "spool.db"
    path.parent.mkdir()
    link = tmp_path / "link.db"
    link.symlink_to("var/spool.db")
    return path, SpoolPlace("sqlite", str(link), link)


def test_by_a_link_the_log_and_the_contents_beside_the_file_are_read(tmp_path: Path) -> None:
    path, place = linked(tmp_path)
    content = LONG["public"]
    message = Message(id="m1", sender="a@example.com", accepted_at=NOW, size=len(content))
    with sqlite_store(str(path), folder=path.parent) as store:
        placed = ContentFolder(path.with_name("spool.db.content")).write("m1", content)
        store.apply([Accept(message, (NewRecipient("b@example.org", "out", NOW),), placed)])
        done = salvage(place, tmp_path / "new.db")
    assert (done.messages, done.recipients, done.is_whole) == (1, {"waiting": 1}, True)
    assert (tmp_path / "new.db.content" / "m1").read_bytes() == content


def test_by_a_link_nothing_is_saved_while_an_engine_has_the_spool(tmp_path: Path) -> None:
    path, place = linked(tmp_path)
    with sqlite_store(str(path), folder=path.parent) as store:
        accept(store, "m1")
    with SpoolLock(place_of(path).lock_path), pytest.raises(SpoolInUse, match="stop that process"):
        salvage(place, tmp_path / "new.db")


def test_a_place_that_is_taken_may_be_what_a_killed_salvage_left(tmp_path: Path) -> None:
    with sqlite_store(str(tmp_path / "spool.db"), folder=tmp_path) as store:
        accept(store, "m1")
    (tmp_path / "new.db").write_bytes(b"begun")
    with pytest.raises(StoreError, match=r"new\.db is there already; name a new place, or delete it if .* unfinished"):
        salvage(place_of(tmp_path / "spool.db"), tmp_path / "new.db")


# --- What is no spool ---


def junk(path: Path) -> None:
    path.write_bytes(random.Random(1).randbytes(60_000))


def empty(path: Path) -> None:
    path.write_bytes(b"")


def of_another_program(path: Path, tables: int = 20, columns: int = 3, rows: int = 50) -> None:
    connection = apsw.Connection(str(path))
    names = ", ".join(f"c{number}" for number in range(columns))
    connection.execute("BEGIN")
    for table in range(tables):
        connection.execute(f"CREATE TABLE t{table} ({names})")
        for number in range(rows):
            connection.execute(f"INSERT INTO t{table} VALUES ({', '.join([str(number)] * columns)})")
    connection.execute("COMMIT")
    connection.close()


def of_another_program_without_rows(path: Path) -> None:
    of_another_program(path, rows=0)


def of_another_program_with_rows_as_wide_as_ours(path: Path) -> None:
    of_another_program(path, columns=10)


def only_the_header(path: Path) -> None:
    with sqlite_store(str(path), folder=path.parent) as store:
        accept(store, "m1")
    os.truncate(path, PAGE)


MADE = (junk, empty, of_another_program, of_another_program_without_rows, only_the_header)


@pytest.mark.parametrize("make", [*MADE, of_another_program_with_rows_as_wide_as_ours], ids=lambda make: make.__name__)
@pytest.mark.parametrize("is_dry", [False, True])
def test_where_nothing_of_a_spool_is_found_nothing_is_called_saved(make: Any, is_dry: bool, tmp_path: Path) -> None:
    make(tmp_path / "old.db")
    with pytest.raises(StoreError, match=r"nothing of a spool is found in .*old\.db; name the right file"):
        salvage(place_of(tmp_path / "old.db"), tmp_path / "new.db", is_dry=is_dry)
    assert not list(tmp_path.glob("new*"))


def test_a_sound_spool_without_mail_is_saved_as_it_is(tmp_path: Path) -> None:
    with sqlite_store(str(tmp_path / "old.db"), folder=tmp_path):
        pass
    done = salvage(place_of(tmp_path / "old.db"), tmp_path / "new.db")
    assert (done.messages, done.is_whole) == (0, True)
    with sqlite_store(str(tmp_path / "new.db"), folder=tmp_path) as store:
        assert store.check() == []
