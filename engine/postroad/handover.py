"""Hands mail over to an engine from another process, synchronously: for the command line, WSGI workers and scripts.

It asks the engine's gate on the unix socket beside the spool; where no engine runs it does the work itself under the spool's
lock (`offline.py`); while the lock is held and nobody listens (an engine starts or ends, another door is at work) it tries
again until its deadline.  Ids are minted here, so that changing roads never doubles.  For any number of processes and
threads; imports no trio.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar, cast
from weakref import WeakSet

import msgspec

from .arguments import OPTIONS, listed, mail_arguments, read_key, read_options
from .arrivals import check_raw
from .config import Config, Limits
from .errors import (
    ConfigError,
    EngineClosed,
    PostroadError,
    SpoolInUse,
    StoreError,
    SubmissionError,
    SubmissionTooLarge,
)
from .forking import no_fork
from .gate_frames import frame_limit
from .gate_line import GateLost, Line, NobodyListens
from .gate_protocol import (
    Call,
    CancelAll,
    Enclosure,
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
from .message import Submission, new_message_id
from .remote import Noted, RemoteNotice, check_notices
from .spool import SpoolPlace
from .status import Status
from .store.contract import Cancelled, Filter, Moved, StoredMessage, TakenAsDelivered

__all__ = ["Handover", "mail_call"]

_WINDOW_CALLS, _WINDOW_OCTETS = 64, 1 << 20  # under way at once: the answers must fit into the socket's buffer
_NOTICES_A_CALL = 200  # of the longest: they fit into a frame whatever [limits] message_bytes says
_FIRST_PAUSE, _LONGEST_PAUSE = 0.005, 0.1  # seconds between tries; an insert by another door takes about 0.01

_T = TypeVar("_T")


class Handover:
    """A door to one spool, for any number of threads (each has a connection of its own; none is used across a fork).

    config: for what is refused while no engine runs; None: the rules that the last engine wrote into the spool.
    deadline_seconds: how long one call may take in all before it raises SpoolInUse.
    """

    def __init__(self, place: SpoolPlace, config: Config | None = None, *, deadline_seconds: float = 30.0) -> None:
        if place.path is None or place.socket_path is None:
            raise ConfigError(
                "spool.url", f"a spool of the kind {place.scheme!r} cannot be reached from another process"
            )
        self._place = place
        self._path = place.socket_path
        self._config = config
        self._seconds = deadline_seconds
        self._message_octets = (config.limits if config else Limits()).message_bytes
        self._own = threading.local()
        self._lines: WeakSet[Line] = WeakSet()
        self.went_by_gate: bool | None = None  # the last call's road, for people

    # --- sending ---

    def send(self, submission: Submission, id: str | None = None) -> str:
        """Have a message that is already written taken, and return its id once it is safely in the spool.

        id: minted by the caller (`new_message_id`), so that a second call with it stores nothing new.  Raises SubmissionError
        (with `.field`) or QueueFull, and then nothing is stored; StoreError or SpoolInUse, and then try again with the same id.
        """
        return self._ask(self._written(submission, id), str)

    def send_many(self, submissions: Sequence[Submission]) -> list[str | PostroadError]:
        """As `send` for each, many under way at once; each answer is an id or the error of that submission alone."""
        calls = [_outcome(self._written_new, submission) for submission in submissions]
        taken: list[str | PostroadError] = []
        for window in _windows([call for call in calls if isinstance(call, Written)]):
            taken += self._by_some_road(window)
        in_turn = iter(taken)
        return [next(in_turn) if isinstance(call, Written) else call for call in calls]

    def send_mail(
        self,
        fields: Mapping[str, Any],
        id: str | None = None,
        *,
        to_admins: bool = False,
        admin_bytes: int | None = None,
    ) -> str:
        """Have a message composed of fields (the arguments of `Engine.send_mail`) and taken; otherwise as `send`.

        to_admins: to the administrators of `[senders] admins`, whom the engine knows; reports on it go to them, too.
        admin_bytes: refuse more octets than this where an administrator is among the recipients.

        Raises TypeError for a field that `Engine.send_mail` does not know.
        """
        return self._ask(mail_call(fields, id, to_admins=to_admins, admin_bytes=admin_bytes), str)

    def _written_new(self, submission: Submission) -> Written:
        return self._written(submission, None)

    def _written(self, submission: Submission, id: str | None) -> Written:
        given = {
            "id": id or new_message_id(),
            "sender": submission.sender,
            "recipients": tuple(listed(submission.recipients, "recipients")),
            "content": self._read(submission.content),
        }
        return _checked(Written, {**given, **_options_of(submission)})

    def _read(self, content: Any) -> bytes:
        data = self._octets(content)
        if len(data) > self._message_octets:
            raise SubmissionTooLarge(
                "content", f"there are more than the {self._message_octets:,} octets that [limits] message_bytes allows"
            )
        return data

    def _octets(self, content: Any) -> bytes:
        if isinstance(content, (bytes, bytearray, memoryview)):
            return bytes(cast("bytes", content))
        if hasattr(content, "walk"):  # an EmailMessage; importing its class for this question would take 40 ms
            from .compose.message_object import serialise_message as serialise

            return serialise(content)
        if not isinstance(content, os.PathLike):
            return self._read_file(content)
        try:
            with open(cast("os.PathLike[str]", content), "rb") as file:
                return self._read_file(file)
        except OSError as error:
            raise SubmissionError("content", f"the file cannot be read: {error}") from error

    def _read_file(self, file: Any) -> bytes:
        """Read at most one octet more than is allowed, so that an endless file fills no memory."""
        if not hasattr(file, "read"):
            raise SubmissionError(
                "content", f"must be bytes, an EmailMessage, a path or an open binary file, not {type(file).__name__}"
            )
        content = file.read(self._message_octets + 1)
        if not isinstance(content, bytes):
            raise SubmissionError("content", "the file is open as text; open it in binary mode")
        return content

    # --- mail from outside, for the application ---

    def receive(
        self,
        sender: str,
        recipients: str | Iterable[str],
        raw: bytes,
        *,
        id: str | None = None,
        idempotency_key: str | None = None,
    ) -> str:
        """Have mail that came for the application taken, as `Engine.receive`, and return its id once it is safely in the spool.

        id: as for `send`.  Raises what that does, and ConfigError where there are no [callbacks].
        """
        given = {
            "id": id or new_message_id(),
            "sender": sender,
            "recipients": tuple(listed(recipients, "recipients")),
            "raw": check_raw(raw, self._message_octets),
            "idempotency_key": read_key(idempotency_key),
        }
        return self._ask(_checked(Receive, given), str)

    def receive_bounce(self, raw: bytes, *, id: str | None = None) -> None:
        """Have mail that came back to a sender taken, as `Engine.receive_bounce`.

        Where it becomes a callback, that is safely in the spool when this returns; id: as for `send`.  RemoteBounce events are
        told by a running engine only: where none runs, mail that would be nothing but events raises EngineClosed.  Then, and at
        what `send` raises, hand it over again later.
        """
        raw = check_raw(raw, self._message_octets)
        self._ask(_checked(ReceiveBounce, {"id": id or new_message_id(), "raw": raw}), type(None))

    def receive_notices(self, transport: str, notices: Iterable[RemoteNotice], *, token: str = "") -> Noted:
        """Hand over what a provider tells later, as `Engine.receive_notices`, to the running engine.

        Raises EngineClosed where none runs, and what that and `send` raise: then hand it over again later.
        """
        found = check_notices(notices)
        step = len(found) if token else _NOTICES_A_CALL  # a token is taken with all that comes with it
        noted = Noted()
        for start in range(0, len(found) or 1, step or 1):
            given = {"transport": transport, "notices": found[start : start + step], "token": token}
            noted = noted.plus(self._ask(_checked(ReceiveNotices, given), Noted))
        return noted

    # --- looking and operating ---

    def message(self, id: str) -> StoredMessage:
        """Everything the spool knows of a message but its content.  Raises UnknownMessage."""
        return self._ask(Look(id=id), StoredMessage)

    def find(self, filter: Filter, limit: int = 100, after: str = "") -> list[StoredMessage]:
        """Messages with a recipient that the filter means, by id, beginning behind the id `after`."""
        return cast("list[StoredMessage]", self._ask(Find(filter=filter, limit=limit, after=after), list))

    def status(self) -> Status:
        """A picture of the spool, counted by a scan."""
        return self._ask(Picture(), Status)

    def cancel(self, filter: Filter) -> Cancelled:
        """Withdraw every recipient that the filter means."""
        return self._ask(CancelAll(filter=filter), Cancelled)

    def hold(self, filter: Filter, reason: str = "held by an operator") -> Moved:
        """Hold waiting recipients until they are released."""
        return self._ask(HoldAll(filter=filter, reason=reason), Moved)

    def release(self, filter: Filter) -> Moved:
        """End holds: the recipients are due now."""
        return self._ask(ReleaseAll(filter=filter), Moved)

    def take_as_delivered(self, filter: Filter) -> TakenAsDelivered:
        """Decide that recipients which are held in doubt were delivered; all others are left alone."""
        return self._ask(TakeAllAsDelivered(filter=filter), TakenAsDelivered)

    def retry(self, filter: Filter) -> Moved:
        """Make waiting recipients due now."""
        return self._ask(RetryAll(filter=filter), Moved)

    def close(self) -> None:
        """Close the connections of all threads; a later call opens new ones."""
        for line in list(self._lines):
            line.close()

    def __enter__(self) -> Handover:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    # --- roads ---

    def _ask(self, call: Call, kind: type[_T]) -> _T:
        (answer,) = self._by_some_road([call])
        if isinstance(answer, PostroadError):
            raise answer
        assert isinstance(answer, kind)
        return answer

    def _by_some_road(self, calls: Sequence[Call]) -> list[Any]:
        until = time.monotonic() + self._seconds
        for _ in _tries(until):
            try:
                return self._by_gate(calls, until)
            except GateLost:
                continue
            except NobodyListens:
                pass
            try:
                return self._by_itself(calls)
            except SpoolInUse:
                continue
        raise SpoolInUse(
            f"the spool {self._place.path} could not be reached within {self._seconds:g} s: its lock is held, and nobody "
            f"answers on {self._path}. An engine may be starting or ending, or run with [spool] socket = false"
        )

    def _by_gate(self, calls: Sequence[Call], until: float) -> list[Any]:
        line = self._line(until)
        answers = line.ask(calls, until)
        if any(isinstance(answer, EngineClosed) for answer in answers):
            line.close()
            raise GateLost  # the engine ends: the ids make it safe to ask again elsewhere
        self.went_by_gate = True
        return answers

    def _by_itself(self, calls: Sequence[Call]) -> list[Any]:
        with no_fork:
            from .offline import open_offline, unmade

        self.went_by_gate = False
        if not self._place.is_there:
            spool = unmade(self._place, self._config)
            answers = [_outcome(spool.do, call) for call in calls]
            if spool.is_empty:
                return answers
        with open_offline(self._place, self._config) as spool:
            return [_outcome(spool.do, call) for call in calls]

    def _line(self, until: float) -> Line:
        line: Line | None = getattr(self._own, "line", None)
        if line is None or not line.is_usable:
            line = Line(self._path, until, frame_limit(self._message_octets))
            self._own.line = line
            self._lines.add(line)
        return line


def _tries(until: float) -> Iterator[None]:
    """One try at once, then others after short, growing, random pauses, until the deadline."""
    pause = _FIRST_PAUSE
    yield
    while (left := until - time.monotonic()) > 0:
        time.sleep(min(left, pause * random.uniform(0.5, 1.0)))  # noqa: S311  # no secret
        pause = min(pause * 1.6, _LONGEST_PAUSE)
        yield


def _outcome(do: Callable[[_T], Any], call: _T) -> Any:
    """A refusal of one call is its answer; what the store says of itself concerns all."""
    try:
        return do(call)
    except (StoreError, ConfigError):
        raise
    except PostroadError as error:
        return error


def _windows(calls: Sequence[Written]) -> Iterator[list[Written]]:
    window: list[Written] = []
    octets = 0
    for call in calls:
        if window and (len(window) >= _WINDOW_CALLS or octets + len(call.content) > _WINDOW_OCTETS):
            yield window
            window, octets = [], 0
        window.append(call)
        octets += len(call.content)
    if window:
        yield window


# --- what callers give ---


_ARGUMENTS = frozenset(Mail.__struct_fields__) - {"id", "to_admins", "admin_bytes"}


def mail_call(
    fields: Mapping[str, Any], id: str | None, *, to_admins: bool = False, admin_bytes: int | None = None
) -> Mail:
    """The call that the arguments of `Handover.send_mail` mean.  Raises SubmissionError, and TypeError as that does."""
    for name in fields:
        if name not in _ARGUMENTS:
            raise TypeError(f"send_mail() got an unexpected keyword argument {name!r}")
    if "sender" not in fields:
        raise TypeError("send_mail() missing 1 required keyword-only argument: 'sender'")
    options = {name: fields[name] for name in OPTIONS if name in fields}
    given = mail_arguments({name: value for name, value in fields.items() if name not in options})
    given["attachments"] = tuple(
        [Enclosure.of(each, f"attachments[{number}]") for number, each in enumerate(given["attachments"])]
    )
    options_only = Submission(sender="", recipients=(), content=b"", **options)
    call = _checked(Mail, {**given, **_options_of(options_only), "id": id or new_message_id()})
    if not to_admins and admin_bytes is None:
        return call
    return msgspec.structs.replace(call, to_admins=to_admins, admin_bytes=admin_bytes)


def _options_of(submission: Submission) -> dict[str, Any]:
    return msgspec.structs.asdict(read_options(submission))


def _checked(kind: type[_T], given: dict[str, Any]) -> _T:
    """The call, or a SubmissionError that names a field of a wrong type or an unknown name."""
    try:
        return msgspec.convert(given, kind, strict=True)
    except msgspec.ValidationError as error:
        problem, _, where = str(error).partition(" - at `$")
        raise SubmissionError(where.rstrip("`").lstrip(".") or "submission", problem) from None
