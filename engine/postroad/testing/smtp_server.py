"""The willing half of the scripted SMTP server of `smtp_peer.py`: one connection, and its departures from what is usual."""

from __future__ import annotations

import ssl
from typing import Protocol

import trio

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
from .smtp_line import Gone, Line
from .smtp_login import read_login
from .smtp_rules import Offers, command_faults, content_faults, is_early, read_offers, said

__all__ = ["Peer", "Server"]


class Peer(Protocol):
    """What a connection needs of the server it belongs to."""

    behaviour: Behaviour
    name: str
    tls: ssl.SSLContext | None
    lmtp: bool
    transactions: list[Received]
    faults: list[str]

    async def note(self) -> None:
        """Something happened that somebody may wait for."""
        ...


class Server:
    """The willing server of one connection, and its departures from that."""

    def __init__(self, peer: Peer, line: Line, connection: Connection) -> None:
        self._peer = peer
        self._line = line
        self._connection = connection
        self._greeted = False
        self._offers: Offers = {}
        self._sender: str | None = None
        self._mail = ""
        self._recipients: list[str] = []
        self._chunks: list[bytes] = []
        self._must_reset = False  # a chunk was refused (RFC 3030 section 2)

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
        if verb == "BDAT":
            await self._take_chunk(argument)
            return
        reaction = self._peer.behaviour.react(verb, argument, self._connection)
        usual = self._usual(verb, command)
        positive = await self._do(reaction, usual)
        if not positive:
            return
        match verb:
            case "EHLO" | "HELO" | "LHLO":
                self._greeted = True
                self._offers = {} if verb == "HELO" else read_offers(said(reaction, usual))
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
            case "EHLO" | "HELO" | "LHLO" if (verb == "LHLO") is not self._peer.lmtp:
                return "500 5.5.1 Another protocol is spoken here"
            case "EHLO" | "LHLO":
                return self._offer()
            case "HELO":
                return f"250 {self._peer.name}"
            case "STARTTLS":
                return "220 2.0.0 Ready" if self._may_secure() else self._out_of_order(command)
            case "AUTH":
                return "" if self._peer.behaviour.logins else self._out_of_order(command)
            case "MAIL":
                if self._greeted and self._sender is None and not self._must_reset:
                    return "250 2.1.0 Ok"
                return self._out_of_order(command)
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
        self._sender, self._mail, self._recipients, self._chunks = None, "", [], []
        self._must_reset = False

    async def _start_tls(self) -> None:
        if self._line.has_more:
            self._peer.faults.append("commands behind STARTTLS")
        await self.secure()
        self._greeted, self._offers = False, {}
        self._forget()

    async def secure(self) -> None:
        """Negotiate TLS, or do what the behaviour says in its place."""
        reaction = self._peer.behaviour.react("TLS", "", self._connection)
        if not isinstance(reaction, Accept):
            await self._line.await_hello()
            await self._do(reaction, "")
            raise Gone
        assert self._peer.tls is not None, "the peer needs a TLS context"
        self._connection.is_resumed = await self._line.secure(self._peer.tls)
        self._connection.is_tls = True

    async def _log_in(self, command: str) -> None:
        behaviour = self._peer.behaviour
        mechanism = command.partition(" ")[2].partition(" ")[0]
        if mechanism.upper() not in behaviour.mechanisms:
            self._peer.faults.append(f"a login that is not offered: {mechanism!r}")
        attempt = await read_login(self._line, command, behaviour.logins, iterations=behaviour.iterations)
        self._connection.login = (attempt.username, attempt.secret) if attempt.username else None
        await self._line.say(attempt.reply)

    async def _receive(self) -> None:
        if self._chunks:
            self._peer.faults.append("DATA behind BDAT")
        raw, content = await self._line.read_content()
        await self._note(".")
        self._check_early(".")
        await self._finish(content, raw)

    async def _take_chunk(self, argument: str) -> None:
        """A chunk (RFC 3030): its octets are read whatever becomes of them."""
        octets, _, last = argument.partition(" ")
        if "CHUNKING" not in self._offers or not octets.isdigit() or last not in ("", "LAST"):
            self._peer.faults.append(f"no chunk that was offered: {argument!r}")
            raise Gone
        self._chunks.append(await self._line.read_octets(int(octets)))
        if not self._recipients or self._must_reset:
            await self._do(ACCEPT, self._needless(f"BDAT {argument}", "503 5.5.1 Bad sequence of commands"))
        elif last:
            content = b"".join(self._chunks)
            self._line.check_text(content)
            await self._finish(content, content)
        else:
            reaction = self._peer.behaviour.react("BDAT", argument, self._connection)
            self._must_reset = not await self._do(reaction, f"250 2.0.0 {octets} octets")

    async def _finish(self, content: bytes, raw: bytes) -> None:
        """All of a content is here: what becomes of it."""
        self._peer.faults.extend(content_faults(content, self._mail))
        sender, mail, recipients = self._sender or "", self._mail, self._recipients
        is_chunked = bool(self._chunks)
        self._forget()
        parts = (
            [(recipient, (recipient,)) for recipient in recipients]
            if self._peer.lmtp
            else [(sender, tuple(recipients))]
        )
        for argument, names in parts:
            reaction = self._peer.behaviour.react(".", argument, self._connection)
            if accepts(reaction) and names:  # before the reply: a client may look as soon as it has it
                self._peer.transactions.append(
                    Received(
                        sender=sender,
                        recipients=names,
                        content=content,
                        raw=raw,
                        mail=mail,
                        is_tls=self._connection.is_tls,
                        connection=self._connection.number,
                    )
                )
                await self._peer.note()
            elif is_chunked:
                self._must_reset = True
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
