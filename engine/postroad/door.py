"""The door: turns what a caller gives into what the spool keeps, or refuses it with the field's name.

Nothing is stored here and nothing waits.  The engine's own submissions, other processes' (`gate.py`) and inserts into a spool
whose engine is not running all come through the same checks; only the engine asks plugins and chooses lanes.
"""

from __future__ import annotations

import hashlib
import os
import socket
import stat
from collections.abc import Callable, Mapping, Sequence
from email.message import EmailMessage
from typing import Any, BinaryIO, TypeAlias, cast
from zlib import crc32

import msgspec

from .address import parse_address
from .arguments import Options, check_expiry, read_addresses, read_options
from .compose import Canonical, Composed, MailFields, canonicalise, compose
from .compose.attachment import read_attachments
from .config import Config, is_hostname
from .decide.admission import Refusal, check_hops, check_queue, check_sender, check_size, is_admin, refusal_error
from .decide.quotas import Use, charges_of, limits_of
from .errors import SubmissionError, SubmissionTooLarge
from .message import BOUNCE_ADDRESS, Arrival, Kind, Message, Submission, new_message_id
from .store.contract import NO_ROUTE, UNROUTED, Accept, Charge, IdempotencyKey, NewRecipient, Tally
from .store.states import State

__all__ = ["UNKNOWN_NAME", "Door", "Read", "Written", "hostname_of", "is_known_elsewhere"]

_REMEMBERED = 10_000  # authorized senders: `*@domain` lets in any number of them

LaneOf = Callable[[str, str, tuple[str, ...]], str | None]
UNKNOWN_NAME = (
    "it stands in Message-IDs and reports, and no other machine knows it; set [reports] hostname (and helo of SMTP "
    "transports) to this machine's name in the DNS"
)
"""What is said of a name that is not `is_known_elsewhere`."""
Read: TypeAlias = tuple[bytes | EmailMessage, Canonical]  # what was given, and its canonical form
Written: TypeAlias = tuple[Composed, Use]  # a message made of fields, and what it counts as


def hostname_of(config: Config) -> str:
    """The name this engine uses for itself in Message-IDs and reports."""
    if config.reports.hostname:
        return config.reports.hostname
    name = socket.getfqdn()
    return name if is_hostname(name) else "localhost"


def is_known_elsewhere(name: str) -> bool:
    """Whether a host name can be one of the DNS: `localhost` and names of one label or in `.localdomain` are this machine's."""
    return "." in name and not name.lower().endswith(".localdomain")


