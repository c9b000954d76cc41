"""A process that is going to be killed: mail that fails, and incoming mail, as fast as it may; what is acknowledged is noted.

usage: engine_that_is_killed.py FOLDER URL LIFE; a life called "last" submits nothing, and ends once the queue is empty.
"""

from __future__ import annotations

import itertools
import os
import sys

import trio

import postroad
from postroad import Verdict
from postroad.testing.fakes import ScriptedTransport

REFUSED = Verdict.refused("550 5.1.1 no such user", status="5.1.1")


class Transport(ScriptedTransport):
    async def deliver(self, request):
        refuses = request.recipients[0].address.startswith("gone")
        return [REFUSED if refuses else Verdict.accepted("250 ok")] * len(request.recipients)


def config(folder, url):
    quick = {"first_seconds": 0.05, "max_seconds": 0.2}
    return {
        "spool": {"url": f"sqlite:{folder}/spool.db", "socket": False, "reserve_bytes": 0},
        "senders": {"authorized": ["*"]},
        "reports": {"hostname": "engine.test"},
        "transports": {"scripted": {"plugin": "scripted"}, "app": {"plugin": "appengine", "url": url}},
        "routes": [{"transport": "scripted"}],
        "callbacks": {
            "transport": "app",
            "retry": quick,
            "windows": {"hold_seconds": 0.05, "hold_max_seconds": 0.1},
        },
    }


async def submit(engine, ledger, life):
    for number in itertools.count():
        name = f"{life}-{number}"
        await engine.send_mail(sender="a@example.com", to=f"gone{name}@example.org", subject=name, body="x")
        os.write(ledger, f"bounce {name}\n".encode())
        raw = f"Subject: {name}\r\n\r\nx\r\n".encode()
        await engine.receive(sender="b@example.org", recipients=f"in{name}@app.example", raw=raw)
        os.write(ledger, f"mail {name}\n".encode())
        await trio.sleep(0.01)


async def main(folder, url, life):
    ledger = os.open(f"{folder}/ledger", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    plugins = {"scripted": Transport().plugin("scripted")}
    async with postroad.open_engine(config(folder, url), plugins=plugins) as engine:
        if life != "last":
            await submit(engine, ledger, life)
        while (await engine.status()).messages:  # noqa: ASYNC110  # it is another process's doing
            await trio.sleep(0.05)


if __name__ == "__main__":
    trio.run(main, *sys.argv[1:])
