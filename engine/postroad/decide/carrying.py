"""What a transport excludes by what it declares.  Pure.  `deliver` would refuse the same (T12)."""

from __future__ import annotations

from collections.abc import Sequence

from ..message import Message
from ..transport import Capabilities
from .admission import Refusal

__all__ = ["exclusion"]


def exclusion(able: Capabilities, message: Message, recipients: Sequence[str]) -> Refusal | None:
    """The first thing that it cannot carry, by the field of `send_mail` that holds it; None for nothing."""
    if able.message_bytes is not None and message.size > able.message_bytes:
        return Refusal(
            field="content", problem=f"it takes at most {able.message_bytes:,} octets, the message has {message.size:,}"
        )
    if message.eight_bit and not able.eight_bit:
        return Refusal(field="content", problem="it takes no octets over 127, and a signed text cannot be encoded anew")
    if able.smtputf8:
        return None
    if message.smtputf8:
        return Refusal(field="headers", problem="it takes no UTF-8 in header fields")
    odd = next((address for address in recipients if not address.isascii()), None)
    return (
        None if odd is None else Refusal(field="recipients", problem=f"it takes no UTF-8 in addresses, as in {odd!r}")
    )
