"""One damaged row, whichever it is: the engine starts, what lies beside it is delivered, and the log and `check` name it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
from damaging import NUMBERS, TEXTS, TIMES, damaging
from structlog.testing import capture_logs

from postroad.errors import StoreError
from postroad.message import Message, Submission
from postroad.spool import ContentFolder
from postroad.store.contract import Accept, Cancel, Filter, IdempotencyKey, NewRecipient, Outcome, Settle
from postroad.store.sqlite import SqliteStore, sqlite_store
from postroad.store.states import State, Step
from postroad.testing.engine import open_test_engine
from postroad.testing.fakes import ScriptedTransport

NOW = 1_700_000_000.0
RAW = b"From: a@example.com\r\nTo: b@example.org\r\nSubject: Hello\r\n\r\nHello.\r\n"
TOKEN = 7
RECIPIENT = {
    **dict.fromkeys(("address", "notify", "orcpt", "lane", "status", "reply", "remote", "reason"), TEXTS),
    **dict.fromkeys(("priority", "state", "attempts", "doubted", "cancelling"), NUMBERS),
    "token": {kind: value for kind, value in NUMBERS.items() if kind != "huge"},
    "due": {**TIMES, "nothing": "NULL"},
    "settled_at": TIMES,
}
MESSAGE = {
    **dict.fromkeys(("id", "sender"), TEXTS),
    "file": {kind: value for kind, value in TEXTS.items() if kind != "nothing"},
    **dict.fromkeys(("size", "numbers", "unfinished", "delay"), NUMBERS),
    "finished_at": {**TIMES, "early": "5.0"},
    "record": {"nothing": "NULL", "octets": "x'ff00'", "text": "'text'", "number": "5"},
}
BEFORE = (State.WAITING, State.LEASED, State.HELD, State.FAILED, State.ACCEPTED)
AFTERWARDS = {State.FAILED: State.REPORTED, State.ACCEPTED: State.ACCEPTED}  # parked, the others


def apart(columns: dict[str, dict[str, str]]) -> list[Any]:
    """Texts, numbers and types of each column in a test of their own: what finds one must not find the others."""
    groups: dict[tuple[str, str], list[str]] = {}
    for column, kinds in columns.items():
        for kind in kinds:
            what = {"no UTF-8": "text", "negative": "range", "huge": "range", "early": "range"}.get(kind, "type")
            groups.setdefault((column, what), []).append(kind)
    return [pytest.param(column, kinds, id=f"{column}-{what}") for (column, what), kinds in groups.items()]


@pytest.fixture
def path() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as name:
        yield Path(name) / "spool.db"


def letter(id: str, *recipients: NewRecipient, key: str = "") -> Accept:
    message = Message(id=id, sender="a@example.com", accepted_at=NOW, size=len(RAW))
    idempotency = IdempotencyKey("a@example.com", key, b"digest", NOW * 2) if key else None
    return Accept(message, recipients, RAW, idempotency)


def someone(address: str, **more: Any) -> NewRecipient:
    return NewRecipient(address, "scripted", NOW, **more)


def brought_to(store: SqliteStore, handle: int, state: State) -> None:
    """Recipient 0, which TOKEN leases."""
    if state in (State.FAILED, State.ACCEPTED, State.WAITING, State.HELD):
        steps = {
            State.FAILED: Step.FAIL,
            State.ACCEPTED: Step.DELIVER,
            State.WAITING: Step.DEFER,
            State.HELD: Step.HOLD,
        }
        store.apply([Settle((Outcome(TOKEN, handle, 0, steps[state], due=NOW, reply="said"),), NOW)])


def names_of(logs: list[Any]) -> set[str]:
    return {log["id"] for log in logs if log["event"] in ("parked", "mended")}


async def drained(path: Path, calls: int) -> tuple[ScriptedTransport, list[Any]]:
    """An engine's life of so many calls of its transport."""
    transport = ScriptedTransport()
    with capture_logs() as logs, trio.fail_after(20):
        async with open_test_engine(transport=transport, spool={"url": f"sqlite:{path}", "socket": False}) as engine:
            await engine.submit(Submission(sender="a@example.com", recipients=("fresh@example.org",), content=RAW))
            await transport.wait_ended(calls)
    return transport, logs


