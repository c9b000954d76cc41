"""Every SQL statement of the SQLite store, named, with a line on its purpose.

A recipient's key is its place: the message's handle shifted by 20 bits, plus the recipient's number.  Lists of states are
written by `sql_of` from the state table; nothing that comes from outside is ever put into a statement, all of it is bound.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .contract import NO_ROUTE, Filter
from .rows import RESTORABLE, DelayNotice, address_suffix
from .states import ENDS, LEASABLE, State, Step, advance, sources

__all__ = [
    "APPLICATION_ID",
    "NUMBER_BITS",
    "SCHEMA",
    "SCHEMA_VERSION",
    "conditions",
    "filtered",
    "only_target",
]

APPLICATION_ID = 0x504F5354  # "POST", in the file's header (sqlite.org/fileformat2.html section 1.3.14)
SCHEMA_VERSION = 1
NUMBER_BITS = 20  # a million recipients a message, 2**43 messages
NUMBERS, MOST_MESSAGES = 1 << NUMBER_BITS, 1 << 43


def states_sql(states: Iterable[State]) -> str:
    """A list of states as SQL writes it; always in the same order, since partial indexes are matched by their text."""
    return "(" + ", ".join(str(int(state)) for state in sorted(states)) + ")"


NAMES = {
    "<LEASABLE>": states_sql(LEASABLE),
    "<LEASED>": states_sql({State.LEASED}),
    "<HELD>": states_sql({State.HELD}),
    "<FAILED>": states_sql({State.FAILED}),
    "<PARKED>": states_sql({State.PARKED}),
    "<PARKABLE>": states_sql(sources(Step.PARK) & LEASABLE),
    "<ENDS>": states_sql(ENDS),
    "<RESTORABLE>": states_sql(RESTORABLE),
    "<NO_ROUTE>": f"'{NO_ROUTE}'",
    "<FAR>": "1e12",  # moments: behind whatever `arguments.py` lets in, and before what is no number
    "<BITS>": str(NUMBER_BITS),
    "<MASK>": str((1 << NUMBER_BITS) - 1),
    "<WANTED>": str(int(DelayNotice.WANTED)),
    "<COLUMNS>": "place, priority, address, notify, orcpt, lane, state, due, token, attempts, doubted, cancelling, "
    "status, reply, remote, settled_at, reason",
    "<MESSAGE>": "seq, id, sender, size, record, finished_at, delay",
}


def sql_of(text: str) -> str:
    for name, meaning in NAMES.items():
        text = text.replace(name, meaning)
    return " ".join(text.split())


def only_target(step: Step, states: Iterable[State]) -> State:
    """The one state that `step` leads to from each of `states`, for statements that change many rows at once."""
    targets = {advance(state, step) for state in states}
    (target,) = targets
    return target


# What a spool consists of.  STRICT, so that no column ever holds another type than it says.
SCHEMA = tuple(
    sql_of(statement)
    for statement in (
        # One row: what is unfinished, and the next handle; every commit that changes them writes it.
        """CREATE TABLE spool (
            one INTEGER PRIMARY KEY CHECK (one = 1),
            messages INTEGER NOT NULL, recipients INTEGER NOT NULL, content_bytes INTEGER NOT NULL,
            next_handle INTEGER NOT NULL
        ) STRICT""",
        "INSERT INTO spool VALUES (1, 0, 0, 0, 1)",
        # record: the Message as msgpack; id, sender and size stand apart for searching and for the case that it is damaged.
        # file: the name of a content file, NULL where the content lies in `content`.
        """CREATE TABLE message (
            seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, sender TEXT NOT NULL, size INTEGER NOT NULL,
            record BLOB NOT NULL, numbers INTEGER NOT NULL, unfinished INTEGER NOT NULL,
            delay INTEGER NOT NULL DEFAULT 0, finished_at REAL, file TEXT
        ) STRICT""",
        """CREATE TABLE recipient (
            place INTEGER PRIMARY KEY, priority INTEGER NOT NULL, address TEXT NOT NULL,
            notify TEXT NOT NULL, orcpt TEXT NOT NULL, lane TEXT NOT NULL, state INTEGER NOT NULL, due REAL NOT NULL,
            token INTEGER NOT NULL DEFAULT 0, attempts INTEGER NOT NULL DEFAULT 0,
            doubted INTEGER NOT NULL DEFAULT 0, cancelling INTEGER NOT NULL DEFAULT 0,
            status TEXT NOT NULL DEFAULT '', reply TEXT NOT NULL DEFAULT '', remote TEXT NOT NULL DEFAULT '',
            settled_at REAL, reason TEXT NOT NULL DEFAULT ''
        ) STRICT""",
        "CREATE TABLE content (seq INTEGER PRIMARY KEY, bytes BLOB NOT NULL) STRICT",
        """CREATE TABLE idempotency (
            sender TEXT NOT NULL, key TEXT NOT NULL, digest BLOB NOT NULL, expires_at REAL NOT NULL,
            id TEXT NOT NULL, seq INTEGER NOT NULL, PRIMARY KEY (sender, key)
        ) STRICT, WITHOUT ROWID""",
        "CREATE TABLE fact (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID",
        # Content files that nobody needs any more and nobody was told to delete yet.
        "CREATE TABLE dead_file (name TEXT PRIMARY KEY) STRICT, WITHOUT ROWID",
        # What may be leased, in the order of leasing.
        "CREATE INDEX due ON recipient (lane, priority, due) WHERE state IN <LEASABLE>",
        "CREATE INDEX leased ON recipient (token) WHERE state IN <LEASED>",
        "CREATE INDEX held ON recipient (lane) WHERE state IN <HELD>",
        "CREATE INDEX failed ON recipient (state) WHERE state IN <FAILED>",
        "CREATE INDEX delayed ON message (delay) WHERE delay = <WANTED>",
        "CREATE INDEX finished ON message (finished_at) WHERE finished_at IS NOT NULL",
        "CREATE INDEX expiring ON idempotency (expires_at)",
    )
)

# --- Counters ---

# The counters as the transaction finds them.
SPOOL = "SELECT messages, recipients, content_bytes, next_handle FROM spool"
# Write them back.
SET_SPOOL = "UPDATE spool SET messages = ?, recipients = ?, content_bytes = ?, next_handle = ?"

# --- Accepting ---

# Which of these ids are there already.  ?: JSON array of ids.
KNOWN_IDS = "SELECT id, seq FROM message WHERE id IN (SELECT value FROM json_each(?))"
# The submission that used a sender's key before.
KEY = "SELECT digest, expires_at, id, seq FROM idempotency WHERE sender = ? AND key = ?"
# Keep a key; an expired one makes room.
ADD_KEY = "INSERT OR REPLACE INTO idempotency (sender, key, digest, expires_at, id, seq) VALUES (?, ?, ?, ?, ?, ?)"
ADD_MESSAGE = (
    "INSERT INTO message (seq, id, sender, size, record, numbers, unfinished, file) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
)
ADD_CONTENT = "INSERT INTO content (seq, bytes) VALUES (?, ?)"
ADD_RECIPIENT = (
    "INSERT INTO recipient (place, priority, address, notify, orcpt, lane, state, due, token, reason) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)

# --- Leasing ---

# The due recipients of one priority on a lane, first things first; read as far as leases can be given.
DUE_PLACES = sql_of(
    """SELECT place FROM recipient INDEXED BY due
    WHERE lane = ? AND priority = ? AND due <= ? AND state IN <LEASABLE> ORDER BY due, place"""
)
# What a lease needs of its message: how many octets of its content are there (in a file: nobody looked), in which file, and
# the content, too, if it has at most ?2 and lies in the spool.
MESSAGE_TO_LEASE = """SELECT id, CAST(sender AS BLOB), record, delay, size,
        iif(file IS NULL, (SELECT iif(typeof(bytes) = 'blob', length(bytes), 0) FROM content WHERE seq = ?1), size), file,
        iif(size <= ?2, (SELECT bytes FROM content WHERE seq = ?1 AND typeof(bytes) = 'blob'), NULL)
    FROM message WHERE seq = ?1"""
# The due recipients of one message on a lane.
DUE_OF_MESSAGE = sql_of(
    """SELECT <COLUMNS> FROM recipient NOT INDEXED
    WHERE place BETWEEN ?1 << <BITS> AND ?1 << <BITS> | <MASK> AND lane = ?2 AND due <= ?3 AND state IN <LEASABLE>
    ORDER BY due, place LIMIT ?4"""
)
# The earliest due time on a lane: one look into the index for each priority.
NEXT_DUE = sql_of(
    """SELECT min((SELECT due FROM recipient INDEXED BY due
        WHERE lane = ?1 AND priority = p.column1 AND due < <FAR> AND state IN <LEASABLE> ORDER BY due LIMIT 1))
    FROM (VALUES (0), (1), (2), (3), (4), (5), (6), (7), (8), (9)) AS p"""
)
# Every lane with something leasable, each found by one look behind the one before; what is no text sorts beside them.
LANES = sql_of(
    """WITH RECURSIVE found (lane) AS (
        SELECT (SELECT lane FROM recipient INDEXED BY due
            WHERE lane >= '' AND lane < x'' AND state IN <LEASABLE> ORDER BY lane LIMIT 1)
        UNION ALL
        SELECT (SELECT lane FROM recipient INDEXED BY due
            WHERE lane > found.lane AND lane < x'' AND state IN <LEASABLE> ORDER BY lane LIMIT 1)
        FROM found WHERE found.lane IS NOT NULL
    )
    SELECT CAST(lane AS BLOB), (SELECT min((SELECT due FROM recipient INDEXED BY due
            WHERE lane = found.lane AND priority = p.column1 AND due < <FAR> AND state IN <LEASABLE> ORDER BY due LIMIT 1))
        FROM (VALUES (0), (1), (2), (3), (4), (5), (6), (7), (8), (9)) AS p)
    FROM found WHERE lane IS NOT NULL"""
)
LEASE = "UPDATE recipient SET state = ?, token = ? WHERE place = ?"
# Park what is leasable of a message whose record cannot be read.
PARK_MESSAGE = sql_of(
    """UPDATE recipient SET state = ?2, reason = ?3
    WHERE place BETWEEN ?1 << <BITS> AND ?1 << <BITS> | <MASK> AND state IN <PARKABLE>"""
)

# --- Changing recipients ---

# ?: JSON array of places.
ROWS_AT = sql_of("SELECT <COLUMNS> FROM recipient WHERE place IN (SELECT value FROM json_each(?))")
ROWS_LEASED = sql_of("SELECT <COLUMNS> FROM recipient INDEXED BY leased WHERE state IN <LEASED> ORDER BY place")
# As `rows.restored`.
RESTORE = sql_of(
    """UPDATE recipient SET doubted = 1, state = iif(state IN <LEASABLE>, :target, state),
        reason = iif(state IN <LEASABLE> OR substr(reason, 1, length(<NO_ROUTE>)) = <NO_ROUTE>, :reason, reason)
    WHERE state IN <RESTORABLE>"""
)
# Write a row back after a change.
CHANGE = (
    "UPDATE recipient SET lane = ?, state = ?, due = ?, token = ?, attempts = ?, doubted = ?, cancelling = ?, "
    "status = ?, reply = ?, remote = ?, settled_at = ?, reason = ? WHERE place = ?"
)
# What an operator means; `filtered` puts the conditions in.
ROWS_MEANT = sql_of("SELECT <COLUMNS> FROM recipient WHERE :filter ORDER BY place")
MARK_CANCELLING = "UPDATE recipient SET cancelling = 1 WHERE :filter"
HOLD_MEANT = "UPDATE recipient SET state = :target, reason = :reason WHERE :filter"
# What was never settled waits for its first time, which is its send_at: as `rows.released` and `rows.made_due`.
_RELEASED_DUE = "iif(settled_at IS NULL, max(due, :now), :now)"
_RETRIED_DUE = "iif(settled_at IS NULL AND due > :untried_until, due, min(due, :now))"
_LANES_MEANT = "SELECT lane, min(<DUE>), count(*) FROM recipient WHERE :filter GROUP BY lane ORDER BY lane"
# By lane, the earliest due time after the change and how many recipients it means; asked before the change.
LANES_TO_RELEASE = _LANES_MEANT.replace("<DUE>", _RELEASED_DUE)
LANES_TO_RETRY = _LANES_MEANT.replace("<DUE>", _RETRIED_DUE)
RELEASE_MEANT = "UPDATE recipient SET state = :target, due = <DUE>, reason = '' WHERE :filter".replace(
    "<DUE>", _RELEASED_DUE
)
RETRY_MEANT = (
    "UPDATE recipient SET due = :now WHERE due > :now AND (settled_at IS NOT NULL OR due <= :untried_until) AND :filter"
)
# For Retry(untried_until): the records of messages that have anything unfinished among what is meant.
RECORDS_MEANT = sql_of(
    """SELECT seq, record FROM message WHERE typeof(record) = 'blob' AND EXISTS (
        SELECT 1 FROM recipient WHERE place BETWEEN seq << <BITS> AND seq << <BITS> | <MASK> AND :filter
    )"""
)
SET_RECORD = "UPDATE message SET record = ? WHERE seq = ?"
# As `rows.back_on_the_wall`.
PUT_BACK_ON_THE_WALL = sql_of(
    """UPDATE recipient SET due = max(due - :ahead, :now)
    WHERE place BETWEEN :handle << <BITS> AND :handle << <BITS> | <MASK>
    AND state NOT IN <ENDS> AND settled_at IS NULL AND due > :until"""
)
# Where what is leasable of a message waits, with the earliest due time on each lane.
LANES_OF = sql_of(
    """SELECT lane, min(due), 0 FROM recipient NOT INDEXED
    WHERE place BETWEEN ?1 << <BITS> AND ?1 << <BITS> | <MASK> AND state IN <LEASABLE> GROUP BY lane"""
)
# What is to be routed anew: leasable and held recipients of a lane.
TO_MOVE = sql_of(
    """SELECT <COLUMNS> FROM (
        SELECT * FROM recipient INDEXED BY due WHERE lane = ?1 AND state IN <LEASABLE> AND place > ?2
        UNION ALL
        SELECT * FROM recipient INDEXED BY held WHERE lane = ?1 AND state IN <HELD> AND place > ?2
    ) ORDER BY place LIMIT ?3"""
)

# --- Changing messages ---

# ?: JSON array of handles.
COUNTERS_OF = "SELECT seq, unfinished, size, delay, file FROM message WHERE seq IN (SELECT value FROM json_each(?))"
# What is unfinished of each; ?: JSON array of handles.
UNFINISHED_OF = sql_of(
    """SELECT value, (
        SELECT count(*) FROM recipient
        WHERE place BETWEEN value << <BITS> AND value << <BITS> | <MASK> AND state NOT IN <ENDS>
    ) FROM json_each(?)"""
)
SET_COUNTERS = "UPDATE message SET unfinished = ?, delay = ?, finished_at = ? WHERE seq = ?"
# What a message counts, in all and unfinished, and what is there of both.
NUMBERS_OF = sql_of(
    """SELECT seq, numbers, unfinished,
        (SELECT count(*) FROM recipient WHERE place BETWEEN seq << <BITS> AND seq << <BITS> | <MASK>),
        (SELECT count(*) FROM recipient
            WHERE place BETWEEN seq << <BITS> AND seq << <BITS> | <MASK> AND state NOT IN <ENDS>)
    FROM message WHERE id = ?"""
)
SET_NUMBERS = "UPDATE message SET numbers = ? WHERE seq = ?"
DROP_CONTENT = "DELETE FROM content WHERE seq = ?"
ADD_DEAD_FILE = "INSERT OR IGNORE INTO dead_file (name) VALUES (?)"
# Ask for the one notice of delay, if none was asked for yet.
WANT_DELAY_NOTICE = sql_of("UPDATE message SET delay = <WANTED> WHERE seq = ? AND delay = 0")
SET_DELAY = "UPDATE message SET delay = ? WHERE seq = ?"
DELAY_OF = "SELECT delay FROM message WHERE seq = ?"

# --- Forgetting ---

# When the n-th last message finished, counted from 0.
FINISHED_LAST = (
    "SELECT finished_at FROM message INDEXED BY finished WHERE finished_at IS NOT NULL AND finished_at < 1e12 "
    "ORDER BY finished_at DESC LIMIT 1 OFFSET ?"
)
# What is unfinished is kept, whatever `finished_at` says, and what counts recipients that are lost.
FINISHED_BEFORE = sql_of(
    """SELECT seq FROM message INDEXED BY finished WHERE finished_at IS NOT NULL AND finished_at < ?
    AND unfinished IS 0 AND NOT EXISTS (
        SELECT 1 FROM recipient WHERE place BETWEEN seq << <BITS> AND seq << <BITS> | <MASK> AND state NOT IN <ENDS>
    ) ORDER BY finished_at, seq LIMIT ?"""
)
DROP_RECIPIENTS = sql_of("DELETE FROM recipient WHERE place BETWEEN ?1 << <BITS> AND ?1 << <BITS> | <MASK>")
DROP_MESSAGE = "DELETE FROM message WHERE seq = ?"
DROP_KEYS = (
    "DELETE FROM idempotency WHERE (sender, key) IN "
    "(SELECT sender, key FROM idempotency WHERE expires_at <= ? ORDER BY expires_at LIMIT ?)"
)
DEAD_FILES = "SELECT name FROM dead_file ORDER BY name LIMIT ?"
DROP_DEAD_FILE = "DELETE FROM dead_file WHERE name = ?"

# --- Facts ---

FACT = "SELECT CAST(value AS BLOB) FROM fact WHERE name = ?"
SET_FACT = "INSERT OR REPLACE INTO fact (name, value) VALUES (?, ?)"
DROP_FACT = "DELETE FROM fact WHERE name = ?"

# --- Questions ---

MESSAGE_BY_ID = sql_of("SELECT <MESSAGE> FROM message WHERE id = ?")
MESSAGE_BY_HANDLE = sql_of("SELECT <MESSAGE> FROM message WHERE seq = ?")
ROWS_OF = sql_of(
    "SELECT <COLUMNS> FROM recipient WHERE place BETWEEN ?1 << <BITS> AND ?1 << <BITS> | <MASK> ORDER BY place"
)
UNFINISHED_ROWS_OF = sql_of(
    """SELECT <COLUMNS> FROM recipient
    WHERE place BETWEEN ?1 << <BITS> AND ?1 << <BITS> | <MASK> AND state NOT IN <ENDS> ORDER BY place"""
)
CONTENT_FILE = "SELECT size, file, unfinished FROM message WHERE seq = ?"
CONTENT = "SELECT bytes FROM content WHERE seq = ?"
# The first failed recipient from a place on.
NEXT_FAILED = sql_of(
    "SELECT place FROM recipient INDEXED BY failed WHERE state IN <FAILED> AND place >= ? ORDER BY place LIMIT 1"
)
FAILED_OF = sql_of(
    """SELECT <COLUMNS> FROM recipient NOT INDEXED
    WHERE place BETWEEN ?1 << <BITS> AND ?1 << <BITS> | <MASK> AND state IN <FAILED> ORDER BY place LIMIT ?2"""
)
DELAYED = sql_of("SELECT <MESSAGE> FROM message INDEXED BY delayed WHERE delay = <WANTED> ORDER BY seq LIMIT ?")
# Messages of which any recipient is meant, by id.
FIND = sql_of(
    """SELECT <MESSAGE> FROM message WHERE id > :after AND EXISTS (
        SELECT 1 FROM recipient WHERE place BETWEEN seq << <BITS> AND seq << <BITS> | <MASK> AND :filter
    ) ORDER BY id LIMIT :limit"""
)
# The same for a filter that names the message.
FIND_ID = sql_of(
    """SELECT <MESSAGE> FROM message WHERE id = :id AND id > :after AND EXISTS (
        SELECT 1 FROM recipient WHERE place BETWEEN seq << <BITS> AND seq << <BITS> | <MASK> AND :filter
    ) LIMIT :limit"""
)
COUNT_STATES = "SELECT state, count(*) FROM recipient GROUP BY state"
COUNT_DOUBTS = sql_of("SELECT count(*) FROM recipient WHERE doubted = 1 AND state NOT IN <ENDS>")

# --- Reading everything ---

INTEGRITY = "PRAGMA integrity_check"
RECORDS = """SELECT CAST(id AS BLOB), CAST(sender AS BLOB), size, record FROM message
    WHERE typeof(id) = 'text' AND typeof(size) = 'integer' AND typeof(record) = 'blob'"""
PARKED = sql_of(
    """SELECT CAST(id AS BLOB), place & <MASK>, CAST(reason AS BLOB) FROM recipient JOIN message ON seq = place >> <BITS>
    WHERE state IN <PARKED>"""
)
MISSIZED_CONTENT = """SELECT CAST(id AS BLOB), iif(typeof(bytes) = 'blob', length(bytes), 'no'), size
    FROM message JOIN content ON content.seq = message.seq
    WHERE unfinished > 0 AND typeof(size) = 'integer' AND (typeof(bytes) <> 'blob' OR length(bytes) <> size)"""
REAL_TALLY = sql_of(
    """SELECT count(*), total(size), (SELECT count(*) FROM recipient WHERE state NOT IN <ENDS>)
    FROM message WHERE unfinished > 0"""
)
MISCOUNTED = sql_of(
    """SELECT CAST(id AS BLOB) FROM message WHERE unfinished <> (
        SELECT count(*) FROM recipient
        WHERE place BETWEEN seq << <BITS> AND seq << <BITS> | <MASK> AND state NOT IN <ENDS>
    ) OR numbers <> (SELECT count(*) FROM recipient WHERE place BETWEEN seq << <BITS> AND seq << <BITS> | <MASK>)"""
)
WITHOUT_CONTENT = """SELECT CAST(id AS BLOB) FROM message
    WHERE unfinished > 0 AND file IS NULL AND NOT EXISTS (SELECT 1 FROM content WHERE content.seq = message.seq)"""
CONTENT_WITHOUT_MESSAGE = """SELECT seq FROM content
    WHERE NOT EXISTS (SELECT 1 FROM message WHERE message.seq = content.seq AND unfinished > 0)"""
RECIPIENTS_WITHOUT_MESSAGE = sql_of(
    """SELECT DISTINCT place >> <BITS> FROM recipient
    WHERE NOT EXISTS (SELECT 1 FROM message WHERE seq = place >> <BITS>)"""
)
CONTENT_FILES = "SELECT file FROM message WHERE unfinished IS NOT 0 AND file IS NOT NULL"

# --- Filters ---

_BY_ID = sql_of(
    """place BETWEEN (SELECT seq << <BITS> FROM message WHERE id = :id)
    AND (SELECT seq << <BITS> | <MASK> FROM message WHERE id = :id)"""
)
_BY_SENDER = sql_of("(SELECT sender FROM message WHERE seq = place >> <BITS>) = :sender")


def conditions(filter: Filter, states: Iterable[State]) -> tuple[list[str], dict[str, Any]]:
    """The conditions on recipients that a filter makes, and the values they bind."""
    given: dict[str, tuple[str | bool | None, str]] = {
        "id": (filter.id, _BY_ID),
        "recipient": (filter.recipient, "address = :recipient"),
        "lane": (filter.lane, "lane = :lane"),
        "sender": (filter.sender, _BY_SENDER),
        "suffix": (
            None if filter.domain is None else address_suffix(filter.domain),
            "lower(substr(address, -length(:suffix))) = :suffix",
        ),
        "in_doubt": (filter.in_doubt, "doubted = :in_doubt"),
    }
    texts = ["state IN " + states_sql(states)]
    values: dict[str, Any] = {}
    for name, (value, text) in given.items():
        if value is not None:
            texts.append(text)
            values[name] = value
    return texts, values


def filtered(statement: str, texts: Iterable[str]) -> str:
    """A statement with `:filter` replaced by conditions."""
    return statement.replace(":filter", " AND ".join(texts))
