"""Starts a server and adopts whatever it leaves behind, so that the CPU of processes that detach themselves stays in one tree.

    python reaper.py PROGRAM [ARGUMENT ...]

Ends with the server; on SIGTERM it ends everything below it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys

from tree import adopting, end_below


def main() -> int:
    signal.signal(signal.SIGTERM, _leave)
    with adopting():
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
            end_below()


def _leave(number: int, _frame: object) -> None:
    raise SystemExit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
