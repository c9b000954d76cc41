"""What can go wrong with a connection, as one exception with a closed list of kinds; it becomes a verdict in `verdicts.py`."""

from __future__ import annotations

import enum
import errno

from postroad.verdict import Scope

from .known import Flaw

__all__ = ["Kind", "Trouble", "is_local", "out_of_turn"]


class Kind(enum.Enum):
    """What kind of trouble; the session decides by it whether a request may go back to the queue."""

    UNREACHABLE = "unreachable"  # nobody answers
    LOST = "lost"  # the peer closed or reset the connection
    SILENT = "silent"  # a phase took too long
    GARBAGE = "garbage"  # no SMTP, or a reply of a class that makes no sense
    CLOSING = "closing"  # 421
    LEFT = "left"  # refused to serve us: greeting, HELO
    CONFUSED = "confused"  # took what it offered itself for an error
    NO_TLS = "no TLS"  # required, and not to be had
    TLS_FAILED = "TLS failed"  # the handshake, or the certificate
    NO_LOGIN = "no login"
    PROHIBITED = "prohibited"  # an address that the configuration does not allow
    UNSUITED = "unsuited"  # an address of a family that we do not send from
    LOOP = "loop"  # the server is ourselves
    NO_SUCH_HOST = "no such host"  # proven by the DNS
    LOCAL = "local"  # this machine: no descriptors, no memory
    FAULT = "fault"  # a mistake in this package
    ABORTED = "aborted"  # we close it ourselves


class Trouble(Exception):
    """Ends a connection, or an attempt to open one."""

    def __init__(
        self, kind: Kind, said: str, status: str, *, scope: Scope = Scope.SITE, flaw: Flaw | None = None
    ) -> None:
        super().__init__(said)
        self.kind = kind
        self.said = said
        self.status = status
        self.scope = scope
        self.flaw = flaw  # what the host is to be remembered for
        self.remote = ""
        self.tls = ""
        self.retry_after_seconds: float | None = None
        self.is_remembered = False  # of an earlier attempt: nobody was spoken to this time
        self.may_be_ticket = False  # a TLS session was offered for resuming: without it, it may go better


_LOCAL = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.EADDRNOTAVAIL})


def is_local(error: BaseException) -> bool:
    """Whether an operating system's error is this machine's own trouble, which says nothing about the peer."""
    return isinstance(error, OSError) and error.errno in _LOCAL


def out_of_turn() -> Trouble:
    """The server spoke when nothing was asked of it: its words must not be taken for the next answer."""
    return Trouble(Kind.GARBAGE, "the server spoke out of turn", "4.5.0")
