"""What the memory store keeps, in dictionaries whose values are only replaced, so that every change can be taken back.

Rows, entries, tally and the index of what is leasable change through here alone; `memory.py` says which operation changes what.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import msgspec
from msgspec.structs import replace

from ..message import Message
from . import rows
from .contract import ContentPlace, Filter, Tally
from .rows import DelayNotice, Row
from .states import LEASABLE, State

__all__ = ["Entry", "Key", "Shelf"]

_K = TypeVar("_K")
_V = TypeVar("_V")


class Entry(msgspec.Struct, frozen=True):
    """A message; its rows are `numbers` many.  content is None once nobody needs it."""

    handle: int
    message: Message
    content: bytes | ContentPlace | None
    numbers: int
    unfinished: int
    delay: DelayNotice = DelayNotice.NONE
    finished_at: float | None = None


class Key(msgspec.Struct, frozen=True):
    digest: bytes
    expires_at: float
    id: str
    handle: int


class Shelf:
    """Everything that a memory store knows."""

    def __init__(self) -> None:
        self.entries: dict[int, Entry] = {}
        self.handles: dict[str, int] = {}
        self.rows: dict[tuple[int, int], Row] = {}
        self.leasable: dict[str, dict[tuple[int, int], None]] = {}
        self.keys: dict[tuple[str, str], Key] = {}
        self.facts: dict[str, bytes] = {}
        self.dead_files: dict[str, None] = {}
        self.next_handle = 1
        self.tally = Tally()
        self._undo: list[tuple[dict[Any, Any], Any, Any, bool]] = []

    @contextmanager
    def all_or_nothing(self) -> Generator[None]:
        """Take back every change of the block if it raises."""
        tally, next_handle = self.tally, self.next_handle
        try:
            yield
        except BaseException:
            self._roll_back()
            self.tally, self.next_handle = tally, next_handle
            raise
        finally:
            self._undo.clear()

    def _roll_back(self) -> None:
        for mapping, key, value, was_there in reversed(self._undo):
            if was_there:
                mapping[key] = value
            else:
                mapping.pop(key, None)

    def put(self, into: dict[_K, _V], key: _K, value: _V) -> None:
        self._undo.append((into, key, into.get(key), key in into))
        into[key] = value

    def drop(self, out_of: dict[_K, _V], key: _K) -> None:
        if key in out_of:
            self._undo.append((out_of, key, out_of[key], True))
            del out_of[key]

    def put_row(self, row: Row) -> None:
        place = (row.handle, row.number)
        before = self.rows.get(place)
        if before is not None and before.state in LEASABLE:
            self.drop(self.leasable[before.lane], place)
        if row.state in LEASABLE:
            self.put(self.leasable.setdefault(row.lane, {}), place, None)
        self.put(self.rows, place, row)

    def put_entry(self, entry: Entry) -> None:
        self.put(self.entries, entry.handle, entry)

    def rows_of(self, handle: int) -> list[Row]:
        return [self.rows[handle, number] for number in range(self.entries[handle].numbers)]

    def count(self, messages: int, recipients: int, content_bytes: int) -> None:
        tally = self.tally
        self.tally = Tally(
            tally.messages + messages, tally.recipients + recipients, tally.content_bytes + content_bytes
        )

    def end(self, ended: Mapping[int, int], now: float) -> tuple[int, ...]:
        """Count ended recipients by message; close the messages that have none left and return their handles."""
        finished: list[int] = []
        for handle, count in ended.items():
            entry = self.entries[handle]
            self.count(0, -count, 0)
            if entry.unfinished == count:
                self._close_message(entry, now)
                finished.append(handle)
            else:
                self.put_entry(replace(entry, unfinished=entry.unfinished - count))
        return tuple(finished)

    def _close_message(self, entry: Entry, now: float) -> None:
        if isinstance(entry.content, ContentPlace):
            self.put(self.dead_files, entry.content.name, None)
        delay = DelayNotice.DONE if entry.delay is DelayNotice.WANTED else entry.delay
        self.put_entry(replace(entry, unfinished=0, content=None, finished_at=now, delay=delay))
        self.count(-1, 0, -entry.message.size)

    def chosen(self, filter: Filter, legal: Iterable[State]) -> list[Row]:
        """The rows that a filter means and that are in a legal state, by message and number."""
        states = rows.state_filter(filter, frozenset(legal))
        return [row for _, row in sorted(self.rows.items()) if row.state in states and self._is_meant(row, filter)]

    def _is_meant(self, row: Row, filter: Filter) -> bool:
        message = self.entries[row.handle].message
        return (
            filter.id in (None, message.id)
            and filter.recipient in (None, row.address)
            and filter.lane in (None, row.lane)
            and filter.sender in (None, message.sender)
            and filter.in_doubt in (None, row.doubted)
            and (filter.domain is None or rows.folded(row.address).endswith(rows.address_suffix(filter.domain)))
        )
