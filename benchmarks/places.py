"""Where a benchmark works and where its results go: the cache folder, a fresh folder for each run, and JSON that is not lost."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = ["cache_folder", "save_json", "sweep", "why_not_writable", "work_folder"]

_OWNED = "owner"  # a file in each folder of a run that is under way; the folder is locked as long as its process lives
_PROBE_OCTETS = 65_536


def cache_folder() -> Path:
    """Root's home is closed to Postfix's processes, so root gets a folder of the system's."""
    home = Path("/var/cache") if os.geteuid() == 0 else Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    return home / "postroad-benchmarks"


def why_not_writable(folder: Path) -> str:
    """Make a folder, and write and remove a little in it; why that fails, or ""."""
    if file := next((part for part in (folder, *folder.parents) if part.exists() and not part.is_dir()), None):
        return f"{file} is no folder"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"x" * _PROBE_OCTETS)
            probe.flush()
    except OSError as error:
        return f"cannot write in {folder}: {error.strerror}"
    return ""


@contextmanager
def work_folder(cache: Path) -> Generator[Path]:
    """A fresh folder that Postfix's processes may enter; what failed runs left in it (.err and .log files) is kept."""
    cache.mkdir(parents=True, exist_ok=True)
    cache.chmod(0o755)
    sweep(cache)
    folder = Path(tempfile.mkdtemp(prefix="run-", dir=cache))
    lock = os.open(folder, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    (folder / _OWNED).touch()
    folder.chmod(0o755)
    try:
        yield folder
    except (KeyboardInterrupt, SystemExit):
        shutil.rmtree(folder)
        raise
    finally:
        os.close(lock)
        if folder.exists():
            _clear(folder)


def _clear(folder: Path) -> None:
    for left in folder.iterdir():
        if not left.is_dir():
            left.unlink()
    if any(folder.iterdir()):
        print(f"what failed runs left is in {folder}")
    else:
        folder.rmdir()


def sweep(cache: Path) -> None:
    """Remove what benchmarks left that were killed; what a failed run left on purpose has no owner's mark any more."""
    for mark in cache.glob(f"run-*/{_OWNED}"):
        lock = os.open(mark.parent, os.O_RDONLY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue  # it is under way
        else:
            shutil.rmtree(mark.parent, ignore_errors=True)
        finally:
            os.close(lock)


def save_json(told: Any, folder: Path, stem: str) -> Path:
    """Write results under a name with the time; where the folder takes nothing any more, into a temporary one."""
    name = time.strftime(f"{stem}-%Y%m%dT%H%M%SZ.json", time.gmtime())
    text = json.dumps(told, indent=2) + "\n"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / name
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        path = Path(tempfile.mkdtemp(prefix="postroad-benchmark-"), name)
        path.write_text(text, encoding="utf-8")
        print(f"cannot write in {folder}: {error.strerror}")
    return path
