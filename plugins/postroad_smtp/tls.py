"""TLS for a connection: the levels, the contexts (built once: each costs 40 ms), and what was reached.

Below `verified` any certificate will do: the peer cannot be known from an unsigned MX record anyway (RFC 7435).
"""

from __future__ import annotations

import enum
import ssl
from functools import cached_property

import trio

from postroad.errors import ConfigError
from postroad.log import printable

from .trouble import Kind, Trouble

__all__ = ["Level", "Tls"]


class Level(enum.Enum):
    """What is asked of a connection."""

    NONE = "none"
    OPPORTUNISTIC = "opportunistic"
    REQUIRED = "required"
    VERIFIED = "verified"


class Tls:
    """Makes streams secure at one level.  Raises ConfigError where the authorities' file cannot be used."""

    def __init__(self, level: Level, ca_file: str = "") -> None:
        self.level = level
        self._ca_file = ca_file
        if level is Level.VERIFIED:
            _ = self._context  # a bad file is to be named at the start

    @cached_property
    def _context(self) -> ssl.SSLContext:
        if self.level is not Level.VERIFIED:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            return context
        try:
            return ssl.create_default_context(cafile=self._ca_file or None)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError("ca_file", f"cannot be used: {error}") from None

    async def secure(self, stream: trio.abc.Stream, host: str) -> trio.SSLStream[trio.abc.Stream]:
        """Negotiate over a stream.  host: the name that the certificate is to be for.  Raises Trouble."""
        # https_compatible: many servers close without close_notify after QUIT, which is no attack here: replies have ends
        secured = trio.SSLStream(stream, self._context, server_hostname=host or None, https_compatible=True)
        try:
            await secured.do_handshake()
        except (trio.BrokenResourceError, trio.ClosedResourceError, ssl.SSLError, OSError) as error:
            raise Trouble(Kind.TLS_FAILED, f"TLS failed: {_reason(error)}", "4.7.5") from error
        return secured

    def reached(self, stream: trio.SSLStream[trio.abc.Stream]) -> str:
        """The level and version, as they stand in verdicts."""
        return f"{self.level.value} {stream.version() or 'TLS'}"


def _reason(error: BaseException) -> str:
    cause = error.__cause__ or error
    if isinstance(cause, ssl.SSLCertVerificationError):
        return printable(f"the certificate is not valid: {cause.verify_message}", 200)
    if isinstance(cause, ssl.SSLError) and cause.reason:
        return printable(cause.reason.replace("_", " ").lower(), 200)
    return "the connection was lost" if isinstance(error, trio.BrokenResourceError) else printable(str(cause), 200)
