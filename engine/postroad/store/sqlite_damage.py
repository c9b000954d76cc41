"""Finds rows that do not hold what belongs there, and says how each is mended: so far that it can be read and written again.

A recipient whose road is not known for certain any more is parked and waits for a person; what has its end keeps it.  Nothing
is ever deleted but keys and lists of files to delete, which only save work.  The store calls it where a row stands in its way and
when an engine starts; `check` names what it finds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import msgspec
from msgspec.structs import replace

from ..message import Message
from . import sql, sql_damage
from .contract import IN_DOUBT, UNREADABLE, sent_again
from .rows import PRIORITIES, DelayNotice, Row, is_torn, untorn
from .sqlite_port import Columns, Database
from .sqlite_rows import (
    ATTEMPTS,
    DELAYS,
    FAR,
    FLAGS,
    Unreadable,
    change_of,
    insert_of,
    message_of,
    message_row,
    row_of,
)
from .states import State, Step, sources

__all__ = ["Damage", "damages", "is_tally", "mend", "mended_message", "mended_row", "shown_messages", "shown_rows"]

_SLICE = 500  # rows read at once
_RISEN = "its row is older than what its message counts"  # why something is held that rose again
_SHOWN = 100  # octets of a damaged text in a reason
_TOKENS = range(1 << 63)
_OCTETS = range(1 << 62)
_STATES = range(len(State))


Doubt: TypeAlias = Callable[[str], Step]


class Damage(msgspec.Struct, frozen=True):
    """One damaged row.  id: of its message, "" where it has none.  repair: statements that mend it, with their values.

    event: how the log names it, `mended`, `parked` or `incomplete`: rows are lost, which nothing here can bring back.
    """

    id: str
    problem: str
    repair: tuple[tuple[str, Columns], ...]
    event: str = "mended"


class _Mender:
    """Takes values one by one, puts something legal into the place of what is not, and remembers that it did."""

    def __init__(self) -> None:
        self.flaws: dict[str, str] = {}  # by the column's name, what is there

    def text(self, name: str, octets: bytes | None) -> str:
        """octets: None where it was no text."""
        if octets is None:
            self.flaws[name] = "no text"
            return ""
        try:
            return octets.decode()
        except UnicodeDecodeError:
            self.flaws[name] = repr(octets[:_SHOWN])
            return octets.decode(errors="replace")

    def number(self, name: str, found: Any, legal: range, stand_in: int) -> int:
        good: int | None = found if type(found) is int and found in legal else None
        return self.replaced(name, repr(found), stand_in) if good is None else good

    def moment(self, name: str, found: Any, stand_in: float = 0.0) -> float:
        good: float | None = found if type(found) is float and 0 <= found <= FAR else None
        return self.replaced(name, repr(found), stand_in) if good is None else good

    def replaced(self, name: str, was: str, stand_in: Any) -> Any:
        self.flaws[name] = was
        return stand_in

    def __str__(self) -> str:
        return "; ".join(f"{name} is {was}" for name, was in self.flaws.items())


def mended_row(columns: Columns) -> tuple[Row, str]:
    """A recipient from its careful columns, and what is wrong with it, "" for nothing."""
    mend = _Mender()
    place, priority, address, notify, orcpt, lane, state, due, token, attempts, doubted, cancelling = columns[:12]
    status, reply, remote, settled_at, reason = columns[12:]
    row = Row(
        place >> sql.NUMBER_BITS,
        place & sql.NUMBERS - 1,
        mend.number("priority", priority, PRIORITIES, PRIORITIES[-1]),
        mend.text("address", address),
        _notify(mend, notify),
        mend.text("orcpt", orcpt),
        mend.text("lane", lane),
        State(mend.number("state", state, _STATES, State.PARKED)),
        mend.moment("due", due),
        mend.number("token", token, _TOKENS, 0),
        mend.number("attempts", attempts, ATTEMPTS, 0),
        mend.number("doubted", doubted, FLAGS, 1) == 1,
        mend.number("cancelling", cancelling, FLAGS, 0) == 1,
        mend.text("status", status),
        mend.text("reply", reply),
        mend.text("remote", remote),
        None if settled_at is None else mend.moment("settled_at", settled_at),
        mend.text("reason", reason),
    )
    return (_parked(row, str(mend)), str(mend)) if mend.flaws else (row, "")


def _notify(mend: _Mender, octets: bytes | None) -> tuple[str, ...]:
    """What a damaged one said is not guessed: then failures are reported, as by default."""
    flaws = len(mend.flaws)
    wishes = tuple(filter(None, mend.text("notify", octets).split(",")))
    return wishes if len(mend.flaws) == flaws else ()


def _parked(row: Row, why: str) -> Row:
    """What becomes of an attempt that is under way is not believed: it may have been delivered."""
    if row.state is not State.PARKED and row.state not in sources(Step.PARK):
        return row
    may_be_delivered = row.doubted or row.state in (State.LEASED, State.PARKED)
    reason = f"{UNREADABLE}: {why}"
    return replace(row, state=State.PARKED, token=0, cancelling=False, doubted=may_be_delivered, reason=reason)


def mended_message(columns: Columns) -> tuple[Columns, str]:
    """The MESSAGE columns from the careful ones, and what is wrong with them.  What its record tells is taken from there.

    Not from another message's record: a sound id that is not the record's stays, and leasing parks what has both.
    """
    mend = _Mender()
    seq, id, sender, size, record, finished_at, delay = columns
    found = (
        seq,
        mend.text("id", id) or _stand_in(seq),
        mend.text("sender", sender),
        mend.number("size", size, _OCTETS, 0),
        mend.replaced("record", "no record", b"") if record is None else record,
        None if finished_at is None else mend.moment("finished_at", finished_at),
        mend.number("delay", delay, DELAYS, DelayNotice.DONE),
    )
    known = _known(found[4]) if mend.flaws else None
    if known and ("id" in mend.flaws or known.id == found[1]):
        return (seq, known.id, known.sender, known.size, *found[4:]), str(mend)
    if "id" in mend.flaws:
        found = (seq, _stand_in(seq), *found[2:])
    return found, str(mend)


def _stand_in(seq: int) -> str:
    """The id of a message that lost its own."""
    return f"damaged-{seq}"


def _known(record: bytes) -> Message | None:
    try:
        return message_of(record)
    except Unreadable:
        return None


# --- For questions ---


def shown_rows(connection: Database, statement: str, values: Columns) -> list[Row]:
    """The recipients that a statement finds; damaged ones as they will be when they are mended."""
    try:
        return [row_of(columns) for columns in connection.execute(statement, values)]
    except (UnicodeDecodeError, Unreadable):
        return [mended_row(columns)[0] for columns in connection.execute(sql_damage.careful(statement), values)]


def shown_messages(connection: Database, statement: str, values: Any) -> list[Columns]:
    """The MESSAGE columns that a statement finds; damaged ones as they will be when they are mended."""
    try:
        return [message_row(columns) for columns in connection.execute(statement, values)]
    except (UnicodeDecodeError, Unreadable):
        return [mended_message(columns)[0] for columns in connection.execute(sql_damage.careful(statement), values)]


# --- Everything ---


def damages(connection: Database, doubt: Doubt = sent_again) -> Iterator[Damage]:
    """Read all rows and tell which are damaged.  doubt: as in Recover, for recipients that may have been delivered."""
    for columns in _suspects(connection, sql_damage.ALL_ROWS, _whole_row):
        row, why = mended_row(columns)
        if why:
            yield _recipient_damage(connection, row, f"cannot be read: {why}")
        elif is_torn(row):
            is_open = connection.execute(sql_damage.COUNTS_MORE, (row.handle,)).get == 1
            after = untorn(row, doubt, is_open=is_open)
            yield _recipient_damage(connection, after, _contradiction(row))
    for columns in _suspects(connection, sql_damage.ALL_MESSAGES, _message_and_counters):
        yield from _message_damage(connection, columns, doubt)
    yield from _key_damages(connection)
    yield from _file_damages(connection)
    yield from _counter_damages(connection)


def mend(connection: Database, doubt: Doubt = sent_again) -> list[Damage]:
    """Mend all of it within the transaction that is open, and tell what it was."""
    mended: list[Damage] = []
    for damage in damages(connection, doubt):
        for statement, values in damage.repair:
            connection.execute(statement, values)
        mended.append(damage)
    if mended:
        connection.execute(sql_damage.RECOUNT)
    return mended


def _contradiction(row: Row) -> str:
    has = f"has the token {row.token}" if row.token or row.state is State.LEASED else "was never settled"
    return f"is {row.state.name} and {has}"


def _suspects(connection: Database, statement: str, read: Callable[[Columns], object]) -> Iterator[Columns]:
    """The careful columns of all rows near one that cannot be read."""
    found: list[Columns] = [(sql_damage.FIRST,)]
    while found:
        values = found[-1][0], _SLICE
        try:
            found = connection.execute(statement, values).fetchall()
            for columns in found:
                read(columns)
        except (UnicodeDecodeError, Unreadable):
            found = connection.execute(sql_damage.careful(statement), values).fetchall()
            yield from found


def _whole_row(columns: Columns) -> None:
    """Raises Unreadable where anything is wrong with it."""
    if is_torn(row_of(columns)):
        raise Unreadable("a recipient contradicts itself")


def _recipient_damage(connection: Database, row: Row, why: str) -> Damage:
    named = connection.execute(sql_damage.careful(sql.MESSAGE_BY_HANDLE), (row.handle,)).fetchone()
    id = mended_message(named)[0][1] if named else "?"
    repair = (
        (sql_damage.DROP_ROW, (insert_of(row)[0],)),
        (sql.ADD_RECIPIENT, insert_of(row)),
        (sql.CHANGE, change_of(row)),
    )
    event = "parked" if row.state is State.PARKED else "mended"
    return Damage(id, f"recipient {row.number} ({row.address}) {why}", repair, event)


class _Counters(msgspec.Struct, frozen=True):
    """What a message's counters say once they are mended.  lost: how many of its recipients are not there; open: unfinished."""

    numbers: int
    unfinished: int
    lost: int
    lost_open: int
    has_risen: bool  # more are unfinished than ever were
    why: str


