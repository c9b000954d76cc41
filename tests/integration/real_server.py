"""A real server as a process of its own: started in a session of its own, waited for until it greets, ended by its own pid.

`kill` and `freeze` reach all processes of the server, and no others: they are its process group.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

_START_SECONDS = 15.0
_GRACE_SECONDS = 5.0
_POLL_SECONDS = 0.01


class RealServer:
    """folder: where it works, fresh, and open to other accounts.  port: on 127.0.0.1, 0 for a free one."""

    def __init__(self, folder: Path, port: int = 0) -> None:
        self.folder = folder
        self.port = port or free_port()
        self.is_frozen = False
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def place(self) -> str:
        """As `smarthost` wants it."""
        return f"127.0.0.1:{self.port}"

    def argv(self) -> Sequence[str | Path]:
        raise NotImplementedError

    def environment(self) -> Mapping[str, str]:
        return os.environ

    def start(self) -> None:
        """Start it, and wait until it greets."""
        with (self.folder / "said").open("ab") as said:
            self._process = subprocess.Popen(
                self.argv(),
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                start_new_session=True,
            )
        deadline = time.monotonic() + _START_SECONDS
        while not self.is_up():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(f"{type(self).__name__} did not come up: {self.last_words()}")
            time.sleep(_POLL_SECONDS)

    def is_up(self) -> bool:
        return greets(self.port)

    def last_words(self) -> str:
        return (self.folder / "said").read_text(encoding="utf-8", errors="replace")[-1000:]

    def stop(self) -> None:
        """End it as an operator would; by force what is left after some seconds."""
        if self._process is None:
            return
        self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_GRACE_SECONDS)
        self.kill()

    def wait_ended(self) -> None:
        """Wait until it ends by itself.  Raises subprocess.TimeoutExpired."""
        assert self._process is not None
        self._process.wait(_GRACE_SECONDS)

    def kill(self) -> None:
        """SIGKILL to every process of the server; returns when none has a socket any more.  Calling it twice does no harm."""
        process, self._process = self._process, None
        if process is not None:
            with suppress(ProcessLookupError):  # the group outlives its leader as long as one member lives
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(_GRACE_SECONDS)
            _wait_group_gone(process.pid)
        self.is_frozen = False

    def freeze(self) -> None:
        """SIGSTOP: it hears and says nothing any more; `kill` still ends it."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGSTOP)
        self.is_frozen = True


def _wait_group_gone(group: int) -> None:
    deadline = time.monotonic() + _GRACE_SECONDS
    while any(_is_alive_in(group, path) for path in Path("/proc").glob("[0-9]*/stat")):
        if time.monotonic() > deadline:
            raise RuntimeError(f"the processes of group {group} do not end")
        time.sleep(_POLL_SECONDS)


def _is_alive_in(group: int, stat: Path) -> bool:
    try:
        state, _parent, found = stat.read_bytes().rpartition(b") ")[2].split()[:3]
    except (OSError, ValueError):
        return False
    return int(found) == group and state not in b"ZX"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def greets(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), _GRACE_SECONDS) as probe:
            return probe.recv(3) == b"220"
    except OSError:
        return False


def listens(port: int) -> bool:
    """Without a connection, which might be one that the server counts."""
    wanted = f"0100007F:{port:04X} 00000000:0000 0A"
    return any(wanted in line for line in Path("/proc/net/tcp").read_text().splitlines())
