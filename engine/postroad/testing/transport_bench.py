"""What the cases of `check_transport` work with: requests with marked content, and a strict eye on every verdict."""

from __future__ import annotations

import math
import re
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Any

import trio

from ..log import printable
from ..message import new_message_id
from ..store.contract import LeasedRecipient
from ..transport import DeliveryRequest, Transport
from ..verdict import Disposition, Verdict
from .fakes import MemoryContent, make_request
from .transport_begun import deliver_begun

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ..transport import Transport, TransportFactory

__all__ = ["Bench", "Mail", "NotTried", "Unmet", "WatchedContent", "require", "secrets_of"]

_CLASSES = {
    Disposition.ACCEPTED: "2",
    Disposition.DEFERRED: "4",
    Disposition.REFUSED: "5",
    Disposition.IN_DOUBT: "4",
    Disposition.POSTPONED: "4",
}


_SECRET_KEY = re.compile(r"pass|secret|token|key|auth|cred", re.IGNORECASE)
_SHORTEST_SECRET = 4  # shorter ones would be found in every log


class NotTried(Exception):
    """A case that has nothing to try in this transport; the text says why."""


class Unmet(Exception):
    """An expectation of a case that the transport does not meet; the text says what happened instead."""


def require(met: bool, otherwise: str) -> None:
    """Raise Unmet with what happened instead."""
    if not met:
        raise Unmet(otherwise)


def secrets_of(settings: Mapping[str, Any]) -> dict[str, str]:
    """Values of settings that are secret by their names."""
    return {
        f"the setting {key!r}": value
        for key, value in settings.items()
        if isinstance(value, str) and len(value) >= _SHORTEST_SECRET and _SECRET_KEY.search(key)
    }


class WatchedContent(MemoryContent):
    """Content that remembers how it was read.  fails: raise this instead of giving it, or after so many pieces."""

    def __init__(
        self,
        data: bytes,
        *,
        at_hand: bool = True,
        fails: Exception | None = None,
        after_pieces: int = 0,
        piece_bytes: int = 65_536,
    ) -> None:
        super().__init__(data, at_hand=at_hand and fails is None, piece_bytes=piece_bytes)
        self._fails = fails
        self._after_pieces = after_pieces
        self.was_read_whole = False

    async def read(self) -> bytes:
        self.was_read_whole = True
        if self._fails:
            await trio.lowlevel.checkpoint()
            raise self._fails
        return await super().read()

    @asynccontextmanager
    async def chunks(self) -> AsyncGenerator[AsyncIterator[bytes]]:
        async with super().chunks() as pieces:
            if self._fails and not self._after_pieces:
                raise self._fails
            yield _BreakingOff(pieces, self._after_pieces, self._fails) if self._fails else pieces


class _BreakingOff:
    def __init__(self, pieces: AsyncIterator[bytes], number: int, error: Exception) -> None:
        self._pieces = pieces
        self._left = number
        self._error = error

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        piece = await anext(self._pieces)
        self._left -= 1
        if self._left < 0:
            raise self._error
        return piece


@dataclass(slots=True, eq=False)
class Mail:
    """One request, and what the transport did with it."""

    request: DeliveryRequest
    content: WatchedContent
    data: bytes
    commits: int = 0
    came_before_commit: bool = False


