"""Tries two plugins that are installed beside Postroad from wheels of their own: `stranger`, a transport, and `broken`.

The first is found, checked, and delivers a message by a real engine; the second is named wherever it is asked for, and harms
nobody.  Called by `try_wheel.py`, in its empty environment.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

__all__ = ["try_strangers"]

CONFIG = """\
{plugins}
[spool]
url = "sqlite:{place}/{name}.db"

[senders]
authorized = ["*@example.com"]

[reports]
hostname = "engine.test"

[[routes]]
transport = "out"

[transports.out]
plugin = "stranger"
command = ["sh", "-c", "cat >\\"$0\\"", "{place}/delivered.eml"]
"""

DELIVER = """
import sys, trio, postroad

async def main():
    async with postroad.open_engine(sys.argv[1]) as engine:
        receipt = await engine.send_mail(sender="a@example.com", to="b@example.org", subject="By a stranger", body="Hello.")
        with trio.fail_after(60):
            outcome = await receipt.settled()
    assert outcome.is_delivered, outcome
    print("delivered")

trio.run(main)
"""


class Run(Protocol):
    """Runs a program of the environment; raises where it does not end with that status."""

    def __call__(self, *words: str | Path, status: int = 0) -> str: ...


def try_strangers(run: Run, place: Path) -> Iterator[str]:
    """What was found good, line by line.  Raises AssertionError, or what `run` raises."""
    found = {each["name"]: each for each in json.loads(run("postroad", "plugin", "list", "--json"))}
    assert found["stranger"]["transports"] == ["stranger"], found
    assert "no_such_module" in found["broken"]["problem"], found
    assert not [name for name, each in found.items() if each["problem"] and name != "broken"], found
    yield "a stranger's plugin is found beside a broken one, which is named"

    run("postroad", "plugin", "check", "stranger", "--set", 'command=["cat"]')
    said = run("postroad", "plugin", "check", "broken", status=1)
    assert "loads: postroad_broken cannot be loaded" in said, said
    yield "the check passes the one, and says what is wrong with the other"

    config = _configured(place, "good", "")
    run("postroad", "--config", config, "check")
    run("python", "-I", "-c", DELIVER, config)
    content = (place / "delivered.eml").read_bytes()
    assert b"Subject: By a stranger" in content, content
    yield "a real engine delivered a message by it"

    said = run("postroad", "--config", _configured(place, "bad", 'plugins = ["broken"]'), "check", status=78)
    assert "broken" in said, said
    assert "no_such_module" in said, said
    yield "a configuration that asks for the broken one is told why it cannot have it"


def _configured(place: Path, name: str, plugins: str) -> Path:
    file = place / f"{name}.toml"
    file.write_text(CONFIG.format(place=place, name=name, plugins=plugins), encoding="utf-8")
    return file
