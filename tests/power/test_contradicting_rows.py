"""Rows whose every value is legal, or nearly, and that contradict themselves: where a content lies, whose attempt it is."""

from __future__ import annotations

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

from postroad import Submission
from postroad.message import Message
from postroad.spool import ContentFolder
from postroad.store import sqlite_open
from postroad.store.contract import Accept, NewRecipient, Prune
from postroad.store.sqlite import sqlite_store
from postroad.testing.engine import open_test_engine
from postroad.testing.fakes import ScriptedTransport

RAW = b"From: a@example.com\r\nTo: b@example.org\r\nSubject: Hello\r\n\r\nHello.\r\n"
LARGE = RAW + b"y\r\n" * 4000
B, FRESH = "b@example.org", "fresh@example.org"
ROUTES = [{"transport": "scripted"}]
SIZES = pytest.mark.parametrize("is_large", [False, True], ids=["small spool", "large spool"])


@pytest.fixture
def path() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as name:
        yield Path(name) / "spool.db"


def accepted(path: Path, content: bytes = RAW, token: int = 0) -> None:
    """A message that waits in the spool, or that an attempt has."""
    message = Message(id="m1", sender="a@example.com", accepted_at=time.time(), size=len(content))
    placed = ContentFolder(path.with_name("spool.db.content")).write("m1", content) if content is LARGE else content
    with sqlite_store(str(path), folder=path.parent) as store:
        store.apply([Accept(message, (NewRecipient(B, "scripted", 0.0, lease=token),), placed)])


async def lived(path: Path, calls: int, routes: list[Any] = ROUTES) -> tuple[list[bytes], list[Any]]:
    """What an engine sent to B in a life of so many calls and a fresh message's, and its log; finished mail is forgotten."""
    transport = ScriptedTransport()
    with capture_logs() as logs, trio.fail_after(20):
        async with open_test_engine(
            transport=transport, spool={"url": f"sqlite:{path}", "socket": False}, routes=routes
        ) as engine:
            await engine.submit(Submission(sender="a@example.com", recipients=(FRESH,), content=RAW))
            await transport.wait_ended(calls + 1)
    with sqlite_store(str(path), folder=path.parent) as store:
        store.apply([Prune(before=9e11, now=9e11)])
    return [call.content for call in transport.calls if call.addresses == (B,)], logs


def asked(path: Path, question: str) -> list[Any]:
    connection = apsw.Connection(str(path))
    try:
        return connection.execute(question).fetchall()
    finally:
        connection.close()


def problems_of(path: Path) -> list[str]:
    with sqlite_store(str(path), folder=path.parent) as store:
        return store.check()


# --- Where a content lies ---


# A name that is legal and that of no file is, beside a content in a file, a content that is gone.
NAMES = ["x'ff'", "5", "1.5", "CAST(x'ff61' AS TEXT)"]
MISLAID = [*[(value, content) for value in NAMES for content in (RAW, LARGE)], ("'elsewhere'", RAW)]


@pytest.mark.parametrize(
    ("value", "content"),
    [pytest.param(*each, id=f"{each[0]} {'in the spool' if each[1] is RAW else 'in a file'}") for each in MISLAID],
)
@SIZES
async def test_a_message_that_does_not_tell_where_its_content_is_is_sent_once(
    path: Path, value: str, content: bytes, is_large: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    accepted(path, content)
    with damaging(path) as connection:
        connection.execute(f"UPDATE message SET file = {value}")
    assert any(problem.startswith("Message m1: its row cannot be read: file is") for problem in problems_of(path))
    if is_large:
        monkeypatch.setattr(sqlite_open, "_QUICK_CHECK_BYTES", 0)
    first, logs = await lived(path, 1)
    again, _ = await lived(path, 0)
    assert (first, again) == ([content], [])
    assert asked(path, "SELECT id FROM message") == []
    if value != "'elsewhere'" or not is_large:
        assert [log["id"] for log in logs if log["event"] == "mended"] == ["m1"]


@SIZES
def test_what_lies_in_the_database_is_read_from_there_whatever_the_row_says(
    path: Path, is_large: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if is_large:
        monkeypatch.setattr(sqlite_open, "_QUICK_CHECK_BYTES", 0)
    accepted(path)
    for value in ("5", "x'ff'", "'elsewhere'"):
        with damaging(path) as connection:
            connection.execute(f"UPDATE message SET file = {value}")
        with sqlite_store(str(path), folder=path.parent) as store:
            assert store.content(1) == RAW
