"""Memory follows what is under way, not the backlog; a start does not read it.  `make scale` does it with 100,000 messages."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

MESSAGES = int(os.environ.get("POSTROAD_SCALE_MESSAGES", "20000"))
OCTETS = int(os.environ.get("POSTROAD_SCALE_OCTETS", "6000"))
ALLOWED_MB = 64  # over an engine with an empty spool


def test_a_backlog_does_not_grow_in_memory_and_a_start_does_not_read_it(tmp_path: Path) -> None:
    script = Path(__file__).with_name("backlog.py")
    command = [sys.executable, str(script), str(tmp_path), str(MESSAGES), str(OCTETS)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=900, check=True)
    measured = json.loads(ended.stdout.splitlines()[-1])
    print(measured)
    assert MESSAGES * OCTETS > 1.5 * ALLOWED_MB * 1e6, "a backlog in memory would not show"
    for when in ("most_mb", "filled_mb", "restarted_mb"):
        assert measured[when] - measured["empty_mb"] < ALLOWED_MB, measured
    assert measured["second_start_seconds"] < 2, measured
