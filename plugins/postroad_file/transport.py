"""The transport: content in, one verdict per recipient out; the work is done in `writer.py`, in a thread.

It never refuses: a disk that is full or a folder that may not be written is the operator's trouble, so mail waits
(deferred with scope TRANSPORT).  Without descriptors or memory nothing was tried (postponed).
"""

from __future__ import annotations

import errno
import os
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar, TypeVarTuple

import msgspec
import trio

from postroad.config import read_settings
from postroad.errors import ConfigError
from postroad.log import printable
from postroad.store.contract import LeasedRecipient
from postroad.transport import Capabilities, DeliveryRequest, Transport, TransportSettings
from postroad.verdict import Scope, Verdict

from .batches import Batcher
from .boxes import Settings, body_place, place_of
from .writer import Letter, Parcel, discard, prepare, publish, start_body, write_all

__all__ = ["FileTransport", "open_file_transport"]

_T = TypeVar("_T")
_Args = TypeVarTuple("_Args")

_SMALL_BYTES = 262_144  # of content read at once (transport.Content)
_PIECE_BYTES = 1_048_576  # gathered before a hop into the thread
_PUBLISH_SECONDS = 20.0  # how long an attempt may outlive its cancellation after committing() (transport.Transport)


class _DiskTrouble(Exception):
    """Ours, as opposed to trouble with reading the content, which is the spool's."""

    def __init__(self, error: OSError) -> None:
        super().__init__(str(error))
        self.error = error


@asynccontextmanager
async def open_file_transport(settings: Mapping[str, Any]) -> AsyncGenerator[Transport]:
    """A TransportFactory.  Raises ConfigError for settings that cannot be right; a missing folder is made when needed."""
    known = read_settings(settings, Settings)
    if not known.folder or "\0" in known.folder:
        raise ConfigError("folder", "name the folder that mail is written to")
    if isinstance(settings, TransportSettings):
        known = msgspec.structs.replace(known, folder=str(settings.base / known.folder))
    failure: Exception | None = None
    async with trio.open_nursery() as nursery:
        transport = FileTransport(known)
        nursery.start_soon(transport.run)
        try:
            yield transport
        except Exception as error:  # raised again below, where no exception group is made of it
            failure = error
        nursery.cancel_scope.cancel()
    if failure:
        raise failure


class FileTransport:
    """Writes mail into files.  `run` must be running beside it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._thread = trio.CapacityLimiter(1)
        self._prepare = Batcher(prepare, self._thread)
        self._publish = Batcher(publish, self._thread)
        self._discard = Batcher(discard, self._thread)

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities()

    async def run(self) -> None:
        """Serve the deliveries until cancelled, then remove what cancelled ones left behind."""
        try:
            async with trio.open_nursery() as nursery:
                for batcher in (self._prepare, self._publish, self._discard):
                    nursery.start_soon(batcher.run)
        finally:
            discard(self._discard.leftovers())

    async def deliver(self, request: DeliveryRequest) -> Sequence[Verdict]:
        await trio.lowlevel.checkpoint()
        parcel = Parcel([self._letter(request, recipient) for recipient in request.recipients])
        published = False
        try:
            await self._pack(request, parcel)
            await self._prepare.do(parcel)
            published = await self._hand_over(request, parcel)
        except _DiskTrouble as trouble:
            return [self._verdict_of(trouble.error)] * len(parcel.letters)
        finally:
            if not published:
                self._discard.post(parcel)
        return [self._verdict(letter) if published else _UNKNOWN for letter in parcel.letters]

    async def _hand_over(self, request: DeliveryRequest, parcel: Parcel) -> bool:
        if any(not letter.error for letter in parcel.letters):
            request.committing()
        return await self._publish_within_limit(parcel)

    async def _publish_within_limit(self, parcel: Parcel) -> bool:
        with trio.move_on_after(_PUBLISH_SECONDS, shield=True):
            await self._publish.do(parcel)
            return True
        return False

    def _letter(self, request: DeliveryRequest, recipient: LeasedRecipient) -> Letter:
        return Letter(
            place=place_of(self._settings, request.message.id, recipient.number, recipient.address),
            head=self._with_line_ends(_trace(request.message.sender, recipient.address)),
            look_for_earlier=recipient.in_doubt or recipient.attempts > 0,
        )

    def _with_line_ends(self, data: bytes) -> bytes:
        """Mail readers expect the system's own line ends in a Maildir, and those of the mail in an .eml file."""
        return data.replace(b"\r\n", b"\n") if self._settings.format == "maildir" else data

    # --- Content ---

    async def _pack(self, request: DeliveryRequest, parcel: Parcel) -> None:
        await trio.lowlevel.checkpoint()
        data = request.content.read_nowait()
        if data is None and request.content.size <= _SMALL_BYTES:
            data = await request.content.read()
        if data is not None:
            parcel.body = self._with_line_ends(data)
        else:
            await self._gather(request, parcel)

    async def _gather(self, request: DeliveryRequest, parcel: Parcel) -> None:
        """Large content goes through a file, so that it is never in memory as a whole."""
        parcel.body_file = body_place(self._settings, request.message.id, request.recipients[0].number)
        descriptor = await self._in_thread(start_body, parcel.body_file)
        try:
            await self._gather_into(descriptor, request)
        finally:
            os.close(descriptor)

    async def _gather_into(self, descriptor: int, request: DeliveryRequest) -> None:
        held = b""
        async with request.content.chunks() as pieces:
            async for piece in pieces:
                held += piece
                if len(held) >= _PIECE_BYTES:
                    keep = b"\r" if held.endswith(b"\r") else b""  # perhaps half a line end
                    await self._in_thread(write_all, descriptor, self._with_line_ends(held.removesuffix(keep)))
                    held = keep
        await self._in_thread(write_all, descriptor, self._with_line_ends(held))

    async def _in_thread(self, work: Callable[[*_Args], _T], *args: *_Args) -> _T:
        try:
            return await trio.to_thread.run_sync(work, *args, limiter=self._thread)
        except OSError as error:
            raise _DiskTrouble(error) from error

    # --- Verdicts ---

    def _verdict(self, letter: Letter) -> Verdict:
        if letter.error:
            return self._verdict_of(letter.error)
        return Verdict.accepted(printable(f"written to {letter.place.final}"), site=self._site)

    def _verdict_of(self, error: OSError) -> Verdict:
        reply = printable(f"{error.strerror or error}: {error.filename or self._settings.folder}")
        if error.errno in _LOCAL:
            return Verdict.postponed(reply)
        status = _STATUS.get(error.errno or 0, "4.3.0")
        return Verdict.deferred(reply, status=status, scope=Scope.TRANSPORT, site=self._site)

    @property
    def _site(self) -> str:
        return f"file:{self._settings.folder}"


_LOCAL = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})
_STATUS = {
    errno.ENOSPC: "4.3.1",  # RFC 3463: mail system full
    errno.EDQUOT: "4.3.1",
    errno.EACCES: "4.3.5",  # mail system incorrectly configured
    errno.EPERM: "4.3.5",
    errno.EROFS: "4.3.5",
    errno.ENOTDIR: "4.3.5",
}
_UNKNOWN = Verdict.in_doubt("the disk did not answer in time")


def _trace(sender: str, address: str) -> bytes:
    """Return-Path as final delivery writes it (RFC 5321 section 4.4), and for whom this copy is."""
    lines = f"Return-Path: <{printable(sender)}>\r\nDelivered-To: {printable(address)}\r\n"
    return lines.encode()
