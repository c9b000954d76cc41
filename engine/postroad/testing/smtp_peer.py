"""A scripted SMTP server for tests of transports: in this process, on loopback or in memory, as right or as wrong as wanted.

`SmtpPeer(Behaviour(...))` is a server that accepts everything but what the behaviour says; `SmtpPeer(dialogue="...")` follows a
text line by line (`smtp_dialogue.py`).  It keeps every transaction byte for byte and notes each breach of the rules in
`faults`: bare CR or LF, NUL, lines over 998 octets, commands out of order or before their time, whatever was not offered
(`smtp_rules.py`).  Delays are trio's, so that a test clock jumps over them.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

import trio
import trio.testing

from .smtp_behaviour import (
    ACCEPT,
    Behaviour,
    Connection,
    Cut,
    Delay,
    Drip,
    Raw,
    Reaction,
    Received,
    Reset,
    Silence,
)
from .smtp_dialogue import Dialogue, follow
from .smtp_line import Gone, Line
from .smtp_server import Server

__all__ = [
    "ACCEPT",
    "Behaviour",
    "Connection",
    "Cut",
    "Delay",
    "Drip",
    "Raw",
    "Reaction",
    "Received",
    "Reset",
    "Silence",
    "SmtpPeer",
]


class SmtpPeer:
    """A server for one test.

    dialogue: a text for every connection, or several: one for each, the last one stays.
    transactions: what it accepted, in order.  connections: every one so far.  faults: what clients did wrong, in words.
    tls: a server's context: STARTTLS is offered, or with `tls_at_once` spoken from the first byte (port 465).  Like `behaviour`
        it may be changed, for the connections that follow.
    lmtp: it speaks LMTP: LHLO, and a reply for each recipient after the content; "." is then asked with the recipient.
    """

    def __init__(
        self,
        behaviour: Behaviour | None = None,
        *,
        dialogue: str | Sequence[str] | None = None,
        tls: ssl.SSLContext | None = None,
        tls_at_once: bool = False,
        lmtp: bool = False,
        name: str = "peer.example",
    ) -> None:
        self.behaviour = behaviour or Behaviour()
        self.name = name
        self.tls = tls
        self.transactions: list[Received] = []
        self.connections: list[Connection] = []
        self.faults: list[str] = []
        texts = [dialogue] if isinstance(dialogue, str) else dialogue or ()
        self._dialogues = [Dialogue(text) for text in texts]
        self.tls_at_once = tls_at_once
        self.lmtp = lmtp
        self._arrived = trio.Condition()

    @asynccontextmanager
    async def listening(self, host: str = "127.0.0.1") -> AsyncGenerator[tuple[str, int]]:
        """Serve on a free loopback port inside the context; gives (host, port)."""
        async with trio.open_nursery() as nursery:
            listeners = await trio.open_tcp_listeners(0, host=host)
            port: int = listeners[0].socket.getsockname()[1]
            await nursery.start(trio.serve_listeners, self.serve, listeners)
            yield host, port
            nursery.cancel_scope.cancel()

    def connect(self, nursery: trio.Nursery) -> trio.abc.Stream:
        """A connection in memory: the client's end; the server's is served in the nursery."""
        ours, theirs = trio.testing.memory_stream_pair()
        nursery.start_soon(self.serve, theirs)
        return ours

    async def wait_received(self, count: int = 1) -> None:
        """Wait until so many transactions were accepted in all."""
        async with self._arrived:
            while len(self.transactions) < count:
                await self._arrived.wait()

    async def wait_command(self, command: str, count: int = 1) -> None:
        """Wait until so many commands beginning with this text came, on all connections together."""
        async with self._arrived:
            while sum(one.startswith(command) for each in self.connections for one in each.commands) < count:
                await self._arrived.wait()

    async def serve(self, stream: trio.abc.Stream) -> None:
        """Serve one connection to its end."""
        connection = Connection(len(self.connections))
        self.connections.append(connection)
        line = Line(stream, connection.reads, self.faults)
        try:
            server = Server(self, line, connection)
            if self.tls_at_once:
                await server.secure()
            if self._dialogues:
                await follow(
                    self._dialogues[min(connection.number, len(self._dialogues) - 1)], line, self.tls, connection
                )
            else:
                await server.run()
        except (Gone, trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        finally:
            with trio.move_on_after(1, shield=True):
                await trio.aclose_forcefully(line.stream)

    async def note(self) -> None:
        async with self._arrived:
            self._arrived.notify_all()
