"""Every installed plugin: whence it comes, what it registers, why it is broken where it is (`postroad plugin list`)."""

from __future__ import annotations

import importlib.metadata

import msgspec

from ..errors import PluginError
from ..plugins import ENTRY_POINT_GROUP, Plugins

__all__ = ["Installed", "installed_plugins"]


class Installed(msgspec.Struct, frozen=True, kw_only=True):
    """One entry point.  problem: why it cannot be used, "" where it can."""

    name: str
    distribution: str
    version: str
    module: str
    transports: tuple[str, ...] = ()
    stores: tuple[str, ...] = ()
    hooks: tuple[str, ...] = ()
    problem: str = ""


def installed_plugins() -> list[Installed]:
    """By name.  Each is loaded by itself, so that a broken one, or two of a name, harm nobody else."""
    points = sorted(importlib.metadata.entry_points(group=ENTRY_POINT_GROUP), key=lambda point: point.name)
    return [_look_at(point, [other for other in points if other.name == point.name]) for point in points]


def _look_at(point: importlib.metadata.EntryPoint, same: list[importlib.metadata.EntryPoint]) -> Installed:
    known = Installed(
        name=point.name,
        distribution=point.dist.name if point.dist else "",
        version=point.dist.version if point.dist else "",
        module=point.value,
    )
    if len(same) > 1:
        owners = ", ".join(sorted(other.dist.name if other.dist else "?" for other in same))
        return msgspec.structs.replace(known, problem=f"{owners} have the same name: uninstall all but one")
    plugins, before = Plugins(), Plugins()
    try:
        plugins.load(point.name)
    except PluginError as error:
        return msgspec.structs.replace(known, problem=str(error))
    return msgspec.structs.replace(
        known,
        transports=tuple(name for name in plugins.transports if name not in before.transports),
        stores=tuple(name for name in plugins.stores if name not in before.stores),
        hooks=tuple(sorted(name for name in plugins.hooks_of(point.name) if "_register_" not in name)),
    )