@pytest.mark.parametrize(("column", "kinds"), apart(RECIPIENT))
async def test_a_damaged_recipient_is_parked_or_keeps_its_end_and_harms_nobody(
    path: Path, column: str, kinds: list[str]
) -> None:
    cases = [(kind, state) for kind in kinds for state in BEFORE]
    with sqlite_store(str(path), folder=path.parent) as store:
        for handle, (kind, state) in enumerate(cases, 1):
            both = someone(f"damaged{handle}@example.org", lease=TOKEN), someone(f"beside{handle}@example.org")
            store.apply([letter(f"{kind}, {state.name}", *both)])
            brought_to(store, handle, state)
    with damaging(path) as connection:
        for handle, (kind, _) in enumerate(cases, 1):
            value = RECIPIENT[column][kind]
            connection.execute(f"UPDATE recipient SET {column} = {value} WHERE place = ?", (handle << 20,))
    ids = {f"{kind}, {state.name}" for kind, state in cases}
    with sqlite_store(str(path), folder=path.parent) as store:
        assert len(store.find(Filter(), 1000)) == len(cases)
        assert all(store.message(id) for id in ids)
        problems = " ".join(store.check())
        assert {id for id in ids if f"Message {id}: recipient 0" not in problems} == set()
    reports = 0 if column == "state" else len(kinds)
    transport, logs = await drained(path, len(cases) + 1 + reports)
    assert names_of(logs) >= ids
    told = [address for call in transport.calls for address in call.addresses]
    assert sorted(told) == sorted(
        [f"beside{handle}@example.org" for handle in range(1, len(cases) + 1)]
        + ["fresh@example.org"]
        + ["a@example.com"] * reports
    )
    with sqlite_store(str(path), folder=path.parent) as store:
        for kind, state in cases:
            found = store.message(f"{kind}, {state.name}")
            assert found is not None
            expected = State.PARKED if column == "state" else AFTERWARDS.get(state, State.PARKED)
            assert [row.state for row in found.recipients] == [expected, State.ACCEPTED], (kind, state)
            if expected is State.PARKED:
                assert column in found.recipients[0].reason
        assert sum(": recipient 0 is parked" in problem for problem in store.check()) == store.counts()[State.PARKED]
        store.apply([Cancel(Filter(), NOW)])
        assert store.check() == []


@pytest.mark.parametrize(("column", "kinds"), apart(MESSAGE))
async def test_a_damaged_message_is_mended_or_parked_and_harms_nobody(
    path: Path, column: str, kinds: list[str]
) -> None:
    with sqlite_store(str(path), folder=path.parent) as store:
        store.apply([letter(kind, someone(f"{number}@example.org")) for number, kind in enumerate(kinds, 1)])
    with damaging(path) as connection:
        for number, kind in enumerate(kinds, 1):
            connection.execute(f"UPDATE message SET {column} = {MESSAGE[column][kind]} WHERE seq = ?", (number,))
    if column == "file":
        contents = ContentFolder(path.with_name("spool.db.content"))
        for kind in kinds:
            contents.write(kind, RAW)
    with sqlite_store(str(path), folder=path.parent) as store:
        assert len(store.find(Filter(), 1000)) == len(kinds) or column == "id"  # which pages are told by
        assert len([each for each in store.check() if each.startswith("Message")]) >= len(kinds)
    parked = set(kinds) if column == "record" else set()
    transport, logs = await drained(path, len(kinds) + 1 - len(parked))
    assert len(names_of(logs)) == len(kinds)
    with sqlite_store(str(path), folder=path.parent) as store:
        states = {kind: [row.state for row in found.recipients] for kind in kinds if (found := store.message(kind))}
    assert states == {kind: [State.PARKED if kind in parked else State.ACCEPTED] for kind in kinds}
    assert all(call.content == RAW for call in transport.calls if call.addresses != ("fresh@example.org",))


CONTENT = {"nothing": "NULL", "text": "'text'", "no UTF-8": "CAST(x'ff61' AS TEXT)", "short": "x'41'", "number": "5"}


