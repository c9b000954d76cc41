"""The settings that all providers share: the keys of a `[transports.NAME]` table with `plugin = "http"`.

A key is read anew for each request, so that it can be changed in its file; it is part of no text for people, not of `repr`
and not of an error.
"""

from __future__ import annotations

import hashlib
import re
from typing import Annotated, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from postroad.config import PathSetting
from postroad.errors import ConfigError
from postroad.secret import read_secret

__all__ = ["BatchTable", "FieldTable", "HttpTable", "check_word"]

_SOURCES = ("api_key", "api_key_file", "api_key_env")
_EVENT_SOURCES = ("events_secret", "events_secret_file", "events_secret_env")
_LOOPBACK = re.compile(r"localhost|127\.\d+\.\d+\.\d+|::1")


class HttpTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every provider has."""

    provider: Annotated[str, Meta(description="The provider's name, as in the heading.")]
    api_key: Annotated[
        str, Meta(description="The secret itself. Better is one of the next two: this file is read by more people.")
    ] = ""
    api_key_file: Annotated[
        PathSetting, Meta(description="File whose first line is the secret. Read anew for each request.")
    ] = ""
    api_key_env: Annotated[str, Meta(description="Name of the environment variable that holds the secret.")] = ""
    base_url: Annotated[
        str,
        Meta(
            description="Where the API is, instead of the provider's own place: `https://host`, and perhaps a path that "
            "the API's begin behind. `http` to this machine only."
        ),
    ] = ""
    ca_file: Annotated[
        PathSetting, Meta(description="PEM file with the authorities to trust, instead of the system's.")
    ] = ""
    timeout_seconds: Annotated[
        float,
        Meta(
            description="Seconds. For one request with its answer; when all of it was sent by then, it is in doubt.",
            gt=0,
            le=600,
        ),
    ] = 60.0
    connections: Annotated[int, Meta(description="Connections at once; more requests wait for one.", ge=1, le=1000)] = (
        20
    )
    tags: Annotated[
        bool,
        Meta(
            description="Pass the message's tags on as the provider's own. A tag that it cannot have refuses the message."
        ),
    ] = True
    metadata: Annotated[
        bool,
        Meta(
            description="Pass the message's id on (`postroad_id`), so that what the provider tells later can be assigned. "
            "Brevo shows it to recipients, in the header."
        ),
    ] = True

    events_secret: Annotated[
        str,
        Meta(
            description="What proves that events are the provider's (docs/provider-events.md): a signing secret, a password, "
            "SendGrid's verification key. Empty, with the next two: no events are taken. Better is one of these."
        ),
    ] = ""
    events_secret_file: Annotated[
        PathSetting, Meta(description="File whose first line is that secret. Read anew for each request.")
    ] = ""
    events_secret_env: Annotated[str, Meta(description="Name of the environment variable that holds that secret.")] = ""

    def __post_init__(self) -> None:
        """Refuse what no single setting shows."""
        given = [key for key in _SOURCES if getattr(self, key)]
        if len(given) != 1:
            said = (
                f"there are {' and '.join(given)}; keep one"
                if given
                else "must be there (or api_key_file, or api_key_env)"
            )
            raise ConfigError(given[-1] if given else "api_key", said)
        _check_url(self.base_url)
        told = [key for key in _EVENT_SOURCES if getattr(self, key)]
        if len(told) > 1:
            raise ConfigError(told[-1], f"there are {' and '.join(told)}; keep one")

    def __repr__(self) -> str:
        return f"{type(self).__name__}(provider={self.provider!r})"

    def secret(self) -> str:
        """The secret as it is now.  Raises ConfigError, which does not show it."""
        key = next(key for key in _SOURCES if getattr(self, key))
        return read_secret(key, getattr(self, key))

    @property
    def takes_events(self) -> bool:
        """Whether what the provider tells later is believed at all."""
        return any(getattr(self, key) for key in _EVENT_SOURCES)

    def secret_of_events(self) -> str:
        """The secret for events as it is now, "" for none.  Raises ConfigError, which does not show it."""
        key = next((key for key in _EVENT_SOURCES if getattr(self, key)), "")
        return read_secret(key, getattr(self, key)) if key else ""

    @property
    def account(self) -> str:
        """Names whose account this is without showing the secret: equal where the same secret is read from the same place."""
        place = (
            self.api_key_env or self.api_key_file or hashlib.sha256(self.api_key.encode("utf-8", "replace")).hexdigest()
        )
        return place[-40:] if self.api_key_env or self.api_key_file else place[:8]


class FieldTable(HttpTable, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the providers have that take fields instead of the message as it is."""

    others: Annotated[
        Literal["refuse", "hide"],
        Meta(
            description="What to do where To and Cc name others than the recipient: these APIs send to whom they show. "
            "refuse: the message is not sent by this transport. hide: each recipient gets a copy that names it alone."
        ),
    ] = "refuse"


class BatchTable(FieldTable, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the providers have that take several messages in a request; each says how many."""

    batch: int


def check_word(key: str, value: str, pattern: str = r"[A-Za-z0-9._-]{1,255}") -> None:
    """Raises ConfigError where a value that becomes part of an URL or a header is not what it must be."""
    if not re.fullmatch(pattern, value):
        raise ConfigError(key, f"{value!r} cannot be one")


def _check_url(url: str) -> None:
    """An error never shows what may hold a password."""
    if not url:
        return
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ConfigError("base_url", f"cannot be read: {error}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise ConfigError("base_url", 'must be such as "https://api.example.com"')
    if "@" in parts.netloc or parts.query or parts.fragment or not re.fullmatch(r"[!-~]+", url):
        raise ConfigError("base_url", "must have no user name, query or fragment, and be in visible ASCII")
    if parts.scheme == "http" and not _LOOPBACK.fullmatch(parts.hostname):
        raise ConfigError("base_url", "the secret would go in clear text: use https")
