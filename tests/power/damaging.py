"""Writes into a spool what SQLite never lets in: values of the wrong type, no value, texts that are no UTF-8."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw

from postroad.store import sql

__all__ = ["NUMBERS", "TEXTS", "TIMES", "damaging"]

_ANY = {"nothing": "NULL", "octets": "x'ff00'", "no UTF-8": "CAST(x'ff61' AS TEXT)"}
TEXTS = {**_ANY, "number": "5", "fraction": "1.5"}
NUMBERS = {**_ANY, "text": "'five'", "negative": "-1", "fraction": "1.5", "huge": "4611686018427387904"}
TIMES = {
    "octets": "x'ff00'",
    "no UTF-8": "CAST(x'ff61' AS TEXT)",
    "text": "'five'",
    "negative": "-1.0",
    "huge": "1e300",
}
_CONSTRAINT = re.compile(r" (TEXT|REAL|BLOB|INTEGER(?! PRIMARY))| NOT NULL| DEFAULT (''|0)| CHECK \(.*?\)")


@contextmanager
def damaging(path: Path) -> Iterator[apsw.Connection]:
    """A connection to which the tables' columns may hold anything; nobody else may have the spool open."""
    plain = [statement for statement in sql.SCHEMA if statement.startswith("CREATE TABLE")]
    bare = {
        statement: _CONSTRAINT.sub("", statement).replace(" STRICT,", "").replace(" STRICT", "") for statement in plain
    }
    _declare(path, bare)
    connection = apsw.Connection(str(path))
    yield connection
    connection.close()
    _declare(path, {there: declared for declared, there in bare.items()})


def _declare(path: Path, instead: dict[str, str]) -> None:
    connection = apsw.Connection(str(path))
    connection.execute("PRAGMA writable_schema = ON")
    for before, after in instead.items():
        connection.execute("UPDATE sqlite_schema SET sql = ? WHERE sql = ?", (after, before))
        assert connection.changes() == 1, before
    connection.close()
