"""A worker that injects mail by SMTP over kept connections: what Postfix's smtp-source does, with messages that tell when they
were submitted, and whose ids, recipients and domains are those of a load.

It pipelines the envelope where the server offers that (RFC 2920), so that it costs both sides as little as it can.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Iterator
from typing import Any

from load import Load
from processes import say
from workload import SENDER, Template, percentiles


class Run:
    """The messages that are to be sent, and what became of them."""

    def __init__(self, numbers: Iterator[int], sessions: int) -> None:
        self.numbers = numbers
        self.seconds: list[float] = []
        self.complaint = ""
        self.sessions = sessions
        self.over = asyncio.Event()

    def leave(self) -> None:
        """A session has nothing more to do."""
        self.sessions -= 1
        if not self.sessions:
            self.over.set()


class Session(asyncio.Protocol):
    """One connection.  Commands go out in groups; `_expected` replies must come before the next one."""

    def __init__(self, load: Load, template: Template) -> None:
        self._load = load
        self._template = template
        self._buffer = b""
        self._expected = 1  # the greeting
        self._groups: list[list[bytes]] = []
        self._run: Run | None = None
        self._began = 0.0
        self._pipelines = False
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._groups = [[b"EHLO source.example\r\n"]]

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(f"the server closed the connection: {exc}")

    def data_received(self, data: bytes) -> None:
        *lines, self._buffer = (self._buffer + data).split(b"\r\n")
        for line in lines:
            if line[4:].upper() == b"PIPELINING":
                self._pipelines = True
            if line[3:4] == b"-":
                continue
            if line[:1] not in (b"2", b"3"):
                self._fail(line.decode("latin-1"))
                return
            self._expected -= 1
        if not self._expected:
            self._go_on()

    def _go_on(self) -> None:
        if self._groups:
            group = self._groups.pop(0)
            self._expected = len(group)
            self._transport.write(b"".join(group))
        elif not self.ready.done():
            self.ready.set_result(None)
        elif self._run is not None:
            self._run.seconds.append(time.perf_counter() - self._began)
            self.take_next()

    def begin(self, run: Run) -> None:
        self._run = run
        self.take_next()

    def take_next(self) -> None:
        """Begin with the next message, if there is one."""
        assert self._run is not None
        number = next(self._run.numbers, None)
        if number is None:
            self._run.leave()
            self._run = None
            return
        self._began = time.perf_counter()
        recipients = [b"RCPT TO:<%s>\r\n" % one.encode() for one in self._load.recipients_of(number)]
        envelope = [b"MAIL FROM:<%s>\r\n" % SENDER.encode(), *recipients, b"DATA\r\n"]
        content = [self._template.message(number) + b".\r\n"]
        self._groups = [envelope, content] if self._pipelines else [*([one] for one in envelope), content]
        self._go_on()

    def _fail(self, reason: str) -> None:
        if not self.ready.done():
            self.ready.set_exception(RuntimeError(reason))
        if self._run is not None:
            self._run.complaint = reason
            self._run.over.set()


async def serve(settings: dict[str, Any]) -> None:
    """port, sessions, tag, load."""
    load = Load.read(settings["load"])
    template, loop, sent = Template(load.octets, settings["tag"]), asyncio.get_running_loop(), 0
    sessions = [Session(load, template) for _ in range(settings["sessions"])]
    for session in sessions:
        await loop.create_connection(lambda session=session: session, "127.0.0.1", settings["port"])
    await asyncio.gather(*(session.ready for session in sessions))
    say({"ready": True})
    while line := await asyncio.to_thread(sys.stdin.readline):
        first, sent = sent, sent + json.loads(line)["count"]
        run, began = Run(iter(range(first, sent)), len(sessions)), time.monotonic()
        for session in sessions:
            session.begin(run)
        await run.over.wait()
        say({"began": began, "durable": percentiles(run.seconds), "problem": run.complaint})


if __name__ == "__main__":
    asyncio.run(serve(json.loads(sys.argv[1])))
