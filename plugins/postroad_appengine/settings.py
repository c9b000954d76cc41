"""The settings of a transport to an application by HTTP: the keys of a `[transports.NAME]` table with `plugin = "appengine"`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, NamedTuple
from urllib.parse import SplitResult, urlsplit

import msgspec
from msgspec import Meta

from postroad.config import PathSetting
from postroad.errors import ConfigError
from postroad.secret import read_secret

__all__ = ["AppEngineSettings", "Place", "place_of", "secret_of"]

_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")  # RFC 9110 section 5.6.2
_VALUE = re.compile(r"[!-~](?:[ \t!-~]*[!-~])?")  # section 5.5, without octets over 127
_PATH = re.compile(r"/[A-Za-z0-9._~!$&'()*+,;=:@%/-]*")  # RFC 3986 section 3.3
_OURS = (
    "authorization",
    "connection",
    "content-length",
    "content-type",
    "host",
    "idempotency-key",
    "transfer-encoding",
)


def _seconds(text: str) -> Meta:
    return Meta(description=f"Seconds. {text}", gt=0)


class AppEngineSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[transports.NAME] with plugin = "appengine": an application that is told by HTTP, for [callbacks]."""

    url: Annotated[
        str,
        Meta(
            description="Where the application is: `http://host:port` or `https://host`, and perhaps a path that the two below "
            "begin behind. A proxy from the environment is not used."
        ),
    ]
    socket: Annotated[
        PathSetting,
        Meta(
            description="Unix socket to connect to, instead of the host in `url`, which is then only the Host header."
        ),
    ] = ""
    bounce_path: Annotated[str, Meta(description="Where bounces are told.")] = "/_ah/bounce"
    mail_path: Annotated[str, Meta(description="Where incoming mail goes: the address follows, percent-encoded.")] = (
        "/_ah/mail/"
    )
    secret_env: Annotated[
        str,
        Meta(
            description="Name of the environment variable with a secret that each request bears (`Authorization: Bearer ...`), "
            "so that the application can tell it from a stranger's."
        ),
    ] = ""
    secret_file: Annotated[
        PathSetting, Meta(description="File whose first line is that secret. Read anew for each request.")
    ] = ""
    headers: Annotated[Mapping[str, str], Meta(description="Further header fields of each request. Never logged.")] = {}
    ca_file: Annotated[
        PathSetting, Meta(description="PEM file with the authorities to trust for https, instead of the system's.")
    ] = ""
    connect_seconds: Annotated[float, _seconds("For a connection, TLS included.")] = 30.0
    send_seconds: Annotated[float, _seconds("For each piece of at most 64 KiB to be taken.")] = 60.0
    reply_seconds: Annotated[
        float,
        _seconds("For the answer, once all was sent; beyond, it is in doubt. App Engine's deadline of a request."),
    ] = 60.0

    def __post_init__(self) -> None:
        place_of(self.url)
        for key, path in (("bounce_path", self.bounce_path), ("mail_path", self.mail_path)):
            if not _PATH.fullmatch(path):
                raise ConfigError(key, "must be a path that begins with / and is percent-encoded where need be")
        if self.secret_env and self.secret_file:
            raise ConfigError("secret_file", "there is a secret_env, too; name one of them")
        for name, value in self.headers.items():
            _check_header(name, value)


def _check_header(name: str, value: str) -> None:
    """A value may be a secret: no error shows one."""
    if not _TOKEN.fullmatch(name):
        raise ConfigError("headers", f"{name!r} is no name of a header field")
    if name.lower() in _OURS:
        hint = "; use secret_env or secret_file" if name.lower() == "authorization" else ""
        raise ConfigError(f"headers.{name}", f"this field is set by the transport{hint}")
    if not _VALUE.fullmatch(value):
        raise ConfigError(f"headers.{name}", "must be visible ASCII characters, with spaces between only")


class Place(NamedTuple):
    """Where an application is.  host: without brackets.  header: for the Host field.  path: that others begin behind."""

    host: str
    port: int
    is_tls: bool
    header: str
    path: str

    @property
    def origin(self) -> str:
        return f"{'https' if self.is_tls else 'http'}://{self.header}"


def place_of(url: str) -> Place:
    """Raises ConfigError."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ConfigError("url", f"cannot be read: {error}") from None
    _check_url(url, parts)
    is_tls = parts.scheme == "https"
    header = parts.netloc.lower()
    return Place(parts.hostname or "", port or (443 if is_tls else 80), is_tls, header, parts.path.rstrip("/"))


def _check_url(url: str, parts: SplitResult) -> None:
    """An error never shows what may hold a password."""
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError("url", 'must be such as "http://127.0.0.1:8080" or "https://app.example.com"')
    if "@" in parts.netloc:
        raise ConfigError("url", "must hold no user name or password; use secret_env or secret_file")
    if parts.query or parts.fragment or url.endswith(("?", "#")):
        raise ConfigError("url", "must have no query and no fragment")
    if not re.fullmatch(r"[A-Za-z0-9.:\[\]_-]+", parts.netloc):
        raise ConfigError("url", "must name a host in ASCII (an IDN as its A-label, xn--...)")
    if parts.path and not _PATH.fullmatch(parts.path):
        raise ConfigError("url", "its path must be percent-encoded")
    if parts.port == 0:
        raise ConfigError("url", "port 0 leads nowhere")


def secret_of(settings: AppEngineSettings) -> str:
    """The secret as it is now, "" where there is none.  Raises ConfigError, which does not show it."""
    for key in ("secret_env", "secret_file"):
        if place := getattr(settings, key):
            return read_secret(key, place)
    return ""
