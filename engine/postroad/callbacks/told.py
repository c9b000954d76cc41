"""The values that an application gets: a bounce with the fields of App Engine's notifications, and incoming mail."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import trio

from ..compose.downgrade import Downgrade
from ..decide.routing import is_callback
from ..errors import SubmissionError
from ..message import BOUNCE_ADDRESS
from ..transport import DeliveryRequest
from .reading import read_notice

__all__ = ["READ_BYTES", "Bounce", "IncomingMail", "is_bounce", "key_of", "read_bounce"]

_INLINE_BYTES = 65_536  # ours have hardly more; a hostile MiB takes 0.4 s, which the engine must not wait for
_REWRITTEN_BYTES = 32_768
READ_BYTES = 1_048_576  # of a bounce: what `dsn/mime.py` reads of one, too; a report of ours has 150 KB at most


class IncomingMail(msgspec.Struct, frozen=True, kw_only=True):
    """Mail that came for the application.

    id, key: of the message in the spool, and of this callback; the key is the same whenever it is tried again.
    sender: the return path, "" for the null sender, which must not be answered.  address: whom it came for.
    raw: the mail as it was handed over.  maybe_duplicate: an earlier call may have taken it.
    """

    id: str
    key: str
    sender: str
    address: str
    raw: bytes
    maybe_duplicate: bool = False

    def __repr__(self) -> str:
        return f"IncomingMail(id={self.id!r}, address={self.address!r})"  # no content in logs and tracebacks


class Bounce(msgspec.Struct, frozen=True, kw_only=True):
    """Mail that was not delivered.

    original, notification: texts under the keys from, to, cc, bcc, subject, text; "" where there is nothing.
    raw: the mail that came back, or its header, as it stands in the report; b"" where there is none.
    report: the whole report, at most its first MiB.  id, key, maybe_duplicate: as of IncomingMail.
    """

    id: str
    key: str
    original: Mapping[str, str]
    notification: Mapping[str, str]
    raw: bytes
    report: bytes
    maybe_duplicate: bool = False

    def __repr__(self) -> str:
        return f"Bounce(id={self.id!r})"

    def fields(self) -> dict[str, str]:
        """The twelve fields of a notification by their names, such as `original-to`."""
        both = (("original", self.original), ("notification", self.notification))
        return {f"{of}-{name}": text for of, texts in both for name, text in texts.items()}

    def post_vars(self) -> dict[str, str | bytes]:
        """The same and `raw-message`: what `postroad.appengine.mail.BounceNotification` takes."""
        return {**self.fields(), "raw-message": self.raw}

    def raw_text(self) -> str:
        """The mail that came back as a text, for a form: where its octets are no UTF-8, in 7 bits with the same meaning.

        What cannot be written so, or is long, is left as it is, one character an octet.  May take 0.3 s: some 30 KB of a
        stranger's parts.
        """
        try:
            return self.raw.decode("utf-8")
        except UnicodeDecodeError:
            return _in_seven_bits(self.raw).decode("latin-1")


def _in_seven_bits(mail: bytes) -> bytes:
    if len(mail) > _REWRITTEN_BYTES:
        return mail
    try:
        written = Downgrade().message(mail, is_inner=True)
    except SubmissionError:
        return mail
    return written if written.isascii() else mail


def is_bounce(request: DeliveryRequest) -> bool:
    """Whether a transport with `callbacks` is to tell of a bounce; all else is mail for the address of its recipient."""
    address = request.recipients[0].address
    return address == BOUNCE_ADDRESS and is_callback(request.message, address)


def key_of(request: DeliveryRequest) -> str:
    """Names one callback, at every try of it."""
    return f"{request.message.id}-{request.recipients[0].number}"


async def read_bounce(request: DeliveryRequest) -> Bounce:
    """The bounce that a request is about; of a longer report only the first MiB is read."""
    report = await _read(request)
    is_short = len(report) <= _INLINE_BYTES
    notice = read_notice(report) if is_short else await trio.to_thread.run_sync(read_notice, report)
    return Bounce(
        id=request.message.id,
        key=key_of(request),
        original=notice.original,
        notification=notice.notification,
        raw=notice.raw,
        report=report,
        maybe_duplicate=request.recipients[0].in_doubt,
    )


async def _read(request: DeliveryRequest) -> bytes:
    read = b""
    async with request.content.chunks() as pieces:
        async for piece in pieces:
            read += piece
            if len(read) >= READ_BYTES:
                break
    return read[:READ_BYTES]
