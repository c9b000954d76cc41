"""Which spool this process sends into: what `configure` said, else the environment; one door to it for all threads.

Nothing is opened before the first message; a door makes a connection for each thread, and none is used across a fork.
Asked by `service.py` only.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from ..errors import ConfigError
from ..forking import no_fork
from . import settings
from .environment import admins_of, config_from_environ, is_smtp_queued, spool_url

if TYPE_CHECKING:
    from ..config import Config

__all__ = ["OpenDoor", "Taker", "configure", "configured_rules", "current_door"]

_DEADLINE_SECONDS = 60.0  # of the original's calls
_VARIABLES = ("POSTROAD_CONFIG", "POSTROAD_SPOOL", "POSTROAD_QUEUE_SMTP")
_QUEUE_VARIABLES = (  # of these only a queued smarthost is made
    "POSTROAD_SMTP_TLS",
    "POSTROAD_AUTHORIZED_SENDERS",
    "APPENGINE_USE_SMTP_MAIL_SERVICE",
    "APPENGINE_SMTP_HOST",
    "APPENGINE_SMTP_PORT",
    "APPENGINE_SMTP_USER",
    "APPENGINE_SMTP_PASSWORD",
    "APPENGINE_SMTP_USE_TLS",
)


class _Said(NamedTuple):
    """What `configure` was given."""

    config: Any = None
    spool: str | None = None
    admins: tuple[str, ...] = ()
    deadline_seconds: float = _DEADLINE_SECONDS


class Taker(Protocol):
    """What takes mail: a Handover, or in tests what stands in for one."""

    def send_mail(self, fields: Mapping[str, Any], id: str | None, *, to_admins: bool, admin_bytes: int | None) -> str:
        """As `Handover.send_mail`."""
        ...


class OpenDoor(NamedTuple):
    """The door to the spool, and the administrators that this process knows; where it knows none, the engine may."""

    handover: Taker
    admins: tuple[str, ...]


_said = _Said()
_open: tuple[object, OpenDoor] | None = None  # with what it was made from


def configure(
    config: str | os.PathLike[str] | Mapping[str, Any] | Config | None = None,
    *,
    spool: str | os.PathLike[str] | None = None,
    admins: Iterable[str] | None = None,
    deadline_seconds: float = _DEADLINE_SECONDS,
    strict_headers: bool = False,
) -> None:
    """Say where this process sends; without arguments, as the environment says again.  Opens nothing.

    config: the engine's configuration: the path of its TOML file, a mapping of the same shape, or a `postroad.Config`.
    spool: a path or a URL such as `sqlite:var/postroad.db`, instead of the configuration's; alone, the rules are those that the
    last engine wrote into it.  admins: who gets the mail to administrators, instead of `[senders] admins`.
    deadline_seconds: the longest that one `send()` takes before it raises DeadlineExceededError.
    strict_headers: allow only the nine header names of the original, in its spelling.

    Raises ConfigError for a configuration that cannot be used.
    """
    global _said, _open
    if not deadline_seconds > 0:
        raise ConfigError("deadline_seconds", f"must be above 0, not {deadline_seconds!r}")
    said = _Said(
        config=_loaded(config),
        spool=None if spool is None else spool_url(spool),
        admins=_listed(admins),
        deadline_seconds=float(deadline_seconds),
    )
    with no_fork:
        _said, _open = said, None
        settings.strict_headers = strict_headers


def _loaded(config: Any) -> Any:
    if config is None:
        return None
    from ..config import load_config

    return load_config(config)


def _listed(admins: Iterable[str] | None) -> tuple[str, ...]:
    if admins is None:
        return ()
    return (admins,) if isinstance(admins, str) else tuple(admins)


def current_door() -> OpenDoor:
    """The door to the spool that is meant now.  Raises ConfigError, which says what to set."""
    global _open
    said = _said
    made_from = (said, _environ_of(said), os.environ.get("APPENGINE_ADMIN_EMAIL_RECIPIENTS"))
    found = _open
    if found is not None and found[0] == made_from:
        return found[1]
    with no_fork:
        if _open is None or _open[0] != made_from:
            _open = made_from, _made(said)
        return _open[1]


def configured_rules() -> tuple[Config | None, tuple[str, ...]]:
    """The configuration that is meant now, if one is named, and the administrators.  Opens nothing.  Raises ConfigError."""
    said = _said
    return _config_of(said), _addresses(said.admins or admins_of())


def _environ_of(said: _Said) -> tuple[str | None, ...]:
    """What of the environment counts: each look at it costs microseconds."""
    if said.config is not None or said.spool is not None:
        return ()
    values = [os.environ.get(name) for name in _VARIABLES]
    if values[-1]:
        values += [os.environ.get(name) for name in _QUEUE_VARIABLES]
    return tuple(values)


def _made(said: _Said) -> OpenDoor:
    from ..handover import Handover
    from ..spool import SpoolPlace

    config = _config_of(said)
    url = said.spool or os.environ.get("POSTROAD_SPOOL") if said.config is None else said.spool
    if url is not None and not said.spool:
        url = spool_url(url)
    if config is None and not url:
        raise ConfigError(
            "mail",
            "nobody said where mail is kept; call mail.configure(...), or set POSTROAD_CONFIG to the engine's configuration file "
            "or POSTROAD_SPOOL to its spool",
        )
    base = config.resolved("") if config is not None and not url else Path()
    place = SpoolPlace.parse(url or (config.spool.url if config is not None else ""), base.absolute())
    door = Handover(place, config, deadline_seconds=said.deadline_seconds)
    return OpenDoor(door, _addresses(said.admins or admins_of()))


def _addresses(admins: tuple[str, ...]) -> tuple[str, ...]:
    from ..address import parse_mailboxes
    from ..errors import SubmissionError

    try:
        return tuple([str(mailbox.address) for mailbox in parse_mailboxes(admins, "admins")])
    except SubmissionError as error:
        raise ConfigError(
            error.field, f"of mail.configure or APPENGINE_ADMIN_EMAIL_RECIPIENTS: {error.problem}"
        ) from None


def _config_of(said: _Said) -> Config | None:
    """As `configure` said; only where it named neither a configuration nor a spool, as the environment says."""
    if said.config is not None or said.spool is not None:
        return said.config  # type: ignore[no-any-return]  # `configure` loaded it
    if is_smtp_queued():
        return config_from_environ()
    file = os.environ.get("POSTROAD_CONFIG")
    return _loaded(file) if file else None
