"""The contract of a transport: it carries a message one hop and says, per recipient, what happened.

A transport is an object with `capabilities` and `deliver`.  It is made by a factory that a plugin registers
(`hookspecs.py`), lives for the engine's life, and may run tasks of its own inside its factory's context manager.
`postroad.testing.check_transport` tries any transport against the duties written here.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, runtime_checkable

import msgspec

from .message import Message
from .store.contract import LeasedRecipient
from .verdict import Verdict

if TYPE_CHECKING:
    from .decide.admission import Refusal

__all__ = [
    "Beginning",
    "Capabilities",
    "Content",
    "DeliveryRequest",
    "LeasedRecipient",
    "Objecting",
    "Transport",
    "TransportFactory",
    "TransportSettings",
]


class Capabilities(msgspec.Struct, frozen=True, kw_only=True):
    """What a transport can do.  Routing uses `by_domain` and `recipients_per_call`, admission what excludes a message:
    `message_bytes`, `eight_bit`, `smtputf8`.  `check_transport` tries all of it.

    by_domain: each call is for one domain, which the request names (MX delivery); otherwise lanes are not split.
    recipients_per_call: 1 to 100.
    messages_per_call: the most messages that its peer takes in one call, 1 where each goes alone.  The engine calls for each
        message; the transport gathers what is called for at the same time, and waits for nothing where nothing is under way.
    message_bytes: the largest content it takes, None where it has no limit of its own.
    eight_bit, smtputf8: whether content with octets over 127, and UTF-8 addresses and headers, can be carried.  False
        means "never"; where it depends on the peer, say True and refuse with 5.6.3 or 5.6.7 when it turns out so.
    callbacks: whether it tells the application: of bounces (`postroad.callbacks.is_bounce`), and of incoming mail, whose
        content is as it came: any octets, not canonical.
    idempotent: the peer knows what it has: the same message for the same recipients again, within a day, makes no second one.
    schedules: whether the peer could itself keep a message until a moment.  Nothing is handed over ahead of its time: the engine
        keeps `send_at`, so that a message can be cancelled until then and waits in one place.
    """

    by_domain: bool = False
    recipients_per_call: int = 100
    messages_per_call: int = 1
    message_bytes: int | None = None
    eight_bit: bool = True
    smtputf8: bool = True
    callbacks: bool = False
    idempotent: bool = False
    schedules: bool = False


class Content(Protocol):
    """The canonical RFC 5322 content of a message: CRLF line ends, no line over 998 octets, not dot-stuffed."""

    @property
    def size(self) -> int:
        """Octets."""
        ...

    async def read(self) -> bytes:
        """All of it.  Meant for contents that are small (`size` up to 256 KiB); larger ones want `chunks`."""
        ...

    def read_nowait(self) -> bytes | None:
        """All of it if it is at hand in memory, else None."""
        ...

    def chunks(self) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Open it for reading in pieces of at most 64 KiB."""
        ...


class DeliveryRequest:
    """One call to a transport: one message, some of its recipients, one lane.

    id: names the attempt in logs ("<message id>/<token>").
    domain: the recipients' domain (an A-label) for a transport with `by_domain`, else None.
    recipients: at least one, at most `recipients_per_call`; the verdicts come in this order.
    deadline: trio time at which the engine cancels the call; a transport may end sooner.
    doubt_seconds: how long it may go on, shielded, when it is cancelled after `committing()` and only the answer is missing.
    """

    __slots__ = ("_commit", "content", "deadline", "domain", "doubt_seconds", "id", "message", "recipients")

    def __init__(
        self,
        *,
        id: str,
        message: Message,
        recipients: Sequence[LeasedRecipient],
        content: Content,
        domain: str | None,
        deadline: float,
        commit: Callable[[], None],
        doubt_seconds: float = 20.0,
    ) -> None:
        self.id = id
        self.message = message
        self.recipients = recipients
        self.content = content
        self.domain = domain
        self.deadline = deadline
        self.doubt_seconds = doubt_seconds
        self._commit = commit

    def committing(self) -> None:
        """Say that the next bytes may complete the hand-over.

        Duty: call it before any byte after which the peer might take responsibility, such as the end of the content.
        If the process dies between this call and the verdict, the recipients are in doubt, and a further attempt is
        logged `maybe_duplicate`.  It costs about 2 us and never blocks on a disk.  Calling it twice does no harm.
        """
        self._commit()


