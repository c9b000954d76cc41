"""The questions that the SQLite store answers, on a connection of their own, as of the last commit.

It never writes.  Each question holds the connection's guard only while it reads, and returns whole lists.
"""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import apsw

from ..errors import StoreError
from . import rows, sql
from .contract import ContentPlace, Filter, LaneDue, StoredMessage, Tally
from .sqlite_port import Columns, Database
from .sqlite_rows import Unreadable, message_of, place_of, row_of, stored
from .states import State

__all__ = ["Reader"]

_NAMED_PROBLEMS = 100  # of one kind; a wrecked spool would name millions


class Reader:
    """Answers questions.  `guard` keeps the connection to one thread at a time."""

    def __init__(self, connection: Database, guard: threading.Lock) -> None:
        self._connection = connection
        self._guard = guard

    @contextmanager
    def _snapshot(self) -> Generator[Database]:
        """A view of one commit, for questions that take several statements."""
        with self._guard, _as_store_error():
            self._connection.execute("BEGIN")
            try:
                yield self._connection
            finally:
                self._connection.execute("ROLLBACK")

    def _first(self, statement: str, *values: Any) -> Any:
        with self._guard, _as_store_error():
            return self._connection.execute(statement, values).get

    def _all(self, statement: str, *values: Any) -> list[Columns]:
        with self._guard, _as_store_error():
            return self._connection.execute(statement, values).fetchall()

    def tally(self) -> Tally:
        ((messages, recipients, content_bytes, _),) = self._all(sql.SPOOL)
        return Tally(messages, recipients, content_bytes)

    def recall(self, name: str) -> bytes | None:
        found: bytes | None = self._first(sql.FACT, name)
        return found

    def lanes(self) -> Iterator[LaneDue]:
        return iter([LaneDue(lane, due) for lane, due in self._all(sql.LANES)])

    def message(self, id: str) -> StoredMessage | None:
        with self._snapshot() as connection:
            found = connection.execute(sql.MESSAGE_BY_ID, (id,)).fetchone()
            return None if found is None else _with_rows(connection, found, sql.ROWS_OF, found[0])

    def content(self, handle: int) -> bytes | ContentPlace:
        with self._snapshot() as connection:
            file, unfinished = connection.execute(sql.CONTENT_FILE, (handle,)).fetchone() or (None, 0)
            found: bytes | None = None if file else connection.execute(sql.CONTENT, (handle,)).get
        place = ContentPlace(file) if file else found
        if not unfinished or place is None:
            raise StoreError(f"the content of message {handle} is gone")
        return place

    def failures(self, limit: int, recipients: int) -> list[StoredMessage]:
        answer: list[StoredMessage] = []
        with self._snapshot() as connection:
            place = connection.execute(sql.NEXT_FAILED, (0,)).get
            while place is not None and len(answer) < limit:
                handle = place >> sql.NUMBER_BITS
                found = connection.execute(sql.MESSAGE_BY_HANDLE, (handle,)).fetchone()
                if found:
                    answer.append(_with_rows(connection, found, sql.FAILED_OF, handle, recipients))
                place = connection.execute(sql.NEXT_FAILED, (place_of(handle + 1, 0),)).get
        return answer

    def delays(self, limit: int) -> list[StoredMessage]:
        with self._snapshot() as connection:
            found = connection.execute(sql.DELAYED, (limit,)).fetchall()
            return [_with_rows(connection, columns, sql.UNFINISHED_ROWS_OF, columns[0]) for columns in found]

    def find(self, filter: Filter, limit: int, after: str) -> list[StoredMessage]:
        texts, values = sql.conditions(filter, rows.state_filter(filter, frozenset(State)))
        statement = sql.filtered(sql.FIND if filter.id is None else sql.FIND_ID, texts)
        with self._snapshot() as connection:
            found = connection.execute(statement, {**values, "limit": limit, "after": after}).fetchall()
            return [_with_rows(connection, columns, sql.ROWS_OF, columns[0]) for columns in found]

    def counts(self) -> Mapping[State, int]:
        return {State(state): count for state, count in self._all(sql.COUNT_STATES)}

    def doubts(self) -> int:
        found: int = self._first(sql.COUNT_DOUBTS)
        return found

    def check(self) -> list[str]:
        """Read everything.  What cannot be read is a problem too, never an exception."""
        try:
            with self._snapshot() as connection:
                return list(_problems(connection))
        except StoreError as error:
            return [f"The spool cannot be read to its end: {error}."]


def _with_rows(connection: Database, found: Columns, statement: str, *values: int) -> StoredMessage:
    return stored(found, [row_of(columns) for columns in connection.execute(statement, values)])


@contextmanager
def _as_store_error() -> Generator[None]:
    try:
        yield
    except (apsw.Error, UnicodeDecodeError) as error:
        raise StoreError(f"the spool cannot be read: {error}; `postroad check --spool` says what is wrong") from error


_LISTED = (
    (sql.MISCOUNTED, "Message {}: its count of recipients is wrong."),
    (sql.WITHOUT_CONTENT, "Message {} is unfinished, and its content is missing."),
    (sql.CONTENT_WITHOUT_MESSAGE, "Content {} belongs to no unfinished message."),
    (sql.RECIPIENTS_WITHOUT_MESSAGE, "There are recipients of message {}, which is missing."),
)


def _problems(connection: Database) -> Iterator[str]:
    for (text,) in connection.execute(sql.INTEGRITY):
        if text != "ok":
            yield f"SQLite finds the file damaged: {text}."
    for statement, sentence in _LISTED:
        for (name,) in _few(connection.execute(statement)):
            yield sentence.format(name)
    yield from _unreadable(connection)
    real = connection.execute(sql.REAL_TALLY).fetchone()
    kept = connection.execute(sql.SPOOL).fetchone()
    if real and kept and (real[0], real[2], int(real[1])) != kept[:3]:
        yield f"The tally says {kept[:3]} (messages, recipients, octets), but {(real[0], real[2], int(real[1]))} are there."


def _unreadable(connection: Database) -> Iterator[str]:
    for id, record in connection.execute(sql.RECORDS):
        try:
            message_of(record)
        except Unreadable as error:
            yield f"Message {id}: its record cannot be read ({error})."
    for id, texts in connection.execute(sql.TEXTS):
        try:
            texts.decode()
        except UnicodeDecodeError as error:
            yield f"Message {id}: a recipient cannot be read ({error})."


def _few(found: Iterable[Columns]) -> Iterator[Columns]:
    for _, columns in zip(range(_NAMED_PROBLEMS), found, strict=False):
        yield columns
