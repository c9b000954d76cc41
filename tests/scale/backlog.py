"""A process with a backlog: fills a spool, then reports its memory and how long a start takes.

usage: backlog.py FOLDER MESSAGES OCTETS.  Prints one JSON line: resident megabytes of an engine with an empty spool, the
most while and after the backlog is accepted and after a start on it, and the seconds of both starts.  All messages wait
for a destination that never answers, so that leases, windows and the cache are as full as they get.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import trio

import postroad
from postroad.testing import Hang, ScriptedTransport

CHUNK = 500
LANES = 100


def resident_mb() -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("there is no /proc/self/status here")


def config(folder: str) -> dict[str, object]:
    return {
        "spool": {"url": f"sqlite:{folder}/spool.db", "socket": False},
        "senders": {"authorized": ["*"]},
        "transports": {"hanging": {"plugin": "hanging"}},
        "routes": [{"transport": "hanging"}],
        "in_flight": {"drain_seconds": 0.0, "doubt_seconds": 0.0},
    }


def plugins() -> dict[str, object]:
    from postroad.transport import Capabilities

    transport = ScriptedTransport(default=Hang(), capabilities=Capabilities(by_domain=True), keep_content=False)
    return {"hanging": transport.plugin("hanging")}


async def fill(engine: postroad.Engine, messages: int, content: bytes) -> float:
    most = 0.0
    for first in range(0, messages, CHUNK):
        await engine.submit_many(
            postroad.Submission(
                sender="a@example.com", recipients=[f"u{number}@d{number % LANES}.example.org"], content=content
            )
            for number in range(first, min(first + CHUNK, messages))
        )
        most = max(most, resident_mb())
    return most


async def main(folder: str, messages: int, octets: int) -> dict[str, float]:
    head = b"From: a@example.com\r\nTo: b@example.org\r\nSubject: a backlog\r\n\r\n"
    line = b"A line of a message in a backlog, sixty-four characters long...\r\n"
    content = head + line * max(1, (octets - len(head)) // len(line))
    begun = time.monotonic()
    async with postroad.open_engine(config(folder), plugins=plugins()) as engine:
        first_start = time.monotonic() - begun
        await fill(engine, 10, content)
        empty = resident_mb()
        most = await fill(engine, messages, content)
        await trio.sleep(0.5)
        filled = resident_mb()
    begun = time.monotonic()
    async with postroad.open_engine(config(folder), plugins=plugins()) as engine:
        second_start = time.monotonic() - begun
        await trio.sleep(0.5)
        assert (await engine.status()).messages == messages + 10
        restarted = resident_mb()
    return {
        "empty_mb": empty,
        "most_mb": most,
        "filled_mb": filled,
        "restarted_mb": restarted,
        "first_start_seconds": first_start,
        "second_start_seconds": second_start,
    }


if __name__ == "__main__":
    from postroad.log import configure_logging

    configure_logging("error", json=True, stream=sys.stderr)
    print(json.dumps(trio.run(main, sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))
