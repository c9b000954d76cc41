"""A message's content, by reference: in memory while it is fresh, else read back from the spool when a transport asks.

`ContentCache` bounds what is kept in memory.  Large contents lie in files of the spool's content folder and are read in pieces.
What is read back is compared with its checksum first: nobody is given a single octet of a content that is damaged.
Who reads pieces right after that finds them in the system's memory: they are taken from there without a thread (preadv2(2)).
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from io import FileIO
from pathlib import Path
from typing import Protocol

import trio

from .checksum import FILE_GONE, content_flaw, open_file_flaw
from .errors import ContentDamaged, StoreError
from .message import Message
from .store.contract import ContentPlace, Store
from .store.executor import StoreExecutor
from .transport import Content

__all__ = ["ContentCache", "LeasedContent", "SpoolContent", "in_pieces"]

_PIECE = 65_536
_NOWAIT: int | None = getattr(os, "RWF_NOWAIT", None)  # Linux, and a C library that knows of it


class LeasedContent(Content, Protocol):
    """A content that remembers what was found wrong with it when it was read, "" for nothing."""

    damage: str


def in_pieces(content: bytes) -> list[bytes]:
    """Cut content into pieces of at most 64 KiB."""
    return [content[start : start + _PIECE] for start in range(0, len(content), _PIECE)]


class ContentCache:
    """Contents at hand, at most so many octets; the oldest go first.  Only used by tasks of the engine."""

    def __init__(self, octets: int) -> None:
        self._limit = octets
        self._held = 0
        self._contents: OrderedDict[int, bytes] = OrderedDict()

    @property
    def free(self) -> int:
        return max(0, self._limit - self._held)

    def put(self, handle: int, content: bytes) -> None:
        if len(content) > self._limit or handle in self._contents:
            return
        self._contents[handle] = content
        self._held += len(content)
        while self._held > self._limit:
            _, dropped = self._contents.popitem(last=False)
            self._held -= len(dropped)

    def get(self, handle: int) -> bytes | None:
        return self._contents.get(handle)

    def drop(self, handle: int) -> None:
        content = self._contents.pop(handle, None)
        if content is not None:
            self._held -= len(content)


class SpoolContent:
    """The content of one message in the spool (see `postroad.transport.Content`).

    damage: what was found wrong with it, "" for nothing.  Every way to read it then raises ContentDamaged.
    """

    __slots__ = ("_cache", "_executor", "_handle", "_message", "_path_of", "damage", "size")

    def __init__(
        self,
        handle: int,
        message: Message,
        cache: ContentCache,
        executor: StoreExecutor,
        path_of: Callable[[ContentPlace], Path],
    ) -> None:
        self.size = message.size
        self.damage = ""
        self._message = message
        self._handle = handle
        self._cache = cache
        self._executor = executor
        self._path_of = path_of

    def read_nowait(self) -> bytes | None:
        return self._cache.get(self._handle)

    async def read(self) -> bytes:
        found = await self._find()
        if isinstance(found, bytes):
            return found
        async with self._opened(found) as pieces:
            return b"".join([piece async for piece in pieces])

    async def _find(self) -> bytes | ContentPlace:
        content = self._cache.get(self._handle)
        if content is not None:
            return content
        handle = self._handle

        def ask(store: Store) -> bytes | ContentPlace:
            return store.content(handle)

        try:
            found = await self._executor.ask(ask)
        except ContentDamaged as error:
            self.damage = str(error)
            raise
        if isinstance(found, bytes):
            self._refuse(content_flaw(self._message, found))
        return found

    def _refuse(self, flaw: str) -> None:
        if flaw:
            self.damage = f"its content is damaged: {flaw}"
            raise ContentDamaged(self.damage)

    @asynccontextmanager
    async def chunks(self) -> AsyncGenerator[AsyncIterator[bytes], None]:
        found = await self._find()
        if isinstance(found, bytes):
            yield _FromMemory(found)
            return
        async with self._opened(found) as pieces:
            yield pieces

    @asynccontextmanager
    async def _opened(self, place: ContentPlace) -> AsyncGenerator[AsyncIterator[bytes], None]:
        """A file is read twice: before its first piece is given, its checksum is known."""
        try:
            path = self._path_of(place)
        except StoreError as error:
            self._refuse(str(error))
            raise
        try:
            file, flaw = await trio.to_thread.run_sync(_open_compared, self._message, path)
        except OSError as error:
            self._refuse(FILE_GONE if isinstance(error, FileNotFoundError) else "")
            raise _unreadable(place.name, error) from error
        with file:
            self._refuse(flaw)
            yield _FromFile(file, place.name)


def _open_compared(message: Message, path: Path) -> tuple[FileIO, str]:
    """A content's file, and what is wrong with it.  Raises OSError."""
    file = FileIO(path)
    try:
        return file, open_file_flaw(message, file)
    except BaseException:
        file.close()
        raise


def _unreadable(name: str, error: OSError) -> StoreError:
    return StoreError(f"the content file {name!r} cannot be read: {error}")


class _FromMemory:
    """The pieces of a content at hand."""

    def __init__(self, content: bytes) -> None:
        self._pieces = iter(in_pieces(content))

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        await trio.lowlevel.checkpoint()
        for piece in self._pieces:
            return piece
        raise StopAsyncIteration


class _FromFile:
    """The pieces of a file that somebody else opened and closes."""

    def __init__(self, file: FileIO, name: str) -> None:
        self._file = file
        self._name = name
        self._buffer = bytearray(_PIECE)
        self._at = 0  # octets given so far

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        await trio.lowlevel.checkpoint()
        octets = self._read_nowait()
        if octets is None:
            octets = await self._read()
        if not octets:
            raise StopAsyncIteration
        self._at += octets
        return bytes(memoryview(self._buffer)[:octets])

    def _read_nowait(self) -> int | None:
        """How many octets the system had in memory; None where the disk is to be waited for, or this system cannot tell."""
        if _NOWAIT is None:
            return None
        try:
            return self._read_at(_NOWAIT)
        except (OSError, NotImplementedError):  # what is wrong, if anything is, shows in the thread
            return None

    async def _read(self) -> int:
        try:
            return await trio.to_thread.run_sync(self._read_at, 0)
        except OSError as error:
            raise _unreadable(self._name, error) from error

    def _read_at(self, flags: int) -> int:
        return os.preadv(self._file.fileno(), [self._buffer], self._at, flags)
