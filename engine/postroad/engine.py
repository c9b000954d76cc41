"""Engine: what an application calls.  It is made by `open_engine` (`opening.py`), which starts and ends everything."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any, ParamSpec, TypeAlias, TypeVar

import trio

from .acceptance import Acceptance
from .actors import Ring
from .actors.notes import Returned
from .actors.ports import Ports
from .arguments import mail_arguments
from .compose import MailFields
from .config import Config
from .decide.quotas import quota_error
from .draft import ComposedDraft, Draft, WrittenDraft
from .errors import EngineClosed, IdempotencyConflict, QuotaExceeded, SubmissionError, UnknownMessage
from .incoming import Incoming
from .intake import COMMIT_ENTRIES, COMMIT_OCTETS
from .message import DEFAULT_PRIORITY, NO_DSN, DsnOptions, Moment, Submission
from .observers import Subscription
from .receipt import Outcome, Receipt, outcome_of
from .remote import Noted, RemoteNotice
from .remote_notices import RemoteNotices
from .returned import ReturnedMail
from .spool import ContentFolder
from .status import Status
from .store.contract import (
    Accept,
    Accepted,
    Cancel,
    Cancelled,
    Filter,
    Hold,
    IdempotencyMismatch,
    Moved,
    Operation,
    QuotaExhausted,
    Release,
    Retry,
    StoredMessage,
    TakeAsDelivered,
    TakenAsDelivered,
)

__all__ = ["Engine"]

_P = ParamSpec("_P")
_T = TypeVar("_T")
_Answer: TypeAlias = Accepted | IdempotencyMismatch | QuotaExhausted


class Engine:
    """A running engine.  Every method may be called by any number of tasks at once.

    What waits for the store raises StoreError when the storage fails, and EngineClosed after the engine was closed.
    """

    def __init__(self, ports: Ports, contents: ContentFolder) -> None:
        self._ports = ports
        self._acceptance = Acceptance(ports, contents)
        self._ring: Ring | None = None
        self._is_draining = False
        self._is_shut = False
        self._returned = ReturnedMail(ports.config.limits)
        self._incoming = Incoming(ports, self._returned, self._accept, self._receipt, self._give_returned)
        self._remote = RemoteNotices(ports)

    @property
    def is_shut(self) -> bool:
        """Whether the engine takes nothing any more."""
        return self._is_shut

    @property
    def config(self) -> Config:
        return self._ports.config

    # --- sending ---

    async def send_mail(
        self,
        *,
        sender: str,
        to: str | Iterable[str] | None = (),
        subject: str = "",
        body: str | None = None,
        html: str | None = None,
        amp_html: str | None = None,
        cc: str | Iterable[str] | None = (),
        bcc: str | Iterable[str] | None = (),
        reply_to: str | Iterable[str] | None = (),
        headers: Any = (),
        attachments: Iterable[Any] | None = (),
        send_at: Moment | None = None,
        expires_at: Moment | None = None,
        priority: int = DEFAULT_PRIORITY,
        idempotency_key: str | None = None,
        tags: Sequence[str] = (),
        dsn: DsnOptions = NO_DSN,
        report_to: Sequence[str] = (),
    ) -> Receipt:
        """Compose a message from fields, and return once it is safely in the spool.

        sender and recipients: addresses, with or without a name (`Albert <a@example.com>`); bcc is never in the message.
        attachments: `(filename, content)` or `(filename, content, content_type)` tuples, or `postroad.Attachment`.
        headers: a mapping or pairs of further header fields.  None means "not given".  The other arguments are those of
        `Submission`.

        Raises SubmissionError, whose `field` names the argument at fault, or QueueFull; then nothing is stored.
        """
        given = {
            "sender": sender,
            "to": to,
            "cc": cc,
            "bcc": bcc,
            "reply_to": reply_to,
            "subject": subject,
            "body": body,
            "html": html,
            "amp_html": amp_html,
            "headers": headers,
            "attachments": attachments,
        }
        options = {
            "send_at": send_at,
            "expires_at": expires_at,
            "priority": priority,
            "idempotency_key": idempotency_key,
            "tags": tags,
            "dsn": dsn,
            "report_to": report_to,
        }
        self._open_ports()
        fields = MailFields(**mail_arguments(given))
        return await self._accept(ComposedDraft(fields, options))

    async def send_mail_to_admins(self, *, sender: str, **arguments: Any) -> Receipt:
        """Send to all administrators of `[senders] admins`; failure reports go to them, not to the sender.

        Takes the arguments of `send_mail` but for `to`, `cc`, `bcc` and `report_to`, and raises the same errors.
        """
        admins = self.config.senders.admins
        if not admins:
            raise SubmissionError("to", "there are no administrators; name them in [senders] admins")
        for name in ("to", "cc", "bcc", "report_to"):
            if name in arguments:
                raise TypeError(f"send_mail_to_admins() takes no argument {name!r}")
        return await self.send_mail(sender=sender, to=admins, report_to=admins, **arguments)

    async def submit(self, submission: Submission) -> Receipt:
        """Take a message that is already written, and return once it is safely in the spool.

        Raises SubmissionError, whose `field` names what is wrong, or QueueFull; then nothing is stored.
        """
        return await self._accept(WrittenDraft(submission))

    async def submit_many(self, submissions: Iterable[Submission]) -> list[Receipt]:
        """Take many messages, in commits of at most 1,000 messages or 16 MB; the receipts come in the same order.

        All are checked before any is stored: a SubmissionError says which by `submissions[7].field`.  Only whether a key
        was used before, and whether a quota is used up, is known no sooner than at the commit: then IdempotencyConflict or
        QuotaExceeded is raised after all others were accepted, and its `receipts` are theirs (None for each refused).  When
        the storage fails between two commits, those of the earlier commits are accepted; idempotency keys make it safe to
        try again.
        """
        self._open_ports()
        accepts = self._prepare_all(submissions)
        chunks = deque(_chunks(accepts))
        answers: list[_Answer] = []
        try:
            while chunks:
                answers += await self._acceptance.store(chunks.popleft())
        finally:
            for chunk in chunks:
                self._acceptance.forget(chunk)
        return self._receipts_of(accepts, answers)

    async def submit_as(self, submission: Submission, id: str) -> Receipt:
        """As `submit`, under an id that the caller minted: a second call with the same id stores nothing new."""
        return await self._accept(WrittenDraft(submission, id))

    async def take_in(self, makers: Sequence[Callable[[], Draft]]) -> list[str | Exception]:
        """For the gate: submissions of other processes, committed together; the answer to each is its id or its refusal.

        makers: of their drafts; one that raises is refused alone.

        Raises StoreError or EngineClosed where nothing of them can be taken as stored.
        """
        self._open_ports()
        answers: list[str | Exception] = []
        batch: list[Accept | Exception] = []
        for make in makers:
            draft = _caught(make)
            if not isinstance(draft, Exception) and self._acceptance.is_large(draft):
                answers += await self._store_each(batch)  # nothing is held while a large one waits for its turn
                batch = [await self._prepared_in_turn(draft)]
            else:
                batch.append(draft if isinstance(draft, Exception) else _caught(self._acceptance.prepare, draft))
        return answers + await self._store_each(batch)

    async def _prepared_in_turn(self, draft: Draft) -> Accept | Exception:
        try:
            return await self._acceptance.prepare_in_turn(draft)
        except Exception as error:
            return error

    async def _store_each(self, prepared: Sequence[Accept | Exception]) -> list[str | Exception]:
        accepts = [each for each in prepared if isinstance(each, Accept)]
        answers = iter(zip(accepts, await self._acceptance.store(accepts) if accepts else (), strict=True))
        return [_caught(self._id_of, *next(answers)) if isinstance(each, Accept) else each for each in prepared]

    def _id_of(self, accept: Accept, answer: _Answer) -> str:
        return self._receipt_of(accept, answer).id

    def _prepare_all(self, submissions: Iterable[Submission]) -> list[Accept]:
        accepts: list[Accept] = []
        try:
            for index, submission in enumerate(submissions):
                accepts.append(self._prepare_nth(index, submission))
        except BaseException:
            self._acceptance.forget(accepts)
            raise
        return accepts

    def _prepare_nth(self, index: int, submission: Submission) -> Accept:
        try:
            return self._acceptance.prepare(WrittenDraft(submission))
        except SubmissionError as error:
            raise type(error)(f"submissions[{index}].{error.field}", error.problem) from error

    async def _accept(self, draft: Draft) -> Receipt:
        self._open_ports()
        accept = await self._acceptance.prepare_in_turn(draft)
        (answer,) = await self._acceptance.store([accept])
        return self._receipt_of(accept, answer)

    def _receipt_of(self, accept: Accept, answer: _Answer) -> Receipt:
        if not isinstance(answer, Accepted):
            raise _refusal("idempotency_key", accept, answer)
        return self._receipt(answer.id)

    def _receipts_of(self, accepts: Sequence[Accept], answers: Sequence[_Answer]) -> list[Receipt]:
        receipts = [self._receipt(answer.id) if isinstance(answer, Accepted) else None for answer in answers]
        for index, (accept, answer) in enumerate(zip(accepts, answers, strict=True)):
            if not isinstance(answer, Accepted):
                refusal = _refusal(f"submissions[{index}].idempotency_key", accept, answer)
                refusal.receipts = receipts
                raise refusal
        return [receipt for receipt in receipts if receipt is not None]

    # --- looking ---

    async def receipt(self, id: str) -> Receipt:
        """Find the receipt of a message again, also after a restart.  Raises UnknownMessage."""
        await self.message(id)
        return self._receipt(id)

    def _receipt(self, id: str) -> Receipt:
        return Receipt(id, self._ports.waiters, self._read_outcome)

    async def _read_outcome(self, id: str) -> Outcome:
        return outcome_of(await self.message(id))

    async def message(self, id: str) -> StoredMessage:
        """Everything the spool knows of a message but its content.  Raises UnknownMessage."""
        stored = await self._open_ports().executor.ask(lambda store: store.message(id))
        if stored is None:
            raise UnknownMessage(f"there is no message {id!r} in the spool (or it finished before the history begins)")
        return stored

    async def find(self, filter: Filter, limit: int = 100, after: str = "") -> list[StoredMessage]:
        """Messages with a recipient that the filter means, by id, beginning behind the id `after`."""
        return await self._open_ports().executor.ask(lambda store: store.find(filter, limit, after))

    async def status(self) -> Status:
        """A picture of the spool.  It counts by a scan: meant for people, not for every request."""
        ports = self._open_ports()
        counts, doubts = await ports.executor.ask(lambda store: (store.counts(), store.doubts()))
        tally = ports.executor.store.tally()
        return Status(
            messages=tally.messages,
            recipients=tally.recipients,
            content_bytes=tally.content_bytes,
            by_state={state.name.lower(): count for state, count in sorted(counts.items())},
            in_doubt=doubts,
            in_flight=len(self._ring.queue.leases.live) if self._ring else 0,
            intake=len(ports.intake),
            is_draining=self._is_draining,
        )

    @asynccontextmanager
    async def events(self) -> AsyncGenerator[Subscription]:
        """Subscribe: `async with engine.events() as events: async for event in events: ...`.

        Events come in the order of their commits, from now on; a reader that falls behind by more than `event_buffer`
        gets Missed(n).  The iteration ends when the engine closes.
        """
        with self._open_ports().observers.subscribed() as subscription:
            yield subscription

    # --- operating ---

    async def cancel(self, id: str, recipient: str | None = None) -> Cancelled:
        """Withdraw a message, or one recipient of it.

        What is waiting ends at once; what is being attempted ends unless the attempt succeeds.  Raises UnknownMessage.
        """
        await self.message(id)
        return await self._operate(Cancel(Filter(id=id, recipient=recipient), self._ports.clock.now()), Cancelled)

    async def cancel_all(self, filter: Filter) -> Cancelled:
        """Withdraw every recipient that the filter means."""
        return await self._operate(Cancel(filter, self._ports.clock.now()), Cancelled)

    async def hold(self, filter: Filter, reason: str = "held by an operator") -> Moved:
        """Hold waiting recipients until they are released; leased ones are not touched."""
        return await self._operate(Hold(filter, reason, self._ports.clock.now()), Moved)

    async def release(self, filter: Filter) -> Moved:
        """End holds: the recipients are due now, but none before its `send_at`."""
        return await self._operate(Release(filter, self._ports.clock.now()), Moved)

    async def take_as_delivered(self, filter: Filter) -> TakenAsDelivered:
        """Decide that recipients which are held in doubt were delivered; all others are left alone."""
        return await self._operate(TakeAsDelivered(filter, self._ports.clock.now()), TakenAsDelivered)

    async def retry(self, filter: Filter) -> Moved:
        """Make waiting recipients due now, but none before its `send_at`."""
        return await self._operate(Retry(filter, self._ports.clock.now()), Moved)

    async def _operate(self, operation: Operation, expected: type[_T]) -> _T:
        (answer,) = await self._put([operation])
        assert isinstance(answer, expected)
        return answer

    async def receive_bounce(self, raw: bytes) -> None:
        """Hand over mail that came back to a sender; what it says becomes RemoteBounce events, never a new outcome.

        It returns once the mail was read; where it says that something failed and [callbacks] tells the application of
        bounces, once that is safely in the spool.  Raises SubmissionError (field "raw") for what is no bytes or larger than
        `limits.message_bytes`, QueueFull, and EngineClosed where the engine ends before it was read: then hand it over again.
        """
        self._open_ports()
        await self._incoming.take_bounce(raw)

    async def receive(
        self, *, sender: str, recipients: str | Iterable[str], raw: bytes, idempotency_key: str | None = None
    ) -> Receipt:
        """Hand over mail that came for the application; it returns once that is safely in the spool.

        sender: the return path it came with, "" or "<>" for none.  recipients: the addresses it came for; each becomes a
        callback of its own, by the transport that [callbacks] names.  raw: the mail, kept as it is.
        idempotency_key: the same key, sender, recipients and mail within 7 days are one.  A bounce of ours, one that says
        that a message of this spool failed, is taken as by `receive_bounce`, and its recipients are told nothing.  A report of
        this engine's own that told the application already is not taken again: its receipt is the one of the report.

        Raises SubmissionError, whose `field` names the argument at fault, QueueFull, or ConfigError without [callbacks].
        """
        self._open_ports()
        return await self._incoming.take_mail(sender, recipients, raw, idempotency_key)

    async def receive_notices(self, transport: str, notices: Iterable[RemoteNotice], *, token: str = "") -> Noted:
        """Hand over what a provider tells later of mail that the transport of this name gave it; docs/provider-events.md.

        It returns once that is safely in the spool: a bounce becomes the sender's report, once, and each notice an event, once.
        What is not of a recipient that this transport carried last changes nothing.  token: of a request that its provider lets
        nobody use twice; one that was taken makes the rest of no effect.  No more than 20,000 notices at once.

        The caller vouches for their origin: nothing here looks at signatures.  Raises SubmissionError (field "notices"), or
        StoreError and EngineClosed: then hand them over again; what was taken of them is known.
        """
        self._open_ports()
        return await self._remote.take(transport, tuple(notices), token)

    @property
    def incoming(self) -> Incoming:
        """For the gate: mail that other processes hand over, under ids that they minted.  Raises EngineClosed."""
        self._open_ports()
        return self._incoming

    def _give_returned(self, note: Returned) -> None:
        if self._ring is None:
            raise EngineClosed("the engine's actors do not run yet")
        self._ring.give_returned(note)

    # --- ending ---

    async def drain(self, grace_seconds: float = math.inf) -> bool:
        """Start no more attempts, and wait until none is under way; return whether all ended within the grace.

        Submissions are still accepted and wait for the next start.
        """
        if not self._is_draining:
            self._is_draining = True
            if self._ring is not None:
                self._ring.drain()
        with trio.move_on_after(grace_seconds) as scope:
            await self._ports.home.wait()
        return not scope.cancelled_caught

    def ring_started(self, ring: Ring) -> None:
        """For `open_engine` only: a ring begins its life."""
        self._ring = ring
        self._ports.intake.ring_bell = ring.queue.ring_bell
        if self._is_draining:
            ring.drain()

    async def close(self, grace_seconds: float) -> None:
        """For `open_engine` only: drain, end what does not end by itself, and refuse what comes.

        It takes the grace plus `doubt_seconds` at most.
        """
        if not await self.drain(grace_seconds) and self._ring is not None:
            self._ring.end_attempts()
            await self.drain(self.config.in_flight.doubt_seconds + 1.0)
        self.shut()

    def shut(self) -> None:
        """For `open_engine` only: take nothing any more, and let nobody wait."""
        self._is_shut = True
        self._ports.intake.close()
        self._ports.observers.close()
        self._ports.waiters.poke_all()
        self._returned.close()

    def _open_ports(self) -> Ports:
        if self._is_shut:
            raise EngineClosed("the engine is closed")
        return self._ports

    async def _put(self, operations: Sequence[Operation]) -> list[Any]:
        return await self._open_ports().intake.put(operations)


def _caught(function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T | Exception:
    try:
        return function(*args, **kwargs)
    except Exception as error:
        return error


def _refusal(
    field: str, accept: Accept, answer: IdempotencyMismatch | QuotaExhausted
) -> IdempotencyConflict | QuotaExceeded:
    if isinstance(answer, QuotaExhausted):
        return quota_error(answer)
    return IdempotencyConflict(
        field, f"was used by {accept.message.sender!r} for another submission ({answer.id}); use a new key"
    )


def _chunks(accepts: list[Accept]) -> Iterable[list[Accept]]:
    chunk: list[Accept] = []
    octets = 0
    for accept in accepts:
        size = accept.message.size
        if chunk and (len(chunk) >= COMMIT_ENTRIES or octets + size > COMMIT_OCTETS):
            yield chunk
            chunk, octets = [], 0
        chunk.append(accept)
        octets += size
    if chunk:
        yield chunk
