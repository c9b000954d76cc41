"""The door: turns what a caller gives into what the spool keeps, or refuses it with the field's name.

Nothing is stored here and nothing waits.  The engine's own submissions, other processes' (`gate.py`) and inserts into a spool
whose engine is not running all come through the same checks; only the engine asks plugins and chooses lanes.
"""

from __future__ import annotations

import hashlib
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from email.message import EmailMessage
from typing import Any, BinaryIO

import msgspec

from .address import parse_address
from .canonical import canonicalise
from .compose import Composed, MailFields, compose
from .config import Config
from .decide.admission import Refusal, check_queue, check_sender, check_size, refusal_error
from .decide.routing import NO_ROUTE, UNROUTED
from .errors import SubmissionError, SubmissionTooLarge
from .message import DsnOptions, Message, Submission, new_message_id
from .store.contract import Accept, IdempotencyKey, NewRecipient, Tally
from .store.states import State

__all__ = ["Door", "Options", "hostname_of"]

_MAX_TAGS, _MAX_TAG, _MAX_KEY, _MAX_ENVID = 10, 100, 200, 100

LaneOf = Callable[[str, str, tuple[str, ...]], str | None]


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What goes with a submission beside its sender, recipients and content, checked."""

    send_at: float | None
    expires_at: float | None
    priority: int
    key: str | None
    tags: tuple[str, ...]
    dsn: DsnOptions
    report_to: tuple[str, ...]


def hostname_of(config: Config) -> str:
    """The name this engine uses for itself in Message-IDs and reports."""
    return config.reports.hostname or socket.getfqdn()


class Door:
    """Checks and prepares submissions.

    lane_of: chooses a lane for (sender, recipient, tags), or None where no route fits.
    admit: asks the plugins, or None where none looks at submissions.
    """

    def __init__(
        self,
        config: Config,
        lane_of: LaneOf = lambda sender, recipient, tags: UNROUTED,
        admit: Callable[[Submission], Refusal | None] | None = None,
    ) -> None:
        self._config = config
        self._lane_of = lane_of
        self._admit = admit
        self.hostname = hostname_of(config)

    def prepare(self, submission: Submission, *, tally: Tally, now: float, id: str | None = None) -> Accept:
        """What the spool shall keep of a submission whose content is already written.

        Raises SubmissionError (with `.field`) or QueueFull.
        """
        self._ask_plugins(submission)
        sender = str(parse_address(submission.sender, "sender"))
        recipients = _unique(
            str(parse_address(recipient, f"recipients[{index}]"))
            for index, recipient in enumerate(_listed(submission.recipients))
        )
        options = _options(submission, now)
        given = self._read_content(submission.content)
        id = id or new_message_id(now)
        canonical = canonicalise(given, message_id=self._message_id(id), date=now)
        written = Composed(
            content=canonical.content,
            sender=sender,
            recipients=recipients,
            message_id=canonical.message_id,
            eight_bit=canonical.eight_bit,
            smtputf8=canonical.smtputf8,
        )
        return self._accept(written, options, id, tally, now, lambda: _digest(submission, given))

    def compose(
        self, fields: MailFields, given: Mapping[str, Any], *, tally: Tally, now: float, id: str | None = None
    ) -> Accept:
        """What the spool shall keep of a message given as fields; `given` holds the other arguments of a Submission.

        Raises SubmissionError (with `.field`) or QueueFull.
        """
        id = id or new_message_id(now)
        composed = compose(fields, message_id=self._message_id(id), date=now)
        submission = Submission(
            sender=composed.sender, recipients=composed.recipients, content=composed.content, **given
        )
        self._ask_plugins(submission)
        options = _options(submission, now)
        return self._accept(composed, options, id, tally, now, lambda: _digest_of((fields, _comparable(options))))

    def report(self, content: bytes, recipients: Sequence[str], message: Message, now: float) -> Accept:
        """What the spool shall keep of a report: routed like mail, exempt from sender rules and the queue limit."""
        return Accept(
            message=message,
            recipients=tuple(self._recipient("", recipient, (), now) for recipient in recipients),
            content=content,
        )

    def _ask_plugins(self, submission: Submission) -> None:
        refusal = self._admit(submission) if self._admit else None
        if refusal is not None:
            raise refusal_error(refusal)

    def _message_id(self, id: str) -> str:
        return f"{id}@{self.hostname}"

    def _read_content(self, content: Any) -> bytes | EmailMessage:
        if isinstance(content, (bytes, EmailMessage)):
            return content
        if isinstance(content, (bytearray, memoryview)):
            return bytes(content)
        if isinstance(content, os.PathLike):
            try:
                with open(content, "rb") as file:
                    return self._read_file(file)
            except OSError as error:
                raise SubmissionError("content", f"the file cannot be read: {error}") from error
        if hasattr(content, "read"):
            return self._read_file(content)
        raise SubmissionError(
            "content", f"must be bytes, an EmailMessage, a path or an open binary file, not {type(content).__name__}"
        )

    def _read_file(self, file: BinaryIO) -> bytes:
        """Read at most one octet more than is allowed, so that an endless file fills no memory."""
        allowed = self._config.limits.message_bytes
        content = file.read(allowed + 1)
        if not isinstance(content, bytes):
            raise SubmissionError("content", "the file is open as text; open it in binary mode")
        if len(content) > allowed:
            raise SubmissionTooLarge(
                "content", f"the file has more than the {allowed:,} octets that [limits] message_bytes allows"
            )
        return content

    def _accept(
        self, written: Composed, options: Options, id: str, tally: Tally, now: float, digest: Callable[[], bytes]
    ) -> Accept:
        config, size = self._config, len(written.content)
        if not written.recipients:
            raise SubmissionError("recipients", "there are none; give at least one address")
        if len(written.recipients) > config.limits.recipients:
            raise SubmissionError(
                "recipients",
                f"there are {len(written.recipients):,}, [limits] recipients allows {config.limits.recipients:,}; "
                "send several messages",
            )
        check_sender(written.sender, config.senders)
        check_size(size, config.limits)
        full = check_queue(size, tally, config.limits)
        if full is not None:
            raise full
        message = Message(
            id=id,
            sender=written.sender,
            accepted_at=now,
            size=size,
            priority=options.priority,
            send_at=options.send_at,
            expires_at=options.expires_at,
            tags=options.tags,
            dsn=options.dsn,
            report_to=options.report_to,
            eight_bit=written.eight_bit,
            smtputf8=written.smtputf8,
            message_id=written.message_id,
        )
        due = max(now, options.send_at or 0.0)
        return Accept(
            message=message,
            recipients=tuple(
                self._recipient(written.sender, recipient, options.tags, due) for recipient in written.recipients
            ),
            content=written.content,
            idempotency=self._key(written.sender, options, now, digest),
        )

    def _key(self, sender: str, options: Options, now: float, digest: Callable[[], bytes]) -> IdempotencyKey | None:
        if options.key is None:
            return None
        return IdempotencyKey(
            sender=sender,
            key=options.key,
            digest=digest(),
            expires_at=now + self._config.limits.idempotency_seconds,
        )

    def _recipient(self, sender: str, recipient: str, tags: tuple[str, ...], due: float) -> NewRecipient:
        lane = self._lane_of(sender, recipient, tags)
        if lane is None:
            return NewRecipient(address=recipient, lane=UNROUTED, due=due, state=State.HELD, reason=NO_ROUTE)
        return NewRecipient(address=recipient, lane=lane, due=due)


def _listed(recipients: Any) -> Sequence[str]:
    if isinstance(recipients, str):
        return [recipients]
    try:
        return list(recipients)
    except TypeError:
        raise SubmissionError(
            "recipients", f"must be a sequence of addresses, not {type(recipients).__name__}"
        ) from None


def _unique(recipients: Any) -> tuple[str, ...]:
    return tuple(dict.fromkeys(recipients))


def _options(submission: Submission, now: float) -> Options:
    options = Options(
        send_at=_moment(submission.send_at, "send_at"),
        expires_at=_moment(submission.expires_at, "expires_at"),
        priority=_priority(submission.priority),
        key=_key_text(submission.idempotency_key),
        tags=_tags(submission.tags),
        dsn=_dsn(submission.dsn),
        report_to=tuple(
            str(parse_address(address, f"report_to[{index}]")) for index, address in enumerate(submission.report_to)
        ),
    )
    if options.expires_at is not None and options.expires_at <= max(now, options.send_at or now):
        raise SubmissionError("expires_at", "lies before the message could be sent; give a later moment, or none")
    return options


def _moment(moment: Any, field: str) -> float | None:
    if moment is None:
        return None
    if isinstance(moment, datetime):
        if moment.tzinfo is None:
            raise SubmissionError(field, "is a datetime without a time zone; use an aware one, or Unix seconds")
        return moment.timestamp()
    if isinstance(moment, bool) or not isinstance(moment, (int, float)) or not 0 <= moment < 1e11:
        raise SubmissionError(field, f"must be Unix seconds or an aware datetime, not {moment!r}")
    return float(moment)


def _priority(priority: Any) -> int:
    if isinstance(priority, bool) or not isinstance(priority, int) or not 0 <= priority <= 9:
        raise SubmissionError("priority", f"must be a number from 0 (first) to 9 (last), not {priority!r}")
    return priority


def _key_text(key: Any) -> str | None:
    if key is not None and not (isinstance(key, str) and 0 < len(key) <= _MAX_KEY and key.isprintable()):
        raise SubmissionError("idempotency_key", f"must be 1 to {_MAX_KEY} printable characters")
    return key


def _tags(tags: Any) -> tuple[str, ...]:
    listed: tuple[Any, ...] = (tags,) if isinstance(tags, str) else tuple(tags)
    if len(listed) > _MAX_TAGS:
        raise SubmissionError("tags", f"there are {len(listed)}, {_MAX_TAGS} are allowed")
    for index, tag in enumerate(listed):
        if not (isinstance(tag, str) and 0 < len(tag) <= _MAX_TAG and tag.isprintable()):
            raise SubmissionError(f"tags[{index}]", f"must be 1 to {_MAX_TAG} printable characters")
    return listed


def _dsn(dsn: DsnOptions) -> DsnOptions:
    if "never" in dsn.notify and len(dsn.notify) > 1:
        raise SubmissionError("dsn.notify", '"never" must stand alone (RFC 3461 section 4.1)')
    envid = dsn.envid
    if envid is not None and not (0 < len(envid) <= _MAX_ENVID and envid.isascii() and envid.isprintable()):
        raise SubmissionError("dsn.envid", f"must be 1 to {_MAX_ENVID} printable ASCII characters")
    return dsn


def _comparable(options: Options) -> bytes:
    return msgspec.msgpack.encode(options)


def _digest(submission: Submission, content: bytes | EmailMessage) -> bytes:
    """Covers what the caller gave: composed bytes differ by Date and Message-ID."""
    raw = content if isinstance(content, bytes) else content.as_bytes()
    head = msgspec.msgpack.encode(
        (
            submission.sender,
            list(_listed(submission.recipients)),
            _moment(submission.send_at, "send_at"),
            _moment(submission.expires_at, "expires_at"),
            submission.priority,
            list(submission.tags),
            submission.dsn,
            list(submission.report_to),
        )
    )
    return hashlib.blake2b(head + b"\0" + raw, digest_size=16).digest()


def _digest_of(given: Any) -> bytes:
    return hashlib.blake2b(msgspec.msgpack.encode(given, enc_hook=_plain), digest_size=16).digest()


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, (bytearray, memoryview)):
        return bytes(value)
    return list(value)
