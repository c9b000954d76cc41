"""Makes every transport of a configuration, and closes it again, to find what is wrong with their settings.

Tries, too, whether this machine has the addresses that a setting `source_addresses`, of whatever plugin, sends from.
For `postroad check`; nothing is sent.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import trio

from ..config import Config
from ..errors import ConfigError
from ..plugins import Plugins
from ..transport import TransportFactory, TransportSettings
from .checking_config import steps_of

__all__ = ["source_warnings", "transport_problems"]

_MOST = 20  # problems looked for in one transport
_SECONDS = 10.0  # to make one


async def transport_problems(config: Config, plugins: Plugins) -> list[ConfigError]:
    """What is wrong with each transport whose plugin is there."""
    findings: list[ConfigError] = []
    for name, settings in config.transports.items():
        factory = plugins.transports.get(str(settings["plugin"]))
        if factory is None:
            continue  # its plugin was named already
        own = {key: value for key, value in settings.items() if key != "plugin"}
        findings += [
            _of_transport(name, problem) for problem in await _try_transport(factory, own, config.resolved(""))
        ]
    return findings


def _of_transport(name: str, problem: ConfigError) -> ConfigError:
    return ConfigError(f"transports.{name}" + (f".{problem.key}" if problem.key else ""), problem.problem)


async def _try_transport(factory: TransportFactory, settings: dict[str, Any], base: Path) -> list[ConfigError]:
    """What is wrong with a transport.

    A key that is wrong is taken out, and the rest tried again; what is wrong only for want of that key is not told.
    """
    found: list[ConfigError] = []
    taken_out: set[str] = set()
    for _ in range(_MOST):
        problem = await _first_of_transport(factory, TransportSettings(settings, base=base))
        if problem is None or taken_out.intersection(_words(problem)):
            break
        found.append(problem)
        key = str(next(iter(steps_of(problem.key)), ""))  # the transport's own, also for what is wrong inside it
        if key not in settings:
            break
        taken_out.add(key)
        del settings[key]
    return found


def _words(problem: ConfigError) -> list[str]:
    """Whole ones: `tls` is not named by `implicit_tls`."""
    return re.findall(r"[\w-]+", str(problem))


async def _first_of_transport(factory: TransportFactory, settings: TransportSettings) -> ConfigError | None:
    try:
        with trio.fail_after(_SECONDS):
            async with factory(settings):
                pass
    except ConfigError as error:
        return error
    except Exception as error:  # a plugin may raise anything: that is the finding
        return ConfigError("", f"cannot be made: {error!r}")
    return None


def source_warnings(config: Config) -> Iterator[ConfigError]:
    """Addresses to send from that this machine does not have just now.  What is no address at all is the plugin's to refuse."""
    for name, settings in config.transports.items():
        sources: object = settings.get("source_addresses")
        if not isinstance(sources, list | tuple):
            continue
        for index, text in enumerate(cast("Sequence[object]", sources)):
            if problem := _not_here(str(text)):
                yield _of_transport(name, ConfigError(f"source_addresses[{index}]", problem))


def _not_here(text: str) -> str:
    try:
        family = socket.AF_INET6 if ipaddress.ip_address(text).version == 6 else socket.AF_INET
    except ValueError:
        return ""
    try:
        with socket.socket(family, socket.SOCK_STREAM) as sock:
            sock.bind((text, 0))
    except OSError as error:
        return f"{text} cannot be sent from on this machine ({error.strerror}): mail only waits until it can"
    return ""
