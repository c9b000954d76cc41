"""Dialogues as text, for the scripted SMTP server.

One step a line; empty lines and lines beginning with # are skipped:

    S: 220 peer.example ESMTP        the server says this line
    C: EHLO *                        the client must say this (`*` and `?` as in file names)
    !content   !chunk                the client must send content up to its final dot, or the octets of the BDAT before
    !delay 5   !drip 1 250 Ok   !raw 250-x\\r\\n   !tls   !silence   !cut   !reset   !close

Lines of the server go in one piece as far as the client's words at hand reach.  `!close` waits for the client to close, so that
anything it still says is a fault; the end of the text is a `!cut`.
"""

from __future__ import annotations

import ssl
from fnmatch import fnmatchcase
from typing import NoReturn

import trio

from .smtp_behaviour import Connection
from .smtp_line import Gone, Line
from .smtp_rules import Offers, command_faults, content_faults, is_early, read_offers

__all__ = ["Dialogue", "follow"]

_VERBS = frozenset({"content", "chunk", "delay", "drip", "raw", "tls", "silence", "cut", "reset", "close"})


class Dialogue:
    """The steps of a text: ("S", line), ("C", pattern) or ("!verb", argument).  Raises ValueError for a line that is none."""

    def __init__(self, text: str) -> None:
        lines = (line.strip() for line in text.splitlines())
        self.steps = [_step(line) for line in lines if line and not line.startswith("#")]


def _step(line: str) -> tuple[str, str]:
    if line.startswith(("S:", "C:")):
        return line[0], line[2:].strip()
    verb, _, argument = line[1:].partition(" ")
    if line.startswith("!") and verb in _VERBS:
        return f"!{verb}", argument
    raise ValueError(f"no step of a dialogue: {line!r}")


async def follow(dialogue: Dialogue, line: Line, tls: ssl.SSLContext | None, connection: Connection) -> None:
    """Play the server's part.  Raises Gone at its end, or where the client leaves the text."""
    play = _Play(line, tls, connection)
    for kind, text in dialogue.steps:
        await play.do(kind, text)
        connection.steps += 1
    await play.flush()
    raise Gone


class _Play:
    """The server's part on one connection."""

    def __init__(self, line: Line, tls: ssl.SSLContext | None, connection: Connection) -> None:
        self._line = line
        self._tls = tls
        self._connection = connection
        self._held: list[str] = []  # lines that wait until the client's next words are needed
        self._reply: list[str] = []  # the lines of the reply under way
        self._heard = ""  # the last command
        self._mail = ""
        self._offers: Offers = {}

    async def do(self, kind: str, text: str) -> None:
        if kind == "S":
            self._say(text)
        elif kind == "C":
            await self._hear(text)
        else:
            await self.flush()
            await self._act(kind, text)

    async def flush(self) -> None:
        if self._held:
            await self._line.say("\n".join(self._held))
            self._held.clear()

    def _say(self, text: str) -> None:
        self._held.append(text)
        self._reply.append(text)
        if text[3:4] != "-":
            if self._heard[:4].upper() in ("EHLO", "LHLO"):
                self._offers = read_offers("\n".join(self._reply))
            self._reply.clear()

    async def _hear(self, pattern: str) -> None:
        if not self._line.has_command:
            await self.flush()
        command = self._heard = await self._line.read_command()
        self._connection.commands.append(command)
        if not fnmatchcase(command, pattern):
            await self.flush()
            self._line.note(f"expected {pattern!r}, got {command!r}")
            raise Gone
        self._check(command)

    def _check(self, command: str) -> None:
        verb = command.partition(" ")[0].upper()
        if verb == "MAIL":
            self._mail = command
        for fault in command_faults(command, self._offers):
            self._line.note(fault)
        if self._line.has_more and is_early(verb, self._offers):
            self._line.note(f"something behind {verb} before its reply")

    async def _act(self, verb: str, text: str) -> None:
        match verb:
            case "!content":
                await self._receive()
            case "!chunk":
                self._connection.contents.append(await self._line.read_octets(int(self._heard.split(" ")[1])))
            case "!delay":
                await trio.sleep(float(text))
            case "!drip":
                await self._drip(text)
            case "!raw":
                await self._line.send(text.encode("latin-1").decode("unicode_escape").encode("latin-1"))
            case "!tls":
                assert self._tls is not None, "the peer needs a TLS context"
                await self._line.secure(self._tls)
                self._offers = {}
            case "!silence":
                await trio.sleep_forever()
            case "!reset":
                self._line.reset()
                self._leave()
            case "!close":
                await self._wait_closed()
            case _:
                self._leave()  # !cut

    async def _receive(self) -> None:
        _, content = await self._line.read_content()
        self._connection.contents.append(content)
        for fault in content_faults(content, self._mail):
            self._line.note(fault)

    async def _drip(self, text: str) -> None:
        seconds, _, reply = text.partition(" ")
        for octet in f"{reply}\r\n".encode():
            await self._line.send(bytes([octet]))
            await trio.sleep(float(seconds))

    def _leave(self) -> NoReturn:
        """The last step."""
        self._connection.steps += 1
        raise Gone

    async def _wait_closed(self) -> None:
        try:
            command = await self._line.read_command()
        except Gone:
            self._leave()
        self._line.note(f"expected the end, got {command!r}")
