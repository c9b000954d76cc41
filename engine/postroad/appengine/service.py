"""What `send()` does once a message is checked: the rules of App Engine's mail service, then into the spool.

Synchronous, for any number of processes and threads, whether or not an engine runs; returns once the message is durable.  It must
never lose a message silently, nor store one twice: the id is minted once for each call.  `mail.py` calls it, by the name of
the original's `MakeSyncCall`.  docs/appengine.md.
"""

from __future__ import annotations

import threading
from typing import Any

from ..errors import ConfigError, PostroadError
from ..forking import no_fork
from . import apiproxy_errors, failures
from .doors import OpenDoor, configure, current_door

__all__ = ["check_call", "configure", "hand_over_to", "last_receipt", "make_sync_call", "note_sent"]

_CALLS = ("Send", "SendToAdmins")
_REQUEST_OCTETS = 32 << 20  # the original's; RequestTooLargeError above
_ADMIN_OCTETS = 16 << 10  # a whole message to an administrator


class _Sent(threading.local):
    """What this thread sent last."""

    id: str | None = None


_sent = _Sent()


def last_receipt() -> str | None:
    """The id of the message that this thread sent last, as `Engine.receipt` takes it; None before the first."""
    return _sent.id


def make_sync_call(service: str, call: str, request: Any, response: Any) -> None:
    """Have a message taken: `make_sync_call("mail", "Send", MailMessage, VoidProto)`.  The response says nothing.

    Raises ApplicationError with one of the codes of MailServiceError, or another of `apiproxy_errors`:
    docs/appengine.md has the table.
    """
    check_call(service, call, request)
    try:
        door = current_door()
    except ConfigError as error:
        raise failures.call_error(error, call, "") from error
    hand_over_to(door, call, request)


def check_call(service: str, call: str, request: Any) -> None:
    """What is refused whatever the configuration says: unknown calls, requests that are too large, attachments."""
    if service != "mail" or call not in _CALLS:
        raise apiproxy_errors.CallNotFoundError(f"The API package '{service}' or call '{call}()' was not found.")
    if _octets_of(request) > _REQUEST_OCTETS:
        raise failures.too_large(call)
    if request.Attachment:
        with no_fork:
            from .attachment_rules import check_attachments
        check_attachments(request.Attachment)


def _octets_of(request: Any) -> int:
    """Of the request as it would go over the wire; only one that is near the limit is measured to the octet."""
    texts = (*request.To, *request.Cc, *request.Bcc, request.TextBody, request.HtmlBody, request.AmpHtmlBody)
    about = sum(map(len, texts)) * 4 + sum(len(each.Data) for each in request.Attachment)  # 4: octets of a character
    return about if about < _REQUEST_OCTETS - (1 << 20) else request.ByteSize()


def hand_over_to(door: OpenDoor, call: str, request: Any) -> None:
    """Have a door take a message that `check_call` let pass.  `last_receipt` tells its id.  Raises as `make_sync_call`."""
    with no_fork:
        from ..message import new_message_id
        from .transmission import mail_fields

    id = new_message_id()
    try:
        fields = mail_fields(request)
        if call == "SendToAdmins":
            fields |= {"to": door.admins, "cc": (), "bcc": (), "report_to": door.admins}
        to_admins = call == "SendToAdmins" and not door.admins
        note_sent(door.handover.send_mail(fields, id, to_admins=to_admins, admin_bytes=_ADMIN_OCTETS))
    except PostroadError as error:
        raise failures.call_error(error, call, id) from error


def note_sent(id: str) -> None:
    """From now on it is what this thread sent last."""
    _sent.id = id
