"""Opens an engine, sends a message where there is a smarthost, and prints which modules that took (`test_imports.py`).

Arguments: a folder, and the transport's table in JSON; a smarthost gets the port of a server in this process.
"""

from __future__ import annotations

import json
import sys
from functools import partial
from typing import Any

import trio

from postroad import Engine, Submission, open_engine
from postroad.log import configure_logging

_CONTENT = b"From: a@example.com\r\nTo: b@example.org\r\nSubject: x\r\n\r\nhello\r\n"


async def take_mail(stream: trio.SocketStream) -> None:
    """The least of an SMTP server."""
    await stream.send_all(b"220 here\r\n")
    waiting, is_content = b"", False
    async for octets in stream:
        waiting += octets
        while b"\r\n" in waiting:
            line, _, waiting = waiting.partition(b"\r\n")
            if is_content and line != b".":
                continue
            is_content = line == b"DATA"
            await stream.send_all(b"354 go on\r\n" if is_content else b"250 fine\r\n")


async def send(engine: Engine) -> None:
    receipt = await engine.submit(Submission(sender="a@example.com", recipients=("b@example.org",), content=_CONTENT))
    with trio.fail_after(10):
        outcome = await receipt.settled()
    assert outcome.is_delivered, outcome


async def main(folder: str, table: dict[str, Any]) -> None:
    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(partial(trio.serve_tcp, take_mail, 0, host="127.0.0.1"))
        if "smarthost" in table:
            table["smarthost"] += f":{listener.socket.getsockname()[1]}"
        config: dict[str, Any] = {
            "spool": {"url": f"sqlite:{folder}/spool.db"},
            "senders": {"authorized": ["a@example.com"]},
            "routes": [{"transport": "outbound"}],
            "transports": {"outbound": {"plugin": "smtp", **table}},
        }
        async with open_engine(config) as engine:
            opened = set(sys.modules)
            if "smarthost" in table:
                await send(engine)
            print(json.dumps([sorted(opened), sorted(set(sys.modules) - opened)]))
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    configure_logging("info", json=True)
    trio.run(main, sys.argv[1], json.loads(sys.argv[2]))
