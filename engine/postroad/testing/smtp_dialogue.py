"""Dialogues as text, for the scripted SMTP server.

One step a line; empty lines and lines beginning with # are skipped:

    S: 220 peer.example ESMTP        the server says this line
    C: EHLO *                        the client must say this (`*` and `?` as in file names)
    !content                         the client must send content up to its final dot
    !delay 5   !drip 1 250 Ok   !raw 250-x\\r\\n   !tls   !silence   !cut   !reset   !close

`!close` waits for the client to close, so that anything it still says is a fault; the end of the text is a `!cut`.
"""

from __future__ import annotations

import ssl
from fnmatch import fnmatchcase

import trio

from .smtp_line import Gone, Line

__all__ = ["Dialogue", "follow"]

_VERBS = frozenset({"content", "delay", "drip", "raw", "tls", "silence", "cut", "reset", "close"})


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


async def follow(dialogue: Dialogue, line: Line, tls: ssl.SSLContext | None) -> None:
    """Play the server's part.  Raises Gone at its end, or where the client leaves the text."""
    for kind, text in dialogue.steps:
        if kind == "S":
            await line.say(text)
        elif kind == "C":
            await _hear(text, line)
        else:
            await _do(kind, text, line, tls)
    raise Gone


async def _hear(pattern: str, line: Line) -> None:
    command = await line.read_command()
    if not fnmatchcase(command, pattern):
        line.note(f"expected {pattern!r}, got {command!r}")
        raise Gone


async def _do(verb: str, text: str, line: Line, tls: ssl.SSLContext | None) -> None:
    match verb:
        case "!content":
            await line.read_content()
        case "!delay":
            await trio.sleep(float(text))
        case "!drip":
            await _drip(text, line)
        case "!raw":
            await line.send(text.encode("latin-1").decode("unicode_escape").encode("latin-1"))
        case "!tls":
            assert tls is not None, "the peer needs a TLS context"
            await line.secure(tls)
        case "!silence":
            await trio.sleep_forever()
        case "!reset":
            line.reset()
            raise Gone
        case "!close":
            await _wait_closed(line)
        case _:
            raise Gone  # !cut


async def _drip(text: str, line: Line) -> None:
    seconds, _, reply = text.partition(" ")
    for octet in f"{reply}\r\n".encode():
        await line.send(bytes([octet]))
        await trio.sleep(float(seconds))


async def _wait_closed(line: Line) -> None:
    command = await line.read_command()  # Gone is what should come
    line.note(f"expected the end, got {command!r}")
