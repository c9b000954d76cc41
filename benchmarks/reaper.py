"""Starts a server and adopts whatever it leaves behind, so that the CPU of processes that detach themselves stays in one tree.

    python reaper.py PROGRAM [ARGUMENT ...]

Ends with the server; on SIGTERM it ends everything below it.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress

from measure import tree_of

_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
_GRACE_SECONDS = 3.0


def main() -> int:
    if ctypes.CDLL(None, use_errno=True).prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "orphans cannot be adopted")
    signal.signal(signal.SIGTERM, _leave)
    server = subprocess.Popen(sys.argv[1:])
    try:
        while True:
            pid, status = os.wait()
            if pid == server.pid:
                return os.waitstatus_to_exitcode(status)
    except SystemExit:
        return 0
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        for number in (signal.SIGTERM, signal.SIGKILL):
            _end_all(number)


def _leave(number: int, _frame: object) -> None:
    raise SystemExit(128 + number)


def _end_all(number: int) -> None:
    """Signal everything below, and wait a moment for it to end."""
    deadline = time.monotonic() + _GRACE_SECONDS
    for pid in set(tree_of(os.getpid())) - {os.getpid()}:
        with suppress(ProcessLookupError):
            os.kill(pid, number)
    with suppress(ChildProcessError):
        while time.monotonic() < deadline:
            if os.waitpid(-1, os.WNOHANG) == (0, 0):
                time.sleep(0.02)


if __name__ == "__main__":
    sys.exit(main())
