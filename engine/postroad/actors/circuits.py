"""Which roads were held or half open when the engine ended: kept in the spool, so that the next one goes on just there.

Policy notes holds here; what changed passes to queue as a Learnt note, because queue alone writes to the store.  Only roads that
share a route are kept, and only of transports that do not work by domain: there are as many as the configuration has.  Only used
by the policy actor; read from the spool by `opening.py`.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
from msgspec.structs import replace

from ..config import Windows
from ..decide.limits import Window
from ..decide.routing import RoutingTable

__all__ = ["CIRCUITS", "Circuit", "Circuits"]

CIRCUITS = "circuits"  # the fact's name


class Circuit(msgspec.Struct, frozen=True):
    """A held site.  lane: one that leads to it."""

    site: str
    lane: str
    window: Window


class Circuits:
    """kept: the fact as an earlier engine left it, None or damaged for none."""

    def __init__(self, kept: bytes | None = None) -> None:
        try:
            found = msgspec.msgpack.decode(kept or b"\x90", type=tuple[Circuit, ...])
        except (msgspec.DecodeError, UnicodeDecodeError):
            found = ()
        self._circuits: dict[str, Circuit] = {circuit.site: circuit for circuit in found}

    def held(self, table: RoutingTable, now: float) -> Iterator[Circuit]:
        """Those that no probe has opened yet, and whose road is still one of several; a clock that was set back prolongs none."""
        for circuit in list(self._circuits.values()):
            road = table.road_of(circuit.lane)
            if road is None or not road.shared_by or not table.failing_over(road.transport):
                continue
            if _is_known(circuit.window, now) and circuit.window.hold_until <= now + road.windows.hold_max_seconds:
                yield replace(circuit, window=_sound(circuit.window, road.windows))

    def note(self, site: str, lane: str, window: Window, now: float) -> bytes:
        """The fact, after a hold of the site began, or the site was found to work.

        A half-open one is kept until then, and for as long as its next hold would take: who was not asked that long is fresh.
        """
        self._circuits = {
            name: circuit for name, circuit in self._circuits.items() if name != site and _is_known(circuit.window, now)
        }
        if window.hold_until > now:
            self._circuits[site] = Circuit(site, lane, window)
        return msgspec.msgpack.encode(tuple(self._circuits.values()))


def _is_known(window: Window, now: float) -> bool:
    return now < window.hold_until + window.hold_seconds


def _sound(window: Window, settings: Windows) -> Window:
    """As a hold leaves it.  What else a damaged fact says (a size of 0) would keep the road closed for ever."""
    return Window(
        size=1,
        trouble=settings.trouble,
        hold_until=window.hold_until,
        hold_seconds=min(max(settings.hold_seconds, window.hold_seconds), settings.hold_max_seconds),
        failed_at=window.failed_at,
        reason=window.reason,
    )
