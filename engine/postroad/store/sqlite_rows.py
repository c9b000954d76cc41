"""How rows, messages and places are written into SQLite's columns and read back.

Nothing is taken from a row before all of it has the types and the ranges that this module writes: a row that has not is an
`Unreadable`.  What is done about it stands in `sqlite_damage.py`.
"""

from __future__ import annotations

import msgspec

from ..message import Message
from . import sql
from .contract import StoredMessage
from .rows import PRIORITIES, DelayNotice, Row, as_stored
from .sqlite_port import Columns
from .states import State

__all__ = [
    "ATTEMPTS",
    "DELAYS",
    "FAR",
    "FLAGS",
    "Contradiction",
    "Unreadable",
    "change_of",
    "flaw_of",
    "handle_of",
    "insert_of",
    "message_of",
    "message_row",
    "pack",
    "place_of",
    "record_of",
    "row_of",
    "stored",
]

FAR = 1e12  # moments: behind whatever `arguments.py` lets in
FLAGS = range(2)
ATTEMPTS = range(1 << 32)
DELAYS = range(len(DelayNotice))
_STATES: tuple[State, ...] = tuple(State)
_MASK = (1 << sql.NUMBER_BITS) - 1
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Message).decode
_list_encode = msgspec.json.Encoder().encode


# The types of the columns of a recipient, and of those before `finished_at` of a message.
_TYPES = (int, int, str, str, str, str, int, float, int, int, int, int, str, str, str)
_SOUND_TYPES = frozenset({(*_TYPES, float, str), (*_TYPES, type(None), str)})
_MESSAGE_TYPES = (int, str, str, int, bytes)
_SOUND_MESSAGE_TYPES = frozenset({(*_MESSAGE_TYPES, float, int), (*_MESSAGE_TYPES, type(None), int)})


class Unreadable(Exception):
    """A row does not hold what belongs there."""


class Contradiction(Exception):
    """A row can be read, but what it says cannot be: it is mended before anything is done with it."""


def place_of(handle: int, number: int) -> int:
    if number > _MASK:
        raise ValueError(f"a message has at most {_MASK + 1} recipients")
    return handle << sql.NUMBER_BITS | number


def handle_of(place: int) -> int:
    return place >> sql.NUMBER_BITS


def pack(values: list[int] | list[str]) -> str:
    """A list for `json_each`."""
    return _list_encode(values).decode()


def record_of(message: Message) -> bytes:
    return _encode(message)


def message_of(record: bytes) -> Message:
    try:
        return _decode(record)
    except (msgspec.DecodeError, UnicodeDecodeError, TypeError) as error:  # TypeError: of no octets at all
        raise Unreadable(str(error)) from error


def row_of(columns: Columns) -> Row:
    """Raises Unreadable."""
    if tuple(map(type, columns)) not in _SOUND_TYPES:
        raise Unreadable("a recipient has a column of the wrong type")
    state: int
    place, priority, address, notify, orcpt, lane, state, due, token, attempts, doubted, cancelling = columns[:12]
    if not (
        priority in PRIORITIES
        and 0 <= state < len(_STATES)
        and 0 <= due <= FAR
        and token >= 0
        and attempts in ATTEMPTS
        and doubted in FLAGS
        and cancelling in FLAGS
        and 0 <= (columns[15] or 0) <= FAR
    ):
        raise Unreadable("a recipient has a number out of its range")
    return Row(
        place >> sql.NUMBER_BITS,
        place & _MASK,
        priority,
        address,
        tuple(notify.split(",")) if notify else (),
        orcpt,
        lane,
        _STATES[state],
        due,
        token,
        attempts,
        doubted == 1,
        cancelling == 1,
        *columns[12:],
    )


def insert_of(row: Row) -> Columns:
    """What ADD_RECIPIENT binds."""
    return (
        place_of(row.handle, row.number),
        row.priority,
        row.address,
        ",".join(row.notify),
        row.orcpt,
        row.lane,
        int(row.state),
        row.due,
        row.token,
        row.reason,
    )


def change_of(row: Row) -> Columns:
    """What CHANGE binds."""
    return (
        row.lane,
        int(row.state),
        row.due,
        row.token,
        row.attempts,
        row.doubted,
        row.cancelling,
        row.status,
        row.reply,
        row.remote,
        row.settled_at,
        row.reason,
        place_of(row.handle, row.number),
    )


def message_row(columns: Columns) -> Columns:
    """The MESSAGE columns as they are.  Raises Unreadable."""
    if tuple(map(type, columns)) not in _SOUND_MESSAGE_TYPES:
        raise Unreadable("a message has a column of the wrong type")
    if not (columns[3] >= 0 and 0 <= (columns[5] or 0) <= FAR and columns[6] in DELAYS):
        raise Unreadable("a message has a number out of its range")
    return columns


def flaw_of(id: str, sender: bytes | None, size: int, content: int | None, message: Message) -> str:
    """What keeps a message from being handed over, "" where nothing does.

    message: its record, which must say what its columns do.  content: how many octets of it are there.
    """
    if message.id != id:
        return f"its record is that of {message.id}"
    if message.sender.encode() != sender:
        return f"its record and its row name different senders, {message.sender!r} and {sender!r}"
    if message.size != size:
        return f"its record says {message.size} octets instead of {size}"
    if content is None:
        return "its content is gone"
    return "" if content == size else f"its content has {content} octets instead of {size}"


def stored(columns: Columns, found: list[Row]) -> StoredMessage:
    """A message for a question, from its MESSAGE columns and rows."""
    handle, id, sender, size, record, finished_at, delay = columns
    try:
        message = message_of(record)
    except Unreadable:
        message = Message(id=id, sender=sender, accepted_at=0.0, size=size)
    return StoredMessage(
        handle=handle,
        message=message,
        recipients=tuple(as_stored(row) for row in found),
        finished_at=finished_at,
        delay_notice=delay == DelayNotice.WANTED,
    )
