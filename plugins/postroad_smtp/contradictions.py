"""What no single setting of TLS and login shows: contradictions, and what would protect less than it seems to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from postroad.errors import ConfigError

from . import sasl

if TYPE_CHECKING:
    from .settings import SmtpSettings

__all__ = ["SECRETS", "check_login", "check_tls"]

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
    if settings.mechanisms and not given:
        raise ConfigError("mechanisms", "are for a login, and there is no username")
