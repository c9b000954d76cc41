"""A stand-in for `google.appengine.api.users.User`."""

from __future__ import annotations

from typing import Any


class User:
    """As far as the mail API looks at one."""

    def __init__(self, email: Any) -> None:
        self._email = email

    def email(self) -> Any:
        return self._email

    def nickname(self) -> str:
        return "nick"
