"""Folders of a benchmark: what a killed one left is swept, what a failed run left is kept, and results are not lost."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from places import save_json, sweep, why_not_writable, work_folder


def test_what_a_killed_benchmark_left_is_swept_by_the_next(tmp_path: Path) -> None:
    with work_folder(tmp_path) as running:
        (running / "api").mkdir()
        dead = tmp_path / "run-dead"
        dead.mkdir()
        (dead / "owner").touch()
        old = tmp_path / "run-failed"
        old.mkdir()
        sweep(tmp_path)
        assert set(tmp_path.iterdir()) == {running, old}
    sweep(tmp_path)
    assert set(tmp_path.iterdir()) == {running, old}  # what a failed run left is kept


def test_nothing_is_left_of_a_benchmark_without_failed_runs(tmp_path: Path) -> None:
    with work_folder(tmp_path):
        pass
    with pytest.raises(KeyboardInterrupt), work_folder(tmp_path) as folder:
        (folder / "api").mkdir()
        raise KeyboardInterrupt
    with pytest.raises(OSError, match="No space"), work_folder(tmp_path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert not any(tmp_path.iterdir())


def test_a_folder_that_takes_nothing_is_named(tmp_path: Path) -> None:
    assert why_not_writable(tmp_path / "new/inner") == ""
    (tmp_path / "file").touch()
    assert why_not_writable(tmp_path / "file/inner") == f"{tmp_path}/file is no folder"
    assert why_not_writable(Path("/proc/nope")).startswith("cannot write in /proc/nope: ")


def test_results_go_elsewhere_when_the_folder_takes_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    path = save_json({"a": 1}, Path("/proc/nope"), "some")
    assert path.is_relative_to(tmp_path)
    assert json.loads(path.read_text()) == {"a": 1}
    assert "cannot write in /proc/nope" in capsys.readouterr().out
