"""What a benchmark asks of a system: the shape of its messages, of their recipients, and of the way out.

A load is plain data: it goes to every worker as JSON.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

__all__ = ["USUAL", "Load", "Out"]

Out = Literal["smtp", "file", "http"]

_DOMAIN = "sink.example"
_LOCAL = "recipient"


@dataclass(frozen=True)
class Load:
    """octets: of a message.  recipients: of each, all at one domain.  destinations: domains, by turns.

    kept: connections to the next hop are kept, else one for each message.  tls: STARTTLS.  deferred: the share of messages that
    the sink puts off once.  burn_us: CPU spent on each message before it is stored.  out: what the sink speaks.  by_mx: the way
    is looked up for each domain, else everything goes to one smarthost.
    """

    octets: int = 10_240
    recipients: int = 1
    destinations: int = 1
    kept: bool = True
    tls: bool = False
    deferred: float = 0.0
    burn_us: int = 0
    out: Out = "smtp"
    by_mx: bool = False

    def recipients_of(self, number: int) -> tuple[str, ...]:
        """Addresses of one message."""
        domain = _DOMAIN if self.destinations == 1 else f"d{number % self.destinations}.{_DOMAIN}"
        if self.recipients == 1:
            return (f"{_LOCAL}@{domain}",)
        return tuple(f"{_LOCAL}{one}@{domain}" for one in range(self.recipients))

    def told(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def read(cls, told: Mapping[str, Any]) -> Load:
        return cls(**told)


USUAL = Load()
