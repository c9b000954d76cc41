"""The mail servers of a simulated world: willing, but for what is scheduled over virtual time.  In memory, by `smtp_peer.py`.

Whoever scripts a server says from when on and for how long something holds; of what holds at a moment the latest word counts.
"""

from __future__ import annotations

import email
import email.policy
import errno
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from email.message import EmailMessage
from functools import cached_property
from typing import Generic, TypeAlias, TypeVar

import trio

from .simulated_trace import Trace
from .smtp_behaviour import ACCEPT, Accept, Behaviour, Connection, Cut, Reaction, Received, Silence, command_of
from .smtp_peer import SmtpPeer

__all__ = ["DAY", "HOUR", "MINUTE", "Mail", "MailServer", "Schedule"]

MINUTE, HOUR, DAY = 60.0, 3600.0, 86_400.0

_T = TypeVar("_T")
_Manner: TypeAlias = "Mapping[str, Reaction] | Cut | Silence"


class Schedule(Generic[_T]):
    """What holds from when to when."""

    def __init__(self) -> None:
        self._spells: list[tuple[float, float, _T]] = []

    def add(self, what: _T, seconds: float, after: float) -> None:
        """Raises ValueError for a time that is none."""
        if not (seconds > 0 and after >= 0):
            raise ValueError(f"seconds={seconds!r}, after={after!r}: give more than 0 seconds, beginning now or later")
        begin = trio.current_time() + after
        self._spells.append((begin, begin + seconds, what))

    def now(self) -> list[_T]:
        """What holds at this moment, the latest word first."""
        now = trio.current_time()
        return [what for begin, end, what in reversed(self._spells) if begin <= now < end]


@dataclass(frozen=True)
class Mail:
    """What a server took for one recipient.

    at: virtual seconds since the beginning.  host: the server's name.  command: the whole MAIL command.
    """

    at: float
    host: str
    sender: str
    recipient: str
    content: bytes
    command: str

    @cached_property
    def message(self) -> EmailMessage:
        """The content, parsed."""
        return email.message_from_bytes(self.content, policy=email.policy.default)

    @property
    def subject(self) -> str:
        return str(self.message["Subject"])


class MailServer(Behaviour):
    """A willing server, until something else is scheduled.  Times are virtual seconds; `after` counts from the call.

    host, address: its name and where it is.  mail: what it took, in order.
    connects, transactions: when somebody tried to connect, and said MAIL; virtual seconds since the beginning.
    faults: what it has against what was said to it, in words.
    """

    def __init__(
        self,
        host: str,
        address: str,
        *,
        replies: Mapping[str, Reaction | Sequence[Reaction]],
        trace: Trace,
        network: Schedule[Silence],
        took: Callable[[Mail], None],
    ) -> None:
        super().__init__(replies)
        self.host = host
        self.address = address
        self.mail: list[Mail] = []
        self.connects: list[float] = []
        self.transactions: list[float] = []
        self._trace = trace
        self._network = network
        self._took = took
        self._schedule: Schedule[_Manner] = Schedule()
        self._greylisted = 0
        self._greylisting = ""
        self._tries: Counter[str] = Counter()
        self._peer = _Peer(self, self._take)

    # --- scripting ---

    def down(self, seconds: float, *, after: float = 0.0) -> None:
        """Refuse connections for so long; those that are open are cut at their next command."""
        self._schedule.add(Cut(), seconds, after)

    def silent(self, seconds: float, *, after: float = 0.0) -> None:
        """Answer nothing for so long, not even to connections."""
        self._schedule.add(Silence(), seconds, after)

    def reply(self, replies: Mapping[str, Reaction], *, seconds: float = math.inf, after: float = 0.0) -> None:
        """React like that for so long; the keys are commands, as for `Behaviour`: "RCPT", "RCPT b@example.org", "." and so on."""
        self._schedule.add({command_of(key): reaction for key, reaction in replies.items()}, seconds, after)

    def greylist(self, times: int, reply: str = "451 4.7.1 Greylisted, try again later") -> None:
        """Defer each recipient so many times before it is taken."""
        self._greylisted, self._greylisting = times, reply

    # --- serving ---

    @property
    def faults(self) -> list[str]:
        return self._peer.faults

    async def connect(self, nursery: trio.Nursery) -> trio.abc.Stream:
        """A connection to it.  Raises ConnectionRefusedError."""
        self.connects.append(self._trace.elapsed)
        manner = self._manner()
        if isinstance(manner, Cut):
            self._trace.note("smtp", f"{self.host} connect: refused")
            raise ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")
        if isinstance(manner, Silence):
            self._trace.note("smtp", f"{self.host} connect: no answer")
            await trio.sleep_forever()
        return self._peer.connect(nursery)

    def react(self, verb: str, argument: str, connection: Connection) -> Reaction:
        if verb == "MAIL":
            self.transactions.append(self._trace.elapsed)
        reaction = self._reaction(verb, argument, connection)
        told = f"{self.host}#{connection.number} {verb} {'(a login)' if verb == 'AUTH' else argument}".rstrip()
        self._trace.note("smtp", told if isinstance(reaction, Accept) else f"{told}: {reaction}")
        return reaction

    def _manner(self) -> _Manner | None:
        """How it is at this moment, where that is not for single commands."""
        if self._network.now():
            return Silence()
        return next((manner for manner in self._schedule.now() if isinstance(manner, (Cut, Silence))), None)

    def _reaction(self, verb: str, argument: str, connection: Connection) -> Reaction:
        if self._network.now():
            return Silence()
        for manner in self._schedule.now():
            if isinstance(manner, (Cut, Silence)):
                return manner
            for key in (f"{verb} {argument}".upper(), verb):
                if key in manner:
                    return manner[key]
        if verb == "RCPT" and self._greylisted:
            self._tries[argument] += 1
            if self._tries[argument] <= self._greylisted:
                return self._greylisting
        return super().react(verb, argument, connection) if verb != "TLS" else ACCEPT

    def _take(self, received: Received) -> None:
        for recipient in received.recipients:
            mail = Mail(self._trace.elapsed, self.host, received.sender, recipient, received.content, received.mail)
            self.mail.append(mail)
            self._took(mail)


class _Peer(SmtpPeer):
    """Tells of each transaction in the moment when it is taken: before the reply, which may be long in coming."""

    def __init__(self, server: MailServer, took: Callable[[Received], None]) -> None:
        super().__init__(server, name=server.host)
        self._took = took
        self._told = 0

    async def note(self) -> None:
        for received in self.transactions[self._told :]:
            self._told += 1
            self._took(received)
        await super().note()
