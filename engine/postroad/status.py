"""What `Engine.status()` and `postroad queue` tell about an engine at a moment."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

__all__ = ["Status"]


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """A picture of the spool and the ring.

    messages, recipients, content_bytes: unfinished.  by_state: recipients by state, finished ones in the history included.
    in_doubt: unfinished recipients that an attempt may have delivered unseen, whatever their state is by now.
    in_flight: leases under way.  intake: submissions that wait for the next commit.
    """

    messages: int
    recipients: int
    content_bytes: int
    by_state: Mapping[str, int]
    in_doubt: int = 0
    in_flight: int
    intake: int
    is_draining: bool
