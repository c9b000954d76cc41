"""A configuration in a folder of its own, and the command run against it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from postroad.cli.app import postroad

CONFIG = """\
[spool]
url = "sqlite:spool/postroad.db"

[senders]
authorized = ["*@example.com"]

[reports]
hostname = "engine.test"

[in_flight]
drain_seconds = 1

[[routes]]
transport = "out"

[transports.out]
plugin = "file"
format = "maildir"
folder = "out"
"""


class Command:
    """The `postroad` command in a folder with a postroad.toml."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "postroad.toml"
        self.configure(CONFIG)

    def configure(self, text: str) -> None:
        self.file.write_text(text, encoding="utf-8")

    def run(self, *words: str, stdin: bytes | str | None = None, env: dict[str, str] | None = None) -> Result:
        """Run it in this process; a test that expects an error looks at `exit_code` and `stderr`."""
        clean = {"POSTROAD_CONFIG": str(self.file), "POSTROAD_SPOOL": None, **(env or {})}
        result = CliRunner().invoke(postroad, [str(word) for word in words], input=stdin, env=clean)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    def ok(self, *words: str, stdin: bytes | str | None = None) -> str:
        result = self.run(*words, stdin=stdin)
        assert result.exit_code == 0, result.stderr
        return result.stdout.strip()

    def json(self, *words: str, stdin: bytes | str | None = None):
        return json.loads(self.ok(*words, "--json", stdin=stdin))

    def start(self, *words: str, **options) -> subprocess.Popen[str]:
        """Start it as a process of its own; the caller ends it."""
        env = {name: value for name, value in os.environ.items() if not name.startswith("POSTROAD_")}
        return subprocess.Popen(
            [sys.executable, "-m", "postroad.cli", "--config", str(self.file), *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**env, **options.pop("env", {})},
            cwd=self.folder,
            **options,
        )


@pytest.fixture
def command(tmp_path):
    return Command(tmp_path)
