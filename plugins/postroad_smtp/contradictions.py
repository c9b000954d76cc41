"""What no single setting shows: contradictions, what would be without effect, and what would protect less than it seems to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from postroad.errors import ConfigError

from . import sasl
from .domains import literal_address
from .places import Place, names_port, read_place, read_sources

if TYPE_CHECKING:
    from .settings import SmtpSettings

__all__ = ["SECRETS", "check_login", "check_tls", "check_way"]

SECRETS = (
    "password_env",
    "password_file",
    "token_env",
    "token_file",
)  # the settings that say where a login's secret is

_PLAIN = '"none" is never TLS, nor is "opportunistic" over a unix socket'


def _is_plain(settings: SmtpSettings) -> bool:
    """Whether there is never TLS."""
    return settings.tls == "none" or (settings.tls == "opportunistic" and settings.smarthost.startswith("unix:"))


def check_way(settings: SmtpSettings) -> None:
    """Raises ConfigError where the settings do not fit the way that mail takes: to a smarthost, or by MX records."""
    if settings.smarthost:
        place = read_place("smarthost", settings.smarthost, settings.usual_port)
        _check_left_out(settings, place)
        _check_place(settings, place)
    elif settings.protocol == "lmtp":
        raise ConfigError("protocol", "lmtp is spoken to a smarthost only; name the mail store in smarthost")
    elif settings.implicit_tls == "on":
        raise ConfigError(
            "implicit_tls", "is for a smarthost: strangers' servers await STARTTLS; leave it out, or name a smarthost"
        )


def _check_left_out(settings: SmtpSettings, place: Place) -> None:
    """What a smarthost makes idle."""
    if settings.port is not None and names_port(settings.smarthost):
        raise ConfigError("port", f"the smarthost {place} needs none beside it; leave it out here or there")
    if settings.allow_networks:
        raise ConfigError(
            "allow_networks", "are for MX delivery; a smarthost is allowed by being named, so leave them out"
        )
    if settings.dns_servers:
        problem = "are for MX delivery; a smarthost's name is resolved by the system, so leave them out"
        raise ConfigError("dns_servers", problem)


def _check_place(settings: SmtpSettings, place: Place) -> None:
    if settings.protocol == "lmtp" and place.port == 25:
        raise ConfigError("smarthost", "lmtp is never spoken on port 25 (RFC 2033 section 5); 24 is usual")
    if place.is_unix and settings.tls == "verified":
        raise ConfigError(
            "tls", "a unix socket has no name for a certificate to show; write required, or leave tls out"
        )
    if place.is_unix and settings.source_addresses:
        raise ConfigError("source_addresses", "a unix socket is not reached from an address; leave them out")
    is_numeric = literal_address(place.host) is not None
    if is_numeric and not read_sources(settings.source_addresses).may_reach(place.host):
        raise ConfigError("source_addresses", f"none is of the family of the smarthost {place.host}; add one that is")


def check_tls(settings: SmtpSettings) -> None:
    """Raises ConfigError."""
    if _is_plain(settings) and settings.implicit_tls == "on":
        raise ConfigError("implicit_tls", f"needs a level in tls; {_PLAIN}")
    if settings.ca_file and settings.tls != "verified":
        raise ConfigError("ca_file", 'is looked at with tls = "verified" only: below that any certificate will do')
    if settings.client_key_file and not settings.client_cert_file:
        raise ConfigError("client_key_file", "needs client_cert_file, the certificate that it is the key of")
    if settings.client_cert_file and _is_plain(settings):
        raise ConfigError("client_cert_file", f"needs a level in tls; {_PLAIN}")


def check_login(settings: SmtpSettings) -> None:
    """Raises ConfigError."""
    given = [key for key in SECRETS if getattr(settings, key)]
    if len(given) > 1:
        raise ConfigError(given[1], f"a login has one secret, and {given[0]} names one already; leave one of them out")
    if len(given) != bool(settings.username):
        raise ConfigError("username", f"a login needs username and one of {', '.join(SECRETS)}")
    if settings.username and not settings.smarthost:
        raise ConfigError("username", "a login is for a smarthost; a password must not go to strangers' servers")
    is_token = any(key.startswith("token_") for key in given)
    if given and _is_plain(settings) and (is_token or not settings.login_without_tls):
        problem = f"a login needs TLS, or login_without_tls = true; one by a token always needs it; {_PLAIN}"
        raise ConfigError("tls", problem)
    unknown = set(settings.mechanisms).difference(sasl.KNOWN)
    if unknown:
        raise ConfigError("mechanisms", f"{min(unknown)!r} is none of {', '.join(sasl.KNOWN)}")
    for key in ("mechanisms", "login_without_tls"):
        if getattr(settings, key) and not given:
            raise ConfigError(key, "is for a login, and there is no username; add one, or leave this out")
