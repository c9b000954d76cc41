"""TLS for a connection: the levels, the context (built once: it costs 40 ms), sessions to resume, and what was reached.

Below `verified` any certificate will do: the peer cannot be known from an unsigned MX record anyway (RFC 7435).  Never below TLS
1.2 (RFC 8996).  What goes wrong is Trouble, and says what is wrong.
"""

from __future__ import annotations

import enum
import ipaddress
import ssl
from typing import NamedTuple

import trio

from postroad.log import printable

from .certificates import Certificates, show, verifying
from .tickets import Tickets
from .trouble import Kind, Trouble

__all__ = ["Certificates", "Level", "Secured", "Tls", "alert_of", "failed"]


class Level(enum.Enum):
    """What is asked of a connection."""

    NONE = "none"
    OPPORTUNISTIC = "opportunistic"
    REQUIRED = "required"
    VERIFIED = "verified"


class Secured(NamedTuple):
    """A stream after its handshake.  server: under which name its session is kept.  since: when its certificate was seen."""

    stream: trio.SSLStream[trio.abc.Stream]
    server: str
    since: float


class Tls:
    """Makes streams secure at one level.  Raises ConfigError, which names the setting, where a file cannot be used."""

    def __init__(self, level: Level, certificates: Certificates = Certificates()) -> None:  # noqa: B008 - immutable
        self.level = level
        self.shows_certificate = bool(certificates.cert_file)
        self._context = None if level is Level.NONE else _context(level, certificates)
        self._tickets = Tickets()

    async def secure(self, stream: trio.abc.Stream, host: str, server: str) -> Secured:
        """Negotiate over a stream.  Raises Trouble.

        host: the name that the certificate is to be for.  server: host, address and port, for which a session may be kept.
        """
        ticket = self._tickets.find(server)
        try:
            secured = self._wrap(stream, host)
            if ticket is not None:
                secured.session = ticket[0]
            await secured.do_handshake()
        except (trio.BrokenResourceError, trio.ClosedResourceError, ssl.SSLError, OSError) as error:
            self._tickets.drop(server)
            trouble = failed(_reason(error, host))
            trouble.may_be_ticket = ticket is not None
            raise trouble from error
        is_resumed = ticket is not None and secured.session_reused
        return Secured(secured, server, ticket[1] if ticket is not None and is_resumed else trio.current_time())

    def _wrap(self, stream: trio.abc.Stream, host: str) -> trio.SSLStream[trio.abc.Stream]:
        assert self._context is not None, "the level is none"
        # https_compatible: many servers close without close_notify after QUIT, which is no attack here: replies have ends
        name = _server_name(host)
        try:
            return trio.SSLStream(stream, self._context, server_hostname=name, https_compatible=True)
        except (ValueError, TypeError) as error:  # a name that cannot be in any certificate
            if self._context.check_hostname:
                raise failed(f"no certificate can be for {host!r}") from error
            return trio.SSLStream(stream, self._context, https_compatible=True)

    def keep(self, secured: Secured) -> None:
        """Keep the session for the next connection.  Call it after the first reply: TLS 1.3 brings tickets with that."""
        self._tickets.keep(secured.server, secured.stream.session, secured.since)

    def reached(self, secured: Secured) -> str:
        """The level and version, as they stand in verdicts."""
        return f"{self.level.value} {secured.stream.version() or 'TLS'}"


def failed(reason: str) -> Trouble:
    """The trouble of a handshake."""
    return Trouble(Kind.TLS_FAILED, f"TLS failed: {printable(reason, 250)}", "4.7.5")


def alert_of(trouble: Trouble) -> str:
    """What TLS had to say where a connection was lost, or "" where it was lost without a word."""
    cause = trouble.__cause__ and trouble.__cause__.__cause__
    if not isinstance(cause, ssl.SSLError) or isinstance(cause, (ssl.SSLEOFError, ssl.SSLZeroReturnError)):
        return ""
    return _words(cause)


# --- The context ---


def _context(level: Level, certificates: Certificates) -> ssl.SSLContext:
    if level is Level.VERIFIED:
        context = verifying(certificates.ca_file)
    else:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if certificates.cert_file:
        show(context, certificates)
    return context


def _server_name(host: str) -> str | None:
    """The name for SNI and for the check; of an address literal its address, for which the library sends no SNI."""
    text = host[1:-1].removeprefix("IPv6:") if host.startswith("[") else host
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return host.removesuffix(".") or None


# --- What went wrong ---

_VERIFY = {  # X509_V_ERR_*
    9: "it is not valid yet",
    10: "it has expired",
    18: "it is signed by itself alone, and its authority is not among the trusted ones",
    19: "its authority is not among the trusted ones",
    20: "its authority is not among the trusted ones",
    21: "its authority is not among the trusted ones",
    62: "it is for another name than {host}",
    64: "it is for another address than {host}",
}


def _reason(error: BaseException, host: str) -> str:
    cause = error.__cause__ or error
    if isinstance(cause, ssl.SSLCertVerificationError):
        text = _VERIFY.get(cause.verify_code)
        return f"the certificate is not valid: {text.format(host=host) if text else cause.verify_message}"
    if isinstance(cause, ssl.SSLEOFError):
        return "the server closed the connection in the handshake"
    if isinstance(cause, ssl.SSLError):
        return _words(cause)
    return "the connection was lost in the handshake" if isinstance(error, trio.BrokenResourceError) else str(cause)


def _words(error: ssl.SSLError) -> str:
    return printable((error.reason or str(error)).replace("_", " ").lower(), 200)
