"""Finds the problems of a configuration and of what it names: plugins, transports, the spool's place, and the spool.

Goes on with what is left of a section that has mistakes; then tells what is no mistake but lets no mail go.  Changes nothing,
sends nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import trio

from ..appengine.environment import config_from_environ, overruled_by_smtp
from ..config import Callbacks, Config
from ..door import UNKNOWN_NAME, hostname_of, is_known_elsewhere
from ..errors import ConfigError, PluginError, PostroadError, SpoolInUse
from ..plugins import Plugins
from .checking_config import TAKEN_OUT, Reading, read_all
from .checking_place import place_of, place_problems
from .checking_transports import source_warnings, transport_problems
from .where import Where

__all__ = ["Finding", "check_everything"]


class Finding(msgspec.Struct, frozen=True):
    """One problem, or a warning.  part: "configuration", "plugin", "transport" or "spool"; where: the key, or the file."""

    part: str
    where: str
    problem: str
    is_warning: bool = False


def check_everything(where: Where, *, reads_spool: bool) -> list[Finding]:
    reading = _read(where)
    findings = [_finding("configuration", problem) for problem in reading.problems]
    if reading.config is None:
        return findings
    config = where.with_spool(reading.config)
    plugins = Plugins()
    findings += _plugin_problems(config, plugins)
    findings += [_finding("transport", problem) for problem in trio.run(transport_problems, config, plugins)]
    if reading.is_whole("spool"):
        findings += _place_problems(config)
        findings += _spool_problems(config) if reads_spool else ()
    return [*findings, *_warnings(reading, config)]


def _read(where: Where) -> Reading:
    """What would run: the variables of a queued smarthost, else the file."""
    try:
        return Reading(config_from_environ(), []) if where.is_environ() else read_all(where.file)
    except ConfigError as error:
        return Reading(None, [error])


def _finding(part: str, problem: ConfigError, *, is_warning: bool = False) -> Finding:
    return Finding(part, problem.key, problem.problem, is_warning)


def _plugin_problems(config: Config, plugins: Plugins) -> Iterator[Finding]:
    for name in filter(None, config.plugins):  # "" was taken out
        try:
            plugins.load(name)
        except PluginError as error:
            yield Finding("plugin", name, str(error))
    for name, settings in config.transports.items():
        kind = str(settings["plugin"])
        if kind != TAKEN_OUT and kind not in plugins.transports:
            yield from _load_kind(plugins, config, name)


def _load_kind(plugins: Plugins, config: Config, transport: str) -> Iterator[Finding]:
    table = {transport: config.transports[transport]}
    alone = msgspec.structs.replace(config, plugins=(), routes=(), callbacks=Callbacks(), transports=table)
    try:
        plugins.load_for(alone)
    except ConfigError as error:
        yield Finding("plugin", error.key, error.problem)


def _place_problems(config: Config) -> Iterator[Finding]:
    for file, problem in place_problems(config):
        yield Finding("spool", file, problem) if file else Finding("configuration", "spool.url", problem)


def _warnings(reading: Reading, config: Config) -> Iterator[Finding]:
    """What an engine starts with, although no mail, or little, will go."""
    yield from (_finding("transport", each, is_warning=True) for each in source_warnings(config))
    if not config.routes and reading.is_whole("routes"):
        problem = "there are none: all mail will be held until there is one for it"
        yield Finding("configuration", "routes", problem, is_warning=True)
    if not config.senders.authorized and reading.is_whole("senders"):
        who = "only the administrators may send" if config.senders.admins else "nobody may send"
        yield Finding("configuration", "senders.authorized", f"there are none: {who}", is_warning=True)
    if overruled := overruled_by_smtp():
        yield Finding("configuration", "APPENGINE_USE_SMTP_MAIL_SERVICE", overruled, is_warning=True)
    hostname = hostname_of(config)
    if not config.reports.hostname and reading.is_whole("reports") and not is_known_elsewhere(hostname):
        problem = f"this machine calls itself {hostname}: {UNKNOWN_NAME}"
        yield Finding("configuration", "reports.hostname", problem, is_warning=True)


def _spool_problems(config: Config) -> Iterator[Finding]:
    """What reading everything shows.  Raises SpoolInUse while an engine runs: it would be in each other's way."""
    from ..offline import open_offline

    place = place_of(config)
    if place is None or place.path is None:
        return
    if not place.path.exists():
        yield Finding("spool", str(place.path), "there is no spool yet; the first engine or message makes it")
        return
    try:
        with open_offline(place, config) as spool:
            problems = spool.check()
    except SpoolInUse:
        raise
    except PostroadError as error:
        problems = [str(error)]
    for problem in problems:
        yield Finding("spool", str(place.path), problem)
