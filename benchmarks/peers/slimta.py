"""python-slimta: a mail queue in Python on gevent, with its disk storage."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from processes import BENCHMARKS

from . import Level
from .debian import find_python
from .injected import MANY_SESSIONS, Injected, count_files

__all__ = ["Slimta"]


class Slimta(Injected):
    name = "python-slimta"
    level: Level = "not synced"
    durability = "a file by POSIX AIO before its 250 (DiskStorage), and not synced"

    def __init__(self, cache: Path, *, may_fetch: bool) -> None:
        super().__init__(sessions=MANY_SESSIONS)
        self._cache = cache
        self._may_fetch = may_fetch
        self._python = Path()
        self.settings = f"{self._sessions} kept connections inject; StaticSmtpRelay, pool of 20, connections kept"

    def available(self) -> str | None:
        modules = ("slimta.edge.smtp", "slimta.diskstorage")
        self._python, absent = find_python(self._cache, "bench-slimta", *modules, may_fetch=self._may_fetch)
        return absent or None

    def serve(self, port: int) -> subprocess.Popen[bytes]:
        for name in ("envelopes", "meta", "tmp"):
            (self._place.folder / name).mkdir()
        settings = {"folder": str(self._place.folder), "port": port, "sink": self._place.sink.port}
        return self.run([self._python, "-m", "peers.slimta_server", json.dumps(settings)], cwd=BENCHMARKS)

    def queued(self) -> int:
        return count_files(self._place.folder / "envelopes")
