"""Reads what callers give to `send_mail` and as a Submission: checked, in one form, or refused with the field's name.

The engine's door and other processes (`handover.py`) come through the same checks, so that a mistake is the same error on
every road and the same fields are the same message.  Pure; imports no trio.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import msgspec

from .address import parse_address
from .errors import SubmissionError
from .message import DEFAULT_PRIORITY, NO_DSN, DsnOptions, Submission
from .misfits import misfit

__all__ = [
    "OPTIONS",
    "Options",
    "check_expiry",
    "listed",
    "mail_arguments",
    "read_addresses",
    "read_key",
    "read_options",
]

OPTIONS = ("send_at", "expires_at", "priority", "idempotency_key", "tags", "dsn", "report_to")

_MAX_TAGS, _MAX_TAG, _MAX_KEY, _MAX_ENVID = 10, 100, 200, 100
_EARLIEST = 946_684_800.0  # 1 January 2000: what lies before was meant as seconds from now
_LATEST = 1e11  # some 3,000 years: what lies behind was given in milliseconds


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What goes with a submission beside its sender, recipients and content, checked."""

    send_at: float | None
    expires_at: float | None
    priority: int
    idempotency_key: str | None
    tags: tuple[str, ...]
    dsn: DsnOptions
    report_to: tuple[str, ...]


def read_options(submission: Submission) -> Options:
    """Raises SubmissionError."""
    if (  # nothing, as most mail
        submission.dsn is NO_DSN
        and submission.send_at is None
        and submission.expires_at is None
        and submission.idempotency_key is None
        and submission.tags == submission.report_to == ()
        and submission.priority is DEFAULT_PRIORITY
    ):
        return _NO_OPTIONS
    return Options(
        send_at=_moment(submission.send_at, "send_at"),
        expires_at=_moment(submission.expires_at, "expires_at"),
        priority=_priority(submission.priority),
        idempotency_key=read_key(submission.idempotency_key),
        tags=_tags(submission.tags),
        dsn=_dsn(submission.dsn),
        report_to=read_addresses(submission.report_to, "report_to"),
    )


_NO_OPTIONS = Options(
    send_at=None,
    expires_at=None,
    priority=DEFAULT_PRIORITY,
    idempotency_key=None,
    tags=(),
    dsn=NO_DSN,
    report_to=(),
)


def check_expiry(options: Options, now: float) -> None:
    """Refuse what would expire before it could be sent."""
    if options.expires_at is not None and options.expires_at <= max(now, options.send_at or now):
        raise SubmissionError("expires_at", "lies before the message could be sent; give a later moment, or none")


# --- fields of a message ---

_ADDRESSES = ("to", "cc", "bcc", "reply_to")


def mail_arguments(given: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a message in the one form that is compared and travels; for lists None means "not given"."""
    from .compose.attachment import read_attachments  # slow to import, and written mail does without

    read = dict(given)
    for name in _ADDRESSES:
        read[name] = _texts(given.get(name))
    read["headers"] = _pairs(given.get("headers"))
    attachments = _whole(given.get("attachments"), "attachments", "a list of attachments, also of one")
    read["attachments"] = tuple(read_attachments(attachments))
    return read


def _texts(value: Any) -> Any:
    """What is no list stays what it is: the parser of addresses names it."""
    if value is None:
        return ()
    return tuple(value) if _is_list(value) else value


def _pairs(headers: Any) -> tuple[tuple[Any, ...], ...]:
    pairs = headers.items() if hasattr(headers, "items") else headers
    listed_pairs = _whole(pairs, "headers", "a mapping, or pairs of name and value")
    if not all(issubclass(type(pair), (tuple, list)) and len(pair) == 2 for pair in listed_pairs):
        raise SubmissionError("headers", "give a mapping, or pairs of name and value")
    return tuple([tuple(pair) for pair in listed_pairs])


def _whole(value: Any, field: str, wanted: str) -> tuple[Any, ...]:
    if value is None:
        return ()
    if not _is_list(value):
        raise SubmissionError(field, f"give {wanted}, not {type(value).__name__}")
    return tuple(value)


def _is_list(value: Any) -> bool:
    return isinstance(value, Iterable) and not isinstance(value, (str, bytes))


# --- one by one ---


def listed(values: Any, field: str) -> list[Any]:
    """One text may stand for a list of one."""
    if isinstance(values, str):
        return [values]
    try:
        return list(values)
    except TypeError:
        raise SubmissionError(field, f"must be a sequence of texts, not {type(values).__name__}") from None


def read_addresses(values: Any, field: str) -> tuple[str, ...]:
    return tuple([str(parse_address(value, f"{field}[{index}]")) for index, value in enumerate(listed(values, field))])


def _moment(moment: Any, field: str) -> float | None:
    if moment is None:
        return None
    if isinstance(moment, datetime):
        if moment.utcoffset() is None:
            raise SubmissionError(field, "is a datetime without a time zone; use an aware one, or Unix seconds")
        moment = moment.timestamp()
    if isinstance(moment, bool) or not isinstance(moment, (int, float)) or not moment < _LATEST:
        raise SubmissionError(field, f"must be Unix seconds or an aware datetime, not {moment!r}")
    if moment < _EARLIEST:
        raise SubmissionError(
            field, f"must be a moment, in Unix seconds or as an aware datetime; {moment!r} lies before the year 2000"
        )
    return float(moment)


def _priority(priority: Any) -> int:
    if isinstance(priority, bool) or not isinstance(priority, int) or not 0 <= priority <= 9:
        raise SubmissionError("priority", f"must be a number from 0 (first) to 9 (last), not {priority!r}")
    return priority


def read_key(key: Any) -> str | None:
    if key is not None and not (isinstance(key, str) and 0 < len(key) <= _MAX_KEY and key.isprintable()):
        raise SubmissionError("idempotency_key", f"must be 1 to {_MAX_KEY} printable characters")
    return key


def _tags(tags: Any) -> tuple[str, ...]:
    all_tags = tuple(listed(tags, "tags"))
    if len(all_tags) > _MAX_TAGS:
        raise SubmissionError("tags", f"there are {len(all_tags)}, {_MAX_TAGS} are allowed")
    for index, tag in enumerate(all_tags):
        if not (isinstance(tag, str) and 0 < len(tag) <= _MAX_TAG and tag.isprintable()):
            raise SubmissionError(f"tags[{index}]", f"must be 1 to {_MAX_TAG} printable characters")
    return all_tags


def _dsn(dsn: Any) -> DsnOptions:
    """A Struct made in Python checks no types: read it as strictly as one from outside."""
    if not isinstance(dsn, DsnOptions):
        raise SubmissionError("dsn", f"must be DsnOptions, not {type(dsn).__name__}")
    try:
        plain = msgspec.to_builtins(dsn)
    except TypeError as error:
        raise SubmissionError("dsn", f"{error}") from None
    try:
        read = msgspec.convert(plain, DsnOptions)
    except msgspec.ValidationError as error:
        key, problem = misfit(error, plain, DsnOptions)
        raise SubmissionError(f"dsn.{key}", problem) from None
    if "never" in read.notify and len(read.notify) > 1:
        raise SubmissionError("dsn.notify", '"never" must stand alone (RFC 3461 section 4.1)')
    envid = read.envid
    if envid is not None and not (0 < len(envid) <= _MAX_ENVID and envid.isascii() and envid.isprintable()):
        raise SubmissionError("dsn.envid", f"must be 1 to {_MAX_ENVID} printable ASCII characters")
    return read
