"""The part of an apsw connection that the SQLite store uses, and the types of what passes through it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeAlias, cast

import apsw

__all__ = ["Columns", "Connect", "Database", "Found", "connect"]

Columns: TypeAlias = tuple[Any, ...]
Values: TypeAlias = Sequence[Any] | Mapping[str, Any]


class Found(Protocol):
    """What a statement finds.  get: the only column of the only row, None where there is none."""

    def __iter__(self) -> Iterator[Columns]: ...
    def fetchone(self) -> Columns | None: ...
    def fetchall(self) -> list[Columns]: ...
    @property
    def get(self) -> Any: ...


class Database(Protocol):
    """An apsw.Connection, or what a test puts in its place."""

    def execute(self, statements: str, bindings: Values | None = None, /) -> Found: ...
    def executemany(self, statements: str, sequenceofbindings: Iterable[Values], /) -> Found: ...
    def changes(self) -> int: ...
    @property
    def in_transaction(self) -> bool: ...
    def set_busy_timeout(self, milliseconds: int, /) -> None: ...
    def set_wal_hook(self, callable: Callable[[Any, str, int], int] | None, /) -> None: ...
    def wal_checkpoint(self, dbname: str | None = None, mode: int = 0) -> tuple[int, int]: ...
    def config(self, op: int, *args: int) -> int: ...
    def close(self) -> None: ...


Connect: TypeAlias = Callable[[str], Database]


def connect(path: str) -> Database:
    """The connection that is used unless a test brings its own."""
    return cast("Database", apsw.Connection(path))
