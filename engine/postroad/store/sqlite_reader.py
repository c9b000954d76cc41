"""The questions that the SQLite store answers, on a connection of their own, as of the last commit.

It never writes.  Each question holds the connection's guard only while it reads, and returns whole lists.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import apsw

from ..errors import ContentDamaged, StoreError
from . import rows, sql, sql_damage
from .contract import ContentPlace, Filter, LaneDue, StoredMessage, Tally
from .sqlite_damage import damages, is_tally, shown_messages, shown_rows
from .sqlite_port import Columns, Database
from .sqlite_rows import Unreadable, flaw_of, message_of, place_of, stored
from .states import State

__all__ = ["Reader"]

_T = TypeVar("_T")
_STATES = frozenset(State)
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
        with self._snapshot() as connection:
            kept = connection.execute(sql_damage.careful(sql.SPOOL)).fetchone()
            if kept and is_tally(kept):
                return Tally(*kept[:3])
            messages, octets, recipients = connection.execute(sql.REAL_TALLY).fetchone() or (0, 0, 0)
            return Tally(messages, recipients, int(octets))

    def recall(self, name: str) -> bytes | None:
        found: bytes | None = self._first(sql.FACT, name)
        return found

    def lanes(self) -> Iterator[LaneDue]:
        return iter([lane for octets, due in self._all(sql.LANES) if due is not None for lane in _lane(octets, due)])

    def message(self, id: str) -> StoredMessage | None:
        with self._snapshot() as connection:
            found = shown_messages(connection, sql.MESSAGE_BY_ID, (id,))
            return _with_rows(connection, found[0], sql.ROWS_OF, found[0][0]) if found else None

    def content(self, handle: int) -> bytes | ContentPlace:
        with self._snapshot() as connection:
            size, file, unfinished = connection.execute(sql.CONTENT_FILE, (handle,)).fetchone() or (0, None, 0)
            found: object = connection.execute(sql.CONTENT, (handle,)).get
        if not unfinished or (found is None and not file):
            raise ContentDamaged("its content is gone")
        if found is None and isinstance(file, str):
            return ContentPlace(file)
        if not isinstance(found, bytes) or len(found) != size:
            raise ContentDamaged(f"its content is damaged: it has not the {size} octets that it had")
        return found

    def failures(self, limit: int, recipients: int) -> list[StoredMessage]:
        answer: list[StoredMessage] = []
        with self._snapshot() as connection:
            place = connection.execute(sql.NEXT_FAILED, (0,)).get
            while place is not None and len(answer) < limit:
                handle = place >> sql.NUMBER_BITS
                for found in shown_messages(connection, sql.MESSAGE_BY_HANDLE, (handle,)):
                    with_rows = _with_rows(connection, found, sql.FAILED_OF, handle, recipients)
                    answer += [with_rows] if with_rows.recipients else []  # none where the index is damaged
                place = connection.execute(sql.NEXT_FAILED, (place_of(handle + 1, 0),)).get
        return answer

    def delays(self, limit: int) -> list[StoredMessage]:
        with self._snapshot() as connection:
            found = shown_messages(connection, sql.DELAYED, (limit,))
            return [_with_rows(connection, columns, sql.UNFINISHED_ROWS_OF, columns[0]) for columns in found]

    def find(self, filter: Filter, limit: int, after: str) -> list[StoredMessage]:
        texts, values = sql.conditions(filter, rows.state_filter(filter, frozenset(State)))
        statement = sql.filtered(sql.FIND if filter.id is None else sql.FIND_ID, texts)
        with self._snapshot() as connection:
            found = shown_messages(connection, statement, {**values, "limit": limit, "after": after})
            return [_with_rows(connection, columns, sql.ROWS_OF, columns[0]) for columns in found]

    def counts(self) -> Mapping[State, int]:
        counts: Counter[State] = Counter()
        for state, count in self._all(sql.COUNT_STATES):
            counts[State(state) if state in _STATES else State.PARKED] += count
        return counts

    def doubts(self) -> int:
        found: int = self._first(sql.COUNT_DOUBTS)
        return found

    def content_files(self) -> frozenset[str]:
        names = [name for (name,) in self._all(sql.CONTENT_FILES)]
        if not all(isinstance(name, str) for name in names):
            raise StoreError("the name of a content file cannot be read; `postroad check --spool` names the message")
        return frozenset(names)

    def is_damaged(self) -> bool:
        """Whether any row is, by reading them all."""
        with self._snapshot() as connection:
            return any(True for _ in damages(connection))

    def check(self) -> list[str]:
        """Read everything.  What cannot be read is a problem too, never an exception."""
        problems: list[str] = []
        try:
            with self._snapshot() as connection:
                problems.extend(_problems(connection))
        except StoreError as error:
            problems.append(f"The spool cannot be read to its end: {error}.")
        return problems


def _with_rows(connection: Database, found: Columns, statement: str, *values: int) -> StoredMessage:
    return stored(found, shown_rows(connection, statement, values))


def _lane(octets: bytes, due: float) -> Iterator[LaneDue]:
    """The lane, if it has a name that can be read; what waits on another is parked when the engine starts."""
    with suppress(UnicodeDecodeError):
        yield LaneDue(octets.decode(), due)


@contextmanager
def _as_store_error() -> Generator[None]:
    try:
        yield
    except (apsw.Error, UnicodeDecodeError) as error:
        raise StoreError(f"the spool cannot be read: {error}; `postroad check --spool` says what is wrong") from error


_LISTED = (
    (sql.MISCOUNTED, "Message {}: its count of recipients is wrong."),
    (sql.WITHOUT_CONTENT, "Message {} is unfinished, and its content is missing."),
    (sql.MISSIZED_CONTENT, "Message {}: its content has {} octets instead of {}."),
    (sql.CONTENT_WITHOUT_MESSAGE, "Content {} belongs to no unfinished message."),
    (sql.RECIPIENTS_WITHOUT_MESSAGE, "There are recipients of message {}, which is missing."),
    (sql.PARKED, "Message {}: recipient {} is parked ({})."),
)


def _problems(connection: Database) -> Iterator[str]:
    for (text,) in connection.execute(sql.INTEGRITY):
        if text != "ok":
            yield f"SQLite finds the file damaged: {text}."
    for statement, sentence in _LISTED:
        for names in _few(connection.execute(statement)):
            yield sentence.format(*map(_legible, names))
    for damage in _few(damages(connection)):
        yield f"Message {damage.id}: {damage.problem}." if damage.id else f"{damage.problem}."
    yield from _few(_unreadable(connection))


def _legible(name: object) -> object:
    return name.decode(errors="replace") if isinstance(name, bytes) else name


def _unreadable(connection: Database) -> Iterator[str]:
    """Records; the columns beside them are among the damages."""
    for id, sender, size, record in connection.execute(sql.RECORDS):
        name = id.decode(errors="replace")
        try:
            problem = flaw_of(name, sender, size, size, message_of(record))
        except Unreadable as error:
            problem = f"its record cannot be read ({error})"
        if problem:
            yield f"Message {name}: {problem}."


def _few(found: Iterable[_T]) -> Iterator[_T]:
    for _, each in zip(range(_NAMED_PROBLEMS), found, strict=False):
        yield each
