"""What a look-up in the DNS gives, and the port of who looks up.

Apart from `lookup.py`, so that who never asks the DNS, as with a smarthost, does not import dnspython: 30 ms and 3 MB.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

__all__ = ["Found", "Resolver", "Status"]

_FAILED_SECONDS = 10.0  # a dead DNS server is not asked for each message


class Status(enum.Enum):
    """What came of a look-up."""

    FOUND = "found"
    NO_DATA = "no such record"
    NO_NAME = "no such name"
    FAILED = "failed"


class Found(NamedTuple):
    """The answer.  records: addresses, or (preference, host) pairs for MX.  seconds: how long it holds.

    said, code: what is wrong where it FAILED, and its enhanced status code (RFC 3463).
    """

    status: Status
    records: tuple[Any, ...] = ()
    seconds: float = _FAILED_SECONDS
    said: str = ""
    code: str = "4.4.3"


class Resolver(Protocol):
    """The port: tests and other resolvers take the place of Dns."""

    async def look_up(self, name: str, kind: str, *, is_odd: bool = False) -> Found:
        """Records of a kind ("MX", "A", "AAAA") of a name.  is_odd: `look_up_ordinary` was asked, and had no answer."""
        ...

    async def look_up_ordinary(self, name: str, kinds: Sequence[str]) -> Sequence[tuple[str, Found, float]]:
        """Records of several kinds of a name, asked for at once, and the trio time when each came: only of kinds whose answer is
        ordinary and comes soon.  What is not among them is to be looked up."""
        ...
