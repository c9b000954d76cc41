"""A submission in front of the door: how large it is about, what takes long about it, and what the spool shall keep of it.

Reading and writing a large message takes a tenth of a second and more, in which nobody else on trio's thread would move.  So
`write` may run in a thread of its own, and touches nothing but what the caller gave; `prepare` asks plugins and routes.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from email.message import EmailMessage
from typing import Any, Protocol, cast
from zlib import crc32

import msgspec

from .compose import MailFields
from .door import Door, Read, Written
from .message import Arrival, Submission
from .store.contract import Accept, Tally

__all__ = ["ComposedDraft", "Draft", "IncomingDraft", "WrittenDraft"]


class Draft(Protocol):
    """id: as which it shall be stored, None where the engine is to choose."""

    @property
    def id(self) -> str | None: ...

    @property
    def octets(self) -> float:
        """About how large the message will be; infinity where only reading it would tell."""
        ...

    def with_content_read(self, door: Door) -> Draft:
        """The same with its open file read.  It may take for ever.  Raises SubmissionError."""
        ...

    def write(self, door: Door, id: str, now: float) -> Any:
        """What takes long.  Raises SubmissionError."""
        ...

    def field_of(self, field: str) -> str:
        """What the author of this one calls an argument of `send_mail`."""
        ...

    def prepare(self, door: Door, tally: Tally, now: float, id: str | None, work: Any = None) -> Accept:
        """The rest, and what takes long unless it was done.  Raises SubmissionError or QueueFull."""
        ...


class WrittenDraft(msgspec.Struct, frozen=True):
    """A message that its author has written."""

    submission: Submission
    id: str | None = None

    @property
    def octets(self) -> float:
        return _octets_of(self.submission.content)

    def with_content_read(self, door: Door) -> WrittenDraft:
        content = door.read_source(self.submission.content)
        return WrittenDraft(msgspec.structs.replace(self.submission, content=content), self.id)

    def write(self, door: Door, id: str, now: float) -> Read:
        return door.read(self.submission.content, id, now)

    def field_of(self, field: str) -> str:
        return field if field in ("recipients", "tags") else "content"

    def prepare(self, door: Door, tally: Tally, now: float, id: str | None, work: Read | None = None) -> Accept:
        return door.prepare(self.submission, tally=tally, now=now, id=id, read=work)


class ComposedDraft(msgspec.Struct, frozen=True):
    """A message given as fields.  options: the other arguments of a Submission."""

    fields: MailFields
    options: Mapping[str, Any]
    id: str | None = None

    @property
    def octets(self) -> float:
        fields: Any = self.fields  # what is no text or octets is refused later
        texts = (fields.body, fields.html, fields.amp_html, *(each.content for each in fields.attachments))
        return sum(len(text) for text in texts if isinstance(text, (str, bytes)))

    def with_content_read(self, door: Door) -> ComposedDraft:
        return self

    def write(self, door: Door, id: str, now: float) -> Written:
        return door.write(self.fields, id, now)

    def field_of(self, field: str) -> str:
        return field

    def prepare(self, door: Door, tally: Tally, now: float, id: str | None, work: Written | None = None) -> Accept:
        return door.compose(self.fields, self.options, tally=tally, now=now, id=id, written=work)


class IncomingDraft(msgspec.Struct, frozen=True):
    """Mail from outside, for the application.  lane: that of callbacks."""

    arrival: Arrival
    lane: str
    id: str | None = None

    @property
    def octets(self) -> float:
        return len(self.arrival.raw)

    def with_content_read(self, door: Door) -> IncomingDraft:
        return self

    def write(self, door: Door, id: str, now: float) -> int:
        """It is written already, and kept as it came: only its checksum is made."""
        return crc32(self.arrival.raw)

    def field_of(self, field: str) -> str:
        return "raw"

    def prepare(self, door: Door, tally: Tally, now: float, id: str | None, work: int | None = None) -> Accept:
        return door.incoming(self.arrival, self.lane, tally=tally, now=now, id=id, checksum=work)


def _octets_of(content: Any) -> float:
    if isinstance(content, bytes):
        return len(content)
    if isinstance(content, (bytearray, memoryview)):
        return len(cast("bytes", content))
    if isinstance(content, os.PathLike):
        return _size_of_file(cast("os.PathLike[str]", content))
    if isinstance(content, EmailMessage):
        parts = cast("Iterable[Any]", content.walk())
        texts = [part.get_payload() for part in parts if not part.is_multipart()]
        return sum(len(text) for text in texts if isinstance(text, (str, bytes)))
    return math.inf if hasattr(content, "read") else 0


def _size_of_file(path: os.PathLike[str]) -> float:
    try:
        return os.stat(path).st_size
    except (OSError, ValueError):
        return 0  # the door says what is wrong with it
