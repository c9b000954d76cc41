"""Reads the rows of a spool from its pages, in whatever state these are: what is readable of a table, and of lost leaves.

It follows the trees of the tables from their roots, which are the same in every spool; where a page on the way is torn, the
leaves that nothing leads to any more are looked for among all pages.  Formats: sqlite.org/fileformat2.html sections 1.5 to 2.1.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple

from . import sql
from .sqlite_log import PAGE_BYTES
from .sqlite_pages import Pages
from .sqlite_port import connect

__all__ = ["Carver", "Found", "Text"]

_INTERIOR, _LEAF = {5, 2}, {13, 10}
_TABLE_LEAF = 13
_MAGIC = b"SQLite format 3\0"
_LARGEST_LOCAL = PAGE_BYTES - 35
_LARGEST_INDEX = (PAGE_BYTES - 12) * 64 // 255 - 23
_SMALLEST = (PAGE_BYTES - 12) * 32 // 255 - 23
_INTEGERS = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}  # serial type to octets
_CONSTANTS = {0: None, 8: 0, 9: 1}
_MOST_OCTETS = 1 << 30  # of a row


class Torn(Exception):
    """A page, or a row, is not what it was."""


class Text(bytes):
    """What a column holds as a text, whether or not it is UTF-8."""


class Found(NamedTuple):
    """A row.  is_sure: it comes from a page that is whole, to which its table leads."""

    key: int
    values: list[Any]
    is_sure: bool


@cache
def _roots() -> dict[str, int]:
    """The root pages by name: every spool was made by the same statements in the same order."""
    connection = connect(":memory:")
    connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
    for statement in sql.SCHEMA:
        connection.execute(statement)
    roots: dict[str, int] = dict(connection.execute("SELECT name, rootpage FROM sqlite_schema"))
    return roots


class Carver:
    """Ask for the rows of every table before the lost ones."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages
        self._reached: set[int] = set()
        self._used: set[int] = set()  # leaves whose rows have the shape of the table that led to them
        self._torn: set[int] = set()
        self._free: set[int] = set()
        self._knows_free = self._read_free_list()
        self._trees = {name: list(self._leaves(root)) for name, root in _roots().items()}
        self._owners: dict[int, int] = {}  # page of a long row to its leaf, its cell and its place in it
        self._shared: set[int] = set()  # pages that two rows lead to, or a row and a tree: whose they are nobody knows
        self._settled: frozenset[int] = frozenset()  # pages whose owner a lost row cannot put in question
        for leaves in self._trees.values():
            self._find_shared(leaves)
        self._settled = frozenset(self._owners)

    @property
    def torn(self) -> int:
        """How many pages are damaged, as far as anything leads to them."""
        return len(self._torn | self._pages.torn)

    @property
    def application_id(self) -> int | None:
        """What the header says; None where that is damaged."""
        first = self._pages.page(1) or b""
        return int.from_bytes(first[68:72], "big") if first.startswith(_MAGIC) else None

    def rows(self, table: str, columns: int) -> Iterator[Found]:
        """The rows of a table that has so many columns."""
        for number in self._trees[table]:
            found = self._rows_on(number, is_sure=number not in self._free)
            if any(len(each.values) != columns for each in found):
                self._torn.add(number)  # what led here was damaged
                continue
            self._used.add(number)
            yield from found

    def lost_rows(self, columns: int) -> Iterator[Found]:
        """Rows of so many columns on leaves that nothing leads to, if something is torn that may have."""
        if not self._torn:
            return
        lost = [number for number in range(2, self._pages.count + 1) if self._is_lost_leaf(number)]
        self._find_shared(lost)
        for number in lost:
            found = self._rows_on(number, is_sure=self._knows_free)
            yield from (each for each in found if len(each.values) == columns)

    def _is_lost_leaf(self, number: int) -> bool:
        page = None if number in self._used or number in self._free else self._pages.page(number)
        return page is not None and page[0] == _TABLE_LEAF

    # --- Trees ---

    def _leaves(self, root: int) -> Iterator[int]:
        waiting = [root]
        while waiting:
            number = waiting.pop()
            page = self._pages.page(number)
            if number in self._reached or page is None or page[0] not in _INTERIOR | _LEAF:
                self._torn.add(number)
                continue
            self._reached.add(number)
            if page[0] in _LEAF:
                yield number
                continue
            try:
                children = [struct.unpack_from(">I", page, cell)[0] for cell in _cells(page)]
            except Torn:
                self._torn.add(number)
                continue
            waiting += [struct.unpack_from(">I", page, 8)[0], *reversed(children)]
            if page[0] == 2:
                yield number  # the inner pages of an index hold rows, too

    def _read_free_list(self) -> bool:
        """Note the pages whose old rows must not rise again (section 1.5); return whether these are all."""
        first = self._pages.page(1)
        if first is None:
            return False
        number, free = struct.unpack_from(">2I", first, 32)
        while number and number not in self._free and (page := self._pages.page(number)):
            self._free.add(number)
            number, count = struct.unpack_from(">2I", page)
            if count <= PAGE_BYTES // 4 - 2:
                self._free.update(struct.unpack_from(f">{count}I", page, 8))
        return first.startswith(_MAGIC) and len(self._free) == free

    # --- Rows ---

    def _find_shared(self, leaves: list[int]) -> None:
        """Read the rows once before any is told: a later one may lead to the pages of an earlier one, too."""
        for number in leaves:
            self._rows_on(number, is_sure=True)

    def _rows_on(self, number: int, *, is_sure: bool) -> list[Found]:
        page = self._pages.page(number)
        found: list[Found] = []
        try:
            cells = _cells(page or b"")
        except Torn:
            self._torn.add(number)
            return []
        for cell in cells:
            try:
                found.append(self._row(page or b"", cell, number << 32 | cell << 20))
            except (Torn, struct.error, IndexError):
                self._torn.add(number)
                is_sure = False
        keys = [each.key for each in found]
        if not is_sure or ((page or b"")[0] == _TABLE_LEAF and keys != sorted(set(keys))):
            return [each._replace(is_sure=False) for each in found]
        return found

    def _row(self, page: bytes, cell: int, owner: int) -> Found:
        is_table, key = page[0] == _TABLE_LEAF, 0
        if page[0] == 2:
            cell += 4
        octets, cell = _varint(page, cell)
        if is_table:
            key, cell = _varint(page, cell)
            key -= (key >> 63) << 64
        if octets > _MOST_OCTETS:
            raise Torn("a row that cannot be so long")
        most = _LARGEST_LOCAL if is_table else _LARGEST_INDEX
        return Found(key, _values(self._payload(page, cell, octets, most, owner)), is_sure=True)

    def _payload(self, page: bytes, start: int, octets: int, most: int, owner: int) -> bytes:
        local = octets
        if octets > most:
            local = _SMALLEST + (octets - _SMALLEST) % (PAGE_BYTES - 4)
            local = local if local <= most else _SMALLEST
        if start + local > PAGE_BYTES:
            raise Torn("a row behind its page")
        parts, left = [page[start : start + local]], octets - local
        number = struct.unpack_from(">I", page, start + local)[0] if left else 0
        while left:
            more = self._pages.page(number)
            place = owner + len(parts)
            is_anothers = number in self._reached or self._owners.setdefault(number, place) != place
            if is_anothers and number not in self._settled:
                self._shared.add(number)
            if more is None or is_anothers or number in self._shared:
                raise Torn("a page of a long row")
            parts.append(more[4 : 4 + left])
            left -= len(parts[-1])
            number = struct.unpack_from(">I", more)[0]
        if number:
            raise Torn("a long row that goes on")
        return b"".join(parts)


