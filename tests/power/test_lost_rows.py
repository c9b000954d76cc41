"""Rows that a damaged page took away or brought back: no message is forgotten for it, and nothing is sent again unannounced."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest
import trio
from damaging import damaging
from structlog.testing import capture_logs

from postroad import Submission, housekeeping
from postroad.errors import StoreError
from postroad.message import Message
from postroad.spool import ContentFolder
from postroad.store import sqlite_open
from postroad.store.contract import (
    Accept,
    Cancel,
    Cancelled,
    Filter,
    NewRecipient,
    Outcome,
    Prune,
    Pruned,
    Recover,
    Settle,
    Settled,
    Tally,
)
from postroad.store.sqlite import sqlite_store
from postroad.store.states import State, Step
from postroad.testing.engine import open_test_engine
from postroad.testing.fakes import ScriptedTransport

RAW = b"From: a@example.com\r\nTo: b@example.org\r\nSubject: Hello\r\n\r\nHello.\r\n"
LARGE = RAW + b"y\r\n" * 4000
B, C, FRESH = "b@example.org", "c@example.org", "fresh@example.org"
TOKEN = 7
ROUTES = [{"transport": "scripted"}]


@pytest.fixture
def path() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as name:
        yield Path(name) / "spool.db"


def accepted(path: Path, id: str, *recipients: str, content: bytes = RAW, sender: str = "a@example.com") -> None:
    """A message that waits in the spool; TOKEN leases its first recipient."""
    message = Message(id=id, sender=sender, accepted_at=time.time(), size=len(content))
    rows = tuple(
        NewRecipient(address, "scripted", 0.0, lease=0 if number else TOKEN)
        for number, address in enumerate(recipients)
    )
    folder = ContentFolder(path.with_name("spool.db.content"))
    with sqlite_store(str(path), folder=path.parent) as store:
        store.apply([Accept(message, rows, folder.write(id, content) if content is LARGE else content)])


def settled(path: Path, step: Step) -> None:
    with sqlite_store(str(path), folder=path.parent) as store:
        store.apply([Settle((Outcome(TOKEN, 1, 0, step, reply="250 ok"),), time.time())])


async def lived(
    path: Path, calls: int, transport: ScriptedTransport | None = None, routes: list[Any] = ROUTES
) -> list[Any]:
    """The log of an engine's life of so many calls, and of a fresh message's; then what is finished is forgotten."""
    transport = transport or ScriptedTransport()
    spool = {"url": f"sqlite:{path}", "socket": False}
    with capture_logs() as logs, trio.fail_after(20):
        async with open_test_engine(transport=transport, spool=spool, routes=routes) as engine:
            await engine.submit(Submission(sender="a@example.com", recipients=(FRESH,), content=RAW))
            await transport.wait_ended(calls + 1)
    with sqlite_store(str(path), folder=path.parent) as store:
        store.apply([Prune(before=9e11, now=9e11)])
    return logs


def asked(path: Path, question: str) -> list[Any]:
    connection = apsw.Connection(str(path))
    try:
        return connection.execute(question).fetchall()
    finally:
        connection.close()


def problems_of(path: Path) -> str:
    with sqlite_store(str(path), folder=path.parent) as store:
        return " ".join(store.check())


def addresses_of(transport: ScriptedTransport) -> list[str]:
    return sorted(address for call in transport.calls for address in call.addresses if address != FRESH)


@pytest.mark.parametrize("lost", [(B, C), (C,)], ids=["all", "one"])
@pytest.mark.parametrize("large", [False, True], ids=["small spool", "large spool"])
@pytest.mark.parametrize("content", [RAW, LARGE], ids=["in the spool", "in a file"])
async def test_a_message_that_lost_recipients_is_kept_and_named_and_the_others_go_on(
    path: Path, lost: tuple[str, ...], large: bool, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    accepted(path, "m1", B, C, content=content)
    for address in lost:
        asked(path, f"DELETE FROM recipient WHERE address = '{address}'")
    if large:
        monkeypatch.setattr(sqlite_open, "_QUICK_CHECK_BYTES", 0)
    transport = ScriptedTransport()
    logs = await lived(path, 2 - len(lost), transport)
    assert addresses_of(transport) == [address for address in (B, C) if address not in lost]
    assert asked(path, "SELECT id, unfinished, finished_at FROM message") == [("m1", len(lost), None)]
    said = f"{len(lost)} of its 2 recipients are lost, {len(lost)} of them without an end"
    assert f"Message m1: {said}" in problems_of(path)
    assert large or [log["id"] for log in logs if log["event"] == "incomplete" and said in log["problem"]] == ["m1"]
    in_file = path.with_name("spool.db.content") / "m1"
    assert len(asked(path, "SELECT seq FROM content")) + in_file.exists() == 1


@pytest.mark.parametrize("counter", ["0", "NULL", "'five'", "77"])
async def test_a_damaged_counter_beside_lost_recipients_finishes_nothing(path: Path, counter: str) -> None:
    """What `numbers` proves missing counts as unfinished."""
    accepted(path, "m1", B, C)
    with damaging(path) as connection:
        connection.execute(f"DELETE FROM recipient WHERE address = '{C}'")
        connection.execute(f"UPDATE message SET unfinished = {counter}")
    await lived(path, 1)
    assert asked(path, "SELECT id, numbers, unfinished, finished_at FROM message") == [("m1", 2, 1, None)]
    assert len(asked(path, "SELECT seq FROM content")) == 1


async def test_a_counter_of_nothing_in_a_large_spool_finishes_no_message_that_lost_recipients(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is met when the recipient that is there has its end."""
    monkeypatch.setattr(sqlite_open, "_QUICK_CHECK_BYTES", 0)
    accepted(path, "m1", B, C)
    asked(path, f"DELETE FROM recipient WHERE address = '{C}'")
    asked(path, "UPDATE message SET unfinished = 0")
    transport = ScriptedTransport()
    await lived(path, 1, transport)
    assert addresses_of(transport) == [B]
    assert asked(path, "SELECT id, unfinished, finished_at FROM message") == [("m1", 1, None)]
    assert len(asked(path, "SELECT seq FROM content")) == 1


