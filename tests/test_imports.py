"""What an engine imports is paid by every application that carries one: what its configuration does not need stays out."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

_PROBE = Path(__file__).with_name("imports_probe.py")


@cache
def _imported(table: str) -> tuple[set[str], set[str]]:
    """Modules of an engine with such a transport when it is open, and those that came with its first message."""
    with TemporaryDirectory() as folder:
        order = [sys.executable, str(_PROBE), folder, table]
        ended = subprocess.run(order, stdout=subprocess.PIPE, text=True, check=True, timeout=60)
    opened, later = json.loads(ended.stdout)
    return set(opened), set(later)


def _with_a_smarthost() -> tuple[set[str], set[str]]:
    return _imported('{"smarthost": "127.0.0.1"}')


@pytest.mark.parametrize(
    "name",
    [
        *("structlog", "rich", "asyncio"),  # an application's business, or a terminal's
        *("dns", "postroad_smtp.lookup", "postroad_smtp.datagram"),  # nobody is looked up
        *("httpx2", "h11", "cryptography", "sqlite3", "click"),
        *("email.parser", "email.policy", "pydoc", "unittest", "argparse"),
        *("postroad.testing", "postroad.cli", "postroad.appengine", "postroad.handover"),
    ],
)
def test_an_engine_with_a_smarthost_does_without(name: str) -> None:
    opened, later = _with_a_smarthost()
    assert name not in opened | later


def test_the_first_message_imports_nothing() -> None:
    """It would hold up the thread of all that the application does."""
    assert _with_a_smarthost()[1] == set()


def test_an_engine_that_asks_the_dns_imports_what_that_takes_when_it_is_opened() -> None:
    opened, _ = _imported('{"dns_servers": ["127.0.0.1"]}')
    assert {"dns.asyncresolver", "postroad_smtp.lookup"} <= opened
