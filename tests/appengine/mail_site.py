"""A spool for the tests of the service, an engine on it in a thread, and requests."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes, policy
from pathlib import Path

import trio

import postroad
from postroad import Filter
from postroad.appengine import service
from postroad.appengine.protocol import MailMessage, VoidProto
from postroad.offline import open_offline
from postroad.spool import SpoolPlace
from postroad.store.contract import ContentPlace
from postroad.testing.engine import test_config
from postroad.testing.fakes import ScriptedTransport

WAIT_SECONDS = 60.0


def request(attachments=(), headers=(), **fields):
    """A request as `ToProto()` makes it.  attachments: (name, octets) or (name, octets, content id)."""
    given = {"Sender": "a@example.com", "To": ["b@example.org"], "Subject": "Hello", "TextBody": "Hi", **fields}
    message = MailMessage(**{name: value for name, value in given.items() if value is not None})
    for name, data, *content_id in attachments:
        message.Attachment.add(FileName=name, Data=data, ContentID=content_id[0] if content_id else None)
    for name, value in headers:
        message.Header.add(name=name, value=value)
    return message


def send(message=None, call="Send", **fields):
    """Send a request, and return its id."""
    service.make_sync_call("mail", call, request(**fields) if message is None else message, VoidProto())
    return service.last_receipt()


class Site:
    """A spool, an engine on it when wanted, and what is in it."""

    def __init__(self, folder: Path, **sections) -> None:
        self.url = f"sqlite:{folder}/spool.db"
        self.file = folder / "spool.db"
        self.place = SpoolPlace.parse(self.url, folder)
        self.transport = ScriptedTransport()
        self.sections = sections
        self.configure()

    def configure(self, **sections):
        senders = {"authorized": ["*@example.com"], "admins": ["ops@example.com"]}
        self.sections |= sections
        self.config = test_config(**{"spool": {"url": self.url}, "senders": senders, **self.sections})
        service.configure(self.config)

    @contextmanager
    def engine(self, delivering=0) -> Iterator[None]:
        """An engine in a thread of its own, as another process would have it.  delivering: attempts to wait for at the end."""
        portal: list[tuple[trio.lowlevel.TrioToken, trio.Event]] = []
        is_ready = threading.Event()
        failures: list[BaseException] = []

        async def serve() -> None:
            plugins = {"scripted": self.transport.plugin()}
            async with postroad.open_engine(self.config, plugins=plugins):
                stop = trio.Event()
                portal.append((trio.lowlevel.current_trio_token(), stop))
                is_ready.set()
                await stop.wait()
                with trio.fail_after(WAIT_SECONDS):
                    await self.transport.wait_ended(delivering)

        def run() -> None:
            try:
                trio.run(serve)
            except BaseException as error:
                failures.append(error)
                is_ready.set()

        thread = threading.Thread(target=run)
        thread.start()
        assert is_ready.wait(WAIT_SECONDS)
        try:
            yield
        finally:
            for token, stop in portal:
                token.run_sync_soon(stop.set)
            thread.join(WAIT_SECONDS)
            assert not thread.is_alive()
            assert not failures, failures

    def stored(self):
        """Everything in the spool: StoredMessage and octets, None of what is finished."""
        with open_offline(self.place, self.config) as spool:
            found = spool._store.find(Filter(), 10_000)
            return [(each, self._octets(spool, each)) for each in found]

    def message(self, id):
        """One message: StoredMessage and octets."""
        with open_offline(self.place, self.config) as spool:
            stored = spool._store.message(id)
            return stored, self._octets(spool, stored)

    def _octets(self, spool, stored):
        if stored.finished_at is not None:
            return None
        content = spool._store.content(stored.handle)
        return spool._contents.path_of(content).read_bytes() if isinstance(content, ContentPlace) else content

    def only(self):
        """The only message in the spool."""
        ((stored, content),) = self.stored()
        return stored, content

    def read(self):
        """The only message, as the standard library reads it."""
        return message_from_bytes(self.only()[1], policy=policy.default)


class Server(threading.Thread):
    """A server on loopback for one session; says what it heard."""

    def __init__(self, *, is_silent=False, extensions=()) -> None:
        super().__init__()
        self.extensions = extensions
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.is_silent = is_silent
        self.is_over = threading.Event()
        self.commands: list[bytes] = []
        self.content = b""

    def run(self) -> None:
        line, _ = self.listener.accept()
        with line, line.makefile("rb") as heard:
            if self.is_silent:
                self.is_over.wait(60)
                return
            line.sendall(b"220 ready\r\n")
            while command := heard.readline():
                self.commands.append(command.rstrip())
                if command.upper().startswith(b"DATA"):
                    line.sendall(b"354 go on\r\n")
                    self.content = b"".join(iter(heard.readline, b".\r\n"))
                if command.upper().startswith(b"EHLO"):
                    line.sendall(b"".join(b"250-%s\r\n" % extension for extension in (b"server", *self.extensions)))
                line.sendall(b"221 bye\r\n" if command.upper().startswith(b"QUIT") else b"250 ok\r\n")
