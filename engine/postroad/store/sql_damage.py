"""The SQL that reads damaged rows as far as they can be read, and mends them; see `sqlite_damage.py`."""

from __future__ import annotations

from .sql import NAMES, sql_of

__all__ = ["careful"]

FIRST = -1 << 63  # before every key

_TEXTS = "address notify orcpt lane status reply remote reason id sender file"
_NUMBERS = "priority state due token attempts doubted cancelling settled_at size finished_at delay numbers unfinished"
_COUNTERS = "messages recipients content_bytes next_handle"
_CAREFUL = (
    {name: f"iif(typeof({name}) = 'text', CAST({name} AS BLOB), NULL)" for name in _TEXTS.split()}
    | {name: f"iif(typeof({name}) IN ('integer', 'real'), {name}, -1)" for name in (_NUMBERS + " " + _COUNTERS).split()}
    | {
        name: f"iif({name} IS NULL, NULL, iif(typeof({name}) IN ('integer', 'real'), {name}, -1))"
        for name in ("settled_at", "finished_at")
    }
    | {"file": "iif(typeof(file) = 'text', CAST(file AS BLOB), iif(file IS NULL, NULL, -1))"}
    | {"record": "iif(typeof(record) = 'blob', record, NULL)"}
)


def _carefully(columns: str) -> str:
    return ", ".join(_CAREFUL.get(name, name) for name in columns.split(", "))


def careful(statement: str) -> str:
    """The same question in a form that cannot fail: texts as octets, NULL for what is none; -1 for what is no number."""
    for columns in (
        NAMES["<COLUMNS>"],
        NAMES["<MESSAGE>"],
        "numbers, unfinished, file",
        _COUNTERS.replace(" ", ", "),
    ):
        statement = statement.replace(columns, _carefully(columns), 1)
    return statement


# --- Everything ---

# All rows in slices, behind ?1, at most ?2.
ALL_ROWS = sql_of("SELECT <COLUMNS> FROM recipient WHERE place > ?1 ORDER BY place LIMIT ?2")
# With them, how many recipients each has, how many unfinished ones, and whether its content lies in the database.
ALL_MESSAGES = sql_of(
    """SELECT <MESSAGE>, numbers, unfinished, file,
        (SELECT count(*) FROM recipient WHERE place BETWEEN seq << <BITS> AND seq << <BITS> | <MASK>),
        (SELECT count(*) FROM recipient
            WHERE place BETWEEN seq << <BITS> AND seq << <BITS> | <MASK> AND state NOT IN <ENDS>),
        EXISTS (SELECT 1 FROM content WHERE content.seq = message.seq)
    FROM message WHERE seq > ?1 ORDER BY seq LIMIT ?2"""
)
# Whether a message counts more unfinished recipients than there are, though none is lost.
COUNTS_MORE = sql_of(
    """SELECT typeof(unfinished) = 'integer'
        AND numbers = (SELECT count(*) FROM recipient WHERE place BETWEEN seq << <BITS> AND seq << <BITS> | <MASK>)
        AND unfinished > (SELECT count(*) FROM recipient
            WHERE place BETWEEN seq << <BITS> AND seq << <BITS> | <MASK> AND state NOT IN <ENDS>)
    FROM message WHERE seq = ?"""
)
ALL_KEYS = """SELECT CAST(sender AS BLOB), CAST(key AS BLOB), CAST(id AS BLOB), typeof(sender) = 'text' AND typeof(key) = 'text'
    AND typeof(digest) = 'blob' AND typeof(expires_at) = 'real' AND typeof(id) = 'text' AND typeof(seq) = 'integer'
    FROM idempotency"""
ALL_DEAD_FILES = "SELECT name FROM dead_file"
DROP_ROW = "DELETE FROM recipient WHERE place = ?"
MEND_MESSAGE = (
    "UPDATE message SET id = ?, sender = ?, size = ?, record = ?, numbers = ?, unfinished = ?, delay = ?, finished_at = ?, "
    "file = ? WHERE seq = ?"
)
# Another message that has the id already.
OTHER_OF_ID = "SELECT seq FROM message WHERE id = ? AND seq <> ?"
DROP_KEY = "DELETE FROM idempotency WHERE CAST(sender AS BLOB) IS ? AND CAST(key AS BLOB) IS ?"
DROP_DEAD_FILES = "DELETE FROM dead_file"
# The last handle that any row knows.
LAST_HANDLE = sql_of(
    "SELECT max(coalesce((SELECT max(seq) FROM message), 0), coalesce((SELECT max(place) >> <BITS> FROM recipient), 0))"
)
NEW_COUNTERS = (
    "DELETE FROM spool",
    "INSERT INTO spool SELECT 1, 0, 0, 0, (LAST) + 1".replace("LAST", LAST_HANDLE),
)
RECOUNT = sql_of(
    """UPDATE spool SET recipients = (SELECT count(*) FROM recipient WHERE state NOT IN <ENDS>),
    (messages, content_bytes) = (SELECT count(*), coalesce(sum(size), 0) FROM message WHERE unfinished > 0)"""
)
