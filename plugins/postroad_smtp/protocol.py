"""The client's half of SMTP as one table: which reply is awaited, and what each class of reply leads to.  No I/O.

A connection is a queue of awaited replies: with PIPELINING (RFC 2920) several commands are out at once, and each reply belongs to
the oldest of them.  What stands not in the table breaks the connection: it proves nothing about any message.  docs/smtp.md
shows the table; `draw` makes it.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Mapping
from typing import Generic, TypeVar

import msgspec

from .reply import Reply, ReplyParser

__all__ = ["ENDS", "TABLE", "Answer", "Awaited", "Protocol", "Step", "draw"]

Owner = TypeVar("Owner")


class Awaited(enum.IntEnum):
    """What the next reply will be an answer to.

    DOT: the end of the content, be it a final dot or the last BDAT.  DOT_RCPT: the same for one recipient (LMTP).  BDAT: a chunk
    that is not the last.  QUIT is not among them: whatever is said to it, the connection is closed.
    """

    GREETING = 0
    EHLO = 1
    HELO = 2
    STARTTLS = 3
    AUTH = 4
    MAIL = 5
    RCPT = 6
    DATA = 7
    DOT = 8
    RSET = 9
    BDAT = 10
    DOT_RCPT = 11
    LHLO = 12


class Step(enum.Enum):
    """What a reply leads to."""

    SAY_EHLO = "say EHLO"
    GREETED = "greeted: STARTTLS, AUTH or the first envelope"
    SAY_HELO = "say HELO"
    SECURE = "negotiate TLS, forget what was learnt, say EHLO"
    STAY_PLAIN = "go on without TLS if the level allows"
    ANSWER = "send the mechanism's next response"
    LOGGED_IN = "logged in: the first envelope"
    NO_LOGIN = "hold the transport: nothing bounces for a password"
    LEAVE = "this host is of no use now: the next one"
    GO_ON = "go on with the envelope or the content"
    SEND = "send the content, or a lone dot where no recipient was accepted"
    DELIVERED = "accepted: the peer has the responsibility"
    DEFER = "defer whom it concerns"
    REFUSE = "refuse whom it concerns"
    BREAK = "break: throw the connection away, defer"


TABLE: Mapping[Awaited, Mapping[int, Step]] = {
    Awaited.GREETING: {2: Step.SAY_EHLO, 4: Step.LEAVE, 5: Step.LEAVE},
    Awaited.EHLO: {2: Step.GREETED, 4: Step.LEAVE, 5: Step.SAY_HELO},
    Awaited.HELO: {2: Step.GREETED, 4: Step.LEAVE, 5: Step.LEAVE},
    Awaited.LHLO: {2: Step.GREETED, 4: Step.LEAVE, 5: Step.LEAVE},
    Awaited.STARTTLS: {2: Step.SECURE, 4: Step.STAY_PLAIN, 5: Step.STAY_PLAIN},
    Awaited.AUTH: {2: Step.LOGGED_IN, 3: Step.ANSWER, 4: Step.NO_LOGIN, 5: Step.NO_LOGIN},
    Awaited.MAIL: {2: Step.GO_ON, 4: Step.DEFER, 5: Step.REFUSE},
    Awaited.RCPT: {2: Step.GO_ON, 4: Step.DEFER, 5: Step.REFUSE},
    Awaited.DATA: {3: Step.SEND, 4: Step.DEFER, 5: Step.REFUSE},
    Awaited.BDAT: {2: Step.GO_ON, 4: Step.DEFER, 5: Step.REFUSE},
    Awaited.DOT: {2: Step.DELIVERED, 4: Step.DEFER, 5: Step.REFUSE},
    Awaited.DOT_RCPT: {2: Step.DELIVERED, 4: Step.DEFER, 5: Step.REFUSE},
    Awaited.RSET: {2: Step.GO_ON},
}


ENDS = frozenset({Awaited.DOT, Awaited.DOT_RCPT})  # what answers the end of the content
_BREAK = Step.BREAK  # Python 3.11 takes as long to look up a member of an enum as for a call


class Answer(msgspec.Struct, Generic[Owner], frozen=True, gc=False):
    """A reply, matched to what it answers."""

    awaited: Awaited
    step: Step
    reply: Reply
    owner: Owner


class Protocol(Generic[Owner]):
    """Matches what comes to what was said.  An owner is whoever wants the answer, such as a transaction."""

    __slots__ = ("_parser", "_queue", "answered")

    def __init__(self) -> None:
        self._parser = ReplyParser()
        self._queue: deque[tuple[Awaited, Owner]] = deque()
        self.answered = 0  # replies so far: it changes whenever another command becomes the oldest

    def expect(self, awaited: Awaited, owner: Owner) -> None:
        """Say that a command was, or is about to be, written."""
        self._queue.append((awaited, owner))

    @property
    def awaited(self) -> Awaited | None:
        """What the next reply will answer, or None when all is answered."""
        return self._queue[0][0] if self._queue else None

    @property
    def owner(self) -> Owner | None:
        """Whom the next reply concerns."""
        return self._queue[0][1] if self._queue else None

    @property
    def has_more(self) -> bool:
        """Whether bytes lie here that belong to no answered command."""
        return self._parser.has_more

    def receive(self, data: bytes) -> None:
        self._parser.feed(data)

    def next_answer(self) -> Answer[Owner] | None:
        """The oldest command's answer once it is complete.  Raises ReplyError."""
        if not self._queue:
            return None
        reply = self._parser.next_reply()
        if reply is None:
            return None
        self.answered += 1
        awaited, owner = self._queue.popleft()
        return Answer(awaited, TABLE[awaited].get(reply.code // 100, _BREAK), reply, owner)


def draw() -> str:
    """The table as Markdown, for docs/smtp.md."""
    rows = ["| after | 2yz | 3yz | 4yz | 5yz |", "|---|---|---|---|---|"]
    for awaited, steps in TABLE.items():
        cells = (steps.get(kind, Step.BREAK).value for kind in (2, 3, 4, 5))
        rows.append(f"| {awaited.name} | {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"
