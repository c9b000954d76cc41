"""The rows of the table of faults: what goes wrong, what is promised, what others do, and which other tests show it.

Numbers are never given to another fault.  What was seen is not written here: it is what a row's cases give (`fault_table.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

from fault_rows_mail import LOST_MAIL, OUTCOMES
from fault_rows_rest import RESOURCES, SECURITY

__all__ = ["ABSENT", "GROUPS", "ROWS", "Row"]


@dataclass(frozen=True, slots=True)
class Row:
    """others: what Postfix does, or whoever does best ("" where nobody is known to answer it).

    tests: further tests, as path::name.  lacks: what they do not show of the row, where no case does.
    """

    number: str
    fault: str
    promise: str
    others: str = ""
    tests: tuple[str, ...] = ()
    lacks: str = ""


GROUPS: dict[str, tuple[Row, ...]] = {
    heading: tuple(Row(*row) for row in rows)
    for heading, rows in {
        "Lost mail": LOST_MAIL,
        "Wrong or missing outcomes": OUTCOMES,
        "Security": SECURITY,
        "Stuck queues, resources": RESOURCES,
    }.items()
}
ROWS = {row.number: row for rows in GROUPS.values() for row in rows}

# Rows of what Postroad does not have: they are promised by nobody until it has it.
_POSTGRESQL, _POLICIES = "no store in PostgreSQL", "no TLS policies of the recipient's domain"
ABSENT = {
    "15": _POSTGRESQL,
    "16": _POSTGRESQL,
    "17": _POSTGRESQL,
    "51": _POLICIES,
    "51a": _POLICIES,
    "52": _POLICIES,
    "53": "no REQUIRETLS",
    "58": "no console",
    "68": "no reading of the configuration while it runs",
}