class Transport(Protocol):
    """Carries messages one hop.  Its duties, by the numbers that the report of `postroad.testing.check_transport` names:

    T1 One verdict each: a sequence with one Verdict per recipient, in the order of the request, whatever their number.
    T2 Sound verdicts: the status is of the disposition's class (RFC 3463), texts are printable and short (`printable`), a
        hint is a finite number of seconds, and what is not accepted says why.
    T3 Trouble is a verdict: what the network or the peer does, says or leaves unsaid is answered, never raised.  An exception
        defers this message alone, and is logged with the transport's name.
    T4 Temporary unless proven: only a reply that proves a permanent failure of this recipient or message is REFUSED.  What the
        transport brings along, such as its credentials, is DEFERRED with Scope.TRANSPORT and bounces nothing.
    T5 Say it first: `committing()` is called before any byte after which the peer might take responsibility; nothing is handed
        over, accepted or in doubt without it.
    T6 Doubt: where the answer to a hand-over was not seen, that is IN_DOUBT; `handed_over` only if the message was given whole.
    T7 As it is: content and envelope are canonical at the door and carried unchanged; what cannot be carried is refused.
    T8 In pieces: content over 256 KiB is read by `chunks`, never as a whole; chunks are closed, and content is let go of.
    T9 Let go: cancellation is honoured at every await; after `committing()` the answer may be waited for, shielded, within
        `request.doubt_seconds`.  The deadline is such a cancellation.
    T10 Many at once: calls run beside each other, none waits for another's trouble or gets another's content.
    T11 Once: a message goes to the peer once a call.  Whether it is tried again, and what senders hear, is decided elsewhere.
    T12 Able as declared: `capabilities` stay the same, and what they exclude is refused (5.3.4 too large, 5.6.3 eight bit,
        5.6.7 UTF-8), not sent.  Where there is an `objection`, it and `deliver` agree.
    T13 Hints: when the peer says how long to wait, the verdict says so in `retry_after_seconds`.
    T14 Discretion: neither content nor secrets are logged, said in a verdict, or shown by `repr` or an error.
    T15 Settings: one that is not known, or of the wrong kind, is refused with a ConfigError that names its key; the mapping is
        only read.  A peer that is away is no error of the settings.
    T16 Nothing left: all that a transport opens, starts or keeps ends with its factory's context, or with the mail that
        needed it; an exception raised inside the context comes out as it is.
    T17 Never block: no call keeps the thread; half a second is logged as `transport_slow`.
    T18 Two ways, one manner: where there is a `begin_delivery`, all of this holds for it, too; its `done` is called once.
    """

    @property
    def capabilities(self) -> Capabilities: ...

    async def deliver(self, request: DeliveryRequest) -> Sequence[Verdict]:
        """Try once to hand the message over to the next hop."""
        ...


@runtime_checkable
class Objecting(Protocol):
    """What a transport may have besides: it knows at the door what it could never carry, beyond its `capabilities`."""

    def objection(self, message: Message, recipients: Sequence[str], content: bytes) -> Refusal | None:
        """Why `deliver` would refuse this message for some of these recipients, None where it might carry it for all.

        Its `field` is the argument of `send_mail` that is at fault, its `problem` says what to do; the engine refuses the
        submission with both where no other transport of the route takes it, else that one gets it.  It waits for nothing,
        asks nobody and keeps nothing; for a large content it is called in a thread.
        """
        ...


@runtime_checkable
class Beginning(Protocol):
    """What a transport may have besides: it begins an attempt at once, in no task of the engine's, and calls when it is over.

    A task, a scope and a deadline of its own are a tenth or more of what a small message costs an engine in all.
    """

    def begin_delivery(self, request: DeliveryRequest, done: Done) -> Withdraw | None:
        """Begin the attempt without waiting; None, with nothing done, where that cannot be: then `deliver` is called.

        done: to be called once, on trio's thread, with what `deliver` would return or the Exception it would raise; perhaps
        before this returns, and never after None was returned.

        What is returned is called at most once, and only before `done` was: when `deliver` would be cancelled, at the deadline
        or at the engine's end.  True: it is taken back, and `done` will not be called.  False: the answer to what was handed
        over is waited for, and `done` is called within `request.doubt_seconds`, or was called just now.
        """
        ...


Done: TypeAlias = "Callable[[Sequence[Verdict] | Exception], None]"
Withdraw: TypeAlias = "Callable[[], bool]"


class TransportSettings(dict[str, Any]):
    """What an engine hands to a factory: a transport's table, without `plugin`.

    base: the folder that relative paths count from.
    """

    def __init__(self, settings: Mapping[str, Any] = {}, *, base: Path = Path()) -> None:  # only read
        super().__init__(settings)
        self.base = base


TransportFactory: TypeAlias = Callable[[Mapping[str, Any]], AbstractAsyncContextManager[Transport]]
