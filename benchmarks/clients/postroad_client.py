"""The SMTP transport of Postroad by itself: `deliver`, as an engine would call it, without a queue."""

from __future__ import annotations

import ctypes
import gc
import json
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import trio

from measure import pss
from postroad.testing import make_request
from postroad.transport import DeliveryRequest, Transport
from postroad.verdict import Disposition
from postroad_smtp import smtp_transport
from processes import say
from workload import RECIPIENT, SENDER, Template, own_cpu_seconds, set_aside

_FOR_EVER = 1_000_000


class Client:
    def __init__(self, settings: dict[str, Any], transport: Transport) -> None:
        self._template = Template(settings["octets"], settings["tag"], is_sent_at_once=False)
        self._sessions: int = settings["sessions"]
        self._transport = transport
        self._sent = 0

    async def obey(self, order: dict[str, Any]) -> dict[str, Any]:
        """send: so many messages, two tasks a session.  hold: open all sessions at once and say what memory they take."""
        if order["do"] == "hold":
            return await self._hold()
        ready = self._prepare(order["count"])
        set_aside()
        before, began = own_cpu_seconds(), time.monotonic()
        await self._send(ready, 2 * self._sessions)
        return {"began": began, "cpu_seconds": own_cpu_seconds() - before}

    def _prepare(self, count: int) -> Iterator[DeliveryRequest]:
        first, self._sent = self._sent, self._sent + count
        contents = [self._template.message(number) for number in range(first, self._sent)]
        return iter([make_request((RECIPIENT,), content=content, sender=SENDER) for content in contents])

    async def _send(self, requests: Iterator[DeliveryRequest], tasks: int) -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(tasks):
                nursery.start_soon(self._carry, requests)

    async def _carry(self, requests: Iterator[DeliveryRequest]) -> None:
        for request in requests:
            (verdict,) = await self._transport.deliver(request)
            if verdict.disposition is not Disposition.ACCEPTED:
                raise RuntimeError(verdict.reply)

    async def _hold(self) -> dict[str, Any]:
        await self._send(self._prepare(1), 1)
        before = _pss()
        await self._send(self._prepare(self._sessions), self._sessions)
        return {"pss_bytes": _pss() - before}


def _pss() -> int:
    """This process's share of memory, in octets, without what the allocator keeps for later."""
    gc.collect()
    with suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)
    return pss()


async def main(settings: dict[str, Any]) -> None:
    table = {
        "smarthost": f"127.0.0.1:{settings['port']}",
        "helo": "client.example",
        "tls": "required" if settings["tls"] else "none",
        "sessions": settings["sessions"],
        "messages_per_session": _FOR_EVER if settings["kept"] else 1,
        "idle_seconds": 60,
    }
    async with smtp_transport(table) as transport:
        client = Client(settings, transport)
        say({"ready": True})
        while line := await trio.to_thread.run_sync(sys.stdin.readline):
            say(await client.obey(json.loads(line)))


if __name__ == "__main__":
    trio.run(main, json.loads(sys.argv[1]))
