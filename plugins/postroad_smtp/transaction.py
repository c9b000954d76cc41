"""One mail transaction: what to say for a request, and what the answers mean for its recipients.  No I/O.

The envelope goes in one group where the server pipelines (RFC 2920), else line by line; every reply is read even after a refusal.
The content goes when at least one recipient is accepted.  The caller matches replies and writes; this class never does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from postroad.verdict import Scope, Verdict

from . import emit
from .features import Features
from .handover import Handover
from .protocol import Answer, Awaited, Step
from .trouble import Kind, Trouble
from .verdicts import Remote, broken, of_reply, of_trouble, own_refusal

__all__ = ["Line", "Transaction"]

Line = tuple[Awaited, bytes]

_CONFUSED = frozenset({500, 502, 503})  # OpenSMTPD says 500 to pipelined commands, others 503


class Transaction:
    """A request on a connection.

    verdicts: one per recipient, None while open.  accepted: indexes of recipients that the server took.
    may_send: the server waits for content.  is_committed: bytes that may complete the hand-over were written, or are about to be.
    is_follower: its envelope went out behind another message's content.  answers: replies so far.
    """

    __slots__ = (
        "_features",
        "_group",
        "_lines",
        "_mail_refused",
        "_pending",
        "_pipelined",
        "_remote",
        "accepted",
        "answers",
        "handover",
        "is_committed",
        "is_follower",
        "may_send",
        "verdicts",
    )

    def __init__(
        self, handover: Handover, features: Features, remote: Remote, *, pipelined: bool, is_follower: bool = False
    ) -> None:
        self.handover = handover
        self.verdicts: list[Verdict | None] = [None] * len(handover.request.recipients)
        self.accepted: list[int] = []
        self.answers = 0
        self.may_send = self.is_committed = False
        self.is_follower = is_follower
        self._features = features
        self._remote = remote
        self._pipelined = pipelined
        self._mail_refused = False
        self._pending: list[int] = []  # recipients whose RCPT is, or will be, said; the oldest first
        self._lines = self._write()
        self._group: Iterator[Line] | None = None

    # --- What to say ---

    def _write(self) -> list[Line]:
        """The envelope's lines, as far as this server can take the message."""
        message = self.handover.request.message
        refusal = self._refusal()
        if refusal is not None:
            self._judge_open(refusal)
            return []
        recipients = self._write_recipients()
        if not recipients:
            return []
        utf8 = message.smtputf8 or not message.sender.isascii() or self._names_utf8()
        try:
            first = emit.mail(
                message.sender,
                size=message.size if self._features.has_size else None,
                eight_bit=(message.eight_bit or message.smtputf8) and self._features.eight_bit,
                smtputf8=utf8,
            )
        except emit.Unsafe as error:
            self._judge_open(own_refusal(str(error), "5.1.7", self._remote))
            return []
        return [(Awaited.MAIL, first), *recipients, (Awaited.DATA, emit.data())]

    def _refusal(self) -> Verdict | None:
        """Why this server can never take this message, if so."""
        message, features = self.handover.request.message, self._features
        if features.size is not None and message.size > features.size:
            said = f"the message has {message.size} octets, the server takes {features.size}"
            return own_refusal(said, "5.3.4", self._remote)
        if message.smtputf8 and not features.smtputf8:
            return own_refusal("a header needs SMTPUTF8, which the server does not offer", "5.6.9", self._remote)
        if not (message.sender.isascii() or features.smtputf8):
            return own_refusal("the sender needs SMTPUTF8, which the server does not offer", "5.6.7", self._remote)
        if message.eight_bit and not features.eight_bit:
            said = "the message is signed 8-bit content, and the server does not offer 8BITMIME"
            return own_refusal(said, "5.6.3", self._remote)
        return None

    def _write_recipients(self) -> list[Line]:
        lines: list[Line] = []
        for index, recipient in enumerate(self.handover.request.recipients):
            try:
                line = emit.rcpt(recipient.address)
            except emit.Unsafe as error:
                self.verdicts[index] = own_refusal(str(error), "5.1.3", self._remote, scope=Scope.RECIPIENT)
                continue
            if not (recipient.address.isascii() or self._features.smtputf8):
                said = "the address needs SMTPUTF8, which the server does not offer"
                self.verdicts[index] = own_refusal(said, "5.6.7", self._remote, scope=Scope.RECIPIENT)
                continue
            lines.append((Awaited.RCPT, line))
            self._pending.append(index)
        return lines

    def _names_utf8(self) -> bool:
        return any(not self.handover.request.recipients[index].address.isascii() for index in self._pending)

    def next_lines(self) -> Sequence[Line]:
        """What to say next; nothing when the envelope is said, or when there is no point in going on."""
        if self._pipelined or self._group is None:
            lines, self._lines = self._lines, []
            if self._pipelined or not lines:
                return lines
            self._group = iter(lines)
        line = next(self._group, None)
        if line is None or self._mail_refused or (line[0] is Awaited.DATA and not self.accepted):
            return ()
        return (line,)

    # --- What the answers mean ---

    def take(self, answer: Answer[Transaction]) -> None:
        """Take one reply of this transaction.  Raises Trouble where it breaks the connection."""
        awaited, step, reply, _ = answer
        self.answers += 1
        if step is Step.BREAK or (step is Step.DELIVERED and self.accepted and not self.is_committed):
            raise broken(awaited, reply)  # the latter: accepted before the end was sent
        if self._pipelined and reply.code in _CONFUSED and self._is_first_failure(awaited):
            raise Trouble(Kind.CONFUSED, reply.said, reply.enhanced.replace("5", "4", 1) or "4.5.1")
        match awaited:
            case Awaited.MAIL:
                self._take_mail(answer)
            case Awaited.RCPT:
                self._take_rcpt(answer)
            case Awaited.DATA:
                self._take_data(answer)
            case Awaited.DOT:
                self._judge_open(of_reply(awaited, reply, self._remote))
            case _:
                pass  # RSET

    def _is_first_failure(self, awaited: Awaited) -> bool:
        """Whether nothing that came before explains a complaint about the order of commands."""
        if (
            self.handover.was_returned
            or self._mail_refused
            or awaited not in (Awaited.MAIL, Awaited.RCPT, Awaited.DATA)
        ):
            return False
        return awaited is not Awaited.DATA or bool(self.accepted)

    def _take_mail(self, answer: Answer[Transaction]) -> None:
        if answer.step is not Step.GO_ON:
            self._mail_refused = True
            self._judge_open(of_reply(Awaited.MAIL, answer.reply, self._remote))

    def _take_rcpt(self, answer: Answer[Transaction]) -> None:
        index = self._pending[self.answers - 2]  # the first answer was MAIL's
        if self._mail_refused:
            return
        if answer.step is Step.GO_ON:
            self.accepted.append(index)
        else:
            self.verdicts[index] = of_reply(
                Awaited.RCPT, answer.reply, self._remote, after_accepted=bool(self.accepted)
            )

    def _take_data(self, answer: Answer[Transaction]) -> None:
        if answer.step is Step.SEND:
            self.may_send = True
        else:
            self._judge_open(of_reply(Awaited.DATA, answer.reply, self._remote))

    def _judge_open(self, verdict: Verdict) -> None:
        self.verdicts = [verdict if one is None else one for one in self.verdicts]

    # --- The end ---

    @property
    def is_judged(self) -> bool:
        """Whether every recipient has its verdict."""
        return None not in self.verdicts

    def settle(self) -> None:
        """Hand the verdicts over.  Recipients without a reply, which only a server that miscounts leaves, are deferred."""
        lost = of_trouble(Trouble(Kind.GARBAGE, "the server gave no answer for this recipient", "4.5.0"), self._remote)
        self.handover.settle([lost if verdict is None else verdict for verdict in self.verdicts])

    def settle_rest(self, verdict: Verdict) -> None:
        """The same where the connection ended first: open recipients get this verdict."""
        self._judge_open(verdict)
        self.settle()
