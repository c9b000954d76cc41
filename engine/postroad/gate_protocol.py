"""What passes between the engine's gate and other processes: calls and answers.

Requests go to the gate, one answer for each comes back, in order; several may be under way.  Both are msgpack in the frames
of `gate_frames.py`.  No I/O and no trio here: `gate.py` serves, `handover.py` asks.  Every message has its id from the
caller, so that asking again, by whatever road, never doubles.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Protocol, TypeAlias, cast, runtime_checkable

import msgspec

from . import errors
from .arguments import OPTIONS
from .errors import ConfigError, PostroadError, SubmissionError, UnknownMessage
from .gate_frames import BadFrame, framed
from .message import DEFAULT_PRIORITY, NO_DSN, DsnOptions, Submission
from .remote import Noted, RemoteNotice
from .status import Status
from .store.contract import Cancelled, Filter, Moved, StoredMessage, TakenAsDelivered

if TYPE_CHECKING:
    from .compose import Attachment, MailFields

__all__ = [
    "Answer",
    "Call",
    "CancelAll",
    "Enclosure",
    "Failed",
    "Find",
    "HoldAll",
    "Look",
    "Mail",
    "Picture",
    "Receive",
    "ReceiveBounce",
    "ReceiveNotices",
    "ReleaseAll",
    "Request",
    "RetryAll",
    "TakeAllAsDelivered",
    "Written",
    "encode_answer",
    "encode_failure",
    "encode_request",
    "error_of",
    "failure_of",
    "read_call",
    "read_request",
    "read_response",
    "value_type",
]


# --- Calls ---


class _Call(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    pass


_ID = r"^[0-9a-z]{20}\Z"  # as `message.new_message_id` mints them; it becomes a file name and part of the Message-ID


class _Sending(_Call, frozen=True, kw_only=True, omit_defaults=True):
    """What both kinds of submission have; see `message.Submission`.  What was not asked for does not travel."""

    id: Annotated[str, msgspec.Meta(pattern=_ID)]
    send_at: float | datetime | None = None
    expires_at: float | datetime | None = None
    priority: int = DEFAULT_PRIORITY
    idempotency_key: str | None = None
    tags: tuple[str, ...] = ()
    dsn: DsnOptions = NO_DSN
    report_to: tuple[str, ...] = ()

    @property
    def options(self) -> dict[str, Any]:
        """The arguments of a Submission beside its envelope and content."""
        return {name: getattr(self, name) for name in OPTIONS}


class Written(_Sending, frozen=True, kw_only=True, tag=True):
    """Take a message that is already written.  Answer: its id."""

    sender: str
    recipients: tuple[str, ...]
    content: bytes

    def submission(self) -> Submission:
        return Submission(sender=self.sender, recipients=self.recipients, content=self.content, **self.options)


class Enclosure(msgspec.Struct, frozen=True):
    """An attachment on its way; text travels as UTF-8 and is text again behind the gate."""

    filename: str
    octets: bytes
    content_type: str | None = None
    content_id: str | None = None
    inline: bool = False
    is_text: bool = False

    @classmethod
    def of(cls, attachment: Attachment, field: str) -> Enclosure:
        """Raises SubmissionError for content that is neither octets nor text; `field` names the attachment."""
        content: Any = attachment.content
        if isinstance(content, str):
            octets = content.encode("utf-8", "surrogatepass")
            return cls(attachment.filename, octets, *_described(attachment), is_text=True)
        if not isinstance(content, (bytes, bytearray, memoryview)):
            raise SubmissionError(f"{field}.content", f"must be bytes or str, not {type(content).__name__}")
        return cls(attachment.filename, bytes(cast("bytes", content)), *_described(attachment))

    def attachment(self) -> Attachment:
        from .compose import Attachment

        content = self.octets.decode("utf-8", "surrogatepass") if self.is_text else self.octets
        return Attachment(self.filename, content, *_described(self))


def _described(given: Attachment | Enclosure) -> tuple[str | None, str | None, bool]:
    return given.content_type, given.content_id, given.inline


class Mail(_Sending, frozen=True, kw_only=True, tag=True):
    """Compose a message from fields and take it.  Answer: its id.

    to_admins: it goes to the administrators, whom the side that takes it in knows, and so do reports on it.
    admin_bytes: refuse more octets than this where an administrator is among the recipients.
    """

    sender: str
    to: str | tuple[str, ...] = ()
    cc: str | tuple[str, ...] = ()
    bcc: str | tuple[str, ...] = ()
    reply_to: str | tuple[str, ...] = ()
    subject: str = ""
    body: str | None = None
    html: str | None = None
    amp_html: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    attachments: tuple[Enclosure, ...] = ()
    to_admins: bool = False
    admin_bytes: int | None = None

    @property
    def octets(self) -> int:
        """About how large the message is: all that its author gave, headers without addresses."""
        texts = (self.subject, self.body, self.html, self.amp_html, *(text for pair in self.headers for text in pair))
        return sum(len(text.encode("utf-8", "surrogatepass")) for text in texts if text) + sum(
            len(enclosure.octets) for enclosure in self.attachments
        )

    def fields(self) -> MailFields:
        from .compose import MailFields  # 50 ms that only the side that composes has to spend

        given: dict[str, Any] = {name: getattr(self, name) for name in MailFields.__struct_fields__}
        given["attachments"] = [enclosure.attachment() for enclosure in self.attachments]
        return MailFields(**given)


class Receive(_Call, frozen=True, kw_only=True, tag=True):
    """Take mail that came for the application, as `Engine.receive`.  Answer: its id."""

    id: Annotated[str, msgspec.Meta(pattern=_ID)]
    sender: str
    recipients: tuple[str, ...]
    raw: bytes
    idempotency_key: str | None = None


class ReceiveBounce(_Call, frozen=True, kw_only=True, tag=True):
    """Take mail that came back to a sender, as `Engine.receive_bounce`.  id: of what it becomes.  Answer: None."""

    id: Annotated[str, msgspec.Meta(pattern=_ID)]
    raw: bytes


class ReceiveNotices(_Call, frozen=True, kw_only=True, tag=True):
    """Take what a provider tells later, as `Engine.receive_notices`.  Answer: Noted."""

    transport: str
    notices: tuple[RemoteNotice, ...]
    token: str = ""


class Find(_Call, frozen=True, kw_only=True, tag=True):
    """Messages, as `Engine.find`.  Answer: a list of StoredMessage."""

    filter: Filter
    limit: int = 100
    after: str = ""


class Look(_Call, frozen=True, kw_only=True, tag=True):
    """One message.  Answer: StoredMessage."""

    id: str


class Picture(_Call, frozen=True, kw_only=True, tag=True):
    """Answer: Status."""


class CancelAll(_Call, frozen=True, kw_only=True, tag=True):
    """Answer: Cancelled."""

    filter: Filter


class HoldAll(_Call, frozen=True, kw_only=True, tag=True):
    """Answer: Moved."""

    filter: Filter
    reason: str = "held by an operator"


class ReleaseAll(_Call, frozen=True, kw_only=True, tag=True):
    """Answer: Moved."""

    filter: Filter


class TakeAllAsDelivered(_Call, frozen=True, kw_only=True, tag=True):
    """Answer: TakenAsDelivered."""

    filter: Filter


class RetryAll(_Call, frozen=True, kw_only=True, tag=True):
    """Answer: Moved."""

    filter: Filter


Call: TypeAlias = (
    Written
    | Mail
    | Receive
    | ReceiveBounce
    | ReceiveNotices
    | Find
    | Look
    | Picture
    | CancelAll
    | HoldAll
    | ReleaseAll
    | TakeAllAsDelivered
    | RetryAll
)

_VALUES: Mapping[type, Any] = {
    Written: str,
    Mail: str,
    Receive: str,
    ReceiveBounce: None,
    ReceiveNotices: Noted,
    Find: list[StoredMessage],
    Look: StoredMessage,
    Picture: Status,
    CancelAll: Cancelled,
    HoldAll: Moved,
    ReleaseAll: Moved,
    TakeAllAsDelivered: TakenAsDelivered,
    RetryAll: Moved,
}


def value_type(call: Call) -> Any:
    """The type of a call's answer."""
    return _VALUES[type(call)]


