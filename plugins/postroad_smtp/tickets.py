"""TLS sessions to resume (RFC 5077, RFC 8446 section 2.2): a second connection to the same server spares the certificate.

In memory, bounded, and of one transport only: all of them were made on the same terms, and each is found by the name that its
certificate was checked for.
"""

from __future__ import annotations

import ssl

import trio

__all__ = ["Tickets"]

_MOST = 500  # each holds the server's certificate, some kilobytes
_SECONDS = 3600.0  # resuming checks no certificate again: one that expired, or was withdrawn, is noticed after so long


class Tickets:
    """Sessions by server.  Used by all connections of a transport."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[ssl.SSLSession, float]] = {}

    def keep(self, server: str, session: ssl.SSLSession | None, since: float) -> None:
        """Keep a session in place of an older one.  since: trio time of the handshake that saw the certificate."""
        if session is None or not session.has_ticket:
            return
        self.drop(server)
        while len(self._kept) >= _MOST:
            del self._kept[next(iter(self._kept))]
        self._kept[server] = session, since

    def find(self, server: str) -> tuple[ssl.SSLSession, float] | None:
        """The session to resume with, and when its certificate was seen."""
        kept = self._kept.get(server)
        if kept is not None and trio.current_time() >= kept[1] + _SECONDS:
            self.drop(server)
            return None
        return kept

    def drop(self, server: str) -> None:
        self._kept.pop(server, None)
