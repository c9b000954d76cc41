"""The store of a simulated world: in memory, outlives its engines, and keeps as evidence what a spool may forget."""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Generator, Sequence
from contextlib import contextmanager

import trio

from ..message import Kind, Message
from ..store.contract import (
    Accept,
    Accepted,
    DelayReport,
    Filter,
    Operation,
    Report,
    Result,
    StoredMessage,
)
from ..store.memory import MemoryStore
from ..store.memory_shelf import Entry

__all__ = ["LedgerStore", "name_of"]

_ALL = 1_000_000_000


def name_of(content: bytes) -> str:
    """Names a content."""
    return hashlib.sha256(content).hexdigest()[:24]


class LedgerStore(MemoryStore):
    """accepted: mail that was committed, and whom it was for.  by_content: ids of messages by `name_of` their content."""

    def __init__(self) -> None:
        super().__init__()
        self.accepted: list[tuple[Message, tuple[str, ...]]] = []
        self.by_content: defaultdict[str, list[str]] = defaultdict(list)
        self._pruned: list[StoredMessage] = []
        self._committed = trio.lowlevel.ParkingLot()

    def apply(self, operations: Sequence[Operation]) -> list[Result]:
        results = super().apply(operations)
        for operation, result in zip(operations, results, strict=True):
            accept = operation.accept if isinstance(operation, (Report, DelayReport)) else operation
            if isinstance(accept, Accept) and isinstance(result, Accepted) and not result.duplicate:
                self._note(accept)
        self._committed.unpark_all()
        return results

    def _note(self, accept: Accept) -> None:
        assert isinstance(accept.content, bytes), "a simulation keeps no content in files"
        self.by_content[name_of(accept.content)].append(accept.message.id)
        if accept.message.kind is Kind.MAIL:
            self.accepted.append((accept.message, tuple(recipient.address for recipient in accept.recipients)))

    def _forget_message(self, entry: Entry) -> None:
        self._pruned.append(self._stored(entry.handle, self._shelf.rows_of(entry.handle)))
        super()._forget_message(entry)

    def everything(self) -> list[StoredMessage]:
        """All messages that there ever were."""
        return [*self._pruned, *self.find(Filter(), _ALL)]

    async def wait_finished(self) -> None:
        """Wait until every message is finished, reports and all."""
        while self.tally().messages:
            await self._committed.park()

    def close(self) -> None:
        """It outlives the engine."""

    @contextmanager
    def opened(self, url: str, *, folder: os.PathLike[str]) -> Generator[LedgerStore]:
        """A StoreFactory."""
        yield self