def _message_and_counters(columns: Columns) -> None:
    """The columns of ALL_MESSAGES; raises Unreadable where anything is wrong with them."""
    message_row(columns[:7])
    counters = _counters(columns)
    if counters.why or counters.lost:
        raise Unreadable("the counters of a message are wrong")
    file, is_in_database = columns[9], columns[12]
    if not (file is None or (isinstance(file, str) and not is_in_database)):
        raise Unreadable("a message does not tell where its content is")


def _counters(columns: Columns) -> _Counters:
    """Recipients that are lost count as unfinished, unless the counter says that they had their end."""
    finished_at = columns[5]
    said, said_unfinished, _, real, really_unfinished, _ = columns[7:]
    mend = _Mender()
    numbers = mend.number("numbers", said, range(real, sql.NUMBERS + 1), real)
    lost, most = numbers - real, numbers - real + really_unfinished
    unfinished = mend.number("unfinished", said_unfinished, range(really_unfinished, most + 1), most)
    if (finished_at is None) != (unfinished > 0):
        mend.replaced("finished_at", repr(finished_at), None)
    has_risen = type(said_unfinished) is int and 0 <= said_unfinished < really_unfinished
    return _Counters(numbers, unfinished, lost, unfinished - really_unfinished, has_risen, str(mend))


