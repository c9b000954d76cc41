"""What is sent: a Submission as the caller gives it, a Message as the spool keeps it, and the ids.

Addresses are parsed in `address.py`, content is made canonical in `compose.py`; this module only holds the values.
"""

from __future__ import annotations

import enum
import os
import random
import threading
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from email.message import EmailMessage
from functools import partial
from typing import TYPE_CHECKING, BinaryIO, Literal

import msgspec

if TYPE_CHECKING:
    from typing import TypeAlias

__all__ = [
    "BOUNCE_ADDRESS",
    "DEFAULT_PRIORITY",
    "NO_DSN",
    "Arrival",
    "ContentSource",
    "DsnOptions",
    "Kind",
    "Message",
    "Moment",
    "Submission",
    "new_message_id",
    "seeded_ids",
]

BOUNCE_ADDRESS = "bounce@callbacks.invalid"  # the application itself, where it is told of a bounce (RFC 2606 section 2)
DEFAULT_PRIORITY = 5

Moment: TypeAlias = "float | datetime"
ContentSource: TypeAlias = "bytes | EmailMessage | os.PathLike[str] | BinaryIO"


class DsnOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What the sender asks for by RFC 3461.

    notify: when to report: any of "failure", "delay", "success", or "never" alone; empty means the default (failure).
    ret: return the full message or the headers in a failure report; None leaves it to the reporter.
    envid: the sender's own id for the envelope, at most 100 printable ASCII characters, returned in reports.
    """

    notify: tuple[Literal["never", "failure", "delay", "success"], ...] = ()
    ret: Literal["full", "headers"] | None = None
    envid: str | None = None


NO_DSN = DsnOptions()  # the very one of every Submission that asks for nothing: it is known by that


class Submission(msgspec.Struct, frozen=True, kw_only=True):
    """One message as an application hands it over with `Engine.submit`.

    sender: the return path, where errors and reports go; it must be authorized.
    recipients: envelope addresses, at least one; equal ones are delivered once.
    content: the RFC 5322 message: bytes, an EmailMessage, the path of a file, or an open binary file.
    send_at: not before this moment (Unix seconds, or an aware datetime).
    expires_at: given up after this moment; by default accepted plus the route's `give_up_seconds`.
    priority: 0 (first) to 9 (last) within a lane.
    idempotency_key: the same key and fields by the same sender within 7 days give the same receipt; 1 to 200 characters.
    tags: labels for routing and events; at most 10 of at most 100 characters.
    report_to: who gets failure reports instead of the sender (used for mail to administrators).
    """

    sender: str
    recipients: Sequence[str]
    content: ContentSource
    send_at: Moment | None = None
    expires_at: Moment | None = None
    priority: int = DEFAULT_PRIORITY
    idempotency_key: str | None = None
    tags: Sequence[str] = ()
    dsn: DsnOptions = NO_DSN
    report_to: Sequence[str] = ()


class Arrival(msgspec.Struct, frozen=True, kw_only=True):
    """Mail from outside, checked, as it is to be kept for the application.

    sender: the return path it came with, "" for the null sender.  key: an idempotency key of whoever handed it over.
    """

    sender: str = ""
    recipients: tuple[str, ...]
    raw: bytes
    key: str | None = None


class Kind(enum.IntEnum):
    """Why a message is in the spool."""

    MAIL = 0
    REPORT = 1  # a failure or delay report by the engine: null sender, exempt from sender rules and the queue limit
    INCOMING = (
        2  # from outside, for the application: as it came, not canonical, and only for transports with `callbacks`
    )


class Message(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A message as the spool keeps it, without its content and recipients.

    accepted_at, send_at, expires_at: wall seconds (Unix).  expires_at is None where the route's schedule decides.
    ahead: by how many seconds these three lie later than by the wall, which had been set back while an engine counted on.
    size: octets of the canonical content.  checksum: their CRC-32; None in spools of versions that kept none.
    eight_bit: the content holds octets over 127 (it came signed): the next hop must offer 8BITMIME.
    smtputf8: a header holds raw UTF-8: the next hop must offer SMTPUTF8 (addresses are looked at apart).
    """

    id: str
    sender: str
    accepted_at: float
    size: int
    priority: int = DEFAULT_PRIORITY
    kind: Kind = Kind.MAIL
    send_at: float | None = None
    expires_at: float | None = None
    tags: tuple[str, ...] = ()
    dsn: DsnOptions = DsnOptions()
    report_to: tuple[str, ...] = ()
    eight_bit: bool = False
    smtputf8: bool = False
    message_id: str = ""  # the Message-ID header without its angle brackets
    ahead: float = 0.0
    checksum: int | None = None

    @property
    def started_at(self) -> float:
        """When its life in the queue began: its `send_at`, if that lies after its acceptance."""
        return max(self.accepted_at, self.send_at or 0.0)


_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32, lower case: no i, l, o, u
_PAIRS = [first + second for first in _ALPHABET for second in _ALPHABET]
_HALF = 10  # an id is 50 bits of milliseconds, then 50 random bits, each in so many characters
_PAGE = 1024 * _HALF
_CHARACTER_OF = "".join([_ALPHABET[octet & 31] for octet in range(256)]).encode()


class _Randomness(threading.local):
    """Random characters from the system, fetched by the page (a call costs more than all the rest of an id), a page a thread."""

    def __init__(self) -> None:
        self._page = ""
        self._at = _PAGE
        self._forks = _forks

    def take(self) -> str:
        at = self._at
        if at >= _PAGE or self._forks != _forks:
            self._page, self._forks = os.urandom(_PAGE).translate(_CHARACTER_OF).decode("ascii"), _forks
            at = 0
        self._at = at + _HALF
        return self._page[at : at + _HALF]


_forks = 0


def _count_fork() -> None:
    """A child must not mint its parent's ids."""
    global _forks
    _forks += 1


os.register_at_fork(after_in_child=_count_fork)
_randomness = _Randomness()


def _base32(number: int) -> str:
    """The last 50 bits of a number, in 10 characters."""
    pairs = _PAIRS
    return (
        pairs[number >> 40 & 1023]
        + pairs[number >> 30 & 1023]
        + pairs[number >> 20 & 1023]
        + pairs[number >> 10 & 1023]
        + pairs[number & 1023]
    )


def new_message_id(now: float | None = None, take: Callable[[], str] | None = None) -> str:
    """Mint an id: 20 characters, sortable by time, safe in file names and local parts, unique across processes.

    take: gives 10 random characters, instead of the system (for simulations, whose ids are those of their seed).
    """
    global _moment
    milliseconds = int((time.time() if now is None else now) * 1000)
    last, text = _moment
    if last != milliseconds:
        text = _base32(milliseconds)
        _moment = (milliseconds, text)
    return text + (_randomness.take() if take is None else take())


_moment = (-1, "")  # the last one, as it stands in ids; replaced as a whole: threads mint ids, too


def seeded_ids(seed: str) -> Callable[[float], str]:
    """As `new_message_id`, but from a seed: for simulations only, because equal seeds mint equal ids."""
    source = random.Random(seed)  # noqa: S311  # a simulation's ids are no secret
    return partial(new_message_id, take=lambda: _base32(int.from_bytes(source.randbytes(7), "big")))
