"""How much of each quota is used: counted by the stores, in the transaction that stores a message.

The counters are one fact of the store.  Pure: nothing here reads a clock or writes.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from .contract import Charge, QuotaExhausted

__all__ = ["USED", "Usage"]

USED = "quotas"  # the fact's name

_decode = msgspec.msgpack.Decoder(dict[str, tuple[int, int]]).decode


class Usage:
    """The counters of one transaction.  known: the fact as it is kept, None where nothing was counted yet.

    Counters that cannot be read begin anew: a limit is no reason to refuse all mail.
    """

    def __init__(self, known: bytes | None) -> None:
        self._used: dict[str, tuple[int, int]] = {}  # by quota: when its window began, and how much is used
        self.is_changed = False
        if known is not None:
            try:
                self._used = _decode(known)
            except msgspec.DecodeError:
                self.is_changed = True

    def take(self, charges: Sequence[Charge]) -> QuotaExhausted | None:
        """Count all of them, or none where one does not fit."""
        for charge in charges:
            used = self._used_of(charge)[1]
            if used + charge.amount > charge.limit:
                return QuotaExhausted(charge, used)
        for charge in charges:
            start, used = self._used_of(charge)
            self._used[charge.quota] = start, used + charge.amount
            self.is_changed = True
        return None

    def _used_of(self, charge: Charge) -> tuple[int, int]:
        """Where the clock went back by less than a window, the later window goes on: it would begin a second time."""
        start, used = self._used.get(charge.quota, (charge.start, 0))
        if 0 <= start - charge.start <= charge.seconds:
            return start, used
        return charge.start, 0

    def encoded(self) -> bytes:
        return msgspec.msgpack.encode(self._used)
