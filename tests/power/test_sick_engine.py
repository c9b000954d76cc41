"""A whole engine on sick storage: acceptance gives a clear error, nothing is dropped, deliveries go on where they can."""

from __future__ import annotations

import errno
import os
import resource
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import apsw
import pytest
import trio
from structlog.testing import capture_logs

from postroad import Submission, hookimpl
from postroad.errors import StoreError, StoreFull
from postroad.handover import Handover
from postroad.housekeeping import VIRTUAL_SECONDS
from postroad.spool import SpoolPlace
from postroad.store.contract import Filter
from postroad.store.sqlite import SqliteStore
from postroad.testing.engine import open_test_engine, test_config
from postroad.testing.fakes import ScriptedTransport, Slow
from postroad.testing.smtp_peer import SmtpPeer
from postroad.verdict import Verdict
from postroad_smtp import smtp_transport

RAW = b"From: a@example.com\r\nTo: b@example.org\r\nSubject: Hello\r\n\r\nHello.\r\n"
LARGE = RAW + b"line\r\n" * 100_000


@pytest.fixture
def path() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as name:
        yield Path(name) / "spool.db"


def letter(address: str = "b@example.org", content: bytes = RAW) -> Submission:
    return Submission(sender="a@example.com", recipients=(address,), content=content)


def engine_on(path: Path, transport: ScriptedTransport | None = None, **sections: Any) -> Any:
    spool = {"url": f"sqlite:{path}", "socket": False, **sections.pop("spool", {})}
    return open_test_engine(transport=transport, spool=spool, **sections)


class Sick:
    """The engine's connections; each statement that begins with a key of `fails` ends in its error."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.fails: dict[str, Exception] = {}
        sick = self

        class Connection:
            def __init__(self, path: str) -> None:
                self._connection = apsw.Connection(path)

            def execute(self, statement: str, values: Any = None) -> Any:
                for beginning, error in sick.fails.items():
                    if statement.startswith(beginning):
                        raise error
                return self._connection.execute(statement, values)

            def __getattr__(self, name: str) -> Any:
                return getattr(self._connection, name)

        original = SqliteStore.__init__

        def made(self: Any, path: Path, *, connect: Any = None, exclusive: bool = False) -> None:
            original(self, path, connect=Connection, exclusive=exclusive)

        monkeypatch.setattr(SqliteStore, "__init__", made)


@pytest.fixture
def sick(monkeypatch: pytest.MonkeyPatch) -> Sick:
    return Sick(monkeypatch)


def no_room_for_the_index() -> apsw.IOError:
    error = apsw.IOError("IOError: disk I/O error")
    error.extendedresult = apsw.SQLITE_IOERR_SHMSIZE
    return error


async def _accepted_once_there_is_room(engine: Any) -> Any:
    """The reserve comes back at a round of the housekeeping; the clock jumps while the store's thread is at work for it."""
    for _ in range(100):
        await trio.sleep(VIRTUAL_SECONDS)
        with suppress(StoreError):
            return await engine.submit(letter())
    raise AssertionError("there is room, and nothing is accepted")


@pytest.mark.parametrize(
    "error", [apsw.FullError("database or disk is full"), no_room_for_the_index()], ids=["-wal", "-shm"]
)
async def test_a_disk_that_fills_up_refuses_what_is_new_and_loses_no_outcome(
    autojump_clock: Any, path: Path, sick: Sick, error: Exception
) -> None:
    transport = ScriptedTransport(default=Slow(10, Verdict.accepted("250 ok")))
    async with engine_on(path, transport) as engine:
        receipt = await engine.submit(letter())
        await transport.wait_calls(1)
        sick.fails["BEGIN IMMEDIATE"] = error
        with pytest.raises(StoreFull, match="free some room"):
            await engine.submit(letter("refused@example.org"))
        await trio.sleep(60)
        sick.fails.clear()
        assert (await receipt.settled()).is_delivered
        again = await _accepted_once_there_is_room(engine)
        assert (await again.settled()).is_delivered
    assert [call.addresses for call in transport.calls] == [("b@example.org",)] * 2


