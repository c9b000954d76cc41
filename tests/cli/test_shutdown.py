"""Processes that are told to stop with much mail under way: they end in time, and the next one loses nothing.

A third of the mail is answered within the grace, a third never gets to its content, and of a third the answer to the final dot
does not come: that may have arrived, and is announced before it is sent again.  POSTROAD_UNDER_WAY=999 has a thousand under way.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
import trio

from postroad import Submission
from postroad.handover import Handover
from postroad.spool import SpoolLock, SpoolPlace
from postroad.store.contract import Filter
from postroad.store.sqlite import sqlite_store
from postroad.testing.promises import Arrival, Evidence, Letter, broken_promises
from postroad.testing.smtp_peer import ACCEPT, Behaviour, Delay, Drip, Reaction, Silence, SmtpPeer

SECONDS = 60
UNDER_WAY = int(os.environ.get("POSTROAD_UNDER_WAY", "60"))  # a multiple of 3; a thousand take half a minute
DOUBT_SECONDS = 0.5
KINDS = ("quick", "stuck", "doubt")
APPLICATION = """
import signal, sys, trio, postroad
from postroad.log import configure_logging

async def main():
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with postroad.open_engine("postroad.toml"):
            print("READY", flush=True)
            async for _ in signals:
                break

configure_logging("info", json=True)
trio.run(main)
"""


class Post:
    """A spool, the servers of three kinds of mail, and what the processes said."""

    def __init__(self, folder: Path, grace_seconds: float) -> None:
        self.folder = folder
        self.grace_seconds = grace_seconds
        self.place = SpoolPlace.parse("sqlite:spool/p.db", folder)
        self.letters: list[Letter] = []
        self.peers: dict[str, SmtpPeer] = {}
        self._arrived: list[SmtpPeer] = []

    def hand_over(self, count: int) -> None:
        letters = [(f"letter {number}", f"r{number}@{KINDS[number % 3]}.example") for number in range(count)]
        submissions = [
            Submission(
                sender="a@example.com",
                recipients=(recipient,),
                content=f"From: a@example.com\r\nTo: {recipient}\r\nSubject: Hello\r\n\r\n{body}\r\n".encode(),
            )
            for body, recipient in letters
        ]
        with Handover(self.place) as door:
            for (body, recipient), id in zip(letters, door.send_many(submissions), strict=True):
                assert isinstance(id, str)
                self.letters.append(Letter(body, "a@example.com", (recipient,), id))

    @asynccontextmanager
    async def servers(self, *, are_willing: bool = False) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            ports = {}
            for kind in KINDS:
                peer = self.peers[kind] = SmtpPeer(Behaviour({} if are_willing else self._replies(kind)))
                self._arrived.append(peer)
                _, ports[kind] = await stack.enter_async_context(peer.listening())
            self._configure(ports)
            yield

    def _replies(self, kind: str) -> dict[str, Reaction]:
        match kind:
            case "quick":
                return {".": Delay(0.75 * self.grace_seconds, ACCEPT)}
            case "stuck":
                return {"RCPT": Silence()}
            case _:
                return {".": Drip("250 2.0.0 Ok", 3600)}

    def _configure(self, ports: dict[str, int]) -> None:
        text = f"""
[spool]
url = "sqlite:spool/p.db"
reserve_bytes = 0
[senders]
authorized = ["*"]
[reports]
hostname = "engine.test"
[in_flight]
leases = 1000
drain_seconds = {self.grace_seconds}
doubt_seconds = {DOUBT_SECONDS}
[retry]
first_seconds = 0.1
[windows]
start = 1000
max = 1000
"""
        for kind, port in ports.items():
            text += f"""
