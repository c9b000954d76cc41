"""Delivery carries, and judges nothing: whatever happens to an attempt becomes a verdict.

One task per attempt, under a deadline, unless its transport begins it at once (`begun.py`).  A transport that raises, hangs or
answers nonsense defers that message alone; once it had begun to hand over, its recipients are in doubt.
Notes in: Attempt (from policy).  Notes out: Attempted (to policy).
"""

from __future__ import annotations

import errno
import math
from collections.abc import Sequence
from functools import partial
from itertools import islice
from operator import attrgetter
from typing import Any

import msgspec
import trio

from ..events import MaybeDuplicate
from ..log import get_logger, printable
from ..strangers import as_exceptions, words_for
from ..transport import Beginning, DeliveryRequest, LeasedRecipient
from ..verdict import Disposition, Scope, Verdict
from .begun import BegunAttempts, TakenBack
from .inbox import Inbox, Outbox
from .notes import Attempt, Attempted, Lease
from .ports import Ports
from .watched import Watched

__all__ = ["Delivery"]

_LOCAL_ERRNOS = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS}

_log = get_logger()


def _is_local(error: Exception) -> bool:
    return isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno in _LOCAL_ERRNOS)


class _ByteCredits:
    """Octets of content that attempts may hold at once.  A single larger one is let through alone.

    First come, first served: a large content is not overtaken by small ones for ever.
    piece: what is larger holds no more, for it is read in pieces: one slow destination of large mail must not take everybody's
    credits.
    """

    def __init__(self, octets: int, piece: int) -> None:
        self._limit = octets
        self._most = min(octets, piece)
        self._held = self._waiting = 0
        self._first = trio.StrictFIFOLock()  # held by whoever is first in line
        self._released = trio.lowlevel.ParkingLot()

    def acquire_nowait(self, octets: int) -> int | None:
        """Take credits, and return how many: None where somebody has to wait for them."""
        octets = min(octets, self._most)
        if self._waiting or self._held + octets > self._limit:
            return None
        self._held += octets
        return octets

    async def acquire(self, octets: int) -> int:
        """Wait for credits, and return how many they are."""
        octets = min(octets, self._most)
        self._waiting += 1
        try:
            async with self._first:
                while self._held + octets > self._limit:
                    await self._released.park()
                self._held += octets
        finally:
            self._waiting -= 1
        return octets

    def release(self, octets: int) -> None:
        self._held -= octets
        if self._waiting:
            self._released.unpark_all()


_TEXTS = ("status", "reply", "remote", "site", "tls")
_texts_of = attrgetter(*_TEXTS)
_fields_of = attrgetter("disposition", "scope", "handed_over", *_TEXTS)
_KINDS = (Disposition, Scope, bool, *[str] * len(_TEXTS))
_PLAIN = frozenset({str})
_HINTS = frozenset({int, float, bool, type(None)})
_LINE = 512  # characters that `printable` leaves as they are


def _is_sound(verdict: Any) -> bool:
    """Whether it is a Verdict whose fields are what they should be: a Struct does not look when a plugin makes one."""
    if type(verdict) is not Verdict:  # what only passes for one may be another one at each look
        return False
    hint = verdict.retry_after_seconds
    return (
        all(map(issubclass, map(type, _fields_of(verdict)), _KINDS))
        and type(hint) in _HINTS
        and hint == hint  # not a number is not itself
    )


def _made_printable(verdict: Verdict) -> Verdict:
    """What peers said goes to logs, reports and terminals: harmless from here on, whatever a transport lets through."""
    texts = _texts_of(verdict)
    together = "".join(texts)
    if len(together) <= _LINE and together.isprintable() and _PLAIN.issuperset(map(type, texts)):
        return verdict
    # A subclass of str may say anything of itself: str's own method copies what it holds.
    safe = {name: printable(str.__str__(text)) for name, text in zip(_TEXTS, texts, strict=True)}
    return msgspec.structs.replace(verdict, **safe)


def _listed(answer: Any, count: int) -> list[Verdict] | None:
    """So many sound verdicts, or None."""
    try:
        listed: list[Any] = answer if type(answer) is list else _items(answer, count + 1)  # pyright: ignore[reportUnknownVariableType]
        if len(listed) == count and all(map(_is_sound, listed)):
            return list(map(_made_printable, listed))
    except Exception:
        return None
    return None


