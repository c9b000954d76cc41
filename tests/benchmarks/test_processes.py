"""Processes of the benchmark do not outlive it."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from load import Load
from peers import Place
from peers.postroad import Postroad
from processes import Crew, Family, Gone, OutOfTime, shares
from sinks import CountingSink
from tree import cpu_of_tree, tree_of

_SLEEP = [sys.executable, "-c", "import sys; sys.stdin.read()"]


def _interrupted(family: Family, interrupt: Callable[[], object]) -> subprocess.Popen[bytes]:
    process = family.start(_SLEEP, stdin=subprocess.PIPE)
    with pytest.raises((KeyboardInterrupt, SystemExit)), family.ended_at_exit():
        interrupt()
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_every_process_is_ended_when_the_benchmark_is_interrupted(number: signal.Signals) -> None:
    before = signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # a job in the background begins with SIGINT ignored
    try:
        process = _interrupted(Family(), lambda: signal.raise_signal(number))
    finally:
        signal.signal(signal.SIGINT, before)
    assert process.returncode == -signal.SIGTERM


def test_a_worker_that_says_nothing_runs_out_of_time(tmp_path: Path) -> None:
    family = Family()
    with family.ended_at_exit():
        worker = family.worker("counting_sink", {}, tmp_path / "err")
        worker.answer(20.0)
        with pytest.raises(OutOfTime):
            worker.answer(0.01)


def test_a_worker_that_fails_is_an_error_and_no_hang(tmp_path: Path) -> None:
    family = Family()
    with family.ended_at_exit():
        worker = family.worker("no_such_module", {}, tmp_path / "err")
        with pytest.raises(
            RuntimeError,
            match=r"^no_such_module .* ended with status 1 without an answer: .*no_such_module",
        ):
            worker.answer(20.0)


def test_what_a_group_of_exceptions_was_about_is_told(tmp_path: Path) -> None:
    family, errors = Family(), tmp_path / "err"
    with family.ended_at_exit():
        worker = family.worker("counting_sink", {}, errors)
        worker.answer(20.0)
        errors.write_text("  + Exception Group Traceback\n    | ValueError: too large\n    +-----------\n")
        worker.process.kill()
        with pytest.raises(RuntimeError, match=r"without an answer: ValueError: too large$"):
            worker.answer(20.0)


def test_a_profile_is_there_when_the_engine_was_stopped(tmp_path: Path) -> None:
    profile, family = tmp_path / "out.prof", Family()
    with family.ended_at_exit():
        peer = Postroad(submitters=1, window=1, with_log=True, profile=str(profile))
        sink = CountingSink(family, tmp_path)
        peer.start(Place(family=family, folder=tmp_path, sink=sink, load=Load(octets=1000)))
        peer.stop()
    assert profile.stat().st_size > 0


def test_the_cpu_of_a_tree_counts_children_that_ended() -> None:
    busy = "sum(range(6_000_000))"
    parent = (
        f"import subprocess, sys; subprocess.run([sys.executable, '-c', {busy!r}]); print(flush=True); sys.stdin.read()"
    )
    family = Family()
    with family.ended_at_exit():
        process = family.start([sys.executable, "-c", parent], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        assert list(tree_of(process.pid)) == [process.pid]
        assert cpu_of_tree(process.pid) >= 0.05


def test_a_crew_is_ready_when_each_of_it_is(tmp_path: Path) -> None:
    family = Family()
    with family.ended_at_exit():
        workers = [family.worker("counting_sink", {}, tmp_path / f"err{number}") for number in range(2)]
        crew = Crew(workers)
        crew.wait_ready(20.0)
        assert len(crew) == 2
        with pytest.raises(OutOfTime):
            workers[0].answer(0.01)  # what was awaited is used up


@pytest.mark.parametrize(("count", "number", "parts"), [(5, 2, [3, 2]), (1, 2, [1, 0]), (6, 3, [2, 2, 2])])
def test_shares_differ_by_one_at_most(count: int, number: int, parts: list[int]) -> None:
    assert shares(count, number) == parts


def test_a_process_that_ended_too_soon_is_named_at_once(tmp_path: Path) -> None:
    """Whoever waits for another one's answer hears of it long before the time is up."""
    family = Family()
    with family.ended_at_exit():
        server = family.start(_SLEEP, stdin=subprocess.PIPE, title="its master")
        worker = family.worker("counting_sink", {}, tmp_path / "err")
        worker.answer(20.0)
        assert family.gone() == ""
        server.kill()
        with pytest.raises(Gone, match=rf"^its master \(process {server.pid}\) was ended by signal 9$"):
            worker.answer(600.0)


def test_an_order_to_a_dead_worker_is_no_broken_pipe(tmp_path: Path) -> None:
    family = Family()
    with family.ended_at_exit():
        worker = family.worker("counting_sink", {}, tmp_path / "err")
        worker.answer(20.0)
        worker.process.kill()
        worker.process.wait()
        with pytest.raises(RuntimeError, match="was ended by signal 9 without an answer: it said nothing"):
            worker.ask({"do": "reset"}, 20.0)
