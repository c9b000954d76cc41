"""Haraka: a mail server in JavaScript.  It is fetched by npm into the cache folder, without running any script of a package."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from . import Level
from .injected import MANY_SESSIONS, Injected, count_files

__all__ = ["HARAKA_VERSION", "Haraka"]

HARAKA_VERSION = "3.2.1"
_BEFORE = "2026-06-01"  # of what it needs: with newer parts this version does not start
_SECONDS = 300
_PLUGIN = """\
// Relays everything to the sink of the benchmark.
exports.register = function () {
    this.register_hook('connect', 'relay')
    this.register_hook('rcpt', 'accept')
    this.register_hook('get_mx', 'to_sink')
}
exports.relay = (next, connection) => {
    connection.relaying = true
    next()
}
exports.accept = (next) => next(OK)
exports.to_sink = (next) => next(OK, { priority: 0, exchange: '127.0.0.1', port: %d })
"""


class Haraka(Injected):
    name = "haraka"
    level: Level = "not synced"
    durability = "a queue file, written and renamed before its 250, and not synced (with node 20)"
    listens_seconds = 30.0

    def __init__(self, cache: Path, *, may_fetch: bool) -> None:
        super().__init__(sessions=MANY_SESSIONS)
        self._home = cache / f"haraka-{HARAKA_VERSION}"
        self._may_fetch = may_fetch
        self.settings = (
            f"{self._sessions} kept connections inject; one node, one plugin, outbound concurrency 100; it opens a "
            "connection for each message"
        )

    @property
    def _program(self) -> Path:
        return self._home / "node_modules" / "Haraka" / "bin" / "haraka"

    def available(self) -> str | None:
        if not shutil.which("node") or not shutil.which("npm"):
            return "there is no node or no npm here"
        if self._program.exists():
            return None
        if not self._may_fetch:
            return f"it is not in {self._home}, and nothing may be fetched"
        self._home.mkdir(parents=True, exist_ok=True)
        quiet = ["--ignore-scripts", "--no-package-lock", "--no-audit", "--no-fund"]
        argv = ["npm", "install", *quiet, f"--before={_BEFORE}", "--prefix", self._home]
        try:
            done = subprocess.run(
                [*argv, f"Haraka@{HARAKA_VERSION}"], capture_output=True, text=True, check=False, timeout=_SECONDS
            )
        except subprocess.TimeoutExpired:
            return "npm did not fetch it in time"
        said = (done.stderr.strip().splitlines() or ["npm gave no reason"])[-1]
        return None if self._program.exists() else f"npm cannot fetch it: {said[:200]}"

    def serve(self, port: int) -> subprocess.Popen[bytes]:
        self._folder = self._place.folder / "haraka"
        files = {
            "config/smtp.ini": f"listen=127.0.0.1:{port}\nnodes=0\n",
            "config/plugins": "bench\n",
            "config/me": "bench.localdomain\n",
            "config/log.ini": "[main]\nlevel=warn\n",
            "config/databytes": "0\n",
            "config/outbound.ini": "concurrency_max=100\nenable_tls=false\nlocal_mx_ok=true\n",
            "config/local_mx_ok": "true\n",
            "plugins/bench.js": _PLUGIN % self._place.sink.port,
        }
        for name, text in files.items():
            path = self._folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        usual = self._home / "node_modules" / "Haraka" / "config" / "connection.ini"
        shutil.copy(usual, self._folder / "config")
        (self._folder / "queue").mkdir()
        return self.run(["node", self._program, "-c", self._folder])

    def queued(self) -> int:
        return count_files(self._folder / "queue")