@dataclass(slots=True)
class Bench:
    """The transport under test and what its author told about the peer."""

    factory: TransportFactory
    settings: Mapping[str, Any]
    domain: str
    handed_over: Callable[[], Sequence[bytes]] | None
    refused_recipient: str | None
    broken: Mapping[str, Any] | None
    silent: Mapping[str, Any] | None
    lost: Mapping[str, Any] | None = None
    mute: Mapping[str, Any] | None = None
    deferring: Mapping[str, Any] | None = None
    forbidden: Mapping[str, Any] | None = None
    babbling: Mapping[str, Any] | None = None
    retry_after_seconds: float | None = None
    renders: bool = False
    calls: Callable[[], int] | None = None
    begins: bool = False  # attempts are begun at once, where the transport can
    misdeeds: list[str] = field(default_factory=list[str])  # what it did that only shows from outside a case
    marker: str = field(default_factory=lambda: f"mark{new_message_id()}")
    _numbers: count[int] = field(default_factory=count)

    def lacks(self, needs: Sequence[str]) -> str:
        """Why a case cannot be tried, "" where it can."""
        missing = [name for name in needs if getattr(self, name) is None]
        return f"needs {' and '.join(missing)}" if missing else ""

    def open(self, settings: Mapping[str, Any] | None = None) -> AbstractAsyncContextManager[Transport]:
        return self.factory(self.settings if settings is None else settings)

    async def require_room(self, size: int) -> None:
        """Raise NotTried where the transport declares that it takes no content of so many octets."""
        async with self.open() as transport:
            limit = transport.capabilities.message_bytes
        if limit is not None and limit < size:
            raise NotTried(f"it takes {limit} octets at the most")

    def addresses(self, number: int) -> list[str]:
        return [f"box{index}@{self.domain}" for index in range(number)]

    def mail(
        self,
        *recipients: str | LeasedRecipient,
        body: bytes = b"Hello.\r\n",
        header: bytes = b"",
        content: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> Mail:
        """A request with content of its own: its Subject and body carry marks that show up nowhere else.

        content: for `WatchedContent`.  more: for `make_request`.
        """
        mark = self._new_mark()
        data = _head(mark, header) + b"\r\n" + mark + b"\r\n" + body
        watched = WatchedContent(data, **(content or {}))
        to = recipients or self.addresses(1)
        request = make_request(to, content=watched, commit=lambda: self._note_commit(mail), **self._usual(), **more)
        mail = Mail(request, watched, data)
        return mail

    def _new_mark(self) -> bytes:
        """Always as long as any other: the size of one mail tells that of the next."""
        return f"{self.marker}-{next(self._numbers):06d}.".encode()

    def _usual(self) -> dict[str, Any]:
        return {"id": new_message_id(), "domain": self.domain}

    def _note_commit(self, mail: Mail) -> None:
        mail.commits += 1
        mail.came_before_commit = mail.came_before_commit or self.copies(mail) > 0

    async def deliver(self, transport: Transport, mail: Mail) -> list[Verdict]:
        """Deliver, and look at everything that every answer must satisfy."""
        answer: Any = await self._answer(transport, mail.request)
        require(isinstance(answer, list | tuple), f"{type(answer).__name__} instead of a sequence of verdicts")
        verdicts: list[Verdict] = list(answer)
        expected = len(mail.request.recipients)
        require(len(verdicts) == expected, f"{len(verdicts)} verdicts for {expected} recipients")
        for verdict in verdicts:
            self._look_at(verdict, mail)
        require(mail.content.opened == 0, "the content's chunks were left open")
        return verdicts

    async def _answer(self, transport: Transport, request: DeliveryRequest) -> Sequence[Verdict]:
        if self.begins:
            return await deliver_begun(transport, request, self.misdeeds)
        return await transport.deliver(request)

    def _look_at(self, verdict: object, mail: Mail) -> None:
        if not isinstance(verdict, Verdict):
            raise Unmet(f"{type(verdict).__name__} instead of a Verdict")
        for name, text in (("reply", verdict.reply), ("remote", verdict.remote)):
            require(
                printable(text) == text, f"a verdict's {name} is not printable, or too long: {printable(text, 60)!r}"
            )
        for what, secret in {"content": self.marker, **secrets_of(self.settings)}.items():
            require(secret not in verdict.reply + verdict.remote, f"{what} stands in a verdict")
        hint = verdict.retry_after_seconds
        require(hint is None or (math.isfinite(hint) and hint >= 0), f"retry_after_seconds is {hint}")
        wanted = _CLASSES[verdict.disposition]
        good = re.fullmatch(wanted + r"\.\d{1,3}\.\d{1,3}", verdict.status)
        require(bool(good), f"status {verdict.status!r} with {verdict.disposition.value}, not {wanted}.x.x")
        if verdict.disposition in (Disposition.ACCEPTED, Disposition.IN_DOUBT):
            require(mail.commits > 0, f"{verdict.disposition.value} without a call of committing()")

    async def deliver_accepted(self, transport: Transport, mail: Mail) -> list[Verdict]:
        """Deliver, and expect every recipient accepted and the content unharmed."""
        verdicts = await self.deliver(transport, mail)
        others = [f"{v.disposition.value}: {v.reply}" for v in verdicts if v.disposition is not Disposition.ACCEPTED]
        require(not others, f"{len(others)} of {len(verdicts)} not accepted, the first {', '.join(others[:1])}")
        self.require_unharmed(mail)
        return verdicts

    def copies(self, mail: Mail) -> int:
        """How many of the peer's mails carry this one's mark; 0 where the author gave no `handed_over`."""
        mark = _mark_of(mail)
        return sum(mark in taken for taken in self._taken())

    def require_unharmed(self, mail: Mail) -> None:
        """The body is there as it was, but for its line ends."""
        if self.handed_over is None:
            return
        if self.renders:
            require(self.copies(mail) > 0, "accepted, and the peer has nothing")
            return
        found = [taken for taken in self._taken() if _mark_of(mail) in taken]
        require(bool(found), "accepted, and the peer has nothing")
        body = _unix(mail.data).partition(b"\n\n")[2]
        require(all(_unix(taken).rstrip(b"\n").endswith(body.rstrip(b"\n")) for taken in found), "the body was changed")

    def require_header(self, mail: Mail, *lines: bytes) -> None:
        """These fields are in what the peer has, however they are folded."""
        if self.handed_over is None or self.renders:
            return
        for taken in self._taken():
            head = b" ".join(_unix(taken).partition(b"\n\n")[0].replace(b"\n", b"\n ").split())
            missing = [line for line in lines if b" ".join(line.split()) not in head]
            require(_mark_of(mail) not in taken or not missing, f"the field {missing[:1]} is not there as it was")

    def _taken(self) -> Sequence[bytes]:
        return self.handed_over() if self.handed_over else ()


def _head(mark: bytes, header: bytes) -> bytes:
    return b"From: a@example.com\r\nTo: somebody@example.org\r\nSubject: " + mark + b"\r\n" + header


def _mark_of(mail: Mail) -> bytes:
    return mail.data.partition(b"Subject: ")[2].partition(b"\r\n")[0]


def _unix(data: bytes) -> bytes:
    return data.replace(b"\r\n", b"\n")
