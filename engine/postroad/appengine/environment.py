"""What the environment says of sending: the variables of App Engine's SMTP mode, and the two of ours beside them.

APPENGINE_USE_SMTP_MAIL_SERVICE=true hands each message to a server at once; with POSTROAD_QUEUE_SMTP=true the same variables
make the configuration of an engine that queues for that server.  What contradicts itself is refused.
Read anew at each call; used by `smtp_service.py`, `doors.py` and `postroad serve`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..errors import ConfigError

if TYPE_CHECKING:
    from ..config import Config

__all__ = ["admins_of", "config_from_environ", "is_smtp_queued", "is_smtp_wanted", "overruled_by_smtp", "spool_url"]

_DEFAULT_PORT = 587  # the original's
_IMPLICIT_TLS_PORT = 465  # RFC 8314 section 3.3
_QUEUE = "POSTROAD_QUEUE_SMTP"
_USE = "APPENGINE_USE_SMTP_MAIL_SERVICE"


def is_smtp_queued(environ: Mapping[str, str] | None = None) -> bool:
    """Whether the variables stand for a queued smarthost.  Raises ConfigError for what contradicts that."""
    environ = os.environ if environ is None else environ
    said = environ.get(_QUEUE, "")
    if said not in ("", "true", "false"):
        raise ConfigError(_QUEUE, f'{said!r} is neither "true" nor "false"')
    if said != "true":
        return False
    if environ.get(_USE) != "true":
        raise ConfigError(_QUEUE, f"is for the server of the APPENGINE_SMTP_ variables; set {_USE}=true beside it")
    if environ.get("POSTROAD_CONFIG"):
        raise ConfigError(_QUEUE, "and POSTROAD_CONFIG both say where mail goes; leave one of them out")
    return True


def is_smtp_wanted(environ: Mapping[str, str] | None = None) -> bool:
    """Whether each message is handed to the server of the variables at once: exactly "true", as the original."""
    environ = os.environ if environ is None else environ
    return environ.get(_USE) == "true" and not is_smtp_queued(environ)


def overruled_by_smtp(environ: Mapping[str, str] | None = None) -> str:
    """What to tell where the environment names a spool, too, that mail by SMTP at once never sees; "" where it does not."""
    environ = os.environ if environ is None else environ
    named = next((name for name in ("POSTROAD_CONFIG", "POSTROAD_SPOOL") if environ.get(name)), None)
    if named is None or not is_smtp_wanted(environ):
        return ""
    return (
        f"{_USE}=true goes before {named}: each message is handed to the SMTP server at once, by no queue, no retries and no "
        f"rules. Leave {_USE} out to send by the spool"
    )


def admins_of(environ: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """The addresses of APPENGINE_ADMIN_EMAIL_RECIPIENTS."""
    environ = os.environ if environ is None else environ
    given = environ.get("APPENGINE_ADMIN_EMAIL_RECIPIENTS", "")
    return tuple([address for each in given.split(",") if (address := each.strip())])


def spool_url(given: str | os.PathLike[str]) -> str:
    """A spool as a URL: a bare path is one of SQLite; a relative path counts from the working directory."""
    text = os.fspath(given)
    scheme, colon, rest = text.partition(":")
    if colon and len(scheme) > 1 and scheme.isalnum():
        return f"sqlite:{os.path.abspath(rest)}" if scheme == "sqlite" and rest else text
    return f"sqlite:{os.path.abspath(text)}"


def config_from_environ(environ: Mapping[str, str] | None = None) -> Config:
    """The configuration of an engine that sends all mail to the server of the APPENGINE_SMTP_ variables.

    POSTROAD_SPOOL is its spool, APPENGINE_ADMIN_EMAIL_RECIPIENTS are its administrators.  Anybody may be a sender, as in the
    original's SMTP mode, unless POSTROAD_AUTHORIZED_SENDERS (a comma-separated list) says who.  The server's certificate is
    not looked at, as in the original, unless POSTROAD_SMTP_TLS is "verified"; port 465 means TLS from the first octet on.

    Raises ConfigError for a variable that is missing or wrong, and unless POSTROAD_QUEUE_SMTP is "true".
    """
    from ..config import load_config

    environ = os.environ if environ is None else environ
    if not is_smtp_queued(environ):
        raise ConfigError(_QUEUE, 'is not "true": the variables name a server that is handed each message at once')
    spool = environ.get("POSTROAD_SPOOL")
    if not spool:
        raise ConfigError(
            "POSTROAD_SPOOL", f"is not set; with {_QUEUE}=true it names the spool, such as var/postroad.db"
        )
    senders = environ.get("POSTROAD_AUTHORIZED_SENDERS", "*")
    return load_config(
        {
            "spool": {"url": spool_url(spool)},
            "senders": {
                "authorized": [pattern for each in senders.split(",") if (pattern := each.strip())],
                "admins": list(admins_of(environ)),
            },
            "transports": {"smarthost": _smarthost(environ)},
            "routes": [{"transport": "smarthost"}],
        }
    )


def _smarthost(environ: Mapping[str, str]) -> dict[str, Any]:
    host = environ.get("APPENGINE_SMTP_HOST")
    if not host:
        raise ConfigError("APPENGINE_SMTP_HOST", "is not set; name the server that takes the mail")
    port = _port(environ)
    settings: dict[str, Any] = {"plugin": "smtp", "smarthost": _place(host, port), "tls": _tls(environ, port)}
    user, password = environ.get("APPENGINE_SMTP_USER"), environ.get("APPENGINE_SMTP_PASSWORD")
    if user and password:
        settings |= {"username": user, "password_env": "APPENGINE_SMTP_PASSWORD"}
        if settings["tls"] == "none":
            settings["login_without_tls"] = True
    elif user or password:
        missing = "PASSWORD" if user else "USER"
        raise ConfigError(f"APPENGINE_SMTP_{missing}", "is not set; a login needs both, a server without login neither")
    return settings


def _place(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host and not host.startswith("[") else f"{host}:{port}"


def _port(environ: Mapping[str, str]) -> int:
    said = environ.get("APPENGINE_SMTP_PORT", str(_DEFAULT_PORT))
    if not (said.isascii() and said.isdigit() and 0 < int(said) < 65_536):
        raise ConfigError("APPENGINE_SMTP_PORT", f"{said!r} is no port; write a number from 1 to 65535")
    return int(said)


def _tls(environ: Mapping[str, str], port: int) -> str:
    use = environ.get("APPENGINE_SMTP_USE_TLS", "true").lower() == "true"
    level = environ.get("POSTROAD_SMTP_TLS", "")
    if level not in ("", "verified"):
        raise ConfigError("POSTROAD_SMTP_TLS", f'{level!r} is not "verified"; leave it out otherwise')
    if level and not use:
        raise ConfigError(
            "POSTROAD_SMTP_TLS", "asks for TLS and APPENGINE_SMTP_USE_TLS for none; leave one of them out"
        )
    return level or ("required" if use or port == _IMPLICIT_TLS_PORT else "none")
