"""docs/embedding.md and its example: the page shows the program, and the program does what it says."""

from __future__ import annotations

import mailbox
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = ROOT / "examples" / "embedded.py"
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
