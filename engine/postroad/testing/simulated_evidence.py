"""What a simulation shows, put together for `promises.py`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ..dsn import read_report
from ..message import Kind
from ..store.contract import StoredMessage
from .promises import Arrival, Evidence, Letter, Place, forbidden_octets
from .simulated_server import Mail
from .simulated_store import LedgerStore, name_of

__all__ = ["evidence_of"]


def evidence_of(store: LedgerStore, mail: Iterable[Mail], log: Sequence[Mapping[str, Any]]) -> Evidence:
    """Every content is named by the message that it belongs to, so that equal ones are no trouble."""
    spool = store.everything()
    return Evidence(
        letters=[Letter(message.id, message.sender, to, message.id) for message, to in store.accepted],
        arrivals=list(_arrivals(store, spool, mail)),
        spool=spool,
        log=log,
        is_cut_short=True,
    )


def _arrivals(store: LedgerStore, spool: Sequence[StoredMessage], mail: Iterable[Mail]) -> Iterator[Arrival]:
    stored = {one.message.id: one for one in spool}
    came: Counter[Place] = Counter()
    for each in mail:
        ids = store.by_content.get(name_of(each.content), [])
        meant = [id for id in ids if any(one.address == each.recipient for one in stored[id].recipients)]
        id = min(meant or ids or [""], key=lambda one: came[one, each.recipient])
        came[id, each.recipient] += 1
        is_report = id in stored and stored[id].message.kind is Kind.REPORT
        eight_bit = "BODY=8BITMIME" in each.command or "SMTPUTF8" in each.command
        yield Arrival(
            id=id,
            recipient=each.recipient,
            body=id,
            forbidden=forbidden_octets(each.content, eight_bit=eight_bit),
            failed=tuple(_failed(each.content)) if is_report else (),
        )


def _failed(content: bytes) -> Iterator[Place]:
    report = read_report(content)
    if report is not None:
        yield from ((report.our_id, one.address) for one in report.recipients if one.action == "failed")
