"""Contents that changed on the disk: nobody gets an octet of them, their recipients are parked and named, the rest flows."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest
import trio
from msgspec import structs
from structlog.testing import capture_logs

from postroad.config import Config
from postroad.handover import Handover
from postroad.message import Submission
from postroad.offline import open_offline
from postroad.salvage import salvage
from postroad.spool import SpoolPlace
from postroad.store.contract import Filter
from postroad.store.sqlite import sqlite_store
from postroad.store.sqlite_rows import record_of
from postroad.store.states import State
from postroad.testing.engine import open_test_engine, test_config
from postroad.testing.fakes import ScriptedTransport
from postroad.verdict import Disposition, Scope, Verdict

SMALL, LARGE = 200, 300_000  # octets of a body; the second lies in a file
HARMS: dict[str, Callable[[bytes], bytes]] = {
    "a letter": lambda content: content.replace(b"body", b"bodx", 1),
    "a NUL": lambda content: content.replace(b"body", b"bo\0y", 1),
    "a bare CR": lambda content: content.replace(b"body", b"bo\ry", 1),
    "the last octet": lambda content: content[:-1] + b"\r",
    "a line put elsewhere": lambda content: content[:-100] + content[-90:] + content[-100:-90],
    "cut short": lambda content: content[:-20],
    "longer": lambda content: content + b"more\r\n",
}


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as name:
        yield Path(name)


def config_of(folder: Path, **limits: Any) -> Config:
    return test_config(spool={"url": f"sqlite:{folder / 'spool.db'}", "socket": False}, limits=limits)


def place_of(folder: Path) -> SpoolPlace:
    return SpoolPlace.at("sqlite", folder / "spool.db")


def handed_over(folder: Path, octets: int, count: int) -> list[str]:
    """Ids of so many messages that came in while no engine ran."""
    door = Handover(place_of(folder), config_of(folder))
    body = (b"body %04d\r\n" * (octets // 11)) % tuple(range(octets // 11))
    return [
        door.send(
            Submission(
                sender="a@example.com",
                recipients=[f"b{number}@example.org"],
                content=b"From: a@example.com\r\nSubject: %d\r\n\r\n%s" % (number, body),
            )
        )
        for number in range(count)
    ]


def harm(folder: Path, id: str, how: Callable[[bytes], bytes]) -> None:
    file = folder / "spool.db.content" / id
    if file.exists():
        file.write_bytes(how(file.read_bytes()))
        return
    connection = apsw.Connection(str(folder / "spool.db"))
    (seq, content), *_ = connection.execute(
        "SELECT message.seq, bytes FROM message JOIN content USING (seq) WHERE id = ?", (id,)
    )
    connection.execute("UPDATE content SET bytes = ? WHERE seq = ?", (how(content), seq))
    connection.close()


async def lived(folder: Path, transport: ScriptedTransport | None = None, **limits: Any) -> tuple[Any, Any]:
    """An engine's life until nothing waits or is under way any more."""
    transport = transport or ScriptedTransport()
    moving = Filter(states=frozenset({State.WAITING, State.LEASED, State.IN_DOUBT, State.FAILED}))
    with capture_logs() as logs:
        async with open_test_engine(config_of(folder, **limits), transport=transport) as engine:
            for _ in range(2000):
                if not await engine.find(moving):
                    break
                await trio.sleep(0.01)
    return transport, logs


def states_of(folder: Path, id: str) -> list[tuple[State, str]]:
    with sqlite_store(str(folder / "spool.db"), folder=folder) as store:
        found = store.message(id)
        assert found is not None
        return [(row.state, row.reason) for row in found.recipients]


def refused() -> Verdict:
    return Verdict(disposition=Disposition.REFUSED, scope=Scope.RECIPIENT, status="5.1.1", reply="no")


def problems_of(folder: Path) -> list[str]:
    with open_offline(place_of(folder), config_of(folder)) as spool:
        return spool.check()


@pytest.mark.parametrize("octets", [SMALL, LARGE], ids=["in the database", "in a file"])
@pytest.mark.parametrize("kept", [32_000_000, 0], ids=["read along", "read when asked for"])
async def test_a_content_that_changed_is_given_to_nobody(folder: Path, octets: int, kept: int) -> None:
    ids = handed_over(folder, octets, len(HARMS) + 2)
    for id, how in zip(ids[1:], HARMS.values(), strict=False):
        harm(folder, id, how)
    named = "\n".join(problems_of(folder))
    assert [id for id in ids if id in named] == ids[1:-1]
    transport, logs = await lived(folder, content_cache_bytes=kept)
    delivered = [call for call in transport.calls if call.content]
    assert sorted(call.addresses for call in delivered) == [("b0@example.org",), (f"b{len(HARMS) + 1}@example.org",)]
    assert {log["id"] for log in logs if log["event"] == "parked"} == set(ids[1:-1])
    for id in ids[1:-1]:
        ((state, reason),) = states_of(folder, id)
        assert state is State.PARKED
        assert reason.startswith("cannot be read: its content")


async def test_the_contents_of_two_messages_that_were_swapped_reach_nobody(folder: Path) -> None:
    """As two pages of the file that changed their places would have it."""
    ids = handed_over(folder, 6000, 3)
    with apsw.Connection(str(folder / "spool.db")) as connection:
        connection.execute("UPDATE content SET seq = CASE seq WHEN 1 THEN -2 ELSE -1 END WHERE seq < 3")
        connection.execute("UPDATE content SET seq = -seq WHERE seq < 0")
    connection.close()
    transport, _ = await lived(folder)
    assert [call.addresses for call in transport.calls if call.content] == [("b2@example.org",)]
    assert [states_of(folder, id)[0][0] for id in ids] == [State.PARKED, State.PARKED, State.ACCEPTED]


