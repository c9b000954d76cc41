"""`postroad serve` as a process: ready, fed from outside, told to stop."""

from __future__ import annotations

import json
import mailbox
import signal
import socket
import sqlite3
from contextlib import asynccontextmanager, closing, contextmanager
from functools import partial

import pytest
import trio
from structlog.testing import capture_logs

from postroad.cli import serving as command_serving
from postroad.errors import EngineCrashed, SpoolDamaged, StoreBroken
from postroad.testing import ScriptedTransport
from postroad.testing import test_config as make_config

SECONDS = 30


@contextmanager
def serving(command, *words, **options):
    """A running `postroad serve`, killed at the end if it has not ended by itself."""
    process = command.start("serve", *words, **options)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=SECONDS)


def ended(process):
    """Standard error, and the exit code."""
    _, said = process.communicate(timeout=SECONDS)
    return said, process.returncode


def delivered(command):
    return [message["Subject"] for message in mailbox.Maildir(command.folder / "out", create=False)]


def test_mail_from_outside_is_delivered_and_sigterm_drains(command):
    waiting = command.ok(
        "send", "--from", "a@example.com", "--to", "b@example.org", "--subject", "before", "--body", "x"
    )
    with serving(command) as process:
        line = process.stdout.readline()
        assert line.startswith(f"READY pid={process.pid} spool=sqlite:")
        assert command.json("queue", "status")["engine"] is True
        id = command.ok(
            "send", "--from", "a@example.com", "--to", "b@example.org", "--subject", "during", "--body", "x"
        )
        process.send_signal(signal.SIGTERM)
        said, code = ended(process)
    assert code == 0, said
    assert sorted(delivered(command)) == ["before", "during"]
    for known in (waiting, id):
        assert command.json("queue", "show", known)["recipients"][0]["state"] == "accepted"
    events = [json.loads(line) for line in said.splitlines()]
    assert events[-1]["event"] == "stopped"
    assert events[-1]["drained"] is True
    assert [event["event"] for event in events if event.get("id") == id] == ["accepted", "delivered"]


def test_a_second_signal_ends_what_runs(command):
    server = socket.create_server(("127.0.0.1", 0))  # takes the connection and says nothing
    with server:
        command.configure(
            command.file.read_text(encoding="utf-8")
            .partition("[transports.out]")[0]
            .replace("drain_seconds = 1", "drain_seconds = 600")
            + f'[transports.out]\nplugin = "smtp"\nsmarthost = "127.0.0.1:{server.getsockname()[1]}"\n'
        )
        id = command.ok("send", "--from", "a@example.com", "--to", "b@example.org", "--body", "x")
        with serving(command) as process:
            process.stdout.readline()
            connection, _ = server.accept()
            with connection:
                process.send_signal(signal.SIGINT)
                assert any("draining" in process.stderr.readline() for _ in range(20))
                process.send_signal(signal.SIGINT)
                said, code = ended(process)
    assert code == 0, said
    assert json.loads(said.splitlines()[-1])["drained"] is False
    assert command.json("queue", "show", id)["recipients"][0]["state"] == "waiting"


def test_the_service_manager_is_told(command, tmp_path):
    address = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(address))
        manager.settimeout(SECONDS)
        with serving(command, "--json", env={"NOTIFY_SOCKET": str(address)}) as process:
            told = manager.recv(4096).decode()
            assert told.startswith(f"READY=1\nMAINPID={process.pid}\n")
            assert json.loads(process.stdout.readline())["pid"] == process.pid
            process.send_signal(signal.SIGTERM)
            assert manager.recv(4096) == b"STOPPING=1"
            _, code = ended(process)
    assert code == 0


def test_a_service_manager_that_is_not_there_is_no_trouble(command, tmp_path):
    with serving(command, env={"NOTIFY_SOCKET": str(tmp_path / "nobody")}) as process:
        assert process.stdout.readline().startswith("READY")
        process.send_signal(signal.SIGTERM)
        said, code = ended(process)
    assert code == 0
    assert "notify_failed" in said


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ("[retry]\ntries = 3\n", 78, "retry"),
        ('[[routes]]\ntransport = "x"\n[transports.x]\nplugin = "pigeon"\n', 78, "transports.x.plugin"),
        ('[transports.x]\nplugin = "smtp"\nsmarthost = "a b"\n', 78, "transports.x.smarthost"),
    ],
)
def test_what_cannot_run_says_why_and_ends(command, text, code, said):
    command.configure(text)
    with serving(command) as process:
        error, returned = ended(process)
    assert returned == code
    assert error.startswith(f"postroad: {said}")
    assert "Traceback" not in error


@pytest.fixture
def _handlers():
    """The test's own signal handlers, again."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("_handlers")
async def test_a_signal_ends_a_start_that_hangs(monkeypatch):
    begun = trio.Event()

    @asynccontextmanager
    async def hangs(settings):
        begun.set()
        await trio.sleep_forever()
        yield

    carrier = ScriptedTransport()
    monkeypatch.setattr(carrier, "factory", hangs)
    open_with = partial(command_serving.open_engine, plugins={"scripted": carrier.plugin()})
    monkeypatch.setattr(command_serving, "open_engine", open_with)
    with trio.fail_after(SECONDS), capture_logs() as logs:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(command_serving._serve, make_config(), False)
            await begun.wait()
            signal.raise_signal(signal.SIGTERM)
    assert logs[-1]["event"] == "stopped"


def test_a_second_engine_on_the_same_spool_is_a_temporary_failure(command):
    with serving(command) as first:
        assert first.stdout.readline()
        with serving(command) as second:
            error, code = ended(second)
        assert code == 75
        assert f"in use by process {first.pid}" in error


def test_a_damaged_spool_is_not_tried_again_by_a_service_manager(command):
    """65 stands in RestartPreventExitStatus; who hands over mail meanwhile tries again later."""
    command.ok("send", "--from", "a@example.com", "--to", "b@example.org", "--body", "x")
    spool = command.folder / "spool" / "postroad.db"
    whole = spool.read_bytes()
    spool.write_bytes(whole[:4096] + b"\xff" * 4096 + whole[8192:])
    with serving(command) as process:
        said, code = ended(process)
    assert code == 65, said
    assert "postroad salvage" in said
    assert command.run("send", "--from", "a@example.com", "--to", "b@example.org", "--body", "x").exit_code == 75


def test_a_database_of_another_program_is_not_tried_again_and_named(command):
    """78 stands in RestartPreventExitStatus: it will be theirs at the next start, too."""
    spool = command.folder / "spool" / "postroad.db"
    spool.parent.mkdir(exist_ok=True)
    with closing(sqlite3.connect(spool)) as theirs:
        theirs.execute("CREATE TABLE theirs (x)")
    with serving(command) as process:
        said, code = ended(process)
    assert code == 78, said
    assert str(spool) in said
    assert "another program" in said


@pytest.mark.parametrize(
    ("reason", "code"), [(SpoolDamaged("torn"), 65), (StoreBroken("sync"), 70), (RuntimeError("bug"), 70)]
)
def test_an_engine_that_met_damage_while_it_worked_is_not_started_again(command, monkeypatch, reason, code):
    def crash(*_given, **_options):
        try:
            raise ExceptionGroup("the ring", [ExceptionGroup("an actor", [reason])])
        except ExceptionGroup as group:
            raise EngineCrashed("the store failed") from group

    monkeypatch.setattr(command_serving, "serve_forever", crash)
    assert command.run("serve").exit_code == code
