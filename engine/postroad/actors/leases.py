"""Queue's list of all leases: at most N exist, each with a token that is never used again and a slot in the marks file."""

from __future__ import annotations

from collections.abc import Iterator

from .notes import Lease

__all__ = ["LeaseBook"]


class LeaseBook:
    """The ring's credits.  A token is reserved before the commit that grants its lease; only used by the queue actor.

    live: the leases that exist, by token; read by the ring's supervision after a crash.
    """

    def __init__(self, credits: int, tokens: Iterator[int]) -> None:
        self._tokens = tokens
        self._slots = list(range(credits - 1, -1, -1))
        self._reserved: dict[int, int] = {}
        self.live: dict[int, Lease] = {}

    @property
    def free(self) -> int:
        return len(self._slots)

    @property
    def is_home(self) -> bool:
        """Whether no lease exists and none is being granted."""
        return not self.live and not self._reserved

    def reserve(self) -> int:
        """Take a credit and mint its token."""
        token = next(self._tokens)
        self._reserved[token] = self._slots.pop()
        return token

    def give_back(self, token: int) -> None:
        """Return a reserved credit that was not used."""
        self._slots.append(self._reserved.pop(token))

    def begin(self, lease: Lease) -> None:
        """The commit that grants the lease is through: it gets the credit that was reserved."""
        lease.slot = self._reserved.pop(lease.token)
        self.live[lease.token] = lease

    def end(self, token: int) -> None:
        """The lease is settled; its credit comes home."""
        self._slots.append(self.live.pop(token).slot)
