"""Imports a plugin's module in a process of its own, beside what every engine has imported anyway, and measures it."""

from __future__ import annotations

import os
import subprocess
import sys

import msgspec

__all__ = ["Imported", "import_alone"]

_TRIES = 3  # the quickest counts: a busy machine is slow now and then
_SECONDS = 60.0
_QUICK = 0.25
_CODE = """
import importlib, os, sys, threading, time
import postroad, postroad.config, postroad.hookspecs, postroad.opening, postroad.transport
count = lambda: len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
threads, descriptors, begun = threading.active_count(), count(), time.process_time()
importlib.import_module(sys.argv[1])
seconds = time.process_time() - begun
sys.stdout.flush()
os.write(int(sys.argv[2]), b'{"seconds":%f,"threads":%d,"descriptors":%d}' % (
    seconds, threading.active_count() - threads, count() - descriptors))
"""


class Imported(msgspec.Struct, frozen=True):
    """seconds: of the processor.  threads, descriptors: how many more there are than before.  said: what was printed."""

    seconds: float
    threads: int
    descriptors: int
    said: str = ""


def import_alone(module: str) -> Imported:
    """Import it up to three times.  Raises OSError or subprocess.SubprocessError where that cannot be done."""
    best = _import_once(module)
    for _ in range(_TRIES - 1):
        if best.seconds <= _QUICK:
            break
        best = min(best, _import_once(module), key=lambda each: each.seconds)
    return best


def _import_once(module: str) -> Imported:
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as result:
        try:
            done = subprocess.run(  # noqa: S603  # this very Python
                [sys.executable, "-c", _CODE, module, str(writing)],
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                pass_fds=(writing,),
                timeout=_SECONDS,
                check=False,
            )
        finally:
            os.close(writing)
        found = result.read()
    said = done.stdout.strip()[:200]
    if not found:
        return Imported(0.0, 0, 0, said or f"nothing, and ends with {done.returncode}")
    return msgspec.structs.replace(msgspec.json.decode(found, type=Imported), said=said)
