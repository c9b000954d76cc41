"""An application behind Postfix's pipe: its folder, an engine as a process of its own, and what was posted to it.

`pipe` runs no program as root, and the Python of the tests may lie where no other account may go.  So the pipe runs a relay,
which has the real command run by the account of the tests, with the words and the mail that Postfix gave, and ends as that ended.
"""

from __future__ import annotations

import json
import shutil
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from boxes import NOBODY

PROGRAM = (sys.executable, "-m", "postroad.cli")
MESSAGE_BYTES = 100_000
_SECONDS = 60.0
_POLL_SECONDS = 0.02
_RELAY = Path(__file__).with_name("pipe_relay.py")
_PYTHONS = (sys.executable, "/usr/bin/python3")


def python_of_nobody() -> str | None:
    """A Python that the account nobody may run; None where there is none."""
    return next((python for python in _PYTHONS if _runs(python)), None)


def _runs(python: str) -> bool:
    try:
        tried = subprocess.run(
            [python, "-c", ""], user=NOBODY, group=NOBODY, extra_groups=(), cwd="/", capture_output=True
        )
    except OSError:
        return False
    return tried.returncode == 0


class _Commands(socketserver.ThreadingUnixStreamServer):
    """Runs the command with the words and the input that the relay brings, and tells how it ended."""

    daemon_threads = True


class _Command(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        words = json.loads(self.rfile.readline())
        done = subprocess.run([*PROGRAM, *words], input=self.rfile.read(), capture_output=True, timeout=_SECONDS)
        self.wfile.write(b"%d\n" % done.returncode + done.stderr)


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        server: Any = self.server
        body = self.rfile.read(int(self.headers["Content-Length"]))
        server.posted.append((self.path, self.headers["X-Postroad-Sender"], body))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@dataclass
class Site:
    """posted: path, sender and body of each POST, in order."""

    folder: Path
    posted: list[tuple[str, str | None, bytes]] = field(default_factory=list)

    @property
    def config(self) -> Path:
        return self.folder / "postroad.toml"

    def pipe(self, python: str) -> str:
        """As docs/callbacks.md has it, but for the relay."""
        program = f"{python} {self.folder / _RELAY.name} {self.folder / 'commands'}"
        return f"user=nobody null_sender= argv={program} --config {self.config} receive --sender ${{sender}} -- ${{recipient}}"

    def write_config(self, url: str, smarthost: str) -> None:
        self.config.write_text(
            f"""
[spool]
url = "sqlite:spool/postroad.db"
[senders]
authorized = ["*"]
[limits]
message_bytes = {MESSAGE_BYTES}
[reports]
hostname = "engine.example"
[[routes]]
transport = "outbound"
[transports.outbound]
plugin = "smtp"
smarthost = "{smarthost}"
helo = "client.example"
tls = "none"
[transports.app]
plugin = "appengine"
url = "{url}"
[callbacks]
transport = "app"
[callbacks.retry]
first_seconds = 0.1
max_seconds = 0.5
""",
            encoding="utf-8",
        )

    @contextmanager
    def engine(self) -> Iterator[None]:
        """`postroad serve`, ended as an operator would."""
        with (self.folder / "served").open("ab") as said:
            command = [*PROGRAM, "--config", str(self.config), "serve"]
            process = subprocess.Popen(command, stdout=said, stderr=said)
        try:
            yield
        finally:
            process.terminate()
            process.wait(_SECONDS)

    def send(self, sender: str, to: str) -> None:
        """`postroad send`, by whichever road there is."""
        command = [*PROGRAM, "--config", str(self.config), "send", "--from", sender, "--to", to, "--body", "Hello"]
        done = subprocess.run(command, capture_output=True, timeout=_SECONDS)
        assert done.returncode == 0, done.stderr

    def wait(self, is_so: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + _SECONDS
        while not is_so():
            assert time.monotonic() < deadline, f"{what}; the engine said: {self.last_words()}"
            time.sleep(_POLL_SECONDS)

    def last_words(self) -> str:
        served = self.folder / "served"
        return served.read_text(encoding="utf-8")[-2000:] if served.exists() else ""


@contextmanager
def open_site(folder: Path) -> Iterator[tuple[Site, str]]:
    """The site, and where its application listens."""
    folder.mkdir(mode=0o755)
    shutil.copy(_RELAY, folder)
    site = Site(folder)
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as application:
        application.posted = site.posted  # type: ignore[attr-defined]
        with _Commands(str(folder / "commands"), _Command) as commands, _serving(application), _serving(commands):
            (folder / "commands").chmod(0o777)
            yield site, f"http://127.0.0.1:{application.server_address[1]}"


@contextmanager
def _serving(server: socketserver.BaseServer) -> Iterator[None]:
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
