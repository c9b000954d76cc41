"""Puts a `Disk` under the store: a VFS for SQLite, and stand-ins for the calls of `os` that the spool's own files go through.

Everything happens on the real files as well, by SQLite's own unix VFS, so that locks, shared memory and two connections are what
they are in production.  Directory syncs are those of that VFS: with the first sync of a journal or log that it opened, and with
a deletion where SQLite asks for it (seen with strace on SQLite 3.54.1).
"""

from __future__ import annotations

import errno
import itertools
import os
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import apsw
from power_disk import Disk, parent_of

__all__ = ["mounted"]

_JOURNALS = apsw.SQLITE_OPEN_MAIN_JOURNAL | apsw.SQLITE_OPEN_SUPER_JOURNAL | apsw.SQLITE_OPEN_WAL
_EXTENDED = {
    "write": apsw.SQLITE_IOERR_WRITE,
    "sync": apsw.SQLITE_IOERR_FSYNC,
    "truncate": apsw.SQLITE_IOERR_TRUNCATE,
    "remove": apsw.SQLITE_IOERR_DELETE,
}
_numbers = itertools.count()


@contextmanager
def mounted(disk: Disk) -> Generator[Callable[[str], apsw.Connection]]:
    """Have everything under the disk's root happen on the disk; gives what connects SQLite to it."""
    vfs = DiskVfs(f"disk-{next(_numbers)}", disk)
    calls = _Calls(disk)
    names = ("open", "fsync", "fdatasync", "pwrite", "replace", "unlink", "mkdir")
    try:
        with (
            mock.patch.multiple(os, **{name: getattr(calls, name) for name in names}),
            mock.patch.object(sys, "unraisablehook", _unless_expected(sys.unraisablehook)),
        ):
            yield lambda path: apsw.Connection(path, vfs=vfs.name)
    finally:
        vfs.unregister()


def _unless_expected(hook: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """SQLite closes what it can on a disk that fails; apsw tells the errors that nobody could be told of."""

    def told(unraisable: Any) -> None:
        if not isinstance(unraisable.exc_value, apsw.IOError):
            hook(unraisable)

    return told


# --- SQLite's files ---


class DiskVfs(apsw.VFS):
    """slept_seconds: how long SQLite waited for locks, which costs no time here."""

    def __init__(self, name: str, disk: Disk) -> None:
        self.name = name
        self._disk = disk
        self.slept_seconds = 0.0
        super().__init__(name, "unix")

    def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        known = self._disk.name_of(path) if path else None
        if known is None:
            return apsw.VFSFile("unix", name, flags)
        with _as_sqlite("open"):
            if not self._disk.has(known):
                self._disk.create(known)
        self._disk.is_told(known)
        return DiskFile(name, flags, self._disk, known)

    def xDelete(self, filename: str, syncdir: bool) -> None:
        known = self._disk.name_of(filename)
        if known is not None and self._disk.has(known):
            with _as_sqlite("remove"):
                self._disk.remove(known)
        super().xDelete(filename, False)
        if known is not None and syncdir:
            with _as_sqlite("sync"):
                self._disk.sync_folder(parent_of(known))

    def xSleep(self, microseconds: int) -> int:
        self.slept_seconds += microseconds / 1e6
        return microseconds


class DiskFile(apsw.VFSFile):
    def __init__(self, name: Any, flags: list[int], disk: Disk, known: str) -> None:
        self._disk = disk
        self._known = known
        self._syncs_folder = bool(flags[0] & apsw.SQLITE_OPEN_CREATE and flags[0] & _JOURNALS)
        super().__init__("unix", name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:
        with _as_sqlite("write"):
            self._disk.write(self._known, offset, bytes(data))
        super().xWrite(data, offset)

    def xTruncate(self, newsize: int) -> None:
        with _as_sqlite("truncate"):
            self._disk.truncate(self._known, newsize)
        super().xTruncate(newsize)

    def xSync(self, flags: int) -> None:
        with _as_sqlite("sync"):
            self._disk.sync(self._known)
            if self._syncs_folder:
                self._disk.sync_folder(parent_of(self._known))
        self._syncs_folder = False
        super().xSync(flags)


@contextmanager
def _as_sqlite(action: str) -> Generator[None]:
    """What the unix VFS makes of an error of the system."""
    try:
        yield
    except OSError as error:
        if action == "open":
            raise apsw.CantOpenError(str(error)) from error
        if action == "write" and error.errno == errno.ENOSPC:
            raise apsw.FullError("database or disk is full") from error
        translated = apsw.IOError(f"disk I/O error: {error.strerror} ({action})")
        translated.extendedresult = _EXTENDED[action]
        raise translated from error


# --- the spool's own files ---

_open, _fsync, _pwrite = os.open, os.fsync, os.pwrite
_replace, _unlink, _mkdir = os.replace, os.unlink, os.mkdir


class _Calls:
    """Stand-ins for functions of `os`: what lies on the disk is told to it first, all else goes through."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._opened: dict[int, str] = {}

    def open(self, path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        name = self._disk.name_of(path) if dir_fd is None and not isinstance(path, int) else None
        is_made = bool(name and flags & os.O_CREAT)
        if name and is_made and not self._disk.has(name):
            self._disk.create(name)
        descriptor = _open(path, flags, mode, dir_fd=dir_fd)
        if name and is_made:
            self._disk.is_untold(name)
        self._opened.pop(descriptor, None)
        if name is not None:
            self._opened[descriptor] = name
        return descriptor

    def fsync(self, descriptor: Any) -> None:
        name = self._opened.get(descriptor)
        if name is None:
            _fsync(descriptor)
        elif (self._disk.root / name).is_dir():
            self._disk.sync_folder(name)
        else:
            self._disk.sync(name)

    fdatasync = fsync

    def pwrite(self, descriptor: int, octets: bytes, offset: int) -> int:
        name = self._opened.get(descriptor)
        if name is not None:
            self._disk.write(name, offset, bytes(octets))
        return _pwrite(descriptor, octets, offset)

    def replace(self, path: Any, to: Any) -> None:
        names = self._disk.name_of(path), self._disk.name_of(to)
        if names[0] and names[1]:
            self._disk.rename(names[0], names[1])
        _replace(path, to)

    def unlink(self, path: Any, *, dir_fd: int | None = None) -> None:
        name = self._disk.name_of(path) if dir_fd is None else None
        if name and self._disk.has(name):
            self._disk.remove(name)
        _unlink(path, dir_fd=dir_fd)

    def mkdir(self, path: Any, mode: int = 0o777, *, dir_fd: int | None = None) -> None:
        name = self._disk.name_of(path) if dir_fd is None else None
        if name and not os.path.lexists(path) and os.path.isdir(os.path.dirname(os.path.abspath(path))):
            self._disk.create(name, is_folder=True)
        _mkdir(path, mode, dir_fd=dir_fd)