# --- Requests and answers ---


class Request(msgspec.Struct, frozen=True, array_like=True):
    """number: the caller's own, repeated in the answer.  The call stays packed until it is its turn."""

    number: int
    call: msgspec.Raw


class Answer(msgspec.Struct, frozen=True, array_like=True, tag=0):
    number: int
    value: msgspec.Raw


class Failed(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """kind: the name of a class in `errors.py`; field: what it calls the field or key at fault.

    number 0 speaks of the connection as a whole, which ends with it.
    """

    number: int
    kind: str
    field: str
    text: str


_encode = msgspec.msgpack.Encoder().encode
_decode_request = msgspec.msgpack.Decoder(Request).decode
_decode_call: msgspec.msgpack.Decoder[Call] = msgspec.msgpack.Decoder(Call)
_decode_response: msgspec.msgpack.Decoder[Answer | Failed] = msgspec.msgpack.Decoder(Answer | Failed)


def encode_request(number: int, call: Call) -> bytes:
    """Raises SubmissionError for text that is none."""
    try:
        return framed(_encode((number, call)))
    except UnicodeEncodeError:
        raise SubmissionError(
            _field_at_fault(call), "it holds a lone surrogate, which no text may; decode what was read as UTF-8"
        ) from None


def _field_at_fault(call: Call) -> str:
    for name in call.__struct_fields__:
        try:
            _encode(getattr(call, name))
        except UnicodeEncodeError:
            return name
    return "call"


def encode_answer(number: int, value: object) -> bytes:
    return framed(_encode(Answer(number, msgspec.Raw(_encode(value)))))


def encode_failure(failed: Failed) -> bytes:
    return framed(_encode(failed))


def read_request(payload: bytes) -> Request:
    try:
        return _decode_request(payload)
    except msgspec.DecodeError as error:
        raise BadFrame(str(error)) from None


def read_call(request: Request) -> Call:
    """Raises SubmissionError for a call that is unknown or has fields of wrong types."""
    try:
        return _decode_call.decode(request.call)
    except msgspec.DecodeError as error:
        problem, _, where = str(error).partition(" - at `$")
        raise SubmissionError(where.rstrip("`").lstrip(".") or "call", problem) from None


def read_response(payload: bytes) -> Answer | Failed:
    try:
        return _decode_response.decode(payload)
    except msgspec.DecodeError as error:
        raise BadFrame(str(error)) from None


# --- Errors travel as their class's name, a field and a text ---


@runtime_checkable
class _NamesField(Protocol):
    field: str
    problem: str


def failure_of(number: int, error: Exception) -> Failed:
    """An error of ours as it is; any other only by its name: its text may hold anything."""
    if not isinstance(error, PostroadError):
        return Failed(
            number, "PostroadError", "", f"the engine failed at this call ({type(error).__name__}); see its log"
        )
    if isinstance(error, ConfigError):
        return Failed(number, "ConfigError", error.key, error.problem)
    if isinstance(error, _NamesField):
        return Failed(number, type(error).__name__, error.field, error.problem)
    return Failed(number, type(error).__name__, "", str(error))


def error_of(failed: Failed) -> PostroadError:
    """The error that a failure stands for; an unknown kind (of another version) becomes a PostroadError."""
    kind = getattr(errors, failed.kind, None) if failed.kind in errors.__all__ else None
    if not (isinstance(kind, type) and issubclass(kind, PostroadError)):
        return PostroadError(f"{failed.kind}: {failed.text}")
    if issubclass(kind, (SubmissionError, ConfigError)):
        return kind(failed.field, failed.text)
    return UnknownMessage(failed.text) if kind is UnknownMessage else kind(failed.text)
