"""The standard library's reader of mail, within bounds.

It recurses into nested parts, takes the square of the number of a field's parameters (14 s for 500 KB of `;`), and divides
whatever it is told to.  Given this class, it stops with BeyondBounds where mail asks for more work than mail is worth.  Work is
counted and not time, so that the same mail is read, or not read, everywhere.  Pure.
"""

from __future__ import annotations

from collections.abc import Callable
from email.message import Message
from email.policy import Policy, compat32
from typing import Any, TypeVar

__all__ = ["DEPTH_MAX", "LINES_MAX", "PARAMETERS_MAX", "WORK_MAX", "BeyondBounds", "BoundedMessage", "asked"]

_T = TypeVar("_T")

DEPTH_MAX = 30  # as of `compose/downgrade.py`; real mail has fewer than ten, and Python recurses a thousand times
PARAMETERS_MAX = 100  # of a field; a name of 255 letters takes thirty
PARAMETERS_CHARS = 8192
WORK_MAX = 20_000  # a report on a thousand recipients takes 16,000
LINES_MAX = 1_000_000  # each is looked at once for each multipart around it; 31.5 MB of base64 have 440,000
_PART, _CHARS = 10, 100  # what costs as much as a field or a parameter: a tenth of a part, so many characters
_WITH_PARAMETERS = ("content-type", "content-disposition")


class BeyondBounds(ValueError):
    """It asks for more work than mail is worth; says of what there is too much."""


class BoundedMessage(Message):
    """For `email.parser`, as `_class`.  Its parser raises BeyondBounds."""

    def __init__(self, policy: Policy[Any] = compat32) -> None:
        super().__init__(policy)
        self._top: BoundedMessage = self
        self._depth = 0
        self._work = 0  # of the whole mail; only the outermost counts

    def attach(self, payload: Any) -> None:
        if isinstance(payload, BoundedMessage):
            payload._top, payload._depth = self._top, self._depth + 1
            if payload._depth > DEPTH_MAX:
                raise BeyondBounds(f"it has parts more than {DEPTH_MAX} deep")
            self._spend(_PART)
        super().attach(payload)

    def set_raw(self, name: str, value: Any) -> None:
        self.check_field(name, str(value))
        super().set_raw(name, value)

    def check_field(self, name: str, value: str) -> None:
        """Raises BeyondBounds where this field is too much, or one too many."""
        if name.lower() in _WITH_PARAMETERS and (value.count(";") > PARAMETERS_MAX or len(value) > PARAMETERS_CHARS):
            raise BeyondBounds(f"a {name.title()} field has more than {PARAMETERS_MAX} parameters, or is too long")
        self._spend(1 + value.count(";") + len(value) // _CHARS)

    def _spend(self, work: int) -> None:
        self._top._work += work
        if self._top._work > WORK_MAX:
            raise BeyondBounds("it has too many parts, fields and parameters")


def asked(question: Callable[[], _T]) -> _T | None:
    """What the library finds in a stranger's parameters; None where it stumbles: TypeError for `x*0*=; x*=`, and others."""
    try:
        return question()
    except Exception:
        return None