def _message_damage(connection: Database, columns: Columns, doubt: Doubt) -> Iterator[Damage]:
    (seq, id, sender, size, record, finished_at, delay), why = mended_message(columns[:7])
    counters, (file, file_flaw) = _counters(columns), _file_of(columns)
    if file and not file_flaw and id == _stand_in(seq):
        id = file  # content files have their message's name
    why = "; ".join(filter(None, (why, counters.why, file_flaw)))
    if why:
        if connection.execute(sql_damage.OTHER_OF_ID, (id, seq)).get:
            id = _stand_in(seq)
        ended = None if counters.unfinished else finished_at or 0.0
        values = (id, sender, size, record, counters.numbers, counters.unfinished, delay, ended)
        repair = [(sql_damage.MEND_MESSAGE, (*values, id if file_flaw and file is not None else file, seq))]
        if counters.has_risen:
            why += "; which of its recipients rose again is not known, so all unfinished ones are in doubt"
            risen = shown_rows(connection, sql.UNFINISHED_ROWS_OF, (seq,))
            repair += [(sql.CHANGE, change_of(_doubted(row, doubt))) for row in risen]
        yield Damage(id, f"its row cannot be read: {why}", tuple(repair))
    if counters.lost:
        yield Damage(id, _incomplete(counters), (), "incomplete")