class Door:
    """Checks and prepares submissions.

    lane_of: chooses a lane for (sender, recipient, tags), or None where no route fits.
    admit: asks the plugins, or None where none looks at submissions.
    ahead: by how many seconds `now` is ahead of the wall (`Clock.ahead_seconds`): callers and Date fields mean the wall.
    new_id: mints the id of a message that is accepted at a time.
    """

    def __init__(
        self,
        config: Config,
        lane_of: LaneOf = lambda sender, recipient, tags: UNROUTED,
        admit: Callable[[Submission], Refusal | None] | None = None,
        ahead: Callable[[], float] = lambda: 0.0,
        new_id: Callable[[float], str] = new_message_id,
    ) -> None:
        self._config = config
        self._lane_of = lane_of
        self._admit = admit
        self._ahead = ahead
        self._new_id = new_id
        self._quotas = limits_of(config.quotas)
        self._authorized: set[str] = set()  # senders that were looked at, in the one form of each
        self.hostname = hostname_of(config)

    def read(self, content: Any, id: str, now: float) -> Read:
        """Read a content and bring it into canonical form.  Uses nothing else of the door, so that a thread may do it."""
        given = self.read_source(content)
        canonical = canonicalise(given, message_id=self._message_id(id), date=now - self._ahead())
        check_hops(canonical.hops, self._config.limits)
        return given, canonical

    def write(self, fields: MailFields, id: str, now: float) -> Written:
        """Compose a message from fields.  Uses nothing else of the door, so that a thread may do it."""
        return compose(fields, message_id=self._message_id(id), date=now - self._ahead()), _use_of(fields)

    def prepare(
        self, submission: Submission, *, tally: Tally, now: float, id: str | None = None, read: Read | None = None
    ) -> Accept:
        """What the spool shall keep of a submission whose content is already written; `read` if that was done under this id.

        Raises SubmissionError (with `.field`) or QueueFull.
        """
        sender = submission.sender
        if type(sender) is not str or sender not in self._authorized:
            sender = str(parse_address(sender, "sender"))
        recipients = read_addresses(submission.recipients, "recipients")
        if len(recipients) > 1:
            recipients = tuple(dict.fromkeys(recipients))
        options = self._options_of(submission, now)
        self._ask_plugins(submission)
        id = id or self._new_id(now)
        given, canonical = read or self.read(submission.content, id, now)
        written = Composed(
            content=canonical.content,
            checksum=canonical.checksum,
            sender=sender,
            recipients=recipients,
            message_id=canonical.message_id,
            eight_bit=canonical.eight_bit,
            smtputf8=canonical.smtputf8,
        )
        use = Use(body_bytes=len(written.content))
        about = () if options.idempotency_key is None else (sender, recipients, options, _comparable(given))
        return self._accept(written, use, options, id, tally, now, about)

    def compose(
        self,
        fields: MailFields,
        given: Mapping[str, Any],
        *,
        tally: Tally,
        now: float,
        id: str | None = None,
        written: Written | None = None,
    ) -> Accept:
        """What the spool shall keep of a message given as fields; `written` if that was done under this id.

        given: the other arguments of a Submission.

        Raises SubmissionError (with `.field`) or QueueFull.
        """
        id = id or self._new_id(now)
        composed, use = written or self.write(fields, id, now)
        submission = Submission(
            sender=composed.sender, recipients=composed.recipients, content=composed.content, **given
        )
        options = self._options_of(submission, now)
        self._ask_plugins(submission)
        return self._accept(composed, use, options, id, tally, now, (fields, options))

    def _options_of(self, submission: Submission, now: float) -> Options:
        options = read_options(submission)
        if options.expires_at is not None:
            check_expiry(options, now - self._ahead())
        return options

    def report(
        self, content: bytes, recipients: Sequence[str], message: Message, now: float, callback_lane: str | None = None
    ) -> Accept:
        """What the spool shall keep of a report: routed like mail, exempt from sender rules and the queue limit.

        callback_lane: where the application hears of it, too; None where it does not.
        """
        to = [self._recipient("", recipient, (), now) for recipient in recipients]
        if callback_lane is not None:
            to.append(NewRecipient(address=BOUNCE_ADDRESS, lane=callback_lane, due=now))
        return Accept(message=message, recipients=tuple(to), content=content)

    def incoming(
        self,
        mail: Arrival,
        lane: str,
        *,
        tally: Tally,
        now: float,
        id: str | None = None,
        checksum: int | None = None,
    ) -> Accept:
        """What the spool shall keep of mail for the application: its octets as they came.

        lane: that of callbacks.  checksum: of the octets, if it was made.  Raises SubmissionError (with `.field`) or QueueFull.
        """
        if full := check_queue(len(mail.raw), tally, self._config.limits, is_incoming=True):
            raise full
        message = Message(
            id=id or self._new_id(now),
            sender=mail.sender,
            accepted_at=now,
            size=len(mail.raw),
            checksum=crc32(mail.raw) if checksum is None else checksum,
            kind=Kind.INCOMING,
            eight_bit=not mail.raw.isascii(),
            smtputf8=not mail.raw.partition(b"\r\n\r\n")[0].isascii(),
        )
        return Accept(
            message=message,
            recipients=tuple(NewRecipient(address=each, lane=lane, due=now) for each in mail.recipients),
            content=mail.raw,
            idempotency=None if mail.key is None else self._key(f"incoming {mail.sender}", mail.key, now, mail),
        )

    def _ask_plugins(self, submission: Submission) -> None:
        if self._admit is not None and (refusal := self._admit(submission)) is not None:
            raise refusal_error(refusal)

    def _message_id(self, id: str) -> str:
        return f"{id}@{self.hostname}"

    def read_source(self, content: Any) -> bytes | EmailMessage:
        """The octets that a content stands for, at most as many as are allowed.  Raises SubmissionError."""
        if isinstance(content, bytes):
            check_size(len(content), self._config.limits)
            return content
        if isinstance(content, EmailMessage):
            return content  # pyright: ignore[reportUnknownVariableType]
        if isinstance(content, (bytearray, memoryview)):
            return self.read_source(bytes(cast("bytes", content)))
        if isinstance(content, os.PathLike):
            return self._read_path(cast("os.PathLike[str]", content))
        if hasattr(content, "read"):
            return self._read_file(content)
        raise SubmissionError(
            "content", f"must be bytes, an EmailMessage, a path or an open binary file, not {type(content).__name__}"
        )

    def _read_path(self, path: os.PathLike[str]) -> bytes:
        try:
            if stat.S_ISFIFO(os.stat(path).st_mode):  # opening it would wait for a writer
                raise SubmissionError("content", "the path names a pipe; give a regular file, or the open pipe")
            with open(path, "rb") as file:
                return self._read_file(file)
        except (OSError, ValueError) as error:
            if isinstance(error, SubmissionError):
                raise
            raise SubmissionError("content", f"the file cannot be read: {error}") from error

    def _read_file(self, file: BinaryIO) -> bytes:
        """Read at most one octet more than is allowed, so that an endless file fills no memory."""
        allowed = self._config.limits.message_bytes
        pieces: list[bytes] = []
        octets = 0
        while piece := _piece(file, allowed + 1 - octets):
            pieces.append(piece)
            octets += len(piece)
            if octets > allowed:
                raise SubmissionTooLarge(
                    "content", f"the file has more than the {allowed:,} octets that [limits] message_bytes allows"
                )
        return b"".join(pieces)  # of a file that is a single piece: no copy

    def _accept(
        self,
        written: Composed,
        use: Use,
        options: Options,
        id: str,
        tally: Tally,
        now: float,
        about: tuple[Any, ...],
    ) -> Accept:
        """about: what the caller gave, where there is a key."""
        config, size = self._config, len(written.content)
        if not written.recipients:
            raise SubmissionError("recipients", "there are none; give at least one address")
        if len(written.recipients) > config.limits.recipients:
            raise SubmissionError(
                "recipients",
                f"there are {len(written.recipients):,}, [limits] recipients allows {config.limits.recipients:,}; "
                "send several messages",
            )
        if written.sender not in self._authorized:
            self._check_sender(written.sender)
        check_size(use.body_bytes + use.attachment_bytes, config.limits)
        full = check_queue(size, tally, config.limits)
        if full is not None:
            raise full
        ahead, send_at, expires_at = self._ahead(), options.send_at, options.expires_at
        if send_at is not None:
            send_at += ahead
        if expires_at is not None:
            expires_at += ahead
        message = Message(
            id=id,
            sender=written.sender,
            accepted_at=now,
            size=size,
            priority=options.priority,
            send_at=send_at,
            expires_at=expires_at,
            tags=options.tags,
            dsn=options.dsn,
            report_to=options.report_to,
            eight_bit=written.eight_bit,
            smtputf8=written.smtputf8,
            message_id=written.message_id,
            ahead=ahead,
            checksum=written.checksum,
        )
        due = now if send_at is None else max(now, send_at)
        key = options.idempotency_key
        return Accept(
            message=message,
            recipients=tuple([self._recipient(written.sender, each, options.tags, due) for each in written.recipients]),
            content=written.content,
            idempotency=None if key is None else self._key(written.sender, key, now, about),
            charges=self._charges(written.recipients, options.report_to, use, now) if self._quotas else (),
        )

    def _check_sender(self, sender: str) -> None:
        check_sender(sender, self._config.senders)
        if len(self._authorized) >= _REMEMBERED:
            self._authorized.clear()
        self._authorized.add(sender)

    def _charges(self, recipients: Sequence[str], report_to: Sequence[str], use: Use, now: float) -> tuple[Charge, ...]:
        admins = sum(recipient in report_to or is_admin(recipient, self._config.senders) for recipient in recipients)
        counted = msgspec.structs.replace(use, recipients=len(recipients) - admins, admins=admins)
        return charges_of(counted, self._quotas, now - self._ahead())

    def _key(self, sender: str, key: str, now: float, about: Any) -> IdempotencyKey:
        return IdempotencyKey(
            sender=sender,
            key=key,
            digest=_digest(about),
            expires_at=now + self._config.limits.idempotency_seconds,
        )

    def _recipient(self, sender: str, recipient: str, tags: tuple[str, ...], due: float) -> NewRecipient:
        lane = self._lane_of(sender, recipient, tags)
        if lane is None:
            return NewRecipient(address=recipient, lane=UNROUTED, due=due, state=State.HELD, reason=NO_ROUTE)
        return NewRecipient(address=recipient, lane=lane, due=due)