def _items(answer: Any, most: int) -> list[Any]:
    """What a sequence has.  Looking at one that is not simply a list runs the plugin's code, which may raise or never end."""
    with as_exceptions():
        return list(islice(answer, most)) if isinstance(answer, Sequence) else []  # pyright: ignore[reportUnknownArgumentType]


def _kinds(answer: Any) -> str:
    if not isinstance(answer, Sequence):
        return type(answer).__qualname__
    listed: list[Any] = list(islice(answer, 1000))  # pyright: ignore[reportUnknownArgumentType]
    return f"{len(listed)} of {sorted({type(item).__qualname__ for item in listed})[:5]}"


async def _raise(error: Exception) -> None:
    await trio.lowlevel.checkpoint()
    raise error


class Delivery:
    """The delivery actor."""

    def __init__(self, ports: Ports, inbox: Inbox[list[Attempt]], policy: Outbox[Attempted]) -> None:
        self._ports = ports
        self._inbox = inbox
        self._policy = policy
        self._bytes = _ByteCredits(ports.config.in_flight.content_bytes, ports.config.spool.content_file_bytes)
        self._doubt_seconds = ports.config.in_flight.doubt_seconds
        self._running: set[trio.CancelScope] = set()
        self._starters = {
            name: transport for name, transport in ports.transports.items() if isinstance(transport, Beginning)
        }
        self._begun = BegunAttempts(self._doubt_seconds, self._come_home, self._say_slow, self._fail)
        self._nursery: trio.Nursery
        self._is_ending = False

    async def run(self) -> None:
        async with trio.open_nursery() as self._nursery:
            try:
                while True:
                    for attempts in await self._inbox.take_all():
                        now = trio.current_time()
                        for attempt in attempts:
                            self._start(attempt, now)
                    self._begun.watch(self._nursery)
            finally:
                self._nursery.cancel_scope.cancel()
                await self._end_begun()  # noqa: ASYNC102  # shields itself, for so long

    async def _end_begun(self) -> None:
        """Beside the calls of `deliver`, which are cancelled at the same time, and may wait for an answer just as long."""
        self._begun.take_back_all()
        with trio.move_on_after(self._begun.late_seconds, shield=True):
            await self._begun.wait_late()
        self._begun.give_up_late()

    def end_attempts(self) -> None:
        """The grace of a shutdown is over: cancel every attempt; each still comes home with a verdict."""
        self._is_ending = True
        for scope in list(self._running):
            scope.cancel()
        if self._begun.take_back_all():
            self._begun.watch(self._nursery)

    def _start(self, attempt: Attempt, now: float) -> None:
        """now: trio time."""
        for recipient in attempt.lease.recipients:
            if recipient.in_doubt:
                self._say_doubtful(attempt.lease, recipient)
        starter = self._starters.get(attempt.transport)
        if starter is None or self._is_ending or not self._begin(starter, attempt, now):
            self._nursery.start_soon(self._try, attempt)

    def _begin(self, starter: Beginning, attempt: Attempt, now: float) -> bool:
        held = self._bytes.acquire_nowait(attempt.lease.message.size)
        if held is None:
            return False
        request = self._request(attempt, now + attempt.seconds)
        if self._begun.begin(starter, attempt, request, held):
            return True
        self._bytes.release(held)
        return False

    def _come_home(self, attempt: Attempt, octets: int, answer: Any) -> None:
        """The end of an attempt that was begun at once."""
        self._bytes.release(octets)
        self._pass_on(attempt, answer)

    def _fail(self, error: Exception) -> None:
        self._nursery.start_soon(_raise, error)

    async def _try(self, attempt: Attempt) -> None:
        scope = trio.CancelScope(deadline=trio.current_time() + attempt.seconds)
        self._running.add(scope)
        if self._is_ending:
            scope.cancel()
        answer: Any = None
        try:
            with scope:
                answer = await self._deliver(attempt, scope)
        except Exception as error:
            answer = error
        finally:
            self._running.discard(scope)
        self._pass_on(attempt, TakenBack() if scope.cancelled_caught else answer)

    def _pass_on(self, attempt: Attempt, answer: Any) -> None:
        """answer: verdicts, an Exception, TakenBack, or whatever its transport said."""
        lease = attempt.lease
        lease.is_cut = self._is_ending
        verdicts = _listed(answer, len(lease.recipients))
        lease.verdicts = self._of_trouble(attempt, answer) if verdicts is None else verdicts
        self._policy.put(Attempted(lease))

    async def _deliver(self, attempt: Attempt, scope: trio.CancelScope) -> Sequence[Verdict]:
        """The deadline begins with the transport's work: waiting for byte credits is no try."""
        octets = attempt.lease.message.size
        held = self._bytes.acquire_nowait(octets)
        if held is None:
            scope.deadline = math.inf
            held = await self._bytes.acquire(octets)
            scope.deadline = trio.current_time() + attempt.seconds
        try:
            request = self._request(attempt, scope.deadline)
            with as_exceptions():
                call = self._ports.transports[attempt.transport].deliver(request)
                return await Watched(call, partial(self._say_slow, attempt))
        finally:
            self._bytes.release(held)

    def _request(self, attempt: Attempt, deadline: float) -> DeliveryRequest:
        lease = attempt.lease
        return DeliveryRequest(
            id=f"{lease.message.id}/{lease.token:x}",
            message=lease.message,
            recipients=lease.recipients,
            content=lease.content,
            domain=attempt.domain,
            deadline=deadline,
            commit=partial(self._mark, lease),
            doubt_seconds=self._doubt_seconds,
        )

    def _mark(self, lease: Lease) -> None:
        if not lease.marked:
            lease.marked = True
            self._ports.marks.mark(lease.slot, lease.token)

    def _say_doubtful(self, lease: Lease, recipient: LeasedRecipient) -> None:
        """A recipient that may have the message already gets it again: said before it happens."""
        _log.warning("maybe_duplicate", id=lease.message.id, recipient=recipient.address, lane=lease.lane)
        if self._ports.observers.is_active:
            self._ports.observers.publish(
                MaybeDuplicate(
                    at=self._ports.clock.now(),
                    id=lease.message.id,
                    recipient=recipient.address,
                    lane=lease.lane,
                    attempts=recipient.attempts,
                    in_doubt=True,
                )
            )

    def _say_slow(self, attempt: Attempt, seconds: float) -> None:
        _log.warning(
            "transport_slow", transport=attempt.transport, id=attempt.lease.message.id, seconds=round(seconds, 3)
        )

    # --- everything becomes a verdict ---

    def _of_trouble(self, attempt: Attempt, answer: Any) -> list[Verdict]:
        """Of an answer that is not one sound Verdict per recipient."""
        if isinstance(answer, Exception):
            verdicts = self._of_exception(attempt, answer)
        elif isinstance(answer, TakenBack):
            verdicts = self._of_cancellation(attempt)
        else:
            verdicts = self._of_nonsense(attempt, answer)
        return list(map(_made_printable, verdicts))

    def _of_exception(self, attempt: Attempt, error: Exception) -> list[Verdict]:
        lease = attempt.lease
        if _is_local(error) and not lease.marked:
            return [Verdict.postponed(f"local trouble: {words_for(error, str)}")] * len(lease.recipients)
        _log.error(
            "transport_failed", id=lease.message.id, transport=attempt.transport, lane=lease.lane, exc_info=error
        )
        return self._uncertain(lease, f"transport {attempt.transport!r} failed: {type(error).__name__}")

    def _of_cancellation(self, attempt: Attempt) -> list[Verdict]:
        lease = attempt.lease
        if self._is_ending and not lease.marked:
            return [Verdict.postponed("the engine is shutting down", retry_after_seconds=0.0)] * len(lease.recipients)
        reason = "the engine is shutting down" if self._is_ending else f"no answer within {attempt.seconds:g} s"
        return self._uncertain(lease, reason, status="4.4.2")

    def _uncertain(self, lease: Lease, reply: str, status: str = "4.3.0") -> list[Verdict]:
        """Scope LOCAL: it defers that message alone, and says nothing of the site."""
        if lease.marked:
            verdict = Verdict(disposition=Disposition.IN_DOUBT, scope=Scope.LOCAL, status="4.4.2", reply=reply)
        else:
            verdict = Verdict.deferred(reply, status=status, scope=Scope.LOCAL)
        return [verdict] * len(lease.recipients)

    def _of_nonsense(self, attempt: Attempt, answer: Any) -> list[Verdict]:
        lease = attempt.lease
        _log.error(
            "transport_failed",
            id=lease.message.id,
            transport=attempt.transport,
            lane=lease.lane,
            answered=words_for(answer, _kinds),
            expected=f"{len(lease.recipients)} sound Verdicts",
        )
        return self._uncertain(lease, f"transport {attempt.transport!r} answered nonsense")