def _file_of(columns: Columns) -> tuple[str | None, str]:
    """The name of a message's content file, from the careful columns, and what is wrong with it.

    What lies in the database is in no file, whatever the row says.
    """
    file, is_in_database = columns[9], columns[12]
    if file is None:
        return None, ""
    mend = _Mender()
    name = mend.text("file", file if isinstance(file, bytes) else None)
    if is_in_database:
        return None, str(mend) or f"file is {name[:_SHOWN]!r}, and its content is in the database"
    return name, str(mend)


def _incomplete(counters: _Counters) -> str:
    return (
        f"{counters.lost} of its {counters.numbers} recipients are lost, {counters.lost_open} of them without an end; "
        "`postroad salvage` or a backup may know them"
    )


def _doubted(row: Row, doubt: Doubt) -> Row:
    """The row of a recipient that may have been delivered; where its route asks, it is held."""
    if row.state is not State.WAITING:
        return replace(row, doubted=True)
    if doubt(row.lane) is Step.HOLD:
        return replace(row, doubted=True, state=State.HELD, reason=f"{IN_DOUBT}: {_RISEN}")
    return replace(row, doubted=True, state=State.IN_DOUBT)


def _key_damages(connection: Database) -> Iterator[Damage]:
    for sender, key, id, has_types in connection.execute(sql_damage.ALL_KEYS):
        try:
            is_sound = has_types and all(isinstance(part.decode(), str) for part in (sender, key, id))
        except UnicodeDecodeError:
            is_sound = False
        if not is_sound:
            repair = ((sql_damage.DROP_KEY, (sender, key)),)
            yield Damage("", f"An idempotency key of {sender!r} cannot be read and is forgotten", repair)


def _file_damages(connection: Database) -> Iterator[Damage]:
    try:
        sound = all(isinstance(name, str) for (name,) in connection.execute(sql_damage.ALL_DEAD_FILES))
    except UnicodeDecodeError:
        sound = False
    if not sound:
        what = "The list of content files to delete cannot be read; they are found again as orphans"
        yield Damage("", what, ((sql_damage.DROP_DEAD_FILES, ()),))


def _counter_damages(connection: Database) -> Iterator[Damage]:
    kept = connection.execute(sql_damage.careful(sql.SPOOL)).fetchone()
    if not kept or not is_tally(kept) or connection.execute(sql_damage.LAST_HANDLE).get >= kept[3]:
        repair = tuple((statement, ()) for statement in sql_damage.NEW_COUNTERS)
        yield Damage("", "The counters of the spool cannot be used", repair)
        return
    messages, octets, recipients = connection.execute(sql.REAL_TALLY).fetchone() or (0, 0, 0)
    real = messages, recipients, int(octets)
    if real != kept[:3]:
        yield Damage("", f"The tally says {kept[:3]} (messages, recipients, octets), but {real} are there", ())


def is_tally(counters: Columns) -> bool:
    """Whether the counters of the spool are such as it keeps."""
    return tuple(map(type, counters)) == (int,) * 4 and min(counters) >= 0 and counters[3] <= sql.MOST_MESSAGES
