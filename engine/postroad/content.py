"""A message's content, by reference: in memory while it is fresh, else read back from the spool when a transport asks.

`ContentCache` bounds what is kept in memory.  Large contents lie in files of the spool's content folder and are read in pieces.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol

import trio

from .errors import StoreError
from .store.contract import ContentPlace, Store
from .store.executor import StoreExecutor

__all__ = ["ContentCache", "SpoolContent", "in_pieces"]

_PIECE = 65_536


class _Readable(Protocol):
    async def read(self, size: int, /) -> bytes: ...


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
    """The content of one message in the spool (see `postroad.transport.Content`)."""

    __slots__ = ("_cache", "_executor", "_handle", "_path_of", "size")

    def __init__(
        self,
        handle: int,
        size: int,
        cache: ContentCache,
        executor: StoreExecutor,
        path_of: Callable[[ContentPlace], Path],
    ) -> None:
        self.size = size
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

        return await self._executor.ask(ask)

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
        try:
            file = await trio.open_file(self._path_of(place), "rb")
        except OSError as error:
            raise StoreError(f"the content file {place.name!r} cannot be read: {error}") from error
        async with file:
            yield _FromFile(file, place.name, self.size)


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
    """The pieces of a file that somebody else opened and closes; all the octets that there should be, or StoreError."""

    def __init__(self, file: _Readable, name: str, size: int) -> None:
        self._file = file
        self._name = name
        self._size = size
        self._octets = 0

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        try:
            piece = await self._file.read(_PIECE)
        except OSError as error:
            raise StoreError(f"the content file {self._name!r} cannot be read: {error}") from error
        self._octets += len(piece)
        if self._octets > self._size or (not piece and self._octets < self._size):
            raise StoreError(
                f"the content file {self._name!r} is damaged: it has {self._octets} octets instead of {self._size}"
            )
        if not piece:
            raise StopAsyncIteration
        return piece
