"""How the scripted SMTP server of `smtp_peer.py` behaves, and what it keeps of each connection: plain values, no I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

__all__ = [
    "ACCEPT",
    "Accept",
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
    "accepts",
]


# --- What the server may do instead of accepting ---


@dataclass(frozen=True, slots=True)
class Cut:
    """Close the connection (FIN) without a word."""


@dataclass(frozen=True, slots=True)
class Reset:
    """Reset the connection (RST); in memory it is closed."""


@dataclass(frozen=True, slots=True)
class Silence:
    """Never answer, and keep the connection open."""


@dataclass(frozen=True, slots=True)
class Raw:
    """Send these bytes, whatever they are; then close if `then_cut`."""

    data: bytes
    then_cut: bool = False


@dataclass(frozen=True, slots=True)
class Drip:
    """Send a reply byte by byte, so many seconds apart."""

    reply: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Delay:
    """Do something after so many seconds."""

    seconds: float
    then: Reaction


@dataclass(frozen=True, slots=True)
class Accept:
    """Answer as a willing server does."""


ACCEPT = Accept()
Reaction: TypeAlias = "str | Accept | Cut | Reset | Silence | Raw | Drip | Delay"
"""A reply such as "550 5.1.1 No such user" (lines joined by newlines for several), or one of the classes above.

A 421 closes the connection after it is sent."""


def accepts(reaction: Reaction) -> bool:
    """Whether the client is told that its message was taken."""
    match reaction:
        case Delay():
            return accepts(reaction.then)
        case Drip():
            return reaction.reply.startswith("2")
        case str():
            return reaction.startswith("2")
        case Raw():
            return reaction.data.startswith(b"2")
        case _:
            return isinstance(reaction, Accept)


# --- What it keeps ---


@dataclass(slots=True)
class Received:
    """One transaction that the server accepted: what its client was promised.

    content: as the message is, dots undone.  raw: as it came, with the final dot.  mail: the whole MAIL command.
    """

    sender: str
    recipients: tuple[str, ...]
    content: bytes
    raw: bytes
    mail: str
    is_tls: bool
    connection: int


@dataclass(slots=True)
class Connection:
    """One connection.

    commands: as they came, `.` for an end of content.  reads: what each read brought.  is_resumed: whether its TLS was resumed.
    login: user name and secret of the last login, whatever came of it; None where it was broken off.
    steps, contents: of a dialogue: how many steps were played, and the contents or chunks that came, dots undone.
    """

    number: int
    commands: list[str] = field(default_factory=list[str])
    reads: list[bytes] = field(default_factory=list[bytes])
    is_tls: bool = False
    is_resumed: bool = False
    login: tuple[str, str] | None = None
    steps: int = 0
    contents: list[bytes] = field(default_factory=list[bytes])


EXTENSIONS = ("PIPELINING", "SIZE 10485760", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES")


# fmt: off
_COMMANDS = frozenset({
    "CONNECT", "EHLO", "HELO", "LHLO", "STARTTLS", "TLS", "AUTH", "MAIL", "RCPT", "DATA", "BDAT", ".", "RSET", "NOOP", "VRFY",
    "HELP", "QUIT",
})
# fmt: on


class Behaviour:
    """How the server answers: willing, but for what `replies` says.

    replies: by command ("CONNECT", "EHLO", "HELO", "STARTTLS", "AUTH", "MAIL", "RCPT", "DATA", "." for the end of content,
        "RSET", "QUIT", or "RCPT b@example.org" for one recipient): a Reaction, or several, one for each time; the last one stays.
        "TLS" is the client's first message of a TLS handshake: instead of answering it, cut, be silent, or send raw bytes.
    extensions: what EHLO offers; STARTTLS is added where the peer has a TLS context, AUTH where it has logins.
    logins: passwords, or tokens for XOAUTH2, by user name.  mechanisms: of PLAIN, LOGIN, CRAM-MD5, SCRAM-SHA-256 and XOAUTH2.
    iterations: what SCRAM-SHA-256 asks for.
    Override `react` for anything else.
    """

    def __init__(
        self,
        replies: Mapping[str, Reaction | Sequence[Reaction]] | None = None,
        *,
        extensions: Sequence[str] = EXTENSIONS,
        logins: Mapping[str, str] | None = None,
        mechanisms: Sequence[str] = ("PLAIN", "LOGIN"),
        iterations: int = 4096,
    ) -> None:
        self.extensions = tuple(extensions)
        self.logins = dict(logins or {})
        self.mechanisms = tuple(mechanisms)
        self.iterations = iterations
        self._replies = {command_of(key): _as_list(value) for key, value in (replies or {}).items()}

    def react(self, verb: str, argument: str, connection: Connection) -> Reaction:
        """What to do with a command; called once for each, for the end of content with ".", at first with CONNECT."""
        for key in (f"{verb} {argument}".upper(), verb):
            reactions = self._replies.get(key)
            if reactions:
                return reactions.pop(0) if len(reactions) > 1 else reactions[0]
        return ACCEPT


def command_of(key: str) -> str:
    """A key of `replies` in its one form.  Raises ValueError for what no client ever says."""
    verb = key.upper().partition(" ")[0]
    if verb not in _COMMANDS:
        raise ValueError(f"no client says {key!r}; the commands are {', '.join(sorted(_COMMANDS))}")
    return key.upper()


def _as_list(value: Reaction | Sequence[Reaction]) -> list[Reaction]:
    if isinstance(value, (list, tuple)):
        return list(value)
    return [value]  # type: ignore[list-item]  # a str is a Sequence too
