"""A spool without an engine: a content file is there exactly where a message uses it."""

from __future__ import annotations

import pytest

from postroad.errors import IdempotencyConflict, StoreBroken, StoreError
from postroad.gate_protocol import HoldAll, Look, Written
from postroad.message import Message, new_message_id
from postroad.offline import open_offline
from postroad.spool import Marks, SpoolPlace, boot_id
from postroad.store.contract import Accept, Filter, NewRecipient, Remember
from postroad.store.sqlite import sqlite_store
from postroad.store.states import State
from postroad.testing.engine import test_config

LARGE = b"From: a@example.com\r\nTo: b@example.org\r\nSubject: Hello\r\n\r\n" + b"0123456789\r\n" * 1000


def call(id=None, **options):
    return Written(
        id=id or new_message_id(), sender="a@example.com", recipients=("b@example.org",), content=LARGE, **options
    )


@pytest.fixture
def place(tmp_path):
    return SpoolPlace.parse(f"sqlite:{tmp_path}/spool.db", tmp_path)


@pytest.fixture
def spool(place):
    with open_offline(place, test_config(spool={"url": "sqlite:x", "content_file_bytes": 4096})) as spool:
        yield spool


def files(place):
    return {file.name for file in place.content_folder.iterdir()} if place.content_folder.exists() else set()


def test_the_same_id_again_keeps_the_file_in_use(spool, place):
    id = new_message_id()
    assert [spool.do(call(id)), spool.do(call(id))] == [id, id]
    assert files(place) == {id}


def test_a_duplicate_by_its_key_and_a_conflict_leave_only_the_first_file(spool, place):
    first = spool.do(call(idempotency_key="k"))
    assert spool.do(call(idempotency_key="k")) == first
    with pytest.raises(IdempotencyConflict):
        spool.do(call(idempotency_key="k", priority=1))
    assert files(place) == {first}


def test_a_failed_insert_leaves_no_file(spool, place, monkeypatch):
    def apply(operations):
        raise StoreError("no room")

    monkeypatch.setattr(spool._store, "apply", apply)
    with pytest.raises(StoreError, match="no room"):
        spool.do(call())
    assert files(place) == set()


def test_a_file_stays_where_its_message_is_or_may_be_stored(spool, place, monkeypatch):
    stored, doubtful = new_message_id(), new_message_id()
    real = spool._store.apply

    def apply(operations):
        if operations[0].message.id == doubtful:
            raise StoreBroken("the sync failed")
        real(operations)
        raise StoreError("stored, but")

    monkeypatch.setattr(spool._store, "apply", apply)
    for id in (stored, doubtful):
        with pytest.raises(StoreError):
            spool.do(call(id))
    assert files(place) == {stored, doubtful}


def test_checking_finds_content_files_that_are_gone_or_cut_short(spool, place):
    whole, gone, cut = sorted(spool.do(call()) for _ in range(3))
    assert spool.check() == []
    size = (place.content_folder / cut).stat().st_size
    (place.content_folder / gone).unlink()
    (place.content_folder / cut).write_bytes(LARGE[:5000])
    assert spool.check() == [
        f"Message {gone}: its content is damaged: its file is gone.",
        f"Message {cut}: its content is damaged: it has 5000 octets instead of {size}.",
    ]
    assert spool.do(call(id=whole)) == whole


def test_checking_reads_every_content_of_the_database(spool):
    small = spool.do(Written(id="0" * 20, sender="a@example.com", recipients=("b@example.org",), content=LARGE[:900]))
    assert spool.check() == []
    size = spool._store.message(small).message.size
    spool._store._writer.execute("UPDATE content SET bytes = x'00'")
    assert spool.check() == [f"Message {small}: its content has 1 octets instead of {size}."]


@pytest.mark.parametrize("marked", [False, True])
def test_an_operator_means_what_a_dead_engine_had_under_way_too(place, marked):
    with sqlite_store(place.rest, folder=place.path.parent) as store:
        message = Message(id="m1", sender="a@example.com", accepted_at=1.0, size=len(LARGE))
        leased = NewRecipient("b@example.org", "out", 1.0, lease=7)
        store.apply([Accept(message, (leased,), LARGE), Remember("boot", boot_id().encode())])
    marks = Marks(place.marks_path, 4)
    if marked:
        marks.mark(2, 7)
    marks.close()
    with open_offline(place, None) as spool:
        assert spool.do(HoldAll(filter=Filter())).recipients == 1
        (row,) = spool.do(Look(id="m1")).recipients
    assert (row.state, row.in_doubt) == (State.HELD, marked)
