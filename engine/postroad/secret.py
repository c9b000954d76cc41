"""Reads the secret that a transport's setting names: from the environment, from a file, or as it stands.

Read it anew for each use, so that it can be changed in its place.  No error shows any of it.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from .errors import ConfigError

__all__ = ["SECRET_OCTETS", "read_secret", "secret_text"]

SECRET_OCTETS = 8192  # as much header as HTTP servers take; the longest tokens have about 4,000


def read_secret(key: str, place: str) -> str:
    """The secret of the setting `key`, 1 to 8192 visible ASCII characters, as a header can bear it; as `secret_text` finds it.

    Raises ConfigError, which names the setting, where it is not to be had or cannot be used.
    """
    secret = secret_text(key, place)
    if not re.fullmatch(rf"[!-~]{{1,{SECRET_OCTETS}}}", secret):
        raise ConfigError(key, f"the secret must be 1 to {SECRET_OCTETS} visible ASCII characters")
    return secret


def secret_text(key: str, place: str) -> str:
    """Any text: of the environment's variable `place` where the setting's name ends in `_env`, of a file's first line where it
    ends in `_file`, else `place` itself.

    Of a file at most three octets more than 8192 are read, so that what is too long shows.  Raises ConfigError, which names
    the setting, where it is not to be had.
    """
    if key.endswith("_env"):
        if place not in os.environ:
            raise ConfigError(key, f"the environment has no {place}")
        return os.environ[place]
    return _first_line(key, place) if key.endswith("_file") else place


def _first_line(key: str, path: str) -> str:
    try:
        with Path(path).open("rb") as file:
            line = file.readline(SECRET_OCTETS + 3)
    except (OSError, ValueError) as error:
        raise ConfigError(key, f"cannot be read: {error}") from None
    try:
        return line.rstrip(b"\r\n").decode()
    except UnicodeDecodeError:  # whose text would show the octets
        raise ConfigError(key, "the file's first line is not UTF-8") from None