def _use_of(fields: MailFields) -> Use:
    """What a message has as its author gave it: encoding for the wire adds to it, and is no affair of its author's."""
    texts = [text for text in (fields.body, fields.html, fields.amp_html) if text is not None]
    attached = [each.content for each in read_attachments(fields.attachments)]
    return Use(
        body_bytes=sum(map(_octets, texts)), attachments=len(attached), attachment_bytes=sum(map(_octets, attached))
    )


def _octets(content: str | bytes) -> int:
    return len(content) if isinstance(content, bytes) or content.isascii() else len(content.encode("utf-8"))


def _piece(file: BinaryIO, octets: int) -> bytes:
    """The next piece of a caller's file; a pipe or an unbuffered file may give less than was asked for."""
    try:
        piece: Any = file.read(octets)
    except (OSError, ValueError) as error:  # ValueError: the file is closed
        raise SubmissionError("content", f"the file cannot be read: {error}") from error
    if not isinstance(piece, bytes):
        raise SubmissionError("content", f"the file gave {type(piece).__name__}, not bytes; open it in binary mode")
    return piece


def _comparable(message: bytes | EmailMessage) -> bytes | list[Any]:
    """What an EmailMessage says, part by part.  Its octets differ each time it is built: multipart boundaries are random."""
    if isinstance(message, bytes):
        return message
    parts: list[Any] = []
    for part in message.walk():
        is_multipart = part.is_multipart()
        parts.append(
            (
                part.get_content_type(),
                [
                    (name, _unsurrogated(str(value)))
                    for name, value in part.raw_items()
                    if not (is_multipart and name.lower() == "content-type")
                ],
                len(part.get_payload()) if is_multipart else _unsurrogated(str(part.get_payload())),
            )
        )
    return parts


def _unsurrogated(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _digest(given: Any) -> bytes:
    """Covers what the caller gave: composed bytes differ by Date and Message-ID."""
    return hashlib.blake2b(msgspec.msgpack.encode(given, enc_hook=_plain), digest_size=16).digest()


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(cast("Mapping[str, Any]", value))
    if isinstance(value, (bytearray, memoryview)):
        return bytes(cast("bytes", value))
    return list(value)
