"""Does what another process asks for while no engine runs: under the spool's lock, through the store itself.

Submissions, and mail for the application, pass the same door as in the engine, but for plugins and lanes: they wait on the
lane UNROUTED until an engine starts and gives them theirs.  Nobody hears of events: what would be nothing else is refused.
Synchronous, imports no trio; asked by `handover.py` only.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import msgspec

from .administrators import with_administrators
from .arrivals import check_raw, has_told, no_callbacks, read_arrival, tells_bounce, tells_failure
from .checksum import content_flaw, file_flaw
from .config import Callbacks, Config, Limits, Quotas, Reports, Senders, Spool
from .decide.quotas import quota_error
from .errors import ConfigError, EngineClosed, IdempotencyConflict, StoreBroken, StoreError, UnknownMessage
from .forking import no_fork
from .gate_protocol import (
    Call,
    CancelAll,
    Find,
    HoldAll,
    Look,
    Mail,
    Picture,
    Receive,
    ReceiveBounce,
    ReceiveNotices,
    ReleaseAll,
    RetryAll,
    TakeAllAsDelivered,
    Written,
)
from .message import BOUNCE_ADDRESS, Arrival
from .recovery import recovery
from .spool import ContentFolder, Marks, SpoolLock, SpoolPlace, boot_id
from .status import Status
from .store.contract import (
    UNROUTED,
    Accept,
    Accepted,
    Cancel,
    ContentPlace,
    Filter,
    Hold,
    IdempotencyMismatch,
    Operation,
    QuotaExhausted,
    Recover,
    Release,
    Retry,
    Store,
    StoredMessage,
    StoreFactory,
    TakeAsDelivered,
)
from .store.memory import MemoryStore
from .store.states import ENDS, State

if TYPE_CHECKING:
    from .dsn import ReceivedReport

__all__ = ["RULES", "OfflineSpool", "open_offline", "rules_of", "unmade"]

RULES = "rules"  # the fact's name
_UNFINISHED = Filter(states=tuple(frozenset(State) - ENDS))
_NO_RULES = "no engine has worked on this spool yet, so nobody knows who may send; name its configuration file"
_AT_ONCE = 100
_NAMED_PROBLEMS = 100  # of contents; a lost folder would name millions


class _Rules(msgspec.Struct, frozen=True):
    """What doors must know of an engine's configuration.  No transports: these may hold secrets."""

    senders: Senders
    limits: Limits
    reports: Reports
    content_file_bytes: int
    quotas: Quotas = Quotas()
    callbacks: Callbacks = Callbacks()


def rules_of(config: Config, hostname: str) -> bytes:
    """What an engine writes into its spool (under RULES), for doors that have no configuration of their own."""
    reports = msgspec.structs.replace(config.reports, hostname=hostname)
    return msgspec.msgpack.encode(
        _Rules(config.senders, config.limits, reports, config.spool.content_file_bytes, config.quotas, config.callbacks)
    )


@contextmanager
def open_offline(place: SpoolPlace, config: Config | None) -> Generator[OfflineSpool]:
    """Hold the spool's lock and open its store.  config: None to go by the rules that the last engine wrote.

    Raises SpoolInUse when an engine or another door has the lock, StoreError, and ConfigError where no folder can be made.
    """
    if not place.is_there:
        place.make_folder()
    folder = place.content_folder or Path()
    with no_fork, SpoolLock(place.lock_path), _factory(place)(place.rest, folder=folder) as store:
        yield OfflineSpool(store, ContentFolder(place.content_folder), config, place.marks_path)


def unmade(place: SpoolPlace, config: Config | None) -> OfflineSpool:
    """A spool that is not there yet, in memory: what it would answer is known before anything is made, misspelt or not.

    Raises ConfigError where there are no rules to go by.
    """
    if config is None:
        raise ConfigError("config", f"{_NO_RULES} ({_missing(place)})")
    return OfflineSpool(MemoryStore(), ContentFolder(None), config)


def _missing(place: SpoolPlace) -> str:
    assert place.path is not None, "what is kept in no file is always there"
    folder = place.path.parent
    return f"there is no file {place.path}" if folder.is_dir() else f"there is no folder {folder}"