def _cells(page: bytes) -> list[int]:
    """Where the cells of a page begin."""
    start = 12 if page and page[0] in _INTERIOR else 8
    if len(page) < PAGE_BYTES:
        raise Torn("no page")
    (count,) = struct.unpack_from(">H", page, 3)
    end = start + 2 * count
    if end > PAGE_BYTES:
        raise Torn("more cells than fit")
    cells = list(struct.unpack_from(f">{count}H", page, start))
    if any(not end <= cell < PAGE_BYTES - 3 for cell in cells):
        raise Torn("a cell that is none")
    return cells


def _varint(octets: bytes, at: int) -> tuple[int, int]:
    if octets[at] < 128:
        return octets[at], at + 1
    number = 0
    for index in range(9):
        octet = octets[at + index]
        if index == 8:
            return number << 8 | octet, at + 9
        number = number << 7 | octet & 127
        if octet < 128:
            return number, at + index + 1
    raise Torn("a number without end")


def _values(payload: bytes) -> list[Any]:
    """Most of a salvage's time passes here: numbers of one octet, and texts and octets, are taken without another call."""
    end, at = _varint(payload, 0)
    kinds: list[int] = []
    while at < end:
        kind = payload[at]
        if kind < 128:
            at += 1
        else:
            kind, at = _varint(payload, at)
        kinds.append(kind)
    values: list[Any] = []
    for kind in kinds:
        if kind < 12:
            value, at = _number(payload, at, kind)
        else:
            start, at = at, at + (kind - 12 >> 1)
            value = Text(payload[start:at]) if kind & 1 else payload[start:at]
        values.append(value)
    if at != len(payload) or at < end:
        raise Torn("a row of another length")
    return values


def _number(payload: bytes, at: int, kind: int) -> tuple[Any, int]:
    """What is no text and no octets, and where the next value begins (section 2.1)."""
    if kind in _CONSTANTS:
        return _CONSTANTS[kind], at
    if kind == 7:
        return struct.unpack_from(">d", payload, at)[0], at + 8
    if kind not in _INTEGERS:
        raise Torn("a kind of value that no file has")
    end = at + _INTEGERS[kind]
    return int.from_bytes(payload[at:end], "big", signed=True), end
