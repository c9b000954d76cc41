"""Takes what providers tell later: matches it with our recipients, reports bounces to senders, remembers it, then tells it.

It changes no outcome, and believes a notice only of what its own transport carried last.  A hundred at a time are made durable
(reports, and that these notices were taken), and then told; where the storage fails no more is told, and the same notices come
again.  A report is stored under an idempotency key of its recipient, so there is one however often a bounce is told.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import trio

from .actors.ports import Ports
from .actors.reporting import ReportWriter, wants_report
from .events import Event, RemoteBounce, RemoteComplaint, RemoteDeferred, RemoteDelivered, RemoteUnsubscribe
from .log import get_logger, printable
from .remote import Noted, RemoteNotice, Seen, check_notices, digest_of, recipient_of
from .store.contract import Accept, Accepted, IdempotencyKey, Operation, Remember, Store, StoredMessage, StoredRecipient
from .store.states import State

__all__ = ["RemoteNotices"]

_REPORTS = "?"  # the sender of the keys of reports: no address, so that no submission's key is one of them
_BEYOND_SECONDS = (
    30 * 86_400.0
)  # how long after its history a message's key is kept: others of its recipients may wait on
_AT_ONCE = 100  # notices in one commit: of a request's thousands only these have their reports in memory together
_SILENT = (State.LEASED, State.IN_DOUBT)  # an answer is still awaited: perhaps that the provider has it already
_KINDS: Mapping[str, type[RemoteDelivered | RemoteDeferred | RemoteComplaint | RemoteUnsubscribe]] = {
    "delivered": RemoteDelivered,
    "deferred": RemoteDeferred,
    "complained": RemoteComplaint,
    "unsubscribed": RemoteUnsubscribe,
}

_log = get_logger()


@dataclass(slots=True)
class _Batch:
    """What follows from some notices.  taken: digests to remember.  reports: with what they are about."""

    told: list[RemoteNotice] = field(default_factory=list[RemoteNotice])
    unmatched: list[RemoteNotice] = field(default_factory=list[RemoteNotice])
    taken: list[bytes] = field(default_factory=list[bytes])
    reports: list[tuple[StoredMessage, StoredRecipient, Accept]] = field(
        default_factory=list[tuple[StoredMessage, StoredRecipient, Accept]]
    )
    known: int = 0
    unsettled: int = 0

    @property
    def noted(self) -> Noted:
        return Noted(told=len(self.told), known=self.known, unmatched=len(self.unmatched), unsettled=self.unsettled)


class RemoteNotices:
    """One at a time: what two requests say of the same event must not be told twice."""

    def __init__(self, ports: Ports) -> None:
        self._ports = ports
        self._reports = ReportWriter(ports)
        self._turn = trio.Lock()
        self._seen: Seen | None = None  # read when first asked for, and again after a commit that failed

    async def take(self, transport: str, notices: Sequence[RemoteNotice], token: str = "") -> Noted:
        """As `Engine.receive_notices`."""
        found = check_notices(notices)
        async with self._turn:
            seen = await self._remembered()
            if token and digest_of(transport, token) in seen:
                return Noted(known=len(found))
            noted = Noted()
            for start in range(0, len(found) or 1, _AT_ONCE):
                batch = await self._sorted(transport, found[start : start + _AT_ONCE], seen)
                noted = noted.plus(batch.noted)
                if token and start + _AT_ONCE >= len(found) and not noted.unsettled:
                    batch.taken.append(digest_of(transport, token))
                with trio.CancelScope(shield=True):  # what is kept is never told again: told it must be
                    await self._finish(transport, batch, seen)
        return noted

    async def _finish(self, transport: str, batch: _Batch, seen: Seen) -> None:
        self._seen = None
        await self._keep(batch, seen)
        self._seen = seen
        self._tell(transport, batch)

    async def _remembered(self) -> Seen:
        if self._seen is None:
            kept = await self._ports.executor.ask(lambda store: [store.recall(name) for name in Seen.names])
            self._seen = Seen(kept)
        return self._seen

    async def _sorted(self, transport: str, notices: Sequence[RemoteNotice], seen: Seen) -> _Batch:
        batch = _Batch()
        fresh: dict[bytes, RemoteNotice] = {}
        for notice in notices:
            digest = digest_of(transport, notice.kind, notice.id, notice.recipient, notice.key)
            if digest in seen or digest in fresh:
                batch.known += 1
            else:
                fresh[digest] = notice
        messages = await self._messages({notice.id for notice in fresh.values()})
        for digest, notice in fresh.items():
            await self._sort_in(batch, digest, notice, transport, messages.get(notice.id))
        return batch

    async def _messages(self, ids: set[str]) -> dict[str, StoredMessage]:
        """Those that the spool has."""

        def ask(store: Store) -> list[StoredMessage | None]:
            return [store.message(id) for id in sorted(ids)]

        return {stored.message.id: stored for stored in await self._ports.executor.ask(ask) if stored}

    async def _sort_in(
        self, batch: _Batch, digest: bytes, notice: RemoteNotice, transport: str, stored: StoredMessage | None
    ) -> None:
        recipient = recipient_of(notice, stored) if stored else None
        if stored is None or recipient is None or not self._is_carried_by(transport, recipient):
            batch.unmatched.append(notice)  # not remembered: it changes nothing, however often it comes
            return
        if notice.kind == "bounced" and recipient.state in _SILENT:
            batch.unsettled += 1
            return
        batch.told.append(notice)
        batch.taken.append(digest)
        is_ours_to_report = notice.kind == "bounced" and recipient.state is State.ACCEPTED
        if is_ours_to_report and wants_report(stored.message, recipient):
            batch.reports.append((stored, recipient, await self._report(notice, stored, recipient)))

    def _is_carried_by(self, transport: str, recipient: StoredRecipient) -> bool:
        road = self._ports.table.road_of(recipient.lane)
        return road is not None and road.transport == transport

    async def _report(self, notice: RemoteNotice, stored: StoredMessage, recipient: StoredRecipient) -> Accept:
        now = self._ports.clock.now()
        told = msgspec.structs.replace(recipient, status=notice.status or "5.0.0", reply=notice.said)
        accept = await self._reports.write("failed", stored, [told], now)
        key = IdempotencyKey(
            sender=_REPORTS,
            key=f"{stored.message.id}/{recipient.number}",
            digest=b"",
            expires_at=now + self._ports.config.limits.history_seconds + _BEYOND_SECONDS,
        )
        return msgspec.structs.replace(accept, idempotency=key)

    async def _keep(self, batch: _Batch, seen: Seen) -> None:
        """Reports first: were only what was taken kept, the reports would never be written."""
        operations: list[Operation] = [accept for _, _, accept in batch.reports]
        operations += [Remember(name, value) for name, value in seen.add(batch.taken).items()]
        answers = await self._ports.intake.put(operations)
        fresh = [isinstance(answer, Accepted) and not answer.duplicate for answer in answers]
        batch.reports = [report for report, is_fresh in zip(batch.reports, fresh, strict=False) if is_fresh]

    # --- telling ---

    def _tell(self, transport: str, batch: _Batch) -> None:
        now = self._ports.clock.now()
        for notice in batch.told:
            _log.info("provider_said", transport=transport, **_facts(notice))
            if self._ports.observers.is_active:
                self._ports.observers.publish(_event(notice, transport, now))
        for notice in batch.unmatched:
            _log.info("provider_event_unmatched", transport=transport, **_facts(notice))
        for stored, recipient, accept in batch.reports:
            self._reports.say("failed", stored, [recipient], accept, now)


def _facts(notice: RemoteNotice) -> dict[str, str]:
    return {
        "id": printable(notice.id, 100),
        "recipient": printable(notice.recipient, 320),
        "kind": notice.kind,
        "status": notice.status,
        "diagnostic": notice.said,
    }


def _event(notice: RemoteNotice, transport: str, now: float) -> Event:
    about: dict[str, Any] = {
        "at": now,
        "id": notice.id,
        "recipient": notice.recipient,
        "transport": transport,
        "status": notice.status,
        "diagnostic": notice.said,
    }
    if notice.kind == "bounced":
        return RemoteBounce(action="failed", **about)
    return _KINDS[notice.kind](**about)
