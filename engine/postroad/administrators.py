"""Mail to administrators, for doors that do not know who they are: the side that takes it in fills them in.

Pure.  Asked by `gate.py` and `offline.py`, before a message is composed.
"""

from __future__ import annotations

import msgspec

from .address import parse_mailboxes
from .config import Senders
from .decide.admission import is_admin
from .errors import SubmissionError, SubmissionTooLarge
from .gate_protocol import Mail

__all__ = ["with_administrators"]


def with_administrators(call: Mail, senders: Senders) -> Mail:
    """The call as it is to be composed.  Raises SubmissionError where there is no administrator, or too much for one."""
    if call.to_admins:
        if not senders.admins:
            raise SubmissionError("to", "there are no administrators; name them in [senders] admins")
        call = msgspec.structs.replace(call, to=senders.admins, cc=(), bcc=(), report_to=senders.admins)
    if call.admin_bytes is not None and call.octets > call.admin_bytes and _goes_to_admin(call, senders):
        raise SubmissionTooLarge(
            "content",
            f"the message has {call.octets:,} octets, and {call.admin_bytes:,} are allowed where an administrator is among "
            "its recipients; send less, or a link to it",
        )
    return call


def _goes_to_admin(call: Mail, senders: Senders) -> bool:
    if call.report_to:  # this is what mail to administrators has, whoever named them
        return True
    fields = (("to", call.to), ("cc", call.cc), ("bcc", call.bcc))
    return bool(senders.admins) and any(
        is_admin(str(mailbox.address), senders) for field, value in fields for mailbox in parse_mailboxes(value, field)
    )
