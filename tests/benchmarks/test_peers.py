"""What feeds and holds the servers that are compared: the injector, the reaper, environments, and what is said of absent ones."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from load import Load
from peers.debian import find_python, unpacked
from peers.haraka import Haraka
from peers.injected import count_files
from processes import BENCHMARKS, Family, Worker
from sinks import CountingSink
from tree import cpu_of_tree, tree_of


@pytest.fixture
def family() -> Iterator[Family]:
    family = Family()
    with family.ended_at_exit():
        yield family


def _source(family: Family, tmp_path: Path, sink: CountingSink, load: Load) -> Worker:
    settings = {"port": sink.port, "sessions": 3, "tag": "test", "load": load.told()}
    worker = family.worker("smtp_source", settings, tmp_path / "source.err")
    worker.answer(20.0)
    return worker


def test_the_injector_sends_every_message_to_every_recipient_once(family: Family, tmp_path: Path) -> None:
    sink = CountingSink(family, tmp_path)
    source = _source(family, tmp_path, sink, Load(octets=1000, recipients=3, destinations=5))
    for _ in range(2):
        sink.reset()
        answer = source.ask({"count": 20}, 20.0)
        assert answer["problem"] == ""
        assert answer["durable"]["p99_ms"] > 0
        received = sink.wait(60, 20.0)
        assert received.problem(60) == ""
        assert received.latency["p50_ms"] > 0


def test_the_injector_says_what_a_server_refused(family: Family, tmp_path: Path) -> None:
    sink = CountingSink(family, tmp_path, deferred=1.0)
    answer = _source(family, tmp_path, sink, Load(octets=500)).ask({"count": 20}, 20.0)
    assert answer["problem"] == "451 4.3.2 later"


def test_the_cpu_of_what_detaches_itself_stays_in_the_reapers_tree(family: Family) -> None:
    """A grandchild whose parent ended belongs to the reaper, not to init."""
    orphan = "import sys; sum(range(6_000_000)); print('done', flush=True); sys.stdin.read()"
    detach = f"import subprocess, sys, os; subprocess.Popen([sys.executable, '-c', {orphan!r}]); os._exit(0)"
    server = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {detach!r}]); sys.stdin.read()"
    argv = [sys.executable, BENCHMARKS / "reaper.py", sys.executable, "-c", server]
    reaper = family.start(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=BENCHMARKS)
    assert reaper.stdout is not None
    assert reaper.stdout.readline() == b"done\n"
    tree = tree_of(reaper.pid)
    assert len(tree) == 3
    assert cpu_of_tree(reaper.pid) >= 0.05
    family.end(reaper)
    assert not any(tree_of(pid) for pid in tree)


def _pretend_to_make(folder: Path, *, clear: bool, with_pip: bool) -> None:
    """This interpreter instead of one of its own, which would take its time."""
    (folder / "bin").mkdir(parents=True, exist_ok=True)
    (folder / "bin/python").unlink(missing_ok=True)
    (folder / "bin/python").symlink_to(sys.executable)


def test_an_environment_is_made_anew_when_its_requirements_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    requirements = tmp_path / "requirements"
    requirements.mkdir()
    (requirements / "some.txt").write_text("")
    monkeypatch.setattr("servers.environment._REQUIREMENTS", requirements)
    monkeypatch.setattr("venv.create", _pretend_to_make)
    python, absent = find_python(tmp_path, "some", "json", may_fetch=False)
    assert "nothing may be fetched" in absent
    assert find_python(tmp_path, "some", "json") == (python, "")
    assert find_python(tmp_path, "some", "json", may_fetch=False) == (python, "")
    (requirements / "some.txt").write_text("# newer\n")
    assert "nothing may be fetched" in find_python(tmp_path, "some", "json", may_fetch=False)[1]


def test_an_absent_system_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "nothing may be fetched" in str(unpacked(tmp_path, "exim", may_fetch=False))
    assert Haraka(tmp_path, may_fetch=False).available()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert Haraka(tmp_path, may_fetch=True).available() == "there is no node or no npm here"


def test_queue_files_are_counted_by_their_ending(tmp_path: Path) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    for name in ("a/1-H", "a/1-D", "a/b/2-H"):
        (tmp_path / name).touch()
    assert (count_files(tmp_path), count_files(tmp_path, ending="-H"), count_files(tmp_path / "none")) == (3, 2, 0)
