"""A worker with one engine on a spool, for `scale.py`: it fills the spool, submits at a steady pace, opens and closes the engine.

Mail goes by the recipient's domain: `sink.example` over SMTP to the sink; `slow.example`, `dead.example` and everything else to a
transport that does what `Troubled` says.  Each order answers when it is done.
"""

from __future__ import annotations

import itertools
import json
import math
import sys
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import trio

from postroad import DsnOptions, Engine, Submission, Verdict, hookimpl, open_engine
from postroad.log import configure_logging
from postroad.transport import Capabilities, DeliveryRequest, TransportFactory
from postroad.verdict import Disposition, Scope
from processes import say
from workload import RECIPIENT, SENDER, Template, own_cpu_seconds, percentiles

_CHUNK = 500
_SLOW_SECONDS = 30.0
_DEAD_SECONDS = 10.0  # a connection attempt that nobody answers
_UNREPORTED = DsnOptions(notify=("never",))


class Troubled:
    """Slow: half a minute an attempt, then accepted.  Dead: nobody answers.  Others: silence, or acceptance at once."""

    capabilities = Capabilities(by_domain=True)

    def __init__(self, *, accepts: bool) -> None:
        self._accepts = accepts
        self.accepted = 0
        self._wanted, self._arrived = math.inf, trio.Event()

    async def wait_accepted(self, count: int) -> None:
        self._wanted = count
        if self.accepted < count:
            await self._arrived.wait()

    async def deliver(self, request: DeliveryRequest) -> Sequence[Verdict]:
        return [await self._verdict(request.domain or "")] * len(request.recipients)

    async def _verdict(self, domain: str) -> Verdict:
        if domain == "dead.example":
            await trio.sleep(_DEAD_SECONDS)
            return Verdict(
                disposition=Disposition.DEFERRED, scope=Scope.SITE, status="4.4.1", reply="nobody answers", site=domain
            )
        if domain == "slow.example":
            await trio.sleep(_SLOW_SECONDS)
        elif not self._accepts:
            await trio.sleep_forever()
        await trio.lowlevel.checkpoint()
        self.accepted += 1
        if self.accepted >= self._wanted:
            self._arrived.set()
        return Verdict(disposition=Disposition.ACCEPTED, status="2.0.0", reply="250 2.0.0 ok", site=domain)


class _Plugin:
    def __init__(self, transport: Troubled) -> None:
        self._transport = transport

    @hookimpl
    def postroad_register_transports(self, register: Callable[[str, TransportFactory], None]) -> None:
        register("troubled", self._open)

    @asynccontextmanager
    async def _open(self, _settings: Mapping[str, object]) -> AsyncGenerator[Troubled]:
        yield self._transport


def _config(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "spool": {"url": f"sqlite:{settings['folder']}/spool.db", "socket": False},
        "senders": {"authorized": [SENDER]},
        "transports": {
            "outbound": {"plugin": "smtp", "smarthost": f"127.0.0.1:{settings['port']}"},
            "troubled": {"plugin": "troubled"},
        },
        "routes": [{"recipients": RECIPIENT, "transport": "outbound"}, {"transport": "troubled"}],
        "reports": {"hostname": "scale.example"},
        "in_flight": {"drain_seconds": 0.0, "doubt_seconds": 0.0},
    }


class Application:
    """An engine that is opened and closed by order, and what is submitted to it."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._settings = settings
        self._stack = AsyncExitStack()
        self._engine: Engine | None = None
        self._troubled = Troubled(accepts=False)
        self._numbers = itertools.count(1)
        self._template = Template(settings["octets"], f"scale.{Path(settings['folder']).name}")

    @property
    def engine(self) -> Engine:
        assert self._engine is not None, "no engine is open"
        return self._engine

    async def obey(self, order: Mapping[str, Any]) -> Mapping[str, Any]:
        match order["do"]:
            case "open":
                return await self._open(order["accepts"])
            case "close":
                await self._stack.aclose()
                return {}
            case "fill":
                return await self._fill(order["count"], order["domains"])
            case "pace":
                return await self._pace(order["per_second"], order["count"])
            case "send_files":
                return await self._send_files(order["count"], Path(order["path"]), order["ahead"])
            case "deliver":
                return await self._deliver(order["seconds"])
            case _:
                raise ValueError(order)

    async def _open(self, accepts: bool) -> Mapping[str, Any]:
        self._troubled = Troubled(accepts=accepts)
        began = time.monotonic()
        engine = open_engine(_config(self._settings), plugins={"troubled": _Plugin(self._troubled)})
        self._engine = await self._stack.enter_async_context(engine)
        seconds = time.monotonic() - began
        messages = (await self._engine.status()).messages
        return {"seconds": seconds, "messages": messages, "accepted": self._troubled.accepted}  # it begins at once

    async def _fill(self, count: int, domains: Sequence[str]) -> Mapping[str, Any]:
        began = time.monotonic()
        for first in range(0, count, _CHUNK):
            numbers = range(first, min(first + _CHUNK, count))
            await self.engine.submit_many(self._submission(f"user@{domains[each % len(domains)]}") for each in numbers)
        return {"seconds": time.monotonic() - began}

    def _submission(self, recipient: str) -> Submission:
        content = self._template.message(next(self._numbers))
        return Submission(sender=SENDER, recipients=(recipient,), content=content, dsn=_UNREPORTED)

    async def _pace(self, per_second: float, count: int) -> Mapping[str, Any]:
        """Submit to the sink, one after the other's moment, whether or not the ones before are through."""
        seconds: list[float] = []
        began = trio.current_time()
        cpu = own_cpu_seconds()
        async with trio.open_nursery() as nursery:
            for number in range(count):
                await trio.sleep_until(began + number / per_second)
                nursery.start_soon(self._submit, seconds)
        return {"durable": percentiles(seconds), "cpu_seconds": own_cpu_seconds() - cpu}

    async def _submit(self, seconds: list[float]) -> None:
        submission = self._submission(RECIPIENT)
        asked = time.perf_counter()
        await self.engine.submit(submission)
        seconds.append(time.perf_counter() - asked)

    async def _send_files(self, count: int, path: Path, ahead: int) -> Mapping[str, Any]:
        """Submit a file so many times; `ahead` tasks do, so that the queue grows as fast as the disk lets it."""
        work = iter(range(count))
        async with trio.open_nursery() as nursery:
            for _ in range(ahead):
                nursery.start_soon(self._send_file, work, path)
        return {"messages": (await self.engine.status()).messages}

    async def _send_file(self, work: Iterator[int], path: Path) -> None:
        for _ in work:
            await self.engine.submit(Submission(sender=SENDER, recipients=(RECIPIENT,), content=path))

    async def _deliver(self, seconds: float) -> Mapping[str, Any]:
        """Let the engine work on the queue, until it is empty or the time is over."""
        queued, began = (await self.engine.status()).messages, time.monotonic()
        with trio.move_on_after(seconds):
            await self._troubled.wait_accepted(queued)
        return {"delivered": self._troubled.accepted, "seconds": time.monotonic() - began}


async def run(settings: Mapping[str, Any]) -> None:
    application = Application(settings)
    say({"ready": True})
    while line := await trio.to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True):
        say(await application.obey(json.loads(line)))


if __name__ == "__main__":
    configure_logging("error", json=True, stream=sys.stderr)
    trio.run(run, json.loads(sys.argv[1]))
