"""What `send()` does once a message is checked: the rules of App Engine's mail service, then into the spool.

Synchronous, for any number of processes and threads, whether or not an engine runs; returns once the message is durable.  It must
never lose a message silently, nor store one twice: the id is minted once for each call.  `mail.py` calls it, by the name of
the original's `MakeSyncCall`.  docs/appengine-service.md.
"""

from __future__ import annotations

import threading
from typing import Any

from ..forking import no_fork
from . import apiproxy_errors, failures
from .doors import configure, current_door

__all__ = ["configure", "last_receipt", "make_sync_call"]

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
    docs/appengine-service.md has the table.
    """
    if service != "mail" or call not in _CALLS:
        raise apiproxy_errors.CallNotFoundError(f"The API package '{service}' or call '{call}()' was not found.")
    if _octets_of(request) > _REQUEST_OCTETS:
        raise failures.too_large(call)
    if request.Attachment:
        with no_fork:
            from .attachment_rules import check_attachments
        check_attachments(request.Attachment)
    _sent.id = _hand_over(request, call)


def _octets_of(request: Any) -> int:
    """Of the request as it would go over the wire; only one that is near the limit is measured to the octet."""
    texts = (*request.To, *request.Cc, *request.Bcc, request.TextBody, request.HtmlBody, request.AmpHtmlBody)
    about = sum(map(len, texts)) * 4 + sum(len(each.Data) for each in request.Attachment)  # 4: octets of a character
    return about if about < _REQUEST_OCTETS - (1 << 20) else request.ByteSize()


def _hand_over(request: Any, call: str) -> str:
    with no_fork:
        from ..errors import ConfigError, PostroadError
        from ..message import new_message_id
        from .transmission import mail_fields
    try:
        door = current_door()
    except ConfigError as error:
        raise failures.call_error(error, call, "") from error
    id = new_message_id()
    try:
        fields = mail_fields(request)
        if call == "SendToAdmins":
            fields |= {"to": door.admins, "cc": (), "bcc": (), "report_to": door.admins}
        to_admins = call == "SendToAdmins" and not door.admins
        return door.handover.send_mail(fields, id, to_admins=to_admins, admin_bytes=_ADMIN_OCTETS)
    except PostroadError as error:
        raise failures.call_error(error, call, id) from error
