"""docs/embedding.md and its example: the page shows the program, and the program does what it says."""

from __future__ import annotations

import mailbox
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = ROOT / "examples" / "embedded.py"
WORKERS = ROOT / "examples" / "workers.py"
PAGE = (ROOT / "docs" / "embedding.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
CONFIG = """\
[spool]
url = "sqlite:spool.db"
[senders]
authorized = ["support@example.com"]
[[routes]]
transport = "out"
[transports.out]
plugin = "file"
format = "maildir"
folder = "out"
"""


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "postroad.toml"
    path.write_text(CONFIG, encoding="utf-8")
    return path


def run(*words: str | Path, cwd: Path) -> str:
    env = {name: value for name, value in os.environ.items() if not name.startswith("POSTROAD_")}
    done = subprocess.run(
        [sys.executable, *words], cwd=cwd, capture_output=True, text=True, timeout=60, env=env, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_page_shows_the_example_as_it_is():
    assert BLOCKS[0] == EXAMPLE.read_text(encoding="utf-8")


def test_the_example_greets_each_address_once_and_tells_bad_ones(config, tmp_path):
    addresses = ("albert@example.org", "no address", "albert@example.org")
    for _ in range(2):
        said = run(EXAMPLE, config, *addresses, cwd=tmp_path)
        assert re.search(r"^no address: ", said, re.MULTILINE)
        assert "stopped;" in said
    (letter,) = mailbox.Maildir(tmp_path / "out", create=False)
    assert letter["To"] == "albert@example.org"


def test_a_process_without_trio_hands_over_as_on_the_page(config, tmp_path):
    script = tmp_path / "worker.py"
    script.write_text(BLOCKS[1] + "import sys\nassert 'trio' not in sys.modules\nprint(door.message(id).message.id)\n")
    id = run(script, cwd=tmp_path).strip()
    assert re.fullmatch("[0-9a-z]{20}", id)
    said = run(EXAMPLE, config, cwd=tmp_path)
    assert "stopped" in said


@contextmanager
def started(*words: str | Path, cwd: Path) -> Iterator[subprocess.Popen[str]]:
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, *words], cwd=cwd, stdin=pipe, stdout=pipe, stderr=pipe, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def ask(worker: subprocess.Popen[str], address: str) -> str:
    """Let it send to that address; what it says."""
    assert worker.stdin is not None
    assert worker.stdout is not None
    worker.stdin.write(f"{address}\n")
    worker.stdin.flush()
    return worker.stdout.readline()


def letters(folder: Path) -> Sequence[str]:
    return sorted(letter["To"] for letter in mailbox.Maildir(folder / "out", create=False))


def test_the_page_shows_the_worker_as_it_is():
    assert BLOCKS[2] == WORKERS.read_text(encoding="utf-8")


def test_workers_take_a_spool_each_and_what_killed_ones_left_goes_on(config, tmp_path):
    """Two workers, both killed while a silent server has their mail; one is started again, `serve` does the other's spool."""
    smtp = '[transports.out]\nplugin = "smtp"\nsmarthost = "127.0.0.1:{}"\n'
    with socket.create_server(("127.0.0.1", 0)) as silent:
        config.write_text(
            CONFIG.partition("[transports.out]")[0] + smtp.format(silent.getsockname()[1]), encoding="utf-8"
        )
        with started(WORKERS, config, "2", cwd=tmp_path) as one, started(WORKERS, config, "2", cwd=tmp_path) as other:
            homes = {worker: worker.stdout.readline() for worker in (one, other)}
            assert sorted(homes.values()) == ["ready on spool 0\n", "ready on spool 1\n"]
            for number, worker in enumerate(homes):
                assert ask(worker, f"user{number}@example.org").endswith(homes[worker][-len("on spool 0\n") :])
            with started(WORKERS, config, "2", cwd=tmp_path) as third:
                assert third.wait(60) == 1
                assert "more workers than spools" in third.stderr.read()
    config.write_text(CONFIG, encoding="utf-8")
    with started(WORKERS, config, "2", cwd=tmp_path) as again:
        assert again.stdout.readline() == "ready on spool 0\n"
        orphan = ("-m", "postroad.cli", "--config", config, "--spool", "sqlite:spool-1.db", "serve")
        with started(*orphan, cwd=tmp_path) as serve:
            assert any('"delivered"' in line for line in serve.stderr)
            serve.send_signal(signal.SIGTERM)
            assert serve.wait(60) == 0
        assert ask(again, "user2@example.org").endswith("on spool 0\n")
        again.stdin.close()
        assert again.wait(60) == 0
    assert letters(tmp_path) == [f"user{number}@example.org" for number in range(3)]
