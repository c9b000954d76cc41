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
from postroad.errors import StoreError
from postroad.message import Message
from postroad.salvage import salvage
from postroad.spool import ContentFolder, SpoolPlace
from postroad.store import sqlite_open
from postroad.store.contract import Accept, NewRecipient, Prune, Recover
from postroad.store.sqlite import SqliteStore, sqlite_store
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
    with capture_logs() as logs, trio.move_on_after(20) as limit:
        async with open_test_engine(
            transport=transport, spool={"url": f"sqlite:{path}", "socket": False}, routes=routes
        ) as engine:
            await engine.submit(Submission(sender="a@example.com", recipients=(FRESH,), content=RAW))
            await transport.wait_ended(calls + 1)
    assert not limit.cancelled_caught, f"{len(transport.calls)} calls instead of {calls + 1}"
    with sqlite_store(str(path), folder=path.parent) as store:
        store.apply([Prune(before=9e11, now=9e11)])
    return [call.content for call in transport.calls if call.addresses == (B,)], logs


def asked(path: Path, question: str) -> list[Any]:
    connection = apsw.Connection(str(path))
    try:
        return connection.execute(question).fetchall()
    finally:
        connection.close()


def content_of(store: SqliteStore) -> object:
    try:
        return store.content(1)
    except StoreError as error:
        return error


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
            assert content_of(store) == RAW


# --- Whose attempt it is ---

HOLDS = [{"transport": "scripted", "in_doubt": "hold"}]
TOKEN = 7


def only(logs: list[Any], event: str) -> list[str]:
    return [log.get("recipient") or log["id"] for log in logs if log["event"] == event]


# What one wrong bit makes of a recipient that an attempt has (LEASED, TOKEN), or that waits (WAITING, 0).
TORN = {
    "leased, now waiting": (TOKEN, "state = 0"),
    "leased, token lost": (TOKEN, "token = 0"),
    "leased, now accepted": (TOKEN, "state = 6"),
    "waiting, with a token": (0, "token = 4"),
    "waiting, now leased": (0, "state = 2"),
}


# In a large spool nothing leads to what shows an end: only `check --spool` names it.
MET = [(torn, is_large) for torn in TORN for is_large in (False, True) if not (is_large and torn.endswith("accepted"))]


def made_large(monkeypatch: pytest.MonkeyPatch, *, is_large: bool) -> None:
    if is_large:
        monkeypatch.setattr(sqlite_open, "_QUICK_CHECK_BYTES", 0)


@pytest.mark.parametrize(("torn", "is_large"), MET)
async def test_a_recipient_whose_state_and_token_differ_is_not_sent_to_without_a_word(
    path: Path, torn: str, is_large: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    token, damage = TORN[torn]
    accepted(path, token=token)
    asked(path, f"UPDATE recipient SET {damage}")
    made_large(monkeypatch, is_large=is_large)
    sent, logs = await lived(path, 1)
    assert (sent, only(logs, "maybe_duplicate")) == ([RAW], [B])
    assert asked(path, "SELECT id FROM message") == []


@pytest.mark.parametrize(("torn", "is_large"), MET)
async def test_a_recipient_whose_state_and_token_differ_is_held_where_its_route_asks(
    path: Path, torn: str, is_large: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    token, damage = TORN[torn]
    accepted(path, token=token)
    asked(path, f"UPDATE recipient SET {damage}")
    assert any(problem.startswith("Message m1: recipient 0") for problem in problems_of(path))
    made_large(monkeypatch, is_large=is_large)
    sent, logs = await lived(path, 0, HOLDS)
    assert sent == []
    assert asked(path, "SELECT state, doubted, token, substr(reason, 1, 8) FROM recipient") == [(3, 1, 0, "in doubt")]
    assert only(logs, "mended") + only(logs, "held")


@pytest.mark.parametrize("state", [1, 3, 4, 5, 6, 7, 8, 9])
def test_a_token_beside_any_other_state_is_taken_away(path: Path, state: int) -> None:
    """What has its end keeps it, and what is held may have been delivered."""
    accepted(path)
    counted = int(state < 6)
    asked(path, f"UPDATE recipient SET state = {state}, token = 4")
    asked(path, f"UPDATE message SET unfinished = {counted}, finished_at = iif({counted}, NULL, 5.0)")
    with sqlite_store(str(path), folder=path.parent) as store:
        store.apply([Recover(frozenset(), rebooted=False, now=9.0)])
    ((after, token, doubted),) = asked(path, "SELECT state, token, doubted FROM recipient")
    assert (after, token, doubted) == (state, 0, state in (1, 3, 4))


@pytest.mark.parametrize("torn", TORN)
def test_salvage_takes_a_recipient_whose_state_and_token_differ_as_in_doubt(path: Path, torn: str) -> None:
    token, damage = TORN[torn]
    accepted(path, token=token)
    asked(path, f"UPDATE recipient SET {damage}")
    new = path.with_name("new.db")
    done = salvage(SpoolPlace.at("sqlite", path), new)
    assert (done.in_doubt, done.recipients, done.incomplete) == ([("m1", B)], {"in_doubt": 1}, [])
    with sqlite_store(str(new), folder=new.parent) as store:
        assert store.content(1) == RAW
        assert store.check() == []


@pytest.mark.parametrize("state", [6, 7, 8, 9])
async def test_mail_whose_state_became_an_end_by_a_flipped_bit_is_not_lost(path: Path, state: int) -> None:
    """Nothing settled it, and its message counts it as unfinished."""
    accepted(path)
    with damaging(path) as connection:
        connection.execute(f"UPDATE recipient SET state = {state}")
    assert any("was never settled" in problem for problem in problems_of(path))
    sent, logs = await lived(path, 1)
    assert sent == [RAW]
    assert "mended" in {log["event"] for log in logs}
    assert "maybe_duplicate" in {log["event"] for log in logs}


def test_an_end_that_lost_the_time_of_its_settlement_stays_an_end(path: Path) -> None:
    accepted(path)
    with damaging(path) as connection:
        connection.execute("UPDATE recipient SET state = 6")
        connection.execute("UPDATE message SET unfinished = 0, finished_at = 5.0")
        connection.execute("DELETE FROM content")
    for _ in range(2):
        with sqlite_store(str(path), folder=path.parent) as store:
            store.apply([Recover(frozenset(), rebooted=False, now=9.0)])
    assert asked(path, "SELECT state, settled_at IS NULL FROM recipient") == [(6, 0)]
    assert problems_of(path) == []


@pytest.mark.parametrize("column", ["sender", "record"])
async def test_mail_whose_sender_became_another_by_a_flipped_bit_is_sent_in_nobodys_name(
    path: Path, column: str
) -> None:
    accepted(path)
    with damaging(path) as connection:
        ((octets,),) = connection.execute(f"SELECT CAST({column} AS BLOB) FROM message")
        assert b"a@example.com" in octets
        after = octets.replace(b"a@example.com", b"c@example.com")
        connection.execute(
            f"UPDATE message SET {column} = {'CAST(? AS TEXT)' if column == 'sender' else '?'}", (after,)
        )
    assert any("different senders" in problem for problem in problems_of(path))
    sent, logs = await lived(path, 0)
    assert sent == []
    assert [log["id"] for log in logs if log["event"] == "parked"] == ["m1"]
