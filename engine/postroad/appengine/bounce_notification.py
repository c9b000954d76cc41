"""BounceNotification: what the service says of a message that came back.

Made from the fields of a posted form, in the forms that web frameworks hand them out: text, octets or a list of them by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .messages import InboundEmailMessage
from .posted import posted_fields

__all__ = ["BounceNotification"]

PARTS = ("to", "cc", "bcc", "from", "subject", "text")
RAW_MESSAGE = "raw-message"


class BounceNotification:
    """The message that came back, and the notice of it.

    post_vars: whatever has `get`, with original-to, original-cc, original-bcc, original-from, original-subject, original-text,
    the same of notification-, and raw-message.  Missing ones are empty.  ValueError for several raw messages.
    """

    def __init__(self, post_vars: Mapping[str, Any]) -> None:
        self.__original = {part: post_vars.get(f"original-{part}", "") for part in PARTS}
        self.__notification = {part: post_vars.get(f"notification-{part}", "") for part in PARTS}
        self.__original_raw_message = InboundEmailMessage(_only(post_vars.get(RAW_MESSAGE, "")))

    @classmethod
    def from_environ(cls, environ: Mapping[str, Any]) -> BounceNotification:
        """The notification that was posted to a WSGI application, as multipart/form-data or urlencoded.  ValueError as above."""
        return cls(posted_fields(environ))

    @property
    def original(self) -> dict[str, Any]:
        """The message that came back: to, cc, bcc, from, subject and text, as they were posted."""
        return self.__original

    @property
    def notification(self) -> dict[str, Any]:
        """The notice of it, in the same fields."""
        return self.__notification

    @property
    def original_raw_message(self) -> InboundEmailMessage:
        """The message that came back, whole."""
        return self.__original_raw_message


def _only(value: Any) -> Any:
    """The only one of a list, empty for an empty one."""
    values = value
    if not isinstance(value, (list, tuple)):
        return value
    if len(values) > 1:
        raise ValueError(f'Multiple values found for "{RAW_MESSAGE}" in post_vars. Expected single value.')
    return values[0] if values else ""
