"""What no type of a setting shows: contradictions between settings, and texts that mean nothing.  Called by `config.py`; pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from .errors import ConfigError

if TYPE_CHECKING:
    from .config import Config, Retry, Route, Windows

__all__ = ["TAKEN_OUT", "check_config", "is_hostname"]

TAKEN_OUT = "taken out"  # stands where `postroad check` found something wrong, and begins the names of such transports

_PATTERN = re.compile(r"\*|[^@\s\x00-\x1f\x7f]+@(?:\*\.)?[^@*\s\x00-\x1f\x7f]+")
_HOSTNAME = re.compile(
    r"(?=.{1,253}\Z)[A-Za-z0-9](?:[A-Za-z0-9_-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*"
)


def check_config(config: Config) -> None:
    """Raises ConfigError, which names the setting."""
    _check_retry("retry", config.retry)
    _check_windows("windows", config.windows)
    _check_patterns("senders.authorized", config.senders.authorized)
    _check_patterns("senders.admins", config.senders.admins)
    for index, admin in enumerate(config.senders.admins):
        if "*" in admin:
            raise ConfigError(f"senders.admins[{index}]", f"{admin!r} is no address that mail can go to; write it out")
    if config.reports.hostname and not is_hostname(config.reports.hostname):
        raise ConfigError(
            "reports.hostname",
            "must be a host name in ASCII, such as mail.example.com (an IDN as its A-label, xn--...)",
        )
    labels: set[str] = set()
    for index, route in enumerate(config.routes):
        key = f"routes[{index}]"
        _check_pattern(f"{key}.recipients", route.recipients)
        if route.senders != "<>":
            _check_pattern(f"{key}.senders", route.senders)
        _check_roads(key, route, config)
        if route.label in labels:
            raise ConfigError(f"{key}.name", f"another route is called {route.label!r} already; give this one a name")
        labels.add(route.label)
        if route.retry:
            _check_retry(f"{key}.retry", route.retry)
        if route.windows:
            _check_windows(f"{key}.windows", route.windows)
    _check_callbacks(config, labels)
    for name, settings in config.transports.items():
        if not isinstance(settings.get("plugin"), str):
            raise ConfigError(f"transports.{name}.plugin", 'name the kind of transport, such as "smtp" or "file"')
    if config.limits.message_bytes > config.limits.queue_bytes:
        raise ConfigError("limits.queue_bytes", "must be at least limits.message_bytes, or nothing fits")
    if config.callbacks.transport and config.limits.message_bytes > config.limits.incoming_bytes:
        raise ConfigError(
            "limits.queue_bytes",
            "nine tenths of it must be at least limits.message_bytes where [callbacks] are set: incoming mail may fill no more, "
            "and the largest would never come in",
        )
    if ":" not in config.spool.url:
        raise ConfigError("spool.url", 'must begin with a kind, such as "sqlite:var/postroad.db"')


def _check_callbacks(config: Config, labels: set[str]) -> None:
    route = config.callbacks.route
    if route is None:
        return
    if route.transport not in config.transports:
        raise ConfigError("callbacks.transport", _unknown(route.transport, config))
    if route.label in labels:
        raise ConfigError("routes", f"a route may not be called {route.label!r}: that is the lane of [callbacks]")
    _check_retry("callbacks.retry", config.callbacks.retry)
    _check_windows("callbacks.windows", config.callbacks.windows)


def _unknown(transport: str, config: Config) -> str:
    known = ", ".join(sorted(name for name in config.transports if not name.startswith(TAKEN_OUT))) or "none"
    return f"there is no [transports.{transport}] (known: {known})"


def _check_roads(key: str, route: Route, config: Config) -> None:
    """A transport that a route names once exists; weights fit the transports, and leave one of them mail."""
    for number, transport in enumerate(route.transports):
        where = f"{key}.fail_over[{number - 1}]" if number else f"{key}.transport"
        if transport not in config.transports:
            raise ConfigError(where, _unknown(transport, config))
        if transport in route.transports[:number]:
            raise ConfigError(where, f"the route names {transport!r} before already; each transport is one road")
    if not route.weights:
        return
    if len(route.weights) != len(route.transports):
        count = len(route.transports)
        raise ConfigError(f"{key}.weights", f"there are {len(route.weights)} for {count} transports; give one for each")
    if min(route.weights) < 0 or not any(route.weights):
        raise ConfigError(f"{key}.weights", "must be 0 or more, and not all 0, or nothing would be sent")


def is_hostname(name: str) -> bool:
    """Whether a name can stand in Message-IDs, reports and EHLO: letters, digits and hyphens between dots, in ASCII."""
    return _HOSTNAME.fullmatch(name) is not None


def _check_patterns(key: str, patterns: tuple[str, ...]) -> None:
    for index, pattern in enumerate(patterns):
        _check_pattern(f"{key}[{index}]", pattern)


def _check_pattern(key: str, pattern: str) -> None:
    if not _PATTERN.fullmatch(pattern):
        raise ConfigError(key, f"{pattern!r} fits nothing; write *, *@example.com, *@*.example.com or one address")


def _check_retry(key: str, retry: Retry) -> None:
    if retry.first_seconds > retry.max_seconds:
        raise ConfigError(f"{key}.first_seconds", f"must be at most {key}.max_seconds ({retry.max_seconds:g})")
    if retry.first_seconds > retry.give_up_seconds:
        raise ConfigError(f"{key}.give_up_seconds", f"must be at least {key}.first_seconds ({retry.first_seconds:g})")


def _check_windows(key: str, windows: Windows) -> None:
    if windows.start > windows.max:
        raise ConfigError(f"{key}.start", f"must be at most {key}.max ({windows.max})")
    if windows.hold_seconds > windows.hold_max_seconds:
        raise ConfigError(
            f"{key}.hold_seconds", f"must be at most {key}.hold_max_seconds ({windows.hold_max_seconds:g})"
        )