def _factory(place: SpoolPlace) -> StoreFactory:
    if place.scheme == "sqlite":
        from .store.sqlite import sqlite_store

        return sqlite_store
    from .plugins import Plugins  # a store of a plugin: rare, and worth its 100 ms

    plugins = Plugins()
    plugins.load(place.scheme)
    return plugins.stores[place.scheme]


class OfflineSpool:
    """A spool without an engine, for as long as this process holds its lock."""

    def __init__(
        self, store: Store, contents: ContentFolder, config: Config | None, marks_path: Path | None = None
    ) -> None:
        self._store = store
        self._marks_path = marks_path
        self._contents = contents
        self._given = config

    @property
    def is_empty(self) -> bool:
        """Whether nothing has been stored that would have to be kept."""
        return self._store.tally().messages == 0

    def do(self, call: Call) -> Any:
        """Answer a call as the gate of a running engine would."""
        match call:
            case Written() | Mail():
                return self._insert(call.id, lambda: self._submission(call))
            case Receive():
                return self._receive(call)
            case ReceiveBounce():
                return self._receive_bounce(call)
            case ReceiveNotices():
                raise EngineClosed("no engine runs that would tell what a provider says; hand it over when one does")
            case Find():
                return self._store.find(call.filter, call.limit, call.after)
            case Look():
                return self._look(call.id)
            case Picture():
                return self._picture()
            case _:
                now = time.time()
                return self._store.apply([self._recovery(now), _operation(call, now)])[1]

    def _recovery(self, now: float) -> Recover:
        """What an engine that died had under way is nobody's: an operator means that, too."""
        here = boot_id().encode()
        rebooted = not here or self._store.recall("boot") != here
        with contextlib.closing(Marks(self._marks_path, 1)) as marks:
            return recovery(marks, self._given.all_routes if self._given else (), now, rebooted=rebooted)

    def check(self) -> list[str]:
        """Problems found by reading everything, contents too: one sentence each."""
        problems = self._store.check()
        with contextlib.suppress(StoreError):  # what cannot be read is among the problems
            problems += islice(self._content_problems(), _NAMED_PROBLEMS)
        return problems

    def _content_problems(self) -> Iterator[str]:
        """Of what is unfinished: the store itself says where a content in the database is missing."""
        after = ""
        while found := self._store.find(_UNFINISHED, _AT_ONCE, after):
            for stored in found:
                problem = self._content_problem(stored)
                if problem:
                    yield f"Message {stored.message.id}: its content is damaged: {problem}."
            after = found[-1].message.id

    def _content_problem(self, stored: StoredMessage) -> str:
        try:
            content = self._store.content(stored.handle)
        except StoreError:
            return ""
        if isinstance(content, bytes):
            return content_flaw(stored.message, content)
        try:
            return file_flaw(stored.message, self._contents.path_of(content))
        except (OSError, StoreError) as error:
            return f"its file cannot be read ({error})"

    def _receive(self, call: Receive) -> str:
        """Mail as it came, but for a bounce of ours: it names a message of this spool as failed."""
        config = self._config
        if config.callbacks.route is None:
            raise no_callbacks()
        arrival = read_arrival(call.sender, call.recipients, call.raw, call.idempotency_key, config.limits)
        report = _report_in(call.raw)
        if report is not None and has_told(self._known(report.own_id)):
            return report.own_id
        is_ours = report is not None and self._known(report.our_id) is not None
        if is_ours and tells_failure(report) and config.callbacks.tells_bounces:
            arrival = msgspec.structs.replace(arrival, recipients=(BOUNCE_ADDRESS,))
        return self._insert(call.id, lambda: self._incoming(arrival, call.id))

    def _receive_bounce(self, call: ReceiveBounce) -> None:
        """Where it becomes a callback it is stored.  Events are nothing that would wait for an engine."""
        report = _report_in(check_raw(call.raw, self._config.limits.message_bytes))
        if report is None:
            return
        if not (self._config.callbacks.tells_bounces and tells_bounce(report)):
            raise EngineClosed("no engine runs that would tell what this mail says; hand it over when one does")
        if not has_told(self._known(report.own_id)):
            arrival = Arrival(recipients=(BOUNCE_ADDRESS,), raw=call.raw)
            self._insert(call.id, lambda: self._incoming(arrival, call.id))

    def _known(self, id: str) -> StoredMessage | None:
        return self._store.message(id) if id else None

    def _insert(self, id: str, prepare: Callable[[], Accept]) -> str:
        if self._store.message(id) is not None:
            return id  # asked before, and the answer was lost; a content file in use must not be written anew
        accept = self._with_content_placed(prepare())
        answer = self._stored(accept)
        if isinstance(answer, QuotaExhausted):
            raise quota_error(answer)
        if isinstance(answer, IdempotencyMismatch):
            raise IdempotencyConflict(
                "idempotency_key",
                f"was used by {accept.message.sender!r} for another submission ({answer.id}); use a new key",
            )
        return answer.id

    def _stored(self, accept: Accept) -> Accepted | IdempotencyMismatch | QuotaExhausted:
        """Commit it; a content file that no message came to use is deleted."""
        try:
            answer = cast("Accepted | IdempotencyMismatch | QuotaExhausted", self._store.apply([accept])[0])
        except StoreBroken:
            raise  # the row may be there or not: the file stays, and an engine sweeps it if nobody uses it
        except BaseException:
            with contextlib.suppress(StoreError):
                if self._store.message(accept.message.id) is None:
                    self._delete_content(accept)
            raise
        if isinstance(answer, QuotaExhausted) or answer.id != accept.message.id:
            self._delete_content(accept)
        return answer

    def _delete_content(self, accept: Accept) -> None:
        if isinstance(accept.content, ContentPlace):
            self._contents.delete([accept.content.name])

    def _submission(self, call: Written | Mail) -> Accept:
        from .door import Door

        door, now, tally = Door(self._config), time.time(), self._store.tally()
        if isinstance(call, Written):
            return door.prepare(call.submission(), tally=tally, now=now, id=call.id)
        call = with_administrators(call, self._config.senders)
        return door.compose(call.fields(), call.options, tally=tally, now=now, id=call.id)

    def _incoming(self, arrival: Arrival, id: str) -> Accept:
        from .door import Door

        return Door(self._config).incoming(arrival, UNROUTED, tally=self._store.tally(), now=time.time(), id=id)

    def _with_content_placed(self, accept: Accept) -> Accept:
        content = accept.content
        if not isinstance(content, bytes) or len(content) <= self._config.spool.content_file_bytes:
            return accept
        return msgspec.structs.replace(accept, content=self._contents.write(accept.message.id, content))

    @property
    def _config(self) -> Config:
        if self._given is None:
            self._given = self._remembered()
        return self._given

    def _remembered(self) -> Config:
        known = self._store.recall(RULES)
        if known is None:
            raise ConfigError("config", _NO_RULES)
        rules = msgspec.msgpack.decode(known, type=_Rules)
        return Config(
            senders=rules.senders,
            limits=rules.limits,
            quotas=rules.quotas,
            reports=rules.reports,
            callbacks=rules.callbacks,
            transports={rules.callbacks.transport: {"plugin": ""}} if rules.callbacks.transport else {},  # never opened
            spool=Spool(content_file_bytes=rules.content_file_bytes),
        )

    def _look(self, id: str) -> Any:
        stored = self._store.message(id)
        if stored is None:
            raise UnknownMessage(f"there is no message {id!r} in the spool (or it finished before the history begins)")
        return stored

    def _picture(self) -> Status:
        tally = self._store.tally()
        return Status(
            messages=tally.messages,
            recipients=tally.recipients,
            content_bytes=tally.content_bytes,
            by_state={state.name.lower(): count for state, count in sorted(self._store.counts().items())},
            in_doubt=self._store.doubts(),
            in_flight=0,
            intake=0,
            is_draining=False,
        )


def _report_in(raw: bytes) -> ReceivedReport | None:
    from .dsn import read_report  # only incoming mail needs it

    return read_report(raw)


def _operation(call: CancelAll | HoldAll | ReleaseAll | TakeAllAsDelivered | RetryAll, now: float) -> Operation:
    match call:
        case CancelAll():
            return Cancel(call.filter, now)
        case HoldAll():
            return Hold(call.filter, call.reason, now)
        case ReleaseAll():
            return Release(call.filter, now)
        case TakeAllAsDelivered():
            return TakeAsDelivered(call.filter, now)
        case RetryAll():
            return Retry(call.filter, now)
