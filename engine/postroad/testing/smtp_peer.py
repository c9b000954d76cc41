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
    Accept,
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
    accepts,
)
from .smtp_dialogue import Dialogue, follow
from .smtp_line import Gone, Line
from .smtp_rules import Offers, command_faults, content_faults, is_early, read_offers, said

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
    tls: a server's context: STARTTLS is offered, or with `tls_at_once` spoken from the first byte (port 465).
    """

    def __init__(
        self,
        behaviour: Behaviour | None = None,
        *,
        dialogue: str | Sequence[str] | None = None,
        tls: ssl.SSLContext | None = None,
        tls_at_once: bool = False,
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
        self._tls_at_once = tls_at_once
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
            if self._tls_at_once:
                await self._secure(line, connection)
            if self._dialogues:
                await follow(
                    self._dialogues[min(connection.number, len(self._dialogues) - 1)], line, self.tls, connection
                )
            else:
                await _Server(self, line, connection).run()
        except (Gone, trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        finally:
            with trio.move_on_after(1, shield=True):
                await trio.aclose_forcefully(line.stream)

    async def _secure(self, line: Line, connection: Connection) -> None:
        assert self.tls is not None, "the peer needs a TLS context"
        await line.secure(self.tls)
        connection.is_tls = True

    async def note(self) -> None:
        async with self._arrived:
            self._arrived.notify_all()


class _Server:
    """The willing server of one connection, and its departures from that."""

    def __init__(self, peer: SmtpPeer, line: Line, connection: Connection) -> None:
        self._peer = peer
        self._line = line
        self._connection = connection
        self._greeted = False
        self._offers: Offers = {}
        self._sender: str | None = None
        self._mail = ""
        self._recipients: list[str] = []

    async def run(self) -> None:
        await self._do(self._peer.behaviour.react("CONNECT", "", self._connection), f"220 {self._peer.name} ESMTP")
        while True:
            command = await self._line.read_command()
            await self._note(command)
            verb, argument = _split(command)
            self._check(verb, command)
            await self._take(verb, argument, command)
            if verb == "QUIT":
                break
        if self._line.has_more:
            self._peer.faults.append("something behind QUIT")

    async def _note(self, command: str) -> None:
        self._connection.commands.append(command)
        await self._peer.note()

    def _check(self, verb: str, command: str) -> None:
        self._peer.faults.extend(command_faults(command, self._offers))
        self._check_early(verb)

    def _check_early(self, verb: str) -> None:
        if self._line.has_more and is_early(verb, self._offers):
            self._peer.faults.append(f"something behind {verb} before its reply")

    async def _take(self, verb: str, argument: str, command: str) -> None:
        reaction = self._peer.behaviour.react(verb, argument, self._connection)
        usual = self._usual(verb, command)
        positive = await self._do(reaction, usual)
        if not positive:
            return
        match verb:
            case "EHLO" | "HELO":
                self._greeted = True
                self._offers = read_offers(said(reaction, usual)) if verb == "EHLO" else {}
            case "MAIL":
                self._sender, self._mail, self._recipients = argument, command, []
            case "RCPT":
                self._recipients.append(argument)
            case "RSET":
                self._forget()
            case "STARTTLS":
                await self._start_tls()
            case "AUTH":
                await self._log_in(command)
            case "DATA":
                await self._receive()
            case _:
                pass

    def _usual(self, verb: str, command: str) -> str:
        """What a willing server says, and whether the command was in order."""
        match verb:
            case "EHLO":
                return self._offer()
            case "HELO":
                return f"250 {self._peer.name}"
            case "STARTTLS":
                return "220 2.0.0 Ready" if self._may_secure() else self._out_of_order(command)
            case "AUTH":
                return "" if self._peer.behaviour.logins else self._out_of_order(command)
            case "MAIL":
                return "250 2.1.0 Ok" if self._greeted and self._sender is None else self._out_of_order(command)
            case "RCPT":
                return "250 2.1.5 Ok" if self._sender is not None else self._needless(command, "503 5.5.1 MAIL first")
            case "DATA":
                if self._recipients:
                    return "354 End data with <CR><LF>.<CR><LF>"
                return self._needless(command, "554 5.5.1 No valid recipients")
            case "RSET" | "NOOP":
                return "250 2.0.0 Ok"
            case "QUIT":
                return "221 2.0.0 Bye"
            case _:
                self._peer.faults.append(f"unknown command {command!r}")
                return "500 5.5.2 Unknown command"

    def _out_of_order(self, command: str) -> str:
        self._peer.faults.append(f"out of order: {command!r}")
        return "503 5.5.1 Bad sequence of commands"

    def _needless(self, command: str, reply: str) -> str:
        """A command that only a client that pipelines may say, because it did not know better yet."""
        if "PIPELINING" not in self._offers:
            self._peer.faults.append(f"out of order: {command!r}")
        return reply

    def _offer(self) -> str:
        offers = [self._peer.name, *self._peer.behaviour.extensions]
        if self._may_secure():
            offers.append("STARTTLS")
        if self._peer.behaviour.logins:
            offers.append("AUTH " + " ".join(self._peer.behaviour.mechanisms))
        return "\n".join([*(f"250-{offer}" for offer in offers[:-1]), f"250 {offers[-1]}"])

    def _may_secure(self) -> bool:
        return self._peer.tls is not None and not self._connection.is_tls

    def _forget(self) -> None:
        self._sender, self._mail, self._recipients = None, "", []

    async def _start_tls(self) -> None:
        assert self._peer.tls is not None, "the peer needs a TLS context"
        if self._line.has_more:
            self._peer.faults.append("commands behind STARTTLS")
        await self._line.secure(self._peer.tls)
        self._connection.is_tls = True
        self._greeted, self._offers = False, {}
        self._forget()

    async def _log_in(self, command: str) -> None:
        login = await self._line.read_login(command)
        self._connection.login = login
        good = self._peer.behaviour.logins.get(login[0]) == login[1]
        await self._line.say("235 2.7.0 Welcome" if good else "535 5.7.8 Wrong credentials")

    async def _receive(self) -> None:
        raw, content = await self._line.read_content()
        await self._note(".")
        self._peer.faults.extend(content_faults(content, self._mail))
        self._check_early(".")
        received = Received(
            sender=self._sender or "",
            recipients=tuple(self._recipients),
            content=content,
            raw=raw,
            mail=self._mail,
            is_tls=self._connection.is_tls,
            connection=self._connection.number,
        )
        recipients = self._recipients
        self._forget()
        reaction = self._peer.behaviour.react(".", received.sender, self._connection)
        if accepts(reaction) and recipients:
            self._peer.transactions.append(received)  # before the reply: a client may look as soon as it has it
            await self._peer.note()
        await self._do(reaction, "250 2.0.0 Ok")

    async def _do(self, reaction: Reaction, usual: str) -> bool:
        """Carry a reaction out; whether the client was told to go on."""
        match reaction:
            case Accept():
                return await self._reply(usual)
            case Cut():
                raise Gone
            case Reset():
                self._line.reset()
                raise Gone
            case Silence():
                await trio.sleep_forever()
            case Raw():
                await self._line.send(reaction.data)
                if reaction.then_cut:
                    raise Gone
                return reaction.data[:1] in (b"2", b"3")
            case Drip():
                await self._drip(reaction)
                return reaction.reply[:1] in "23"
            case Delay():
                await trio.sleep(reaction.seconds)
                return await self._do(reaction.then, usual)
            case str():
                return await self._reply(reaction)
        raise AssertionError("sleep_forever returned")

    async def _reply(self, reply: str) -> bool:
        if reply:
            await self._line.say(reply)
        if reply.startswith("421"):
            raise Gone
        return reply[:1] in "23"

    async def _drip(self, drip: Drip) -> None:
        for octet in f"{drip.reply}\r\n".encode():
            await self._line.send(bytes([octet]))
            await trio.sleep(drip.seconds)


def _split(command: str) -> tuple[str, str]:
    """The verb, and the address or argument: `RCPT TO:<b@example.org> X=Y` gives ("RCPT", "b@example.org")."""
    verb, _, rest = command.partition(" ")
    if verb.upper() in ("MAIL", "RCPT"):
        _, _, path = rest.partition("<")
        return verb.upper(), path.rpartition(">")[0]
    return verb.upper(), rest