async def test_a_message_with_a_damaged_content_is_parked_and_the_rest_flow(path: Path) -> None:
    with sqlite_store(str(path), folder=path.parent) as store:
        store.apply([letter(kind, someone("damaged@example.org")) for kind in CONTENT])
    with damaging(path) as connection:
        for number, value in enumerate(CONTENT.values(), 1):
            connection.execute(f"UPDATE content SET bytes = {value} WHERE seq = ?", (number,))
    with sqlite_store(str(path), folder=path.parent) as store:
        assert len([each for each in store.check() if "its content has" in each]) == len(CONTENT)
        for handle in range(1, len(CONTENT) + 1):
            with pytest.raises(StoreError):
                store.content(handle)
    transport, logs = await drained(path, 1)
    assert names_of(logs) == set(CONTENT)
    assert [call.addresses for call in transport.calls] == [("fresh@example.org",)]


KEYS = {kind: value for kind, value in TEXTS.items() if kind != "nothing"}
APART = [
    *[("idempotency", column, KEYS) for column in ("sender", "key")],  # a key column is never NULL
    ("idempotency", "id", TEXTS),
    ("idempotency", "digest", {"nothing": "NULL", "text": "'text'", "no UTF-8": "CAST(x'ff61' AS TEXT)"}),
    ("idempotency", "expires_at", {"nothing": "NULL", "text": "'text'", "no UTF-8": "CAST(x'ff61' AS TEXT)"}),
    ("idempotency", "seq", {"nothing": "NULL", "text": "'text'", "fraction": "1.5"}),
    ("fact", "value", TEXTS),
    ("fact", "name", KEYS),
    ("dead_file", "name", KEYS),
    *[("spool", column, NUMBERS) for column in ("messages", "recipients", "content_bytes", "next_handle")],
]


@pytest.mark.parametrize(("table", "column", "kinds"), APART, ids=[f"{table}.{column}" for table, column, _ in APART])
async def test_what_is_damaged_beside_the_messages_stops_nothing(
    path: Path, table: str, column: str, kinds: dict[str, str]
) -> None:
    with sqlite_store(str(path), folder=path.parent) as store:
        store.apply([letter("before", someone("before@example.org"), key="key")])
    await drained(path, 2)
    with sqlite_store(str(path), folder=path.parent) as store:
        store.apply([letter("beside", someone("beside@example.org"))])
    with damaging(path) as connection:
        connection.execute("INSERT INTO dead_file VALUES ('file')")
    reached = path.with_name("spool.db.reached")
    sound, progress = path.read_bytes(), reached.read_bytes()  # noqa: ASYNC240  # no engine runs
    for kind, value in kinds.items():
        path.write_bytes(sound)  # noqa: ASYNC240  # no engine runs
        reached.write_bytes(progress)  # else it were a restored backup
        with damaging(path) as connection:
            connection.execute(f"UPDATE OR REPLACE {table} SET {column} = {value}")
        with sqlite_store(str(path), folder=path.parent) as store:
            if table != "fact":
                assert store.check() != [], kind
            store.apply([letter("again", someone("again@example.org"), key="key")])
        transport, _ = await drained(path, 2)
        assert {"beside@example.org", "fresh@example.org"} <= {to for call in transport.calls for to in call.addresses}
        shutil.rmtree(path.parent / "spool.db.content", ignore_errors=True)


@pytest.mark.parametrize(
    "damage", ["state = 77", "priority = 77", "due = 1e300", "lane = NULL", "lane = CAST(x'ff' AS TEXT)"]
)
async def test_what_nothing_would_ever_come_across_is_found_at_the_start(path: Path, damage: str) -> None:
    """No index of what is due leads to such a recipient, and nothing else is there to be read beside it."""
    with sqlite_store(str(path), folder=path.parent) as store:
        store.apply([letter("damaged", someone("damaged@example.org"))])
    with damaging(path) as connection:
        connection.execute(f"UPDATE recipient SET {damage}")
    transport, logs = await drained(path, 1)
    assert [log["id"] for log in logs if log["event"] == "parked"] == ["damaged"]
    assert [call.addresses for call in transport.calls] == [("fresh@example.org",)]
    with sqlite_store(str(path), folder=path.parent) as store:
        assert store.counts() == {State.PARKED: 1, State.ACCEPTED: 1}
