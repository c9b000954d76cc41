"""What a message takes of the quotas (`[quotas]`).  Pure: the settings and the time are given.

The door asks; the store counts, in the transaction that stores the message (`store/charges.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from ..errors import QuotaExceeded
from ..pacific import pacific_day, utc_text
from ..quotas import PROFILES, Quotas
from ..store.contract import Charge, QuotaExhausted

__all__ = ["Use", "charges_of", "limits_of", "quota_error"]

_MINUTE = 60
_WINDOWS = ("day", "minute")


class Use(msgspec.Struct, frozen=True, kw_only=True):
    """What one message has of everything that is counted."""

    recipients: int = 0
    admins: int = 0
    body_bytes: int = 0
    attachments: int = 0
    attachment_bytes: int = 0


def limits_of(quotas: Quotas) -> Mapping[str, int]:
    """The quotas in force, by the names of their settings; empty where there are none."""
    profile = PROFILES[quotas.profile]
    limits = {name: getattr(quotas, name) or profile.get(name, 0) for name in _SETTINGS}
    return {name: limit for name, limit in limits.items() if limit}


_SETTINGS = tuple(f"{counted}_per_{window}" for counted in Use.__struct_fields__ for window in _WINDOWS)


def charges_of(use: Use, limits: Mapping[str, int], now: float) -> tuple[Charge, ...]:
    """What the message takes of each quota that it touches, in the windows of this moment (wall seconds)."""
    return tuple(_charges(use, limits, now)) if limits else ()


def _charges(use: Use, limits: Mapping[str, int], now: float) -> Iterator[Charge]:
    windows = {"day": pacific_day(now), "minute": (int(now // _MINUTE) * _MINUTE, _MINUTE)}
    for name, limit in limits.items():
        counted, _, window = name.rpartition("_per_")
        amount: int = getattr(use, counted)
        if amount:
            yield Charge(name, amount, limit, *windows[window])


def quota_error(answer: QuotaExhausted) -> QuotaExceeded:
    """Says which quota, how much of it is used, and when there is more."""
    charge = answer.charge
    if charge.amount > charge.limit:
        return QuotaExceeded(
            f"this message alone takes {charge.amount:,} of [quotas] {charge.quota} = {charge.limit:,}"
        )
    return QuotaExceeded(
        f"{answer.used:,} of [quotas] {charge.quota} = {charge.limit:,} are used, and this message takes {charge.amount:,}; "
        f"there is more from {utc_text(charge.start + charge.seconds)} on"
    )