[[routes]]
recipients = "*@{kind}.example"
transport = "{kind}"
[transports.{kind}]
plugin = "smtp"
smarthost = "127.0.0.1:{port}"
sessions = 400
"""
        (self.folder / "postroad.toml").write_text(text, encoding="ascii")

    async def wait_under_way(self, count: int) -> None:
        """Until every message has come as far as its server lets it."""
        with trio.fail_after(SECONDS):
            while not self._is_under_way(count):  # noqa: ASYNC110  # three servers see it
                await trio.sleep(0.02)

    def _is_under_way(self, count: int) -> bool:
        came = self._count("quick", "DATA") + self._count("stuck", "RCPT") + self._count("doubt", "DATA")
        return came >= count and len(self.peers["doubt"].transactions) >= count // 3

    def _count(self, kind: str, command: str) -> int:
        return sum(one.startswith(command) for each in self.peers[kind].connections for one in each.commands)

    def _start(self, *words: str) -> subprocess.Popen[bytes]:
        with open(self.folder / "log", "ab") as log:
            return subprocess.Popen(
                [sys.executable, *words], cwd=self.folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log
            )

    @asynccontextmanager
    async def process(self, *words: str) -> AsyncIterator[subprocess.Popen[bytes]]:
        """Started, and ended by the test; what it logs is kept."""
        process = self._start(*words)
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
            process.wait(SECONDS)
            process.stdout.close()

    async def ready(self, process: subprocess.Popen[bytes]) -> None:
        assert (await trio.to_thread.run_sync(process.stdout.readline)).startswith(b"READY")

    async def fill(self, process: subprocess.Popen[bytes], count: int) -> None:
        """All of so many messages are under way."""
        await self.ready(process)
        await trio.to_thread.run_sync(self.hand_over, count)
        await self.wait_under_way(count)
        with Handover(self.place) as door:
            in_flight = (await trio.to_thread.run_sync(door.status)).in_flight
        print(f"{in_flight} of {count} in flight")
        assert in_flight >= count * 2 // 3

    async def ended(self, process: subprocess.Popen[bytes]) -> float:
        """Its seconds from now; it ended well, and the spool is free."""
        begun = time.monotonic()
        assert await trio.to_thread.run_sync(process.wait, SECONDS) == 0, self.log()[-20:]
        with SpoolLock(self.place.lock_path):
            return time.monotonic() - begun

    async def finish(self) -> None:
        """The next process, with servers that are willing, brings all to an end."""
        async with self.servers(are_willing=True), self.process(*SERVE) as process:
            await self.ready(process)
            with Handover(self.place) as door, trio.fail_after(SECONDS):
                while (await trio.to_thread.run_sync(door.status)).messages:  # noqa: ASYNC110  # nothing tells how long a queue is
                    await trio.sleep(0.05)
            process.send_signal(signal.SIGTERM)
            await self.ended(process)

    def told(self, event: str) -> int:
        return sum(line["event"] == event for line in self.log())

    def log(self) -> list[dict]:
        return [json.loads(line) for line in (self.folder / "log").read_text(encoding="utf-8").splitlines()]

    def evidence(self) -> Evidence:
        with sqlite_store(str(self.folder / "spool" / "p.db"), folder=self.folder / "spool") as store:
            spool, problems = store.find(Filter(), 10_000), store.check()
        arrivals = [
            Arrival(id_of(each.content), name, each.content.partition(b"\r\n\r\n")[2].strip().decode())
            for peer in self._arrived
            for each in peer.transactions
            for name in each.recipients
        ]
        return Evidence(letters=self.letters, arrivals=arrivals, spool=spool, log=self.log(), problems=problems)


def id_of(content: bytes) -> str:
    return content.partition(b"Message-ID: <")[2].partition(b"@")[0].decode()


SERVE = ("-m", "postroad.cli", "serve")
PROGRAMS = {"postroad serve": SERVE, "an application": ("-c", APPLICATION)}


@pytest.mark.parametrize(
    ("program", "number", "count", "grace_seconds"),
    [("postroad serve", signal.SIGTERM, UNDER_WAY, 1.0 + UNDER_WAY / 100), ("an application", signal.SIGINT, 30, 1.0)],
)
async def test_a_process_that_is_told_to_stop_ends_in_time_and_loses_nothing(
    tmp_path: Path, program: str, number: signal.Signals, count: int, grace_seconds: float
) -> None:
    post = Post(tmp_path, grace_seconds)
    async with post.servers(), post.process(*PROGRAMS[program]) as process:
        await post.fill(process, count)
        process.send_signal(number)
        seconds = await post.ended(process)
    assert grace_seconds <= seconds < grace_seconds + DOUBT_SECONDS + 10
    assert post.told("delivered") == count // 3, "what was answered within the grace"
    await post.finish()
    evidence = post.evidence()
    assert broken_promises(evidence) == []
    assert len(evidence.arrived) == count, "each arrived"
    assert sum(evidence.arrived.values()) == count + count // 3, "twice only what was in doubt"
    assert post.told("maybe_duplicate") == count // 3


async def test_a_second_signal_during_the_drain_ends_it_and_loses_nothing(tmp_path: Path) -> None:
    post = Post(tmp_path, 600.0)
    async with post.servers(), post.process(*SERVE) as process:
        await post.fill(process, 30)
        for line in ("draining", "stopped"):
            process.send_signal(signal.SIGTERM)
            with trio.fail_after(SECONDS):
                while not post.told(line):  # noqa: ASYNC110  # a process writes it
                    await trio.sleep(0.02)
        await post.ended(process)
    await post.finish()
    assert broken_promises(post.evidence()) == []
