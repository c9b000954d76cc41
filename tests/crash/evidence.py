"""Collects what the kills left: the submitters' ledger, the other side's, the Maildir, the spool and the log."""

from __future__ import annotations

import json
from collections.abc import Iterator
from email import message_from_bytes
from pathlib import Path
from typing import Any

from other_side import OtherSide, body_of, id_of

from postroad.store.contract import Filter
from postroad.store.sqlite import sqlite_store
from postroad.testing.promises import Arrival, Evidence, Letter

__all__ = ["evidence_of"]

_MANY = 10_000_000
_ANSWERED = {"delivered", "deferred", "in_doubt", "failed", "cancelled"}


def evidence_of(folder: Path, other_side: OtherSide, kills: int, most_in_flight: int) -> Evidence:
    """most_in_flight: attempts whose outcome a kill may swallow."""
    spool, log = folder / "spool" / "postroad.db", list(_log(folder / "log"))
    with sqlite_store(str(spool), folder=folder / "spool") as store:
        messages, problems = store.find(Filter(), _MANY), store.check()
    ids = {one.message.id for one in messages}
    contents = (spool.parent / f"{spool.name}.content").iterdir()
    return Evidence(
        letters=letters(folder / "ledger"),
        arrivals=[*other_side.arrivals, *_in_maildir(folder / "archive" / "new")],
        spool=messages,
        log=log,
        attempts=other_side.attempts,
        leftovers=[
            *(path.name for path in contents if path.name not in ids),
            *(path.name for path in (folder / "archive" / "tmp").iterdir()),
        ],
        kills=kills,
        attempts_an_hour=sum(line["event"] in _ANSWERED for line in log) + kills * most_in_flight,
        problems=problems,
    )


def letters(ledger: Path) -> list[Letter]:
    """By body, what was submitted, with its id where that was acknowledged."""
    found: dict[str, dict[str, Any]] = {}
    for line in ledger.read_bytes().splitlines():
        values = json.loads(line)
        found.setdefault(values["body"], {}).update(values)
    return [
        Letter(values["body"], values["sender"], tuple(values["recipients"]), values.get("id", ""))
        for values in found.values()
    ]


def _log(path: Path) -> Iterator[dict[str, Any]]:
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.endswith("}"):  # a kill may have cut the last one of a life
            yield json.loads(line)


def _in_maildir(folder: Path) -> Iterator[Arrival]:
    """One file for each recipient, whose line ends are those of the system."""
    for path in sorted(folder.iterdir()):
        content = path.read_bytes().replace(b"\n", b"\r\n")
        message = message_from_bytes(content)
        yield Arrival(id_of(message), message["Delivered-To"].strip("<>"), body_of(content))