@pytest.mark.parametrize("is_there", [True, False], ids=["changed", "gone"])
async def test_a_content_that_is_brought_back_is_delivered_once_it_is_released(folder: Path, is_there: bool) -> None:
    (id,) = handed_over(folder, LARGE, 1)
    file = folder / "spool.db.content" / id
    right = file.read_bytes()
    harm(folder, id, HARMS["a letter"])
    if not is_there:
        file.unlink()
    await lived(folder)
    assert states_of(folder, id)[0][0] is State.PARKED
    file.write_bytes(right)
    Handover(place_of(folder), config_of(folder)).release(Filter(id=id, states=frozenset({State.PARKED})))
    transport, _ = await lived(folder)
    assert [call.content for call in transport.calls] == [right]
    assert states_of(folder, id) == [(State.ACCEPTED, "")]


async def test_a_disk_that_cannot_be_read_defers_and_parks_nothing(folder: Path) -> None:
    """Trouble is temporary unless it is proven: what is there and is not what was accepted proves it, a failing read does not."""
    (id,) = handed_over(folder, LARGE, 1)
    file = folder / "spool.db.content" / id
    right = file.read_bytes()
    file.unlink()
    file.mkdir()  # reading it is EISDIR
    transport = ScriptedTransport()
    async with open_test_engine(config_of(folder), transport=transport) as engine:
        await transport.wait_ended(1)
        file.rmdir()
        file.write_bytes(right)
        for _ in range(2000):
            if not (await engine.status()).in_flight:
                break
            await trio.sleep(0.01)
        assert (await engine.status()).by_state == {"waiting": 1}
        await engine.retry(Filter(id=id))
        with trio.fail_after(20):
            await (await engine.receipt(id)).settled()
    assert states_of(folder, id) == [(State.ACCEPTED, "")]
    assert len(transport.calls) == 2


async def test_an_attempt_in_doubt_whose_content_is_damaged_is_parked_in_doubt(folder: Path) -> None:
    """A transport that says `committing` before it reads: the next try cannot be right, and the last one may have been."""

    class Early(ScriptedTransport):
        async def deliver(self, request: Any) -> Any:
            request.committing()
            return await super().deliver(request)

    (id,) = handed_over(folder, SMALL, 1)
    harm(folder, id, HARMS["a letter"])
    await lived(folder, Early())
    assert states_of(folder, id)[0][0] is State.PARKED
    with sqlite_store(str(folder / "spool.db"), folder=folder) as store:
        assert store.doubts() == 1


async def test_a_recipient_that_was_refused_before_the_damage_showed_gets_its_end(folder: Path) -> None:
    """Its report comes without the mail that nobody can read."""
    (id,) = handed_over(folder, SMALL, 1)
    harm(folder, id, HARMS["a letter"])

    class Refusing(ScriptedTransport):
        async def deliver(self, request: Any) -> Any:
            if request.message.id == id:
                return [refused()]
            return await super().deliver(request)

    transport, logs = await lived(folder, Refusing())
    assert states_of(folder, id)[0][0] is State.REPORTED
    assert [log["id"] for log in logs if log["event"] == "content_lost"] == [id]
    (report,) = transport.calls
    assert b"bodx" not in report.content
    assert b"5.1.1" in report.content


async def test_the_content_of_a_spool_that_kept_no_checksums_is_delivered(folder: Path) -> None:
    (id,) = handed_over(folder, SMALL, 1)
    with sqlite_store(str(folder / "spool.db"), folder=folder) as store:
        found = store.message(id)
    assert found is not None
    old = structs.replace(found.message, checksum=None)
    with apsw.Connection(str(folder / "spool.db")) as connection:
        connection.execute("UPDATE message SET record = ?", (record_of(old),))
    connection.close()
    transport, _ = await lived(folder)
    assert len(transport.accepted) == 1


def test_salvage_puts_a_content_that_changed_aside(folder: Path) -> None:
    ids = handed_over(folder, SMALL, 2) + handed_over(folder, LARGE, 2)
    for id in (ids[0], ids[2]):
        harm(folder, id, HARMS["a letter"])
    saved = salvage(place_of(folder), folder / "new.db")
    assert {each.id for each in saved.incomplete} == {ids[0], ids[2]}
    assert all("checksum" in each.missing for each in saved.incomplete)
    assert saved.messages == 2


async def test_a_report_that_changed_on_the_disk_is_parked(folder: Path) -> None:
    """What the engine writes itself has a sum, too."""
    (id,) = handed_over(folder, SMALL, 1)
    refusing = ScriptedTransport({"b0@example.org": [refused()], "a@example.com": [Verdict.deferred("later")]})
    async with open_test_engine(config_of(folder), transport=refusing):
        await refusing.wait_ended(2)
    with sqlite_store(str(folder / "spool.db"), folder=folder) as store:
        (report,) = [each.message.id for each in store.find(Filter(), 10) if each.message.id != id]
    harm(folder, report, lambda content: content.replace(b"5.1.1", b"2.0.0"))
    Handover(place_of(folder), config_of(folder)).retry(Filter(id=report))
    transport, _ = await lived(folder)
    assert states_of(folder, report)[0][0] is State.PARKED
    assert not [call for call in transport.calls if call.content]
