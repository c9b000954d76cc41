"""What the machine says: memory of a process tree, syncs seen by strace, the disk's own sync rate, the machine itself."""

from __future__ import annotations

import os
import platform
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

from processes import Family
from tree import tree_of

__all__ = [
    "MEMORY_FILE_SYSTEMS",
    "count_syncs",
    "describe_machine",
    "file_system",
    "pss",
    "pss_of_tree",
    "sync_rate",
]

MEMORY_FILE_SYSTEMS = ("tmpfs", "ramfs")
_SYNCS = re.compile(r"^\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)\s+(?:\d+\s+)?(?:fsync|fdatasync|sync_file_range|syncfs)$", re.M)


def count_syncs(family: Family, pid: int, work: Callable[[], object], folder: Path) -> int | None:
    """How many syncs a process tree does during `work`, seen by strace; None where strace cannot look."""
    strace = shutil.which("strace")
    if strace is None:
        return None
    out = folder / "strace.out"
    pids = [option for member in tree_of(pid) for option in ("-p", str(member))]
    calls = "trace=fsync,fdatasync,sync_file_range,syncfs"
    with (folder / "strace.err").open("w+b") as errors:
        tracer = family.start([strace, "-f", "-c", "-e", calls, "-o", out, *pids], stderr=errors)
        try:
            if not _wait_attached(tracer, folder / "strace.err"):
                return None
            work()
            tracer.send_signal(signal.SIGINT)
            tracer.wait(10.0)
        finally:
            family.end(tracer)
    return sum(map(int, _SYNCS.findall(out.read_text())))


def _wait_attached(tracer: subprocess.Popen[bytes], said: Path) -> bool:
    for _ in range(250):
        if tracer.poll() is not None:
            return False
        if "attached" in said.read_text():
            return True
        time.sleep(0.02)
    return False


def pss(pid: int | str = "self") -> int:
    """A process's share of memory (proportional set size), in octets."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("the system does not tell")


def pss_of_tree(pid: int) -> int | None:
    """The same of a process and its descendants, in octets; None where there is none, or it may not be seen."""
    known: list[int] = []
    for member in tree_of(pid):
        with suppress(FileNotFoundError, ProcessLookupError, RuntimeError):  # it ended meanwhile, or is a zombie
            try:
                known.append(pss(member))
            except PermissionError:
                return None
    return sum(known) if known else None


def sync_rate(folder: Path, seconds: float = 0.5) -> float:
    """4 KiB appended and synced, one after the other: how many a second this disk does."""
    path = folder / "sync-rate"
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
    count, began = 0, time.monotonic()
    try:
        while time.monotonic() - began < seconds:
            os.write(descriptor, b"x" * 4096)
            os.fdatasync(descriptor)
            count += 1
    finally:
        os.close(descriptor)
        path.unlink()
    return count / (time.monotonic() - began)


def file_system(folder: Path) -> str:
    """Kind of file system under a folder."""
    mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
    here = str(folder.resolve())
    fitting = [(len(place), kind) for place, kind in mounts if f"{here}/".startswith(place.rstrip("/") + "/")]
    return max(fitting)[1] if fitting else "unknown"


def describe_machine(folder: Path) -> dict[str, Any]:
    model = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.M)
    return {
        "cpus": os.cpu_count(),
        "cpu": model[1] if model else platform.machine(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in ("trio", "apsw", "structlog", "msgspec")},
        "file_system": file_system(folder),
        "load_before": round(os.getloadavg()[0], 2),
    }
