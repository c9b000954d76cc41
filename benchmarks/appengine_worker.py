"""The workers of `appengine.py`: an engine whose transport only counts, and an application that sends.

Orders to the engine: {"count": n} waits until so many distinct messages arrived and answers with when each did.  To a sender:
{"messages": n, "pause": seconds} sends so many and answers with how long each call took.  Moments are of CLOCK_MONOTONIC, which
all processes of a machine share.
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import trio

import postroad
from postroad.log import configure_logging
from postroad.transport import Capabilities, DeliveryRequest
from postroad.verdict import Disposition, Verdict
from processes import say, take_orders

_SUBJECT = re.compile(rb"^Subject: ([^\r\n]*)", re.MULTILINE)
_ARRIVED = Verdict(disposition=Disposition.ACCEPTED, reply="250 2.0.0 Ok, counted", status="2.0.0")


class CountingTransport:
    """Accepts everything, and remembers each message's subject and when it came."""

    capabilities = Capabilities()

    def __init__(self) -> None:
        self.arrived: Counter[str] = Counter()
        self.at: dict[str, float] = {}
        self._changed = trio.Event()

    async def deliver(self, request: DeliveryRequest) -> Sequence[Verdict]:
        found = _SUBJECT.search(await request.content.read())
        subject = found[1].decode() if found else ""
        self.arrived[subject] += 1
        self.at.setdefault(subject, time.monotonic())
        self._changed.set()
        return [_ARRIVED for _ in request.recipients]

    async def wait_arrived(self, count: int) -> None:
        while self.arrived.total() < count:
            self._changed = trio.Event()
            await self._changed.wait()

    @postroad.hookimpl
    def postroad_register_transports(self, register: Callable[[str, Any], None]) -> None:
        register("counting", self._factory)

    @asynccontextmanager
    async def _factory(self, _settings: Mapping[str, Any]) -> AsyncGenerator[CountingTransport]:
        yield self


async def engine(spool: str) -> None:
    configure_logging("warning")
    transport = CountingTransport()
    config = postroad.load_config(
        {
            "spool": {"url": f"sqlite:{spool}"},
            "senders": {"authorized": ["*"]},
            "reports": {"hostname": "bench.invalid"},
            "windows": {"start": 40, "max": 40},
            "transports": {"out": {"plugin": "counting"}},
            "routes": [{"transport": "out"}],
        }
    )
    async with postroad.open_engine(config, plugins={"counting": transport}):
        say({"ready": True})
        while line := await trio.to_thread.run_sync(sys.stdin.readline):
            wanted = json.loads(line)["count"]
            await transport.wait_arrived(wanted)
            await trio.sleep(0.5)  # a doubled one would come now
            say({"at": transport.at, "calls": transport.arrived.total()})
            transport.arrived.clear()
            transport.at.clear()


def sender(spool: str, name: str) -> None:
    from postroad.appengine import mail

    mail.configure(spool=spool)
    body = "Hello.\n" * 100
    mail.send_mail("a@example.com", "b@example.org", f"warm {name}", body)

    def obey(order: dict[str, Any]) -> dict[str, Any]:
        begun = cpu = 0.0
        calls: list[tuple[str, float, float]] = []
        cpu = time.process_time()
        for number in range(order["messages"]):
            subject = f"{name}.{number}"
            begun = time.monotonic()
            mail.send_mail("a@example.com", "b@example.org", subject, body)
            calls.append((subject, begun, time.monotonic()))
            if order["pause"]:
                time.sleep(order["pause"])
        return {"calls": calls, "cpu": time.process_time() - cpu}

    take_orders(obey)


def main() -> None:
    settings = json.loads(sys.argv[1])
    if settings["role"] == "engine":
        trio.run(engine, settings["spool"])
    else:
        sender(settings["spool"], settings["name"])


if __name__ == "__main__":
    main()
