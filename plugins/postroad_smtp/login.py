"""Credentials as values, and where they come from: read anew for each login, because tokens live for an hour.

A secret is never part of a text for people: not of `repr`, not of an error.
"""

from __future__ import annotations

import unicodedata
from typing import NamedTuple

from postroad.errors import ConfigError
from postroad.secret import SECRET_OCTETS, secret_text

__all__ = ["Login", "Source"]

_NAME_OCTETS = 512


class Login(NamedTuple):
    """A user name with a password, or with a bearer token (RFC 6750)."""

    username: str
    secret: str
    is_token: bool = False

    def __repr__(self) -> str:
        return f"Login({self.username!r})"


class Source(NamedTuple):
    """Where a login's secret is: in the environment or in a file's first line; key: the setting that says so."""

    username: str
    key: str
    place: str

    def read(self) -> Login:
        """The login as it is now.  Raises ConfigError, which names the setting, where it is not to be had or cannot be used."""
        _check_name(self.username)
        login = Login(self.username, secret_text(self.key, self.place), is_token=self.key.startswith("token_"))
        self._check(login)
        return login

    def _check(self, login: Login) -> None:
        what = "the token" if login.is_token else "the password"
        if not login.secret:
            raise ConfigError(self.key, f"{what} is empty")
        if any(char in login.secret for char in "\r\n\0"):
            raise ConfigError(self.key, f"{what} has CR, LF or NUL in it")
        if login.is_token and not (login.secret.isascii() and login.secret.isprintable() and " " not in login.secret):
            raise ConfigError(self.key, "a token has only visible ASCII characters (RFC 6750 section 2.1)")
        try:
            octets = len(login.secret.encode())
        except UnicodeEncodeError:  # an environment that is not UTF-8
            raise ConfigError(self.key, f"{what} is not UTF-8") from None
        if octets > SECRET_OCTETS:  # base64 of which fits RFC 4954's 12,288
            raise ConfigError(self.key, f"{what} is over {SECRET_OCTETS} octets")


def _check_name(username: str) -> None:
    if any(unicodedata.category(char) in ("Cc", "Cs") for char in username):
        raise ConfigError("username", "has a control character in it")
    if not 0 < len(username.encode()) <= _NAME_OCTETS:
        raise ConfigError("username", f"must have 1 to {_NAME_OCTETS} octets")
