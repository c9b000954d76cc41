"""An engine that can be opened again on its spool, letters that know what was acknowledged, and the evidence of it all."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import trio
from structlog.testing import capture_logs

from postroad import Engine, Filter, Submission, hookimpl
from postroad.dsn import read_report
from postroad.store.contract import StoredMessage
from postroad.store.memory import MemoryStore
from postroad.store.sqlite import sqlite_store
from postroad.testing import ScriptedTransport, open_test_engine
from postroad.testing.promises import Arrival, Evidence, Letter, broken_promises
from postroad.testing.smtp_peer import SmtpPeer
from postroad.verdict import Disposition, Verdict

__all__ = ["DEFERRED", "MEMORY", "REFUSED", "SQLITE", "Scene"]

Taken: TypeAlias = tuple[str, bytes]

MEMORY, SQLITE = "memory", "sqlite"
LARGE = b"x" * 998 + b"\r\n"
_FILE_OCTETS = 4096  # content above is kept in a file of its own

REFUSED = Verdict.refused("550 5.1.1 nobody", status="5.1.1")
DEFERRED = Verdict.deferred("451 4.7.1 later", status="4.7.1")


class _KeptStore(MemoryStore):
    """Outlives its engines."""

    @hookimpl
    def postroad_register_stores(self, register: Any) -> None:
        register("kept", contextmanager(lambda url, *, folder: iter([self])))


class Scene:
    """One spool through all its engines."""

    def __init__(self, kind: str, folder: Path) -> None:
        self._kind = kind
        self._folder = folder
        self._store = _KeptStore()
        self._letters: dict[str, Letter] = {}
        self._logs: list[list[Any]] = []
        self._taken: list[Callable[[], Iterable[Taken]]] = []

    @asynccontextmanager
    async def engine(self, carrier: ScriptedTransport | None = None, **sections: Any) -> AsyncIterator[Engine]:
        """An engine on the spool, over a transport that is remembered."""
        carrier = carrier or ScriptedTransport()
        self._taken.append(partial(_taken_by_script, carrier))
        spool: dict[str, Any] = {"url": "kept:"}  # whose content files would go with the engine
        if self._kind == SQLITE:
            spool = {"url": "sqlite:p.db", "reserve_bytes": 0, "content_file_bytes": _FILE_OCTETS}
        sections = {
            "folder": str(self._folder),
            "spool": spool,
            "retry": {"first_seconds": 0.05},
            **sections,
        }
        with capture_logs() as logs:
            self._logs.append(logs)
            async with open_test_engine(transport=carrier, plugins={"kept": self._store}, **sections) as engine:
                yield engine
        assert carrier.opened == carrier.closed
        assert carrier.running == 0

    def submitting(
        self, body: str, recipients: tuple[str, ...], sender: str = "a@example.com", lines: int = 0
    ) -> Submission:
        """A submission that is written down as not acknowledged yet."""
        self._letters[body] = Letter(body, sender, recipients)
        head = f"From: {sender}\r\nTo: many@example.org\r\nSubject: Hello\r\n\r\n{body}\r\n".encode()
        return Submission(sender=sender, recipients=recipients, content=head + LARGE * lines)

    def listen(self, peer: SmtpPeer) -> None:
        """What this server takes has arrived."""
        self._taken.append(partial(_taken_by_peer, peer))

    def acknowledged(self, body: str, id: str) -> None:
        known = self._letters[body]
        self._letters[body] = Letter(known.body, known.sender, known.recipients, id)

    async def drain(self, **sections: Any) -> None:
        """The next engine: it opens at once, takes a message, and brings everything to its end."""
        async with self.engine(**sections) as engine:
            receipt = await engine.submit(self.submitting("the next", ("next@example.org",)))
            self.acknowledged("the next", receipt.id)
            assert (await receipt.settled()).is_delivered
            while (await engine.status()).messages:  # nothing tells how long a queue is
                await engine.release(Filter())
                await engine.retry(Filter())
                await trio.sleep(0.01 if self._kind == SQLITE else 1.0)

    def broken_promises(self) -> list[str]:
        spool = self.stored()
        files = self._folder / "p.db.content"
        names = {path.name for path in files.iterdir()} if files.is_dir() else set()
        return broken_promises(
            Evidence(
                letters=list(self._letters.values()),
                arrivals=[_arrival(recipient, content) for taken in self._taken for recipient, content in taken()],
                spool=spool,
                log=self.log(),
                kills=sum(line["event"] == "ring_crashed" for line in self.log()),  # takes lines as a kill does
                leftovers=sorted(names - {one.message.id for one in spool}),
            )
        )

    def log(self) -> list[Any]:
        """The lines of all engines."""
        return [line for logs in self._logs for line in logs]

    def stored(self) -> list[StoredMessage]:
        if self._kind == MEMORY:
            return list(self._store.find(Filter(), 1000))
        with sqlite_store(str(self._folder / "p.db"), folder=self._folder) as store:
            assert store.check() == []
            return list(store.find(Filter(), 1000))


def _taken_by_script(carrier: ScriptedTransport) -> Iterator[Taken]:
    for call in carrier.calls:
        for recipient, verdict in zip(call.request.recipients, call.verdicts or (), strict=False):
            if verdict.disposition is Disposition.ACCEPTED:
                yield recipient.address, call.content


def _taken_by_peer(peer: SmtpPeer) -> Iterator[Taken]:
    for each in peer.transactions:
        for recipient in each.recipients:
            yield recipient, each.content


def _arrival(recipient: str, content: bytes) -> Arrival:
    id = content.partition(b"Message-ID: <")[2].partition(b"@")[0].decode()
    report = read_report(content)
    failed = tuple((report.our_id, one.address) for one in report.recipients) if report else ()
    return Arrival(id, recipient, body_of(content), failed=failed)


def body_of(content: bytes) -> str:
    return content.partition(b"\r\n\r\n")[2].partition(b"\r\n")[0].decode()
