"""One mail transaction: what to say for a request, and what the answers mean for its recipients.  No I/O.

The envelope goes in one group where the server pipelines (RFC 2920), else line by line; every reply is read even after a refusal.
The content goes when at least one recipient is accepted.  Recipients for whom one transaction has no room are left open, for a
further one.  The caller matches replies and writes; this class never does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from postroad.verdict import Verdict

from . import emit
from .envelope import Line, write_envelope
from .handover import Handover
from .known import Flaw
from .manner import Manner
from .protocol import Answer, Awaited, Step
from .reply import Reply
from .trouble import Kind, Trouble
from .verdicts import Remote, broken, is_too_many, of_reply, of_trouble

__all__ = ["Transaction"]

_CONFUSED = frozenset(
    {500, 502, 503}
)  # OpenSMTPD says 500 to pipelined commands, others 503; some to a BDAT they offered
_OF_CONTENT = frozenset({Awaited.BDAT, Awaited.DOT})
_BREAK, _DELIVERED, _GO_ON, _RSET = Step.BREAK, Step.DELIVERED, Step.GO_ON, Awaited.RSET  # as in `protocol.py`


class Transaction:
    """A request, or the `recipients` that are left of it, on a connection.

    accepted: indexes of recipients that the server took.  may_send: the server waits for content.  is_chunked: it goes by BDAT.
    is_committed: bytes that may complete the hand-over were written, or are about to be; is_handed_over: all of them were.
    ends: how many replies to the end of the content are still to come.  is_follower: its envelope went out behind another
    message's content.  answers: replies so far.  is_fresh: nothing was said for another message on the connection.
    answered_by: trio time by which the envelope is to be answered, once its replies are waited for.
    """

    __slots__ = (
        "_end_was_confused",
        "_group",
        "_heard",
        "_lines",
        "_mail_refused",
        "_manner",
        "_named",
        "_remote",
        "_unheard",
        "accepted",
        "answered_by",
        "answers",
        "ends",
        "handover",
        "is_chunked",
        "is_committed",
        "is_follower",
        "is_fresh",
        "is_handed_over",
        "may_send",
    )

    def __init__(
        self,
        handover: Handover,
        manner: Manner,
        remote: Remote,
        *,
        is_follower: bool = False,
        is_fresh: bool = False,
        needs_reset: bool = False,
        recipients: Sequence[int] | None = None,
    ) -> None:
        self.handover = handover
        self.accepted: list[int] = []
        self.answers = self.ends = 0
        self.may_send = self.is_committed = self.is_handed_over = False
        self.is_follower = is_follower
        self.is_fresh = is_fresh
        self.answered_by: float | None = None
        self.is_chunked = manner.uses_chunks(handover)
        self._manner = manner
        self._remote = remote
        self._mail_refused = False
        self._heard = 0  # recipients whose RCPT is answered
        self._end_was_confused = False  # a reply to the end for one recipient complained of BDAT (LMTP)
        self._unheard = 0  # of the accepted, those without a reply to the content (LMTP)
        self._group: Iterator[Line] | None = None
        envelope = write_envelope(
            handover.request,
            handover.open() if recipients is None else recipients,
            manner.features,
            remote,
            with_data=not self.is_chunked,
        )
        for index, refusal in envelope.refused.items():
            handover.judge(index, refusal)
        self._named = envelope.named
        self._lines = envelope.lines
        if needs_reset and envelope.lines:
            self._lines.insert(0, (Awaited.RSET, emit.rset()))

    # --- What to say ---

    @property
    def has_lines(self) -> bool:
        """Whether there is anything to say: nothing where no recipient can go there."""
        return bool(self._named)

    def next_lines(self) -> Sequence[Line]:
        """What to say next; nothing when the envelope is said, or when there is no point in going on."""
        if self._manner.pipelining or self._group is None:
            lines, self._lines = self._lines, []
            if self._manner.pipelining or not lines:
                return lines
            self._group = iter(lines)
        line = next(self._group, None)
        if line is None or self._mail_refused or (line[0] is Awaited.DATA and not self.accepted):
            return ()
        return (line,)

    def expect_end(self) -> Sequence[Awaited]:
        """What will answer the end of the content: one reply, or one for each accepted recipient (RFC 2033 section 4.2)."""
        self.ends = len(self.accepted) if self._manner.is_lmtp else 1
        return (Awaited.DOT_RCPT if self._manner.is_lmtp else Awaited.DOT,) * self.ends

    # --- What the answers mean ---

    def take(self, answer: Answer[Transaction]) -> None:
        """Take one reply of this transaction.  Raises Trouble where it breaks the connection."""
        awaited, step, reply = answer.awaited, answer.step, answer.reply
        if step is _BREAK or (step is _DELIVERED and self.accepted and not self.is_committed):
            raise broken(awaited, reply)  # the latter: accepted before the end was sent
        if awaited is _RSET:
            return
        self.answers += 1
        if reply.code in _CONFUSED:
            if awaited is Awaited.BDAT and self.is_committed:
                return  # the last chunk is out: what counts is the answer to that
            self._look_for_confusion(awaited, reply)
        take = _TAKERS.get(awaited)
        if take is None:
            raise broken(awaited, reply)
        take(self, answer)

    def _look_for_confusion(self, awaited: Awaited, reply: Reply) -> None:
        """Raises Trouble where the server complains of how it is spoken to: that says nothing about the message."""
        if self._mail_refused or not self._may_be_confused(awaited):
            return
        flaw: Flaw | None = None
        if awaited in _OF_CONTENT:
            flaw = Flaw.CHUNKING
            self.is_committed = False  # it was told that nothing was taken
        elif self._manner.doubts_pipelining:
            flaw = Flaw.PIPELINING
        raise _confused(reply, flaw)

    def _may_be_confused(self, awaited: Awaited) -> bool:
        """Whether what is complained of may be an extension that the server offers, or a message before this one."""
        if awaited in _OF_CONTENT:
            return self.is_chunked and not self.is_judged
        if awaited is Awaited.DOT_RCPT or (awaited is Awaited.DATA and not self.accepted):
            return False  # for one recipient only; or the refusals before it explain the complaint
        return self._manner.doubts_pipelining or not self.is_fresh

    def _take_mail(self, answer: Answer[Transaction]) -> None:
        if answer.step is not _GO_ON:
            self._mail_refused = True
            self.judge(of_reply(Awaited.MAIL, answer.reply, self._remote))

    def _take_rcpt(self, answer: Answer[Transaction]) -> None:
        index = self._named[self._heard]
        self._heard += 1
        if self._mail_refused:
            return
        if answer.step is _GO_ON:
            self.accepted.append(index)
            self.may_send = self.may_send or self.is_chunked  # nobody asks before BDAT
        elif is_too_many(answer.reply) and (self.accepted or index in self.handover.excess):
            self._find_no_room(index, answer.reply)
        else:
            self.handover.judge(index, of_reply(Awaited.RCPT, answer.reply, self._remote))

    def _find_no_room(self, index: int, reply: Reply) -> None:
        """It goes in a further transaction (RFC 5321 section 4.5.3.1.10), unless that is what this was."""
        if not self.accepted:
            self.handover.judge(index, of_reply(Awaited.RCPT, reply, self._remote, too_many=True))
            return
        self.handover.excess.add(index)
        self._heard -= 1
        self._named.remove(index)

    def _take_content(self, answer: Answer[Transaction]) -> None:
        """DATA, or a chunk that is not the last."""
        if answer.step is Step.SEND:
            self.may_send = True
        elif answer.step is not Step.GO_ON:
            self.judge(of_reply(answer.awaited, answer.reply, self._remote))

    def _take_end(self, answer: Answer[Transaction]) -> None:
        self.ends -= 1
        self.judge(of_reply(answer.awaited, answer.reply, self._remote))

    def _take_end_of_one(self, answer: Answer[Transaction]) -> None:
        self.ends -= 1
        index = self.accepted[self._unheard]
        self._unheard += 1
        reply = answer.reply
        if self.is_chunked and reply.code in _CONFUSED:
            self._end_was_confused = True
            self.handover.judge_open(index, of_trouble(_confused(reply, None), self._remote))
        else:
            self.handover.judge_open(index, of_reply(Awaited.DOT_RCPT, reply, self._remote))
        if self._end_was_confused and self.ends <= 0:
            # Others may have been accepted: so nothing is put back, but it is remembered.
            raise _confused(reply, Flaw.CHUNKING)

    # --- The end ---

    @property
    def is_judged(self) -> bool:
        """Whether every recipient of this transaction has its verdict."""
        return not self.handover.has_open(self._named)

    def rest(self) -> Sequence[int]:
        """The message's recipients that are left for a further transaction, by index."""
        if len(self._named) == len(self.handover.request.recipients):
            return ()
        return [index for index in self.handover.open() if index not in self._named]

    def judge(self, verdict: Verdict) -> None:
        """The verdict of those who have none yet."""
        for index in self._named:
            self.handover.judge_open(index, verdict)

    def settle(self) -> None:
        """Over.  Recipients without a reply, which only a server that miscounts leaves, are deferred."""
        if not self.is_judged:
            self.judge(
                of_trouble(Trouble(Kind.GARBAGE, "the server gave no answer for this recipient", "4.5.0"), self._remote)
            )
        self.handover.settle_if_judged()


_TAKERS: Mapping[Awaited, Callable[[Transaction, Answer[Transaction]], None]] = {
    Awaited.MAIL: Transaction._take_mail,  # pyright: ignore[reportPrivateUsage]
    Awaited.RCPT: Transaction._take_rcpt,  # pyright: ignore[reportPrivateUsage]
    Awaited.DATA: Transaction._take_content,  # pyright: ignore[reportPrivateUsage]
    Awaited.BDAT: Transaction._take_content,  # pyright: ignore[reportPrivateUsage]
    Awaited.DOT: Transaction._take_end,  # pyright: ignore[reportPrivateUsage]
    Awaited.DOT_RCPT: Transaction._take_end_of_one,  # pyright: ignore[reportPrivateUsage]
}


def _confused(reply: Reply, flaw: Flaw | None) -> Trouble:
    return Trouble(Kind.CONFUSED, reply.said, reply.enhanced.replace("5", "4", 1) or "4.5.1", flaw=flaw)
