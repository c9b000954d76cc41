"""What a damaged spool still tells of each message, and the new spool that it is written into.

Of a message that is not whole nothing is written but what is certain; what may be older than it was becomes in doubt, never due.
The old file is read by `sqlite_carving`; nothing here judges what happens to the parts that are left: see `postroad/salvage.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from ..message import Message
from . import sql, sql_damage
from .rows import DelayNotice, Row
from .sqlite_carving import Carver, Found, Text
from .sqlite_damage import mended_message, mended_row
from .sqlite_open import open_spool, sync_folder
from .sqlite_pages import Pages
from .sqlite_port import Columns, connect
from .sqlite_rows import FAR, Unreadable, change_of, insert_of, message_of, record_of
from .states import ENDS

__all__ = ["Letter", "NewSpool", "OldSpool"]

_WIDTHS = {"recipient": 17, "message": 10, "content": 2, "idempotency": 6}
_CONTROL = re.compile(r"[\0-\x1f\x7f]")  # zeros, above all: sectors that were lost
_TEXT_COLUMNS, _TIME_COLUMNS = frozenset({2, 3, 4, 5, 12, 13, 14, 16}), frozenset({7, 15})  # of a recipient


class Letter(msgspec.Struct, eq=False):
    """What is known of one message.

    message: None where its row or record is lost.  numbers, unfinished: what its counters say.  flaw: why its row is not whole.
    is_sure: its row is as the last commit left it.  rows: the recipients that can be read, each with whether it is sure.
    lost: what is wrong with those that can be read in part.
    """

    handle: int
    id: str
    sender: str = ""
    message: Message | None = None
    numbers: int = 0
    unfinished: int = 0
    delay: int = 0
    finished_at: float | None = None
    file: str | None = None
    flaw: str = "its row is lost"
    is_sure: bool = False
    rows: dict[int, tuple[Row, bool]] = {}
    lost: list[str] = []

    @property
    def needs_content(self) -> bool:
        return any(row.state not in ENDS for row, _ in self.rows.values())


class OldSpool:
    """Reads a spool, however damaged.  letters: all messages of which anything is left, by handle."""

    def __init__(self, path: Path) -> None:
        self._pages = Pages(path)
        try:
            self._carver = Carver(self._pages)
            self.letters: dict[int, Letter] = {}
            self._read_messages()
            self._read_recipients()
        except BaseException:
            self._pages.close()
            raise

    def close(self) -> None:
        self._pages.close()

    @property
    def trouble(self) -> str:
        """Why not all commits are known to be there, "" where they are."""
        return self._pages.trouble

    @property
    def torn(self) -> int:
        """How many pages are damaged, as far as anything leads to them."""
        return self._carver.torn

    @property
    def is_foreign(self) -> bool:
        """It is a database of another program."""
        return self._carver.application_id not in (None, sql.APPLICATION_ID)

    def contents(self) -> Iterator[tuple[int, bytes]]:
        """What lies in the database, by handle; one at a time, each once."""
        seen: set[int] = set()
        for found in self._found("content"):
            if found.key not in seen and type(found.values[1]) is bytes:
                seen.add(found.key)
                yield found.key, found.values[1]

    def idempotency_keys(self) -> Iterator[Columns]:
        """The idempotency keys: sender, key, digest, expires_at, id, handle."""
        for found in self._carver.rows("idempotency", _WIDTHS["idempotency"]):
            sender, key, digest, expires_at, id, handle = found.values
            try:
                values = _text(sender), _text(key), digest, float(expires_at), _text(id), handle
            except (TypeError, UnicodeDecodeError):
                continue
            if type(digest) is bytes and type(handle) is int and 0 <= values[3] <= FAR:
                yield values

    def _found(self, table: str) -> Iterator[Found]:
        yield from self._carver.rows(table, _WIDTHS[table])
        yield from self._carver.lost_rows(_WIDTHS[table])

    def _read_messages(self) -> None:
        for found in self._found("message"):
            if found.key in self.letters:
                self.letters[found.key].is_sure &= found.is_sure
                continue
            self.letters[found.key] = _letter(found)

    def _read_recipients(self) -> None:
        for found in self._found("recipient"):
            handle, number = found.key >> sql.NUMBER_BITS, found.key & sql.NUMBERS - 1
            letter = self.letters.setdefault(handle, Letter(handle, f"unknown-{handle}"))
            row, why = mended_row((found.key, *_careful_row(found.values[1:])))
            if not why and _CONTROL.search("".join((row.address, row.lane, row.orcpt, *row.notify))):
                why = "a text holds characters that no text has: it was damaged"
            if number in letter.rows:
                letter.rows[number] = letter.rows[number][0], False
            elif why:
                letter.lost.append(f"recipient {number} ({row.address}): {why}")
            else:
                letter.rows[number] = row, found.is_sure


def _letter(found: Found) -> Letter:
    _, id, sender, size, record, numbers, unfinished, delay, finished_at, file = found.values
    careful = (
        found.key,
        _octets(id),
        _octets(sender),
        size,
        record if type(record) is bytes else None,
        _real(finished_at),
        delay,
    )
    (_, name, sender, size, record, finished_at, delay), why = mended_message(careful)
    letter = Letter(found.key, name, sender, is_sure=found.is_sure, delay=delay, finished_at=finished_at, flaw=why)
    try:
        letter.message = message_of(record)
    except Unreadable as error:
        letter.flaw = f"its record cannot be read ({error})"
        return letter
    if (letter.message.id, letter.message.size) != (name, size):
        letter.flaw = "its row and its record differ"
    elif type(numbers) is not int or type(unfinished) is not int or not 0 <= unfinished <= numbers <= sql.NUMBERS:
        letter.flaw = "its counters cannot be read"
    else:
        letter.numbers, letter.unfinished = numbers, unfinished
    letter.file = name if file is not None else None  # content files have their message's name
    return letter


def _careful_row(values: list[Any]) -> Iterator[Any]:
    """The columns behind the place as `sql_damage.careful` would show them."""
    for at, value in enumerate(values, 1):
        if at in _TEXT_COLUMNS:
            yield _octets(value)
        elif at in _TIME_COLUMNS:
            yield _real(value)
        else:
            yield value


def _octets(value: Any) -> bytes | None:
    return bytes(value) if isinstance(value, Text) else None


def _text(value: Any) -> str:
    if not isinstance(value, Text):
        raise TypeError("no text")
    return value.decode()


def _real(value: Any) -> Any:
    """Whole numbers are kept as integers, whatever the column says (section 2.1)."""
    return float(value) if type(value) is int else value


class NewSpool:
    """A spool that is written with what was saved, durable when `finish` returns."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection = open_spool(path, connect, exclusive=False)
        self._connection.execute("BEGIN IMMEDIATE")

    def add(self, letter: Letter, message: Message, rows: list[Row], content: bytes | str | None, now: float) -> None:
        """content: its octets, the name of its file, or None where nobody needs it any more."""
        execute, executemany = self._connection.execute, self._connection.executemany
        unfinished = sum(row.state not in ENDS for row in rows)
        file = content if isinstance(content, str) else None
        execute(
            sql.ADD_MESSAGE,
            (letter.handle, message.id, message.sender, message.size, record_of(message), len(rows), unfinished, file),
        )
        executemany(sql.ADD_RECIPIENT, map(insert_of, rows))
        executemany(sql.CHANGE, map(change_of, rows))
        delay = letter.delay if unfinished or letter.delay != DelayNotice.WANTED else DelayNotice.DONE
        ended = None if unfinished else letter.finished_at or now
        execute(sql.SET_COUNTERS, (unfinished, delay, ended, letter.handle))
        if isinstance(content, bytes):
            execute(sql.ADD_CONTENT, (letter.handle, content))

    def add_key(self, values: Columns) -> None:
        self._connection.execute(sql.ADD_KEY, values)

    def finish(self) -> None:
        for statement in (*sql_damage.NEW_COUNTERS, sql_damage.RECOUNT, "COMMIT"):
            self._connection.execute(statement)
        self._connection.close()
        sync_folder(self._path.parent)

    def abandon(self) -> None:
        self._connection.close()
        for ending in ("", "-wal", "-shm"):
            self._path.with_name(self._path.name + ending).unlink(missing_ok=True)
