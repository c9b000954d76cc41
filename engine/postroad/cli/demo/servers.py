"""Starts the demo's SMTP servers as processes, tells them how to answer, reads what they took, and always ends them by pid."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import msgspec

from ...errors import PostroadError

__all__ = ["Server", "Taken", "started"]

_END_SECONDS = 3.0


class Taken(msgspec.Struct, frozen=True):
    """A message as a server took it."""

    sender: str
    recipients: tuple[str, ...]
    content: bytes


class Server:
    """One server process.  port: where it will listen, once it was told an answer."""

    def __init__(self, name: str, journal: Path) -> None:
        self.name = name
        self._journal = journal
        with journal.with_suffix(".err").open("wb") as trouble:
            self._process = subprocess.Popen(  # noqa: S603  # our own module
                [sys.executable, "-m", "postroad.cli.demo.server", str(journal)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=trouble,
                text=True,
            )
        self.pid = self._process.pid
        self.port = 0

    def wait_bound(self) -> None:
        self.port = int(self._read())

    def tell(self, answer: str) -> None:
        """Have it answer so from now on; it does when this returns."""
        assert self._process.stdin is not None
        self._process.stdin.write(answer + "\n")
        self._process.stdin.flush()
        self._read()

    def _read(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline().strip()
        if not line:
            trouble = self._journal.with_suffix(".err").read_text(encoding="utf-8", errors="replace").strip()
            raise PostroadError(
                f"the demo's SMTP server {self.name} (pid {self.pid}) ended: {trouble[-500:] or 'no reason given'}"
            )
        return line

    def end(self) -> None:
        """Ask it to end, then make it."""
        for ask in (self._process.terminate, self._process.kill):
            ask()
            try:
                self._process.wait(_END_SECONDS)
            except subprocess.TimeoutExpired:
                continue
            break
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    # --- what it saw ---

    @property
    def answers(self) -> list[str]:
        """Its answers to RCPT, in order."""
        return [entry["answer"] for entry in self._entries("rcpt")]

    @property
    def taken(self) -> list[Taken]:
        return [
            Taken(entry["sender"], tuple(entry["recipients"]), base64.b64decode(entry["content"]))
            for entry in self._entries("taken")
        ]

    def _entries(self, event: str) -> list[dict[str, Any]]:
        lines = self._journal.read_text(encoding="utf-8").splitlines()
        return [entry for line in lines if (entry := json.loads(line))["event"] == event]


@contextmanager
def started(names: Sequence[str], folder: Path) -> Generator[list[Server]]:
    """Servers of these names, bound and not listening yet; ended, whatever happens, when the block is left."""
    with ExitStack() as stack:
        servers: list[Server] = []
        for name in names:
            server = Server(name, folder / f"{name}.journal")
            stack.callback(server.end)
            servers.append(server)
        for server in servers:
            server.wait_bound()
        yield servers
