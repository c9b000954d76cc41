"""What a provider's module must offer: pure functions from a message to a request, and from a reply to verdicts.

`transport.py` does everything else.  A provider neither waits nor reads a clock; it raises `Unfit` for what its API cannot
carry, and `Unreadable` for a reply of success that says nothing it knows.  `write` may run in a thread.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, TypeVar, runtime_checkable

import msgspec

from postroad.verdict import Verdict

from .letter import Letter, read_letter
from .settings import HttpTable

__all__ = ["Able", "Answer", "Batching", "Call", "Parcel", "Provider", "Unreadable", "joined_array"]


_T = TypeVar("_T")


class Able(msgspec.Struct, frozen=True, kw_only=True):
    """What an API can do.

    raw: it takes the message as it is; else it takes fields, and builds a message of its own from them.
    recipients_per_call: more than one only where they are named apart from To and Cc.
    message_bytes: the largest content, in octets of its canonical form, that fits into a request.
    idempotent: the same request again, within a day at least, makes no second mail.
    schedules: it has a field for the moment to send at.
    """

    raw: bool
    recipients_per_call: int
    message_bytes: int
    idempotent: bool = False
    schedules: bool = False


@dataclass(frozen=True)
class Parcel:
    """What a request is written from.

    recipients: all of the call, in ASCII; the first one alone where the API takes one.  numbers: their places in the message.
    secret: never to be shown.  now: Unix seconds.
    key: the same for the same message and recipients at every attempt, 1 to 100 characters of A-Z, a-z, 0-9, and _.
    """

    id: str
    recipients: tuple[str, ...]
    numbers: tuple[int, ...]
    content: bytes
    tags: tuple[str, ...]
    base: str
    secret: str
    now: float
    key: str

    def __repr__(self) -> str:
        return f"Parcel({self.id!r})"

    @cached_property
    def letter(self) -> Letter:
        """The content as fields.  Raises Unfit."""
        return read_letter(self.content)


class Call(msgspec.Struct, frozen=True):
    """One POST.  headers: further ones, beside Host, Content-Length and what is the same for all.

    is_loner: it must not share a request, for what it holds.
    """

    url: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    is_loner: bool = False

    def __repr__(self) -> str:
        return f"Call({self.url!r})"  # the headers hold the secret


class Answer(msgspec.Struct, frozen=True):
    """What came back.  headers: with lower-case names.  is_whole: the body was not cut off as too long."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    is_whole: bool = True

    def read(self, into: type[_T]) -> _T | None:
        """The body's JSON as what the provider documents, None where it is something else."""
        try:
            return msgspec.json.decode(self.body, type=into) if self.is_whole else None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):  # msgspec.ValidationError is a DecodeError
            return None


class Unreadable(Exception):
    """A reply of success whose body is not what the provider documents: perhaps it was not the provider that spoke."""


class Provider(Protocol):
    """One API.

    name: as in `provider`.  title: the provider's own.  documentation, read_on: what this was written from, and when.
    """

    name: str
    title: str
    documentation: str
    read_on: str
    able: Able

    @property
    def settings(self) -> type[HttpTable]: ...

    def base_url(self, settings: Any) -> str:
        """The provider's own place for a region."""
        ...

    def write(self, parcel: Parcel, settings: Any) -> Call:
        """The request.  Raises Unfit."""
        ...

    def accepted(self, answer: Answer, parcel: Parcel) -> Sequence[Verdict]:
        """The verdicts of a reply 2xx, in order.  Raises Unreadable."""
        ...

    def failed(self, answer: Answer, parcel: Parcel) -> Sequence[Verdict] | Verdict | None:
        """The verdicts of another reply; None where the provider documents nothing else than the general rules."""
        ...


@runtime_checkable
class Batching(Protocol):
    """What a provider has besides whose API takes several messages in one request, and answers to each."""

    call_bytes: int  # the most octets of a request's body

    def join(self, calls: Sequence[Call]) -> Call:
        """One request for those of several messages, by the newest's secret.

        Without an idempotency key: that belongs to a request, and the same messages do not come together twice.
        """
        ...

    def split(self, answer: Answer, number: int) -> Sequence[Answer] | None:
        """The answer to each message, as if it had been asked alone; None where it says nothing of each."""
        ...


def joined_array(calls: Sequence[Call]) -> bytes:
    """The JSON array of their bodies."""
    return b"[%s]" % b",".join([call.body for call in calls])