async def test_a_moment_of_finishing_that_is_damaged_forgets_no_lost_recipient(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a large spool nothing is mended before it is pruned."""
    monkeypatch.setattr(sqlite_open, "_QUICK_CHECK_BYTES", 0)
    accepted(path, "m1", B, C)
    asked(path, "DELETE FROM recipient")
    asked(path, "UPDATE message SET finished_at = 5.0")
    await lived(path, 0)
    assert asked(path, "SELECT id FROM message") == [("m1",)]


async def test_lost_recipients_that_had_their_end_hold_up_nothing(path: Path) -> None:
    accepted(path, "m1", B, C)
    settled(path, Step.DELIVER)
    asked(path, f"DELETE FROM recipient WHERE address = '{B}'")
    logs = await lived(path, 1)
    assert any("1 of its 2 recipients are lost, 0 of them without an end" in log.get("problem", "") for log in logs)
    assert asked(path, "SELECT id FROM message") == []  # finished, and forgotten


def rose(path: Path) -> None:
    """B was delivered, C waits; then the row of B is what it was before."""
    accepted(path, "m1", B, C)
    settled(path, Step.DELIVER)
    asked(path, f"UPDATE recipient SET state = 0, settled_at = NULL, attempts = 0, reply = '' WHERE address = '{B}'")


async def test_a_recipient_that_rose_again_is_not_sent_to_without_a_word(path: Path) -> None:
    rose(path)
    transport = ScriptedTransport()
    logs = await lived(path, 1, transport)
    assert addresses_of(transport) == [B, C]
    assert sorted(log["recipient"] for log in logs if log["event"] == "maybe_duplicate") == [B, C]
    assert any("rose again" in log["problem"] for log in logs if log["event"] == "mended")


async def test_a_recipient_that_rose_again_is_held_where_its_route_asks(path: Path) -> None:
    rose(path)
    transport = ScriptedTransport()
    await lived(path, 0, transport, [{"transport": "scripted", "in_doubt": "hold"}])
    assert addresses_of(transport) == []
    held = asked(path, "SELECT state, doubted, substr(reason, 1, 8) FROM recipient")
    assert held == [(State.HELD, 1, "in doubt")] * 2


@pytest.mark.parametrize("large", [False, True], ids=["small spool", "large spool"])
@pytest.mark.parametrize("what", ["id = CAST(x'ff61' AS TEXT)", "id = CAST(x'ff61' AS TEXT), record = x'ff00'"])
async def test_the_content_file_of_a_damaged_message_is_no_orphan(
    path: Path, what: str, large: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    accepted(path, "m1", B, content=LARGE)
    file = path.with_name("spool.db.content") / "m1"
    orphan = file.with_name("orphan")
    orphan.write_bytes(LARGE)
    for each in (file, orphan):
        os.utime(each, (0, 0))
    with damaging(path) as connection:
        connection.execute("UPDATE recipient SET state = 4, token = 0")  # parked, so that nobody comes across it
        connection.execute("UPDATE message SET " + what)
    if large:
        monkeypatch.setattr(sqlite_open, "_QUICK_CHECK_BYTES", 0)
    swept = trio.Event()
    sweep = housekeeping._sweep_orphans

    async def sweep_and_tell(*given: Any) -> None:
        await sweep(*given)
        swept.set()

    monkeypatch.setattr(housekeeping, "_sweep_orphans", sweep_and_tell)
    with trio.fail_after(20):
        async with open_test_engine(spool={"url": f"sqlite:{path}", "socket": False}):
            await swept.wait()
    assert (file.exists(), orphan.exists()) == (True, False)
    assert large or asked(path, "SELECT id FROM message") == [("m1",)]


async def test_nothing_is_swept_where_the_name_of_a_file_cannot_be_read(path: Path) -> None:
    accepted(path, "m1", B, content=LARGE)
    for value in ("x'ff'", "CAST(x'ff61' AS TEXT)"):
        with damaging(path) as connection:
            connection.execute(f"UPDATE message SET file = {value}")
        with sqlite_store(str(path), folder=path.parent) as store, pytest.raises(StoreError):
            store.content_files()


async def test_a_sound_id_is_kept_whatever_the_sender_is_called(path: Path) -> None:
    accepted(path, "m1", B, sender="david@example.com")
    with damaging(path) as connection:
        connection.execute(
            "UPDATE message SET record = x'c1', sender = CAST(x'ff' || CAST('david@example.com' AS BLOB) AS TEXT)"
        )
    await lived(path, 0)
    assert asked(path, "SELECT id FROM message") == [("m1",)]


@pytest.mark.parametrize(
    ("damaged", "kept"), [("sender = x'ff'", "m2"), ("id = CAST(x'ff61' AS TEXT)", "damaged-2")], ids=["sender", "id"]
)
async def test_two_messages_whose_records_name_one_keep_no_engine_from_starting(
    path: Path, damaged: str, kept: str
) -> None:
    """One page is an older state of the other, and damaged: that message is parked, since the record is not its own."""
    accepted(path, "m1", B)
    accepted(path, "m2", C)
    with damaging(path) as connection:
        record = "record = (SELECT record FROM message WHERE seq = 1)"
        connection.execute(f"UPDATE message SET {record}, {damaged} WHERE seq = 2")
    transport = ScriptedTransport()
    await lived(path, 1, transport)
    assert addresses_of(transport) == [B]
    assert asked(path, "SELECT id FROM message") == [(kept,)]
    assert asked(path, "SELECT address, state FROM recipient") == [(C, State.PARKED)]


@pytest.mark.parametrize("content", [RAW, LARGE], ids=["in the spool", "in a file"])
@pytest.mark.parametrize("lost", [(B, C), (C,)], ids=["all", "one"])
@pytest.mark.parametrize("large", [False, True], ids=["small spool", "large spool"])
def test_cancelling_a_message_by_its_id_ends_what_it_lost(
    path: Path, lost: tuple[str, ...], content: bytes, large: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    accepted(path, "m1", B, C, content=content)
    accepted(path, "m2", B)
    asked(path, "UPDATE recipient SET state = 0, token = 0")
    for address in lost:
        asked(path, f"DELETE FROM recipient WHERE address = '{address}' AND place >> 20 = 1")
    if large:
        monkeypatch.setattr(sqlite_open, "_QUICK_CHECK_BYTES", 0)
    with sqlite_store(str(path), folder=path.parent) as store:
        store.apply([Recover(frozenset(), rebooted=False, now=1.0)])
        answers = store.apply([Cancel(each, 5.0) for each in (Filter(recipient=B), Filter(id="m1"))])
        assert [answer.lost for answer in answers if isinstance(answer, Cancelled)] == [0, len(lost)]
        assert isinstance(answers[-1], Cancelled)
        assert answers[-1].finished == (1,)
        assert store.tally() == Tally()
        assert store.check() == []
        pruned = store.apply([Prune(before=9.0, now=9.0)])[0]
    assert pruned == Pruned(2, ("m1",) if content is LARGE else ())
    assert [asked(path, f"SELECT count(*) FROM {table}") for table in ("message", "content")] == [[(0,)], [(0,)]]


def test_what_is_being_tried_ends_a_cancelled_message_that_lost_recipients(path: Path) -> None:
    """And a choice that names more than the id gives nothing up."""
    accepted(path, "m1", B, C)
    asked(path, f"DELETE FROM recipient WHERE address = '{C}'")
    with sqlite_store(str(path), folder=path.parent) as store:
        for narrowed in (
            Filter(id="m1", recipient=B),
            Filter(id="m1", lane="scripted"),
            Filter(sender="a@example.com"),
        ):
            (answer,) = store.apply([Cancel(narrowed, 5.0)])
            assert isinstance(answer, Cancelled)
            assert (answer.marked, answer.lost) == (1, 0)
        assert store.apply([Cancel(Filter(id="m1"), 5.0)]) == [Cancelled(0, 1, lost=1)]
        assert store.apply([Cancel(Filter(id="m1"), 5.0)]) == [Cancelled(0, 1)]
        answer = store.apply([Settle((Outcome(TOKEN, 1, 0, Step.DEFER),), 6.0)])[0]
        assert answer == Settled((State.CANCELLED,), (1,))
        assert store.tally() == Tally()
        assert store.check() == []


async def test_an_engine_that_cancels_what_was_lost_says_so_and_wakes_who_waits(path: Path) -> None:
    accepted(path, "m1", B, C)
    asked(path, "DELETE FROM recipient")
    with capture_logs() as logs, trio.fail_after(20):
        async with open_test_engine(spool={"url": f"sqlite:{path}", "socket": False}) as engine:
            assert (await engine.cancel("m1")).lost == 2
            assert (await engine.message("m1")).finished_at is not None
    assert [(log["id"], log["recipients"]) for log in logs if log["event"] == "given_up"] == [("m1", 2)]
