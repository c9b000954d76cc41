"""Salvaging what is worse than torn: parts that contradict each other, other names, and files that are no spool."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from postroad.errors import StoreError
from postroad.message import Message
from postroad.salvage import salvage
from postroad.spool import SpoolPlace
from postroad.store.contract import Accept, NewRecipient, Outcome, Settle, TakeLeases
from postroad.store.sqlite import SqliteStore, sqlite_store
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