async def test_a_spool_locked_for_a_minute_refuses_at_the_deadline_and_then_everything_goes_on(
    autojump_clock: Any, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("postroad.store.sqlite_open.BUSY_MILLISECONDS", 1)
    transport = ScriptedTransport(default=Slow(5, Verdict.accepted("250 ok")))
    async with engine_on(path, transport) as engine:
        receipts = [await engine.submit(letter(f"{number}@example.org")) for number in range(3)]
        await transport.wait_calls(3)
        other = apsw.Connection(str(path))
        other.set_busy_timeout(5000)  # the engine may be at a commit just now
        other.execute("BEGIN IMMEDIATE")
        for _ in range(6):
            with pytest.raises(StoreError, match="end the program that keeps it locked"):
                await engine.submit(letter("refused@example.org"))
            await trio.sleep(10)
        other.execute("ROLLBACK")
        other.close()
        assert all([(await receipt.settled()).is_delivered for receipt in receipts])
        assert (await (await engine.submit(letter())).settled()).is_delivered
    assert len(transport.calls) == 4, "nothing was sent twice"


def refusing(monkeypatch: pytest.MonkeyPatch, number: int, ending: str) -> None:
    """The system refuses to open files of that name for writing."""
    real = os.open

    def refuse(name: Any, flags: int, *rest: Any, **more: Any) -> int:
        if str(name).endswith(ending) and flags & (os.O_RDWR | os.O_WRONLY | os.O_CREAT):
            raise OSError(number, os.strerror(number))
        return real(name, flags, *rest, **more)

    monkeypatch.setattr(os, "open", refuse)


@pytest.mark.parametrize("ending", [".lock", "spool.db", ".marks"])
@pytest.mark.parametrize(
    ("number", "remedy"),
    [(errno.EROFS, "mount it writable"), (errno.EACCES, "let this user write"), (errno.EMFILE, "ulimit -n")],
)
async def test_a_start_that_the_system_refuses_names_the_remedy(
    path: Path, monkeypatch: pytest.MonkeyPatch, ending: str, number: int, remedy: str
) -> None:
    refusing(monkeypatch, number, ending)
    with pytest.raises(StoreError, match=remedy):
        async with engine_on(path):
            pass
    monkeypatch.undo()
    async with engine_on(path) as engine:
        await engine.submit(letter())


async def test_a_database_that_may_only_be_read_is_refused_with_the_remedy(path: Path, sick: Sick) -> None:
    async with engine_on(path):
        pass
    sick.fails["BEGIN IMMEDIATE"] = apsw.ReadOnlyError("attempt to write a readonly database")
    with pytest.raises(StoreError, match="name another place in"):
        async with engine_on(path):
            pass


async def test_a_database_that_becomes_read_only_refuses_with_the_remedy_and_keeps_its_mail(
    autojump_clock: Any, path: Path, sick: Sick
) -> None:
    transport = ScriptedTransport()
    async with engine_on(path, transport) as engine:
        sick.fails["BEGIN IMMEDIATE"] = apsw.ReadOnlyError("attempt to write a readonly database")
        with pytest.raises(StoreError, match="let this user write it"):
            await engine.submit(letter())
        sick.fails.clear()
        assert (await (await engine.submit(letter())).settled()).is_delivered


class Real:
    """The SMTP transport under a name of the test's own."""

    @hookimpl
    def postroad_register_transports(self, register: Any) -> None:
        register("real-smtp", smtp_transport)


@contextmanager
def no_descriptors() -> Iterator[None]:
    """As if the process had all the files open that it may have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.dup(0)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_without_descriptors_small_mail_is_accepted_large_is_refused_and_no_try_is_counted(path: Path) -> None:
    peer = SmtpPeer()
    with trio.fail_after(60), capture_logs() as logs:
        async with peer.listening() as (host, port):
            out = {"plugin": "real-smtp", "smarthost": f"{host}:{port}", "tls": "none"}
            sections = {"transports": {"out": out}, "routes": [{"transport": "out"}], "plugins": {"real": Real()}}
            async with engine_on(path, **sections) as engine:
                with no_descriptors():
                    receipt = await engine.submit(letter())
                    with pytest.raises(StoreError, match="ulimit -n"):
                        await engine.submit(letter("large@example.org", LARGE))
                    while not any(log["event"] == "deferred" for log in logs):  # noqa: ASYNC110  # a log is no event
                        await trio.sleep(0.01)
                (recipient,) = (await engine.find(Filter()))[0].recipients
                assert recipient.attempts == 0
                await engine.retry(Filter())
                assert (await receipt.settled()).is_delivered
    assert len(peer.transactions) == 1


async def test_the_gate_pauses_while_there_are_no_descriptors(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refused = [0]
    real = trio.SocketListener.accept

    async def accept(self: Any) -> Any:
        if refused[0] < 3:
            refused[0] += 1
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return await real(self)

    monkeypatch.setattr(trio.SocketListener, "accept", accept)
    begun = trio.current_time()
    config = test_config(spool={"url": f"sqlite:{path}"})
    with trio.fail_after(30):
        async with open_test_engine(config):
            handover = Handover(SpoolPlace.parse(f"sqlite:{path}", path.parent), config)
            status = await trio.to_thread.run_sync(handover.status)
    assert (status.messages, refused[0]) == (0, 3)
    assert trio.current_time() - begun >= 0.3, "a tenth of a second each, instead of spinning"
