"""Opens a spool file: makes it if it is new, refuses what is not ours or newer, and sets what durability depends on.

The order of the pragmas lost nothing in simulated power failures (docs/decisions/spool-file.md): going to WAL while
`synchronous` has its default can bring the old rollback journal back and undo the switch.
"""

from __future__ import annotations

import os
import re
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

import apsw

from ..errors import SpoolDamaged, SpoolForeign, SpoolTooNew, StoreError, remedy_of
from ..log import get_logger
from . import sql
from .sqlite_log import PAGE_BYTES, lost_commits
from .sqlite_port import Connect, Database

__all__ = [
    "BUSY_MILLISECONDS",
    "is_read_at_once",
    "make_room",
    "open_second",
    "open_spool",
    "remedy",
    "require_sqlite",
    "sync_folder",
]

_OLDEST_SQLITE = (3, 51, 3)  # before it, a checkpoint beside a writer could corrupt a WAL
BUSY_MILLISECONDS = 10_000  # a backup or a scanner may hold the file; longer is trouble
_CACHE_KIB = 8192
_QUICK_CHECK_BYTES = 64 << 20  # checking so much takes 0.5 s; larger spools are read by `postroad check`
_DAMAGED = (
    "nothing was changed: look after its disk, keep a copy of the folder, then `postroad salvage` or restore a backup"
)
_REMEDIES: dict[type[apsw.Error], str] = {
    apsw.ReadOnlyError: "let this user write it and its folder, or name another place in [spool] url",
    apsw.CantOpenError: "this user must be able to write its folder, and the process to open more files (ulimit -n)",
    apsw.FullError: "free some room on its disk",
    apsw.BusyError: "end the program that keeps it locked (a backup, a scanner)",
}
_OF_A_ROW = re.compile(r"(NULL|NUMERIC|TEXT|non-\w+) value in \w+\.\w+|CHECK constraint failed in \w+")
_OF_AN_INDEX = re.compile(r"(?:missing from|entries in|entry in|differ from|of) index (\w+)$")
_COPIED_BYTES = 1 << 20  # at once
_ZEROS = 1 << 16  # at once

_log = get_logger()

_FOR_WRITING = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA fullfsync = ON",  # macOS: fsync alone does not reach the disk
    "PRAGMA checkpoint_fullfsync = ON",
    "PRAGMA wal_autocheckpoint = 0",  # checkpoints stay off the commit path, see SqliteStore.maintain
)
_FOR_READING = (
    "PRAGMA mmap_size = 0",  # an I/O error in a mapped file is a SIGBUS
    f"PRAGMA cache_size = -{_CACHE_KIB}",
    "PRAGMA temp_store = MEMORY",
    "PRAGMA trusted_schema = OFF",
    "PRAGMA cell_size_check = ON",
)


def require_sqlite() -> None:
    """Refuse a SQLite that can corrupt a WAL."""
    major, minor, patch = (int(part) for part in apsw.sqlite_lib_version().split(".")[:3])
    if (major, minor, patch) < _OLDEST_SQLITE:
        raise StoreError(
            f"SQLite {apsw.sqlite_lib_version()} can corrupt a spool (its WAL-reset bug); install apsw 3.51.3 or newer"
        )


def open_spool(path: Path, connect: Connect, *, exclusive: bool) -> Database:
    """The writing connection of the spool at `path`, which exists afterwards, durably.

    Raises StoreError: SpoolDamaged, SpoolForeign, or SpoolTooNew for a spool of a later version.
    """
    require_sqlite()
    try:
        _make_file(path)
        lost = lost_commits(path)
        if lost:
            raise SpoolDamaged(f"the spool {path} is damaged: {lost}; {_DAMAGED}")
        connection = connect(str(path))
        try:
            _set_up(path, connection, exclusive=exclusive)
            _renew_log(path, connection)
            _check_file(path, connection)
        except BaseException:
            connection.close()
            raise
        sync_folder(path.parent)
    except (apsw.CorruptError, apsw.NotADBError, apsw.ConstraintError) as error:
        raise SpoolDamaged(f"the spool {path} cannot be opened: {error}; {_DAMAGED}") from error
    except OSError as error:
        raise StoreError(f"the spool {path} cannot be opened: {remedy_of(error)}") from error
    except apsw.Error as error:
        raise StoreError(f"the spool {path} cannot be opened: {error}{remedy(error)}") from error
    return connection


def remedy(error: apsw.Error) -> str:
    """What to do about it, behind a semicolon; "" where that is not known."""
    for kind, what in _REMEDIES.items():
        if isinstance(error, kind):
            return f"; {what}"
    return ""


def open_second(path: Path, connect: Connect) -> Database:
    """A connection beside the writing one, for questions only."""
    try:
        connection = connect(str(path))
        connection.set_busy_timeout(BUSY_MILLISECONDS)
        for pragma in (*_FOR_READING, "PRAGMA query_only = ON"):
            connection.execute(pragma)
    except apsw.Error as error:
        raise StoreError(f"the spool {path} cannot be opened a second time: {error}{remedy(error)}") from error
    return connection


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _make_file(path: Path) -> None:
    """Create the file for its owner alone; SQLite gives its companions the same mode."""
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))


