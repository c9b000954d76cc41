"""Memory follows what is under way, not the backlog; a start does not read it.  `make scale` does it with a million messages."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from processes import Family
from scale import Application, application
from sinks import CountingSink

pytestmark = pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="the system does not tell memory")


@contextmanager
def engine_in(folder: Path, port: int = 1, octets: int = 400) -> Iterator[Application]:
    family = Family()
    with family.ended_at_exit(), application(family, folder, port, octets) as engine:
        yield engine


def test_a_backlog_does_not_grow_in_memory_and_a_start_does_not_read_it(tmp_path: Path) -> None:
    messages, octets, allowed_mb = 20_000, 6000, 64
    assert messages * octets > 1.5 * allowed_mb * 1e6, "a backlog in memory would not show"
    spool, domains = tmp_path / "spool", [f"d{number}.example" for number in range(200)]
    with engine_in(spool, octets=octets) as engine:
        engine.open()
        engine.ask("fill", count=10, domains=domains)
        empty = engine.memory.since()
        engine.ask("fill", count=messages, domains=domains)
        assert engine.memory.since() - empty < allowed_mb
        engine.ask("close")
    with engine_in(spool, octets=octets) as engine:
        opened = engine.open(accepts=True)
        assert opened["messages"] == messages + 10
        assert opened["seconds"] < 2
        assert engine.ask("deliver", seconds=2)["delivered"] > 100
        assert engine.memory.since() - empty < allowed_mb
        engine.ask("close")


def test_many_large_messages_at_once_are_not_in_memory_all_at_once(tmp_path: Path) -> None:
    messages, octets, allowed_mb = 30, 8_000_000, 120
    path = tmp_path / "large.eml"
    path.write_bytes(b"From: a@bench.example\r\nSubject: large\r\n\r\n" + (b"x" * 78 + b"\r\n") * (octets // 80))
    family = Family()
    with family.ended_at_exit():
        sink = CountingSink(family, tmp_path)
        with application(family, tmp_path / "spool", sink.port) as engine:
            engine.open()
            engine.ask("fill", count=10, domains=["d.example"])
            empty = engine.memory.since()
            engine.ask("send_files", count=messages, path=str(path), ahead=messages)
            received = sink.wait(messages, 60)
            assert engine.memory.since() - empty < allowed_mb
            engine.ask("close")
    assert received.messages == messages
    assert received.octets is not None
    assert received.octets > messages * octets
