"""examples/appengine_flask as its README runs it: gunicorn's workers, `postroad serve`, and a mail server, all on loopback."""

from __future__ import annotations

import http.client
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import quote, urlencode

import pytest
import trio

from postroad.testing.smtp_peer import Behaviour, SmtpPeer

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "appengine_flask"
SECRET = "a-secret"
WORKERS = 4
AT_ONCE = 8
SECONDS = 60
ENGINES_OWN = "support@example.com"  # reports go there


class Application:
    """The example in a folder of its own, with its processes."""

    def __init__(self, folder: Path, processes: ExitStack) -> None:
        self.folder = folder
        self._processes = processes
        self.log = folder / "application.log"
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("POSTROAD_", "APPENGINE_"))}
        self._environ = {
            **kept,
            "HOME": str(folder),
            "POSTROAD_CONFIG": "postroad.toml",
            "POSTROAD_APP_SECRET": SECRET,
        }
        self.port = 0

    @contextmanager
    def process(self, *words: str, stdin: bytes = b"", log: Path | None = None) -> Iterator[subprocess.Popen[bytes]]:
        with open(log or self.folder / "engine.log", "ab") as output:
            process = subprocess.Popen(
                [sys.executable, *words],
                cwd=self.folder,
                env=self._environ,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
            )
            try:
                assert process.stdin is not None
                process.stdin.write(stdin)
                process.stdin.close()
                yield process
            finally:
                process.terminate()
                try:
                    process.wait(SECONDS)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
                    raise

    async def start_workers(self) -> None:
        words = ["--workers", str(WORKERS), "--no-control-socket", "--bind", "127.0.0.1:0", "main:app"]
        self._processes.enter_context(self.process("-m", "gunicorn", *words, log=self.log))
        said = await self.wait_said(r"Listening at: http://127\.0\.0\.1:(\d+)")
        self.port = int(said[1])

    async def wait_said(self, pattern: str, count: int = 1) -> re.Match[str]:
        """Wait until the application has said something so many times."""
        with trio.fail_after(SECONDS):
            while True:
                found = list(re.finditer(pattern, self.log.read_text() if self.log.exists() else ""))
                if len(found) >= count:
                    return found[-1]
                await trio.sleep(0.02)  # another process's file tells nobody

    def configure(self, smtp_port: int) -> None:
        text = (EXAMPLE / "postroad.toml").read_text()
        for there, here in (("127.0.0.1:2525", f"127.0.0.1:{smtp_port}"), (":8080", f":{self.port}")):
            assert text.count(there) == 1
            text = text.replace(there, here)
        (self.folder / "postroad.toml").write_text(text)

    def post(self, path: str, **fields: str) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=SECONDS)
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        try:
            connection.request("POST", path, urlencode(fields), headers)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    async def sign_up(self, addresses: list[str]) -> list[tuple[int, str]]:
        """Let all sign up, several at a time."""
        answers: list[tuple[int, str]] = []
        limit = trio.CapacityLimiter(AT_ONCE)

        async def one(address: str) -> None:
            answers.append(await trio.to_thread.run_sync(lambda: self.post("/sign-up", email=address), limiter=limit))

        async with trio.open_nursery() as nursery:
            for address in addresses:
                nursery.start_soon(one, address)
        return answers


@pytest.fixture
def application(tmp_path: Path) -> Iterator[Application]:
    for name in ("main.py", "receive.py"):
        shutil.copy(EXAMPLE / name, tmp_path)
    with ExitStack() as processes:
        yield Application(tmp_path, processes)
    for log in sorted(tmp_path.glob("*.log")):
        print(f"--- {log.name}\n{log.read_text()}")  # pytest shows it where a test failed


def arrived(peer: SmtpPeer) -> Counter[str]:
    return Counter(recipient for received in peer.transactions for recipient in received.recipients)


async def test_workers_send_while_the_engine_is_stopped_and_while_it_runs(application: Application) -> None:
    peer = SmtpPeer(Behaviour({"RCPT gone@example.org": "550 5.1.1 no such user"}))
    early = [f"early{number}@example.org" for number in range(40)]
    late = [f"late{number}@example.org" for number in range(40)]
    async with peer.listening() as (_, port):
        await application.start_workers()
        application.configure(port)
        await application.wait_said("Booting worker", WORKERS)

        answers = await application.sign_up(early)
        assert {status for status, _ in answers} == {202}
        assert len({id for _, id in answers}) == len(early)
        assert peer.connections == []

        with application.process("-m", "postroad.cli", "serve"), trio.fail_after(SECONDS):
            await peer.wait_received(len(early))
            assert arrived(peer) == Counter(early)

            answers = await application.sign_up(late)
            assert {status for status, _ in answers} == {202}
            await peer.wait_received(len(early) + len(late))

            await application.sign_up(["gone@example.org"])
            await application.wait_said(r"bounced: gone@example\.org, Your account has been approved")
            await peer.wait_received(len(early) + len(late) + 1)  # the report to the sender
    assert arrived(peer) == Counter([*early, *late, ENGINES_OWN])
    assert peer.faults == []


async def test_incoming_mail_is_read_by_the_application(application: Application) -> None:
    await application.start_workers()
    application.configure(smtp_port=9)
    address = "in.box+1@example.com"
    raw = "From: Maria <maria@example.org>\nSubject: Grüße\nContent-Type: text/plain; charset=utf-8\n\nHällo\n".encode()
    with application.process("receive.py", "postroad.toml", address, stdin=raw) as process:
        assert await trio.to_thread.run_sync(process.wait, SECONDS) == 0
    await application.wait_said(rf"received for {re.escape(address)}: Maria <maria@example.org>, .*, Hällo")


async def test_only_the_engine_may_call_back_and_mistakes_are_told(application: Application) -> None:
    await application.start_workers()
    application.configure(smtp_port=9)

    async def post(path: str, **fields: str) -> tuple[int, str]:
        return await trio.to_thread.run_sync(lambda: application.post(path, **fields))

    assert (await post("/_ah/bounce", **{"original-to": "x@example.org"}))[0] == 403
    assert (await post("/_ah/mail/" + quote("a@example.com")))[0] == 403
    status, said = await post("/sign-up", email="nonsense")
    assert status == 400
    assert "'nonsense' has no @" in said
