"""An index that differs from its rows: what it no longer leads to would wait for ever, and nothing would tell."""

from __future__ import annotations

import random
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest
import trio
from structlog.testing import capture_logs

from postroad.errors import SpoolDamaged, StoreError
from postroad.handover import Handover
from postroad.message import Submission
from postroad.spool import SpoolPlace
from postroad.store.sqlite import sqlite_store
from postroad.store.sqlite_log import PAGE_BYTES
from postroad.store.states import State
from postroad.testing.engine import open_test_engine, test_config
from postroad.testing.fakes import ScriptedTransport

COUNT, FLIPS = 30, 12


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as name:
        yield Path(name)


def filled(folder: Path) -> int:
    """A spool with mail that waits; the offset of the page of the index that leads to it."""
    folder.mkdir()
    path = folder / "spool.db"
    config = test_config(spool={"url": f"sqlite:{path}", "socket": False})
    door = Handover(SpoolPlace.at("sqlite", path), config)
    for number in range(COUNT):
        door.send(Submission(sender="a@example.com", recipients=[f"b{number}@example.org"], content=b"From: a\r\n\r\n"))
    connection = apsw.Connection(str(path))
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    ((page,),) = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'due'")
    connection.close()
    return (page - 1) * PAGE_BYTES


async def test_mail_that_its_index_lost_is_delivered_all_the_same(folder: Path) -> None:
    offset = filled(folder / "sound")
    draw = random.Random(1)
    mended = 0
    for _ in range(FLIPS):
        shutil.rmtree(folder / "spool", ignore_errors=True)
        shutil.copytree(folder / "sound", folder / "spool")
        path = folder / "spool" / "spool.db"
        octets = bytearray(path.read_bytes())
        place = draw.choice([at for at in range(offset + 200, offset + PAGE_BYTES) if octets[at]])
        octets[place] ^= 1 << draw.randrange(8)
        path.write_bytes(octets)
        transport = ScriptedTransport()
        with capture_logs() as logs:
            try:
                config = test_config(spool={"url": f"sqlite:{path}", "socket": False})
                async with open_test_engine(config, transport=transport):
                    with trio.fail_after(20):
                        await transport.wait_ended(COUNT)
            except SpoolDamaged:
                continue  # its tree is torn
            except StoreError as error:
                raise AssertionError("what was opened cannot be read") from error
        mended += any(log["event"] == "mended" and "due" in log["problem"] for log in logs)
        with sqlite_store(str(path), folder=path.parent) as store:
            assert store.counts() == {State.ACCEPTED: COUNT}
            assert store.check() == []
    assert mended > FLIPS / 3
