"""The way of submissions from the door into the store: counted while under way, large contents in files of their own.

What is prepared and not yet answered counts against the queue's limits as if it were stored: the tally of the last commit
knows nothing of those that come at the same time.  A large content is written and synced before its row is committed, never
while the disk is full; a file that no accepted message uses is deleted again, and one in use is never touched.
Asked by `engine.py` only.
"""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, TypeAlias

import msgspec
import trio

from .actors.ports import Ports
from .carrying import Carrying
from .decide.admission import Refusal, refusal_error
from .draft import Draft
from .errors import EngineClosed, StoreBroken, StoreError
from .intake import Entry
from .spool import ContentFolder
from .store.contract import Accept, Accepted, ContentPlace, IdempotencyMismatch, QuotaExhausted, Store, Tally

__all__ = ["Acceptance"]

_Answer: TypeAlias = Accepted | IdempotencyMismatch | QuotaExhausted

_READERS = 4  # open files read at once; each may have as many octets as a message
_CLEAR_UP_SECONDS = 60.0  # a commit that hangs longer holds nobody up; the file is swept later if nobody uses it


class _UnderWay:
    """How much is prepared and not yet answered."""

    __slots__ = ("content_bytes", "messages", "recipients")

    def __init__(self) -> None:
        self.messages = self.recipients = self.content_bytes = 0

    def add(self, accept: Accept, times: int = 1) -> None:
        self.messages += times
        self.recipients += times * len(accept.recipients)
        self.content_bytes += times * accept.message.size

    def beside(self, stored: Tally) -> Tally:
        return Tally(
            stored.messages + self.messages,
            stored.recipients + self.recipients,
            stored.content_bytes + self.content_bytes,
        )


