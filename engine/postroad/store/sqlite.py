"""The durable store: one SQLite file, written by one connection and asked by another.

`apply` is one transaction, durable when it returns (WAL, synchronous FULL).  After an I/O error nothing is known about what
the file holds, so the store refuses all further writing; it never tries a failed sync again.  Never open the file with the
standard library's sqlite3 in the same process: two SQLite libraries break each other's locks.  See docs/store.md.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import apsw

from ..errors import SpoolDamaged, StoreBroken, StoreError, StoreFull
from ..log import get_logger
from .contract import ContentPlace, Filter, LaneDue, Operation, Recover, Result, StoredMessage, Tally, sent_again
from .sqlite_damage import Doubt, mend
from .sqlite_log import PAGE_BYTES
from .sqlite_open import BUSY_MILLISECONDS, is_read_at_once, make_room, open_second, open_spool, remedy
from .sqlite_port import Connect, connect
from .sqlite_reader import Reader
from .sqlite_rows import Contradiction, Unreadable
from .sqlite_writer import Writer
from .states import State

__all__ = ["SqliteStore", "sqlite_store"]

_ROOM_BYTES = 4 << 20  # of the log, made once it is there
# Log worth folding in when nobody waits, or when so many commits wrote it that folding in costs little beside them: then small
# ones go on in a log that need not grow.
_IDLE_PAGES = (4 << 20) // PAGE_BYTES
_BUSY_COMMITS = 64
_BUSY_PAGES = (64 << 20) // PAGE_BYTES  # log that is folded in in any case: reading it back gets slow
_HUGE_PAGES = (512 << 20) // PAGE_BYTES  # log whose file is cut, too
_AGAIN = (
    "look after its disk, then start the engine again; `postroad check --spool` reads everything, and "
    "`postroad salvage` saves what it can"
)
_CHECK = "`postroad check --spool` names the message"
_IN_THE_WAY = (Unreadable, Contradiction, UnicodeDecodeError, apsw.ConstraintError)
_DAMAGE = (apsw.CorruptError, apsw.NotADBError)
_UNTRUSTWORTHY = (apsw.IOError, *_DAMAGE)  # the file no longer holds what was written


_log = get_logger()


class SqliteStore:
    """A Store in one file.  `apply` and `maintain` belong to one thread, the questions may come from others.

    connect: makes a connection from a path.  exclusive: one connection for everything, locked for good; for file systems
    without shared memory (a simulated disk).
    """

    threaded = True

    def __init__(self, path: Path, *, connect: Connect = connect, exclusive: bool = False) -> None:
        self._path = path
        self._pid = os.getpid()
        self._writing = threading.Lock()
        self._writer = open_spool(path, connect, exclusive=exclusive)
        self._log_pages = 0  # of the WAL; the writing thread only
        self._folded_pages = 0  # of these, already in the main file
        self._commits = 0  # since something was folded in
        self._has_room = False  # in the log's file, for what comes
        self._doubt: Doubt = sent_again  # what the last Recover said
        self._broken: str | None = None
        self._closed = False
        self._writer.set_wal_hook(self._log_grew)
        try:
            self._second = self._writer if exclusive else open_second(path, connect)
            self._reader = Reader(self._second, self._writing if exclusive else threading.Lock())
            self._tally = self._reader.tally()
            self._is_damaged = is_read_at_once(path) and self._reader.is_damaged()
        except BaseException:
            self._writer.close()
            raise

    def apply(self, operations: Sequence[Operation]) -> list[Result]:
        """A damaged row that stands in the way is mended or parked first, in a transaction of its own, and named in the log."""
        with self._writing:
            recover = next((each for each in operations if isinstance(each, Recover)), None)
            if recover:
                self._doubt = recover.doubt
            if self._is_damaged and recover:
                self._is_damaged = False
                self._mend()
            try:
                return self._apply(operations)
            except _IN_THE_WAY as error:
                if not self._mend():
                    raise StoreError(f"the spool {self._path} holds what cannot be read: {error}; {_CHECK}") from error
            try:
                return self._apply(operations)
            except _IN_THE_WAY as error:
                raise StoreError(f"the spool {self._path} holds what cannot be mended: {error}; {_CHECK}") from error

    def _apply(self, operations: Sequence[Operation]) -> list[Result]:
        with self._transaction():
            writer = Writer(self._writer)
            results = writer.run(operations)
        self._tally = writer.tally()
        return results

    def _mend(self) -> bool:
        """Whether there was something to mend.  Each time it reads everything, in large spools for seconds."""
        with self._transaction():
            mended = mend(self._writer, self._doubt)
        for damage in mended:
            _log.error(damage.event, id=damage.id, problem=damage.problem, hint=_CHECK)
        return bool(mended)

    @contextmanager
    def _transaction(self) -> Generator[None]:
        self._refuse_if_unusable()
        try:
            self._writer.execute("BEGIN IMMEDIATE")
            yield
            self._writer.execute("COMMIT")
        except apsw.ConstraintError:
            raise  # a row that is written back with a damaged column
        except apsw.Error as error:
            raise self._failed(error) from error
        finally:
            self._roll_back()

    def maintain(self, *, idle: bool) -> None:
        """Make room for the log at first, and fold it into the main file when it has grown; cheap when it has not.

        Called by the thread that applies, after each commit (idle False) and when there is nothing to do (idle True).
        Raises StoreError when that fails; the log is kept then.
        """
        with self._writing:
            self._refuse_if_unusable()
            try:
                if self._log_pages and not self._has_room:  # a log without header, but zeros, would be a damaged one
                    self._has_room = True  # or there is none to be had
                    make_room(self._path, self._writer, _ROOM_BYTES)
                if self._is_worth_folding(idle=idle):
                    self._fold()
            except apsw.BusyError:
                return  # a reader is still on an old page; the next call tries again
            except apsw.Error as error:
                raise self._failed(error) from error

    def _is_worth_folding(self, *, idle: bool) -> bool:
        waiting = self._log_pages - self._folded_pages
        return waiting >= (_IDLE_PAGES if idle or self._commits >= _BUSY_COMMITS else _BUSY_PAGES)

    def _fold(self) -> None:
        self._commits = 0
        if self._log_pages < _HUGE_PAGES:
            self._log_pages, self._folded_pages = self._writer.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
            return
        self._writer.set_busy_timeout(0)  # cutting waits for readers, and commits would wait with it
        self._has_room = False
        try:
            self._log_pages, self._folded_pages = self._writer.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        finally:
            self._writer.set_busy_timeout(BUSY_MILLISECONDS)

    def tally(self) -> Tally:
        return self._tally

    def recall(self, name: str) -> bytes | None:
        return self._reader.recall(name)

    def lanes(self) -> Iterator[LaneDue]:
        return self._reader.lanes()

    def message(self, id: str) -> StoredMessage | None:
        return self._reader.message(id)

    def content(self, handle: int) -> bytes | ContentPlace:
        return self._reader.content(handle)

    def failures(self, limit: int, recipients: int = 100) -> list[StoredMessage]:
        return self._reader.failures(limit, recipients)

    def delays(self, limit: int) -> list[StoredMessage]:
        return self._reader.delays(limit)

    def find(self, filter: Filter, limit: int, after: str = "") -> list[StoredMessage]:
        return self._reader.find(filter, limit, after)

    def counts(self) -> Mapping[State, int]:
        return self._reader.counts()

    def doubts(self) -> int:
        return self._reader.doubts()

    def content_files(self) -> frozenset[str]:
        return self._reader.content_files()

    def check(self) -> list[str]:
        return self._reader.check()

    def close(self) -> None:
        """Close both connections; the last one folds the log in.  Closing twice does no harm."""
        with self._writing:
            if self._closed:
                return
            self._closed = True
            self._writer.set_wal_hook(None)
            try:
                try:
                    self._second.close()
                finally:
                    self._writer.close()
            except apsw.Error as error:
                raise StoreError(f"the spool {self._path} was not closed cleanly: {error}") from error

    def _log_grew(self, connection: object, name: str, pages: int) -> int:
        if pages < self._log_pages:
            self._folded_pages = 0  # the log begins anew
        self._log_pages = pages
        self._commits += 1
        return apsw.SQLITE_OK

    def _refuse_if_unusable(self) -> None:
        if self._closed:
            raise StoreError("the store is closed")
        if self._broken:
            raise StoreBroken(
                f"the spool {self._path} failed before and is not written any more: {self._broken}; {_AGAIN}"
            )
        if os.getpid() != self._pid:
            raise StoreError("a spool must not be used across a fork; open it in the child")

    def _failed(self, error: apsw.Error) -> StoreError:
        if (
            getattr(error, "extendedresult", 0) == apsw.SQLITE_IOERR_SHMSIZE
        ):  # the log's index could not grow: nothing was written
            return StoreFull(f"the spool {self._path} cannot be written: {error}{remedy(apsw.FullError())}")
        if isinstance(error, _UNTRUSTWORTHY):
            self._broken = str(error)
            self._leave_log()
            kind = SpoolDamaged if isinstance(error, _DAMAGE) else StoreBroken
            return kind(f"the spool {self._path} cannot be trusted any more: {error}; {_AGAIN}")
        if isinstance(error, apsw.FullError):
            return StoreFull(f"the spool {self._path} cannot be written: {error}{remedy(error)}")
        return StoreError(f"the spool {self._path} cannot be written: {error}{remedy(error)}")

    def _leave_log(self) -> None:
        """Closing shall not fold the log in, which begins with the sync that failed; the next opening writes it anew."""
        self._writer.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)

    def _roll_back(self) -> None:
        """End a transaction that is still open.  Where even that fails the connection's state is unknown."""
        if not self._writer.in_transaction:
            return
        try:
            self._writer.execute("ROLLBACK")
        except apsw.Error as error:
            self._broken = f"roll-back failed: {error}"


@contextmanager
def sqlite_store(
    url: str, *, folder: str | os.PathLike[str], connect: Connect = connect, exclusive: bool = False
) -> Generator[SqliteStore]:
    """A StoreFactory for `sqlite:`; url is the path of the spool.  The content folder is not touched here."""
    store = SqliteStore(Path(url), connect=connect, exclusive=exclusive)
    try:
        yield store
    finally:
        store.close()
