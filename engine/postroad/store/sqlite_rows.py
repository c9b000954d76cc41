"""How rows, messages and places are written into SQLite's columns and read back.

A record that cannot be decoded is an `Unreadable`: leasing parks it, questions show what the columns beside it still tell.
"""

from __future__ import annotations

import msgspec

from ..message import Message
from . import sql
from .contract import StoredMessage
from .rows import DelayNotice, Row, as_stored
from .sqlite_port import Columns
from .states import State

__all__ = [
    "Unreadable",
    "change_of",
    "handle_of",
    "insert_of",
    "message_of",
    "pack",
    "place_of",
    "record_of",
    "row_of",
    "stored",
]

_STATES: tuple[State, ...] = tuple(State)
_MASK = (1 << sql.NUMBER_BITS) - 1
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Message).decode
_list_encode = msgspec.json.Encoder().encode


class Unreadable(Exception):
    """The record of a message cannot be decoded."""


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
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Unreadable(str(error)) from error


def row_of(columns: Columns) -> Row:
    state: int
    place, priority, address, notify, orcpt, lane, state, due, token, attempts, doubted, cancelling = columns[:12]
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