class Acceptance:
    """Takes submissions from the door to the store."""

    def __init__(self, ports: Ports, contents: ContentFolder) -> None:
        self._ports = ports
        self._contents = contents
        self._carrying = Carrying(ports.table, ports.transports)
        self._under_way = _UnderWay()
        self._turns = trio.lowlevel.ParkingLot()  # callers whose content was not looked at yet
        self._desk = trio.Lock()  # where large contents are written, one at a time
        self._readers = trio.Semaphore(_READERS)
        self._large: dict[str, trio.Event] = {}  # ids of large contents under way; the event is set when they are not

    def prepare(self, draft: Draft) -> Accept:
        """Ask the door, and count what it lets in until `store` or `forget`.  Raises SubmissionError or QueueFull."""
        accept = self._prepared(draft, self._ports.clock.now(), draft.id)
        try:
            return self._placed_on_roads(draft, accept)
        except BaseException:
            self.forget([accept])
            raise

    def _placed_on_roads(self, draft: Draft, accept: Accept) -> Accept:
        """Raises SubmissionError where no road can carry it."""
        found = self._carrying.placed(accept)
        if isinstance(found, Refusal):
            raise refusal_error(msgspec.structs.replace(found, field=draft.field_of(found.field)))
        return found

    def _prepared(self, draft: Draft, now: float, id: str | None, work: Any = None) -> Accept:
        ports = self._ports
        accept = draft.prepare(ports.door, self._under_way.beside(ports.executor.store.tally()), now, id, work)
        self._under_way.add(accept)
        return accept

    async def prepare_in_turn(self, draft: Draft) -> Accept:
        """As `prepare`, after a wait while `limits.intake_bytes` of content are prepared and not yet answered.

        So a thousand tasks that submit files at once hold the contents of some, not of all.  What is large is written by a
        thread, one after the other, while everybody else goes on.  No checkpoint for what is small, where there is room.
        """
        octets = draft.octets
        if octets == math.inf:
            async with self._readers:
                return await self.prepare_in_turn(await self._read(draft))
        if octets > self._ports.config.spool.content_file_bytes:
            async with self._desk:
                return await self._prepare_apart(draft)
        if not (self._is_crowded or self._turns):
            return self.prepare(draft)
        await self._wait_for_turn()
        try:
            return self.prepare(draft)
        finally:
            self._call_next()

    def is_large(self, draft: Draft) -> bool:
        """Whether it is written by a thread; what must be read to know does count."""
        return draft.octets > self._ports.config.spool.content_file_bytes

    async def _read(self, draft: Draft) -> Draft:
        """Read an open file, which may be a pipe where nobody writes, at nobody's cost but a few others' of its kind."""
        ports = self._ports
        if not ports.executor.store.threaded:
            return draft.with_content_read(ports.door)
        return await trio.to_thread.run_sync(draft.with_content_read, ports.door, abandon_on_cancel=True)

    async def _prepare_apart(self, draft: Draft) -> Accept:
        await self._wait_for_turn()
        try:
            ports = self._ports
            now = ports.clock.now()
            id = draft.id or ports.new_id(now)
            work = await ports.executor.write(partial(draft.write, ports.door, id, now))
            accept = self._prepared(draft, now, id, work)
            try:
                return await ports.executor.write(partial(self._placed_on_roads, draft, accept))
            except BaseException:
                self.forget([accept])
                raise
        finally:
            self._call_next()

    async def _wait_for_turn(self) -> None:
        if self._is_crowded or self._turns:
            await self._turns.park()
            while self._is_crowded:
                await self._turns.park()

    @property
    def _is_crowded(self) -> bool:
        return self._under_way.content_bytes >= self._ports.config.limits.intake_bytes

    def _call_next(self) -> None:
        if self._turns and not self._is_crowded:
            self._turns.unpark()

    def forget(self, accepts: Iterable[Accept]) -> None:
        """Count no more what was prepared."""
        for accept in accepts:
            self._under_way.add(accept, -1)
        self._call_next()

    async def store(self, accepts: Sequence[Accept]) -> list[_Answer]:
        """Commit what was prepared, in one go, and return the store's answers in order.

        When cancelled, what no commit took yet is withdrawn.  Raises StoreError or EngineClosed.
        """
        try:
            if large := [accept.message.id for accept in accepts if self._is_large(accept)]:
                return await self._store_large(accepts, set(large))
            return await self._ports.intake.put(accepts)
        finally:
            self.forget(accepts)

    def _is_large(self, accept: Accept) -> bool:
        return accept.message.size > self._ports.config.spool.content_file_bytes and isinstance(accept.content, bytes)

    async def _store_large(self, accepts: Sequence[Accept], large: set[str]) -> list[_Answer]:
        async with self._alone(large):
            known = await self._ask_known(large)
            fresh = iter(await self._store_fresh([accept for accept in accepts if accept.message.id not in known]))
            return [known.get(accept.message.id) or next(fresh) for accept in accepts]

    @asynccontextmanager
    async def _alone(self, ids: set[str]) -> AsyncGenerator[None]:
        """One id may be handed over twice at the same time: one must not delete the file that the other relies on."""
        while (busy := next((self._large[id] for id in ids if id in self._large), None)) is not None:
            await busy.wait()
        done = trio.Event()
        self._large.update(dict.fromkeys(ids, done))
        try:
            yield
        finally:
            for id in ids:
                del self._large[id]
            done.set()

    async def _ask_known(self, ids: set[str]) -> dict[str, Accepted]:
        """Those that were accepted before: their files must not be written anew."""
        self._check_open()

        def ask(store: Store) -> dict[str, Accepted]:
            found = {id: store.message(id) for id in ids}
            return {id: Accepted(id, stored.handle, duplicate=True) for id, stored in found.items() if stored}

        return await self._ports.executor.ask(ask)

    def _check_open(self) -> None:
        if self._ports.intake.is_closed:
            raise EngineClosed("the engine is closed; it takes no more submissions")

    async def _store_fresh(self, accepts: Sequence[Accept]) -> list[_Answer]:
        written: set[str] = set()
        entries: list[Entry] = []
        try:
            entries = [Entry(await self._placed(accept, written)) for accept in accepts]
            return await self._ports.intake.put_entries(entries)
        finally:
            with trio.move_on_after(_CLEAR_UP_SECONDS, shield=True):
                await self._delete_unused(written, entries)

    async def _placed(self, accept: Accept, written: set[str]) -> Accept:
        """With its content in a file of its own where it is large."""
        content, id = accept.content, accept.message.id
        if not isinstance(content, bytes) or not self._is_large(accept):
            return accept
        if id in written:
            return msgspec.structs.replace(accept, content=ContentPlace(id))
        self._check_open()
        if self._ports.reserve.is_missing:
            raise self._ports.reserve.refusal()
        written.add(id)
        return msgspec.structs.replace(accept, content=await trio.to_thread.run_sync(self._contents.write, id, content))

    async def _delete_unused(self, written: set[str], entries: Sequence[Entry]) -> None:
        unused = set(written)
        for entry in entries:
            accept = entry.operation
            assert isinstance(accept, Accept)
            if accept.message.id in unused and await self._may_be_stored(accept.message.id, entry):
                unused.discard(accept.message.id)
        if unused:
            await trio.to_thread.run_sync(self._contents.delete, unused)

    async def _may_be_stored(self, id: str, entry: Entry) -> bool:
        """Whether a message of that id may be in the store now.  Where nobody can tell, the file stays, to be swept."""
        if not entry.is_taken:
            return False
        await entry.wait_finished()
        if entry.error is None:
            return isinstance(entry.answer, Accepted) and entry.answer.id == id
        if isinstance(entry.error, StoreBroken) or self._ports.intake.is_closed:
            return True
        try:
            return await self._ports.executor.ask(lambda store: store.message(id)) is not None
        except StoreError:
            return True