def _set_up(path: Path, connection: Database, *, exclusive: bool) -> None:
    connection.set_busy_timeout(BUSY_MILLISECONDS)
    connection.execute("PRAGMA locking_mode = " + ("EXCLUSIVE" if exclusive else "NORMAL"))
    _refuse_foreign(path, connection)
    connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
    connection.execute("PRAGMA synchronous = EXTRA")
    for pragma in (*_FOR_WRITING, *_FOR_READING):
        connection.execute(pragma)
    if connection.execute("PRAGMA journal_mode").get != "wal":
        raise StoreError("SQLite cannot keep a write-ahead log here; put the spool on a local disk")
    _make_schema(connection)


def _refuse_foreign(path: Path, connection: Database) -> None:
    """Leave alone what another program or a later version wrote."""
    if connection.execute("PRAGMA schema_version").get == 0:
        return  # nothing was ever written here
    if connection.execute("PRAGMA application_id").get != sql.APPLICATION_ID:
        raise SpoolForeign(f"{path} is a database of another program, not a spool; name another path in [spool] url")
    version = connection.execute("PRAGMA user_version").get
    if version > sql.SCHEMA_VERSION:
        raise SpoolTooNew(
            f"the spool {path} has version {version}, and this Postroad knows up to {sql.SCHEMA_VERSION}; "
            "use the newer Postroad"
        )


def _make_schema(connection: Database) -> None:
    """Make a new spool in one transaction, which a second process may have won."""
    connection.execute("BEGIN IMMEDIATE")
    with_schema = connection.execute("PRAGMA schema_version").get != 0
    for statement in () if with_schema else sql.SCHEMA:
        connection.execute(statement)
    if not with_schema:
        connection.execute(f"PRAGMA application_id = {sql.APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {sql.SCHEMA_VERSION}")
    connection.execute("COMMIT")


def _renew_log(path: Path, connection: Database) -> None:
    """Write the log over itself and sync it: an earlier life may have left commits that were never synced.

    They can be read, and would be built on; after a sync that failed only writing them again brings them to the disk.
    """
    with _log_held(path, connection) as descriptor:
        _write_over(descriptor)


@contextmanager
def _log_held(path: Path, connection: Database) -> Generator[int]:
    """A descriptor of the log, which nobody else writes meanwhile."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        descriptor = os.open(path.with_name(path.name + "-wal"), os.O_RDWR | os.O_CLOEXEC)
        try:
            yield descriptor
        finally:
            os.close(descriptor)
    finally:
        connection.execute("ROLLBACK")


def _write_over(descriptor: int) -> None:
    offset = 0
    while octets := os.pread(descriptor, _COPIED_BYTES, offset):
        offset += os.pwrite(descriptor, octets, offset)
    os.fsync(descriptor)


def make_room(path: Path, connection: Database, octets: int) -> None:
    """Write zeros behind the end of the log until it has so many octets, and sync them.

    A commit that makes the file grow waits for the file system's own journal, too; one that writes over what is
    there does not.  SQLite takes zeros for the log's end, as it takes what an earlier run left there: they lack the
    run's salt.  Where the disk has no room for them, or the process no descriptor, the log goes without.  Raises
    apsw.IOError when the sync fails.
    """
    with suppress(OSError), _log_held(path, connection) as descriptor:
        end = os.fstat(descriptor).st_size
        if end < octets and _has_written_zeros(descriptor, end, octets):
            _sync_room(descriptor)


def _sync_room(descriptor: int) -> None:
    try:
        os.fsync(descriptor)
    except OSError as error:
        raise apsw.IOError(f"the log cannot be synced: {error}") from error


def _has_written_zeros(descriptor: int, start: int, end: int) -> bool:
    try:
        for offset in range(start, end, _ZEROS):
            os.pwrite(descriptor, bytes(min(_ZEROS, end - offset)), offset)
    except OSError:
        os.ftruncate(descriptor, start)  # others need what little is left
        return False
    return True


def is_read_at_once(path: Path) -> bool:
    """Whether opening looks at everything.  In larger spools damage is met where it is read."""
    return path.stat().st_size <= _QUICK_CHECK_BYTES


def _check_file(path: Path, connection: Database) -> None:
    """Refuse damaged pages, and make indexes anew that differ from their rows: what they do not lead to would wait for ever.

    A row with a value that does not belong there keeps nobody out: it is parked.
    """
    if not is_read_at_once(path):
        return
    mended: set[str] = set()
    while (problems := _problems(connection)) and (indexes := _all_indexes(problems)) - mended:
        for name in sorted(indexes):
            connection.execute(f'REINDEX "{name}"')
        _log.error("mended", id="", problem=f"indexes differed from their rows: {', '.join(sorted(indexes))}")
        mended |= indexes
    if problems:
        raise SpoolDamaged(f"the spool {path} is damaged: {'; '.join(problems[:3])}; {_DAMAGED}")


def _problems(connection: Database) -> list[str]:
    found = [text for (text,) in connection.execute(sql.INTEGRITY) if text != "ok"]
    return [text for text in found if not _OF_A_ROW.fullmatch(text)]


def _all_indexes(problems: list[str]) -> set[str]:
    """The indexes that the problems are about; none where one is about anything else."""
    found = [_OF_AN_INDEX.search(text) for text in problems]
    return {match[1] for match in found if match} if all(found) else set()
