"""How far a spool has come, in a file beside it: a database that is behind that was restored from a backup.

Only what is committed already is written there, so that neither a kill nor a power failure puts the file ahead of the
database; that it may be behind does no harm, so it is never synced.  Its existence is durable before the first life's first
commit: where it is missing beside a database that has lived, the database was put there without it.  Synchronous; asked by
`opening.py` and `housekeeping.py`.  See docs/decisions/restored-spools.md.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

from .errors import StoreError, remedy_of
from .spool import sync_folder

__all__ = ["Progress", "Reached"]

_START = "{:010} {:012} "  # always as long, so that it is written over itself
_OCTETS = 32


class Progress(NamedTuple):
    """life: the number of an engine's life.  clock: how far its clock had come, Unix seconds; it never goes back in a life."""

    life: int
    clock: int


_NOWHERE = Progress(0, 0)


class Reached:
    """The file.  path: None where the spool is no file; then nothing is kept, and nothing counts as restored.

    Raises StoreError where the file is there and cannot be read.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._is_missing = False
        self._last = _NOWHERE
        if path is not None:
            try:
                self._last = _progress_in(path.read_bytes()[:_OCTETS])
            except FileNotFoundError:
                self._is_missing = True
            except OSError as error:
                raise _unusable(path, error) from error

    @property
    def life(self) -> int:
        """The last life that is known to have been here, 0 where none is."""
        return self._last.life

    def is_ahead_of(self, known: Progress) -> bool:
        """Whether the database, which has come as far as `known`, is older than what ran here.  One without a life never is."""
        return self._path is not None and known.life > 0 and (self._is_missing or known < self._last)

    def make(self) -> None:
        """Have the file, durably."""
        if self._path is None:
            return
        try:
            os.close(os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
            sync_folder(self._path.parent)
        except OSError as error:
            raise _unusable(self._path, error) from error
        self._is_missing = False

    def note(self, progress: Progress) -> None:
        """Write down what is committed.  A file that cannot be written stays behind; one that was deleted is not made again."""
        self._last = progress
        if self._path is None:
            return
        start = _START.format(*progress).encode()
        try:
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CLOEXEC)
        except OSError:
            return
        try:
            os.pwrite(descriptor, b"%s%08x" % (start, crc32(start)), 0)
        except OSError:
            return
        finally:
            os.close(descriptor)


def _progress_in(octets: bytes) -> Progress:
    """What stands there; a file that is empty or damaged says nothing."""
    start, sum = octets[:-8], octets[-8:]
    if len(octets) != _OCTETS or sum != b"%08x" % crc32(start):
        return _NOWHERE
    life, clock = start.split()
    return Progress(int(life), int(clock))


def _unusable(path: Path, error: OSError) -> StoreError:
    return StoreError(f"the file {path} cannot be used: {remedy_of(error)}")
