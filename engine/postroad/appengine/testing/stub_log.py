"""What the stub writes into the application's log about a message, in the original's form, and on which level."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from ..mime_out import BODIES

__all__ = ["Log", "log_function", "log_text"]

Log = Callable[[str], object]

_LEVELS = {
    "SEVERE": logging.CRITICAL,
    "WARNING": logging.WARNING,
    "INFO": logging.INFO,
    "CONFIG": logging.DEBUG,
    "FINE": logging.DEBUG,
    "FINER": logging.DEBUG,
    "FINEST": logging.DEBUG,
    "ALL": logging.NOTSET,
}


def log_text(call: str, request: Any, *, with_bodies: bool) -> str:
    """The lines about a request of a call; contents of attachments are never among them."""
    return "\n".join(
        [f"MailService.{call}", *_headers(request), *_bodies(request, with_bodies), *_attachments(request)]
    )


def _headers(request: Any) -> Iterator[str]:
    yield f"  From: {request.Sender}"
    for field in ("To", "Cc", "Bcc"):
        yield from (f"  {field}: {address}" for address in getattr(request, field))
    if request.ReplyTo:
        yield f"  Reply-to: {request.ReplyTo}"
    yield f"  Subject: {request.Subject}"


def _bodies(request: Any, with_bodies: bool) -> Iterator[str]:
    for field, subtype in BODIES:
        if request.HasField(field):
            text = getattr(request, field)
            yield from ("  Body:", f"    Content-type: text/{subtype}", f"    Data length: {len(text)}")
            if with_bodies:
                yield f"-----\n{text}\n-----"


def _attachments(request: Any) -> Iterator[str]:
    for attachment in request.Attachment:
        yield from (
            "  Attachment:",
            f"    File name: {attachment.FileName}",
            f"    Data length: {len(attachment.Data)}",
        )


def log_function(level: str, present: Log) -> Log:
    """What logs on a level: a number, "OFF" or one of Java's names; the present one for an unknown name."""
    if level == "OFF":
        return lambda message: None
    number = int(level) if level.isdigit() else _LEVELS.get(level)
    return present if number is None else partial(logging.log, number)
