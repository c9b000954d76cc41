"""A log that cannot be written costs lines, which are counted, and never mail."""

from __future__ import annotations

import errno
import json
import os
import signal

import pytest
import structlog

from postroad import Submission
from postroad.log import configure_logging, get_logger
from postroad.log_sink import LogSink
from postroad.testing.engine import open_test_engine

RAW = b"From: a@example.com\r\nTo: b@example.org\r\nSubject: Hello\r\n\r\nHello.\r\n"


@pytest.fixture
def pipe():
    reader, writer = os.pipe()
    with open(reader, "rb", buffering=0) as end, open(writer, "w", encoding="utf-8") as stream:
        os.set_blocking(reader, False)
        yield end, stream


@pytest.fixture(autouse=True)
def unconfigured():
    yield
    structlog.reset_defaults()
    configure_logging()
    structlog.reset_defaults()


def everything_in(end) -> bytes:
    found = b""
    while octets := end.read(1 << 16):
        found += octets
    return found


def note(lines: int) -> str:
    return f"dropped {lines}"


def test_a_reader_that_is_stuck_costs_lines_which_the_next_line_counts(pipe):
    end, stream = pipe
    sink = LogSink(stream, note)
    written = 0
    while not sink.dropped:
        sink.msg("x" * 99)
        written += 1
    for _ in range(10):
        sink.msg("lost")
    assert sink.dropped == 11
    assert everything_in(end).count(b"\n") == written - 1
    sink.msg("again")
    assert everything_in(end) == b"dropped 11\nagain\n"
    assert sink.dropped == 0


def test_a_line_that_was_cut_in_the_middle_is_ended_before_the_next_one(pipe):
    end, stream = pipe
    sink = LogSink(stream, note)
    sink.msg("x" * 200_000)
    assert sink.dropped == 1
    assert set(everything_in(end)) == {ord("x")}
    sink.msg("again")
    assert everything_in(end) == b"\ndropped 1\nagain\n"


def test_octets_and_text_are_lines_alike(tmp_path):
    with open(tmp_path / "log", "w", encoding="utf-8") as stream:
        sink = LogSink(stream, note)
        sink.msg("one \u00fc \ud800")
        sink.warning(b"two")
    assert (tmp_path / "log").read_bytes() == b"one \xc3\xbc \\ud800\ntwo\n"


def test_a_full_disk_costs_lines():
    with open("/dev/full", "w", encoding="utf-8") as stream:
        sink = LogSink(stream, note)
        for _ in range(3):
            sink.msg("lost")
    assert sink.dropped == 3


async def test_mail_goes_on_while_the_logs_reader_is_stuck(autojump_clock, pipe):
    end, stream = pipe
    configure_logging("info", json=True, stream=stream)
    async with open_test_engine() as engine:
        for _ in range(150):
            receipt = await engine.submit(Submission(sender="a@example.com", recipients=["b@example.org"], content=RAW))
            assert (await receipt.settled()).is_delivered
        assert b"log_lines_dropped" not in everything_in(end)
        receipt = await engine.submit(Submission(sender="a@example.com", recipients=["b@example.org"], content=RAW))
        assert (await receipt.settled()).is_delivered
    first = json.loads(everything_in(end).splitlines()[0])
    assert first["event"] == "log_lines_dropped"
    assert first["lines"] > 0


async def test_mail_goes_on_while_every_line_of_the_log_raises(autojump_clock, capsys, monkeypatch):
    monkeypatch.setattr("postroad.log._failed_lines", 0)

    def fail(_logger, _method, _event):
        raise OSError(errno.ENOSPC, "No space left on device")

    structlog.configure(processors=[fail])
    async with open_test_engine() as engine:
        receipt = await engine.submit(Submission(sender="a@example.com", recipients=["b@example.org"], content=RAW))
        assert (await receipt.settled()).is_delivered
    get_logger().error("lost")
    assert "log lines could not be written: OSError(28" in capsys.readouterr().err


def test_a_descriptor_that_was_closed_behind_the_stream_costs_lines_alone(tmp_path):
    with open(tmp_path / "log", "w", encoding="utf-8") as stream:
        kept = os.dup(stream.fileno())
        os.close(stream.fileno())
        sink = LogSink(stream, note)
        sink.msg("lost")
        assert sink.dropped == 1
        os.dup2(kept, stream.fileno())
        os.close(kept)
        sink.msg("again")
    assert (tmp_path / "log").read_text() == "dropped 1\nagain\n"


def test_a_child_that_is_forked_amid_a_line_of_another_thread_writes_its_own(tmp_path) -> None:
    with open(tmp_path / "log", "w", encoding="utf-8") as stream:
        sink = LogSink(stream, str)
        with sink._lock:
            child = os.fork()
            if child == 0:
                signal.alarm(10)
                sink.msg("of the child")
                os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
    assert (tmp_path / "log").read_text() == "of the child\n"
