"""Which roads were held when the engine ended: kept in the spool, so that the next one does not begin with the broken ones.

Policy notes holds here; what changed passes to queue as a Learnt note, because queue alone writes to the store.  Only roads that
share a route are kept, and only of transports that do not work by domain: there are as many as the configuration has.  Only used
by the policy actor; read from the spool by `opening.py`.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

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
        self._circuits: dict[str, Circuit] = {}
        try:
            found = msgspec.msgpack.decode(kept or b"\x90", type=tuple[Circuit, ...])
        except msgspec.DecodeError:
            found = ()
        self._circuits = {circuit.site: circuit for circuit in found}

    def held(self, table: RoutingTable, now: float) -> Iterator[Circuit]:
        """Those whose hold runs on, and whose road is still one of several; a clock that was set back prolongs none."""
        for circuit in list(self._circuits.values()):
            road = table.road_of(circuit.lane)
            if road and road.others and road.shared_by and _is_running(circuit.window, road.windows, now):
                yield circuit

    def note(self, site: str, lane: str, window: Window, now: float) -> bytes:
        """The fact, after a hold of the site began or ended."""
        self._circuits.pop(site, None)
        if window.hold_until > now:
            self._circuits[site] = Circuit(site, lane, window)
        return msgspec.msgpack.encode(tuple(self._circuits.values()))


def _is_running(window: Window, settings: Windows, now: float) -> bool:
    return now < window.hold_until <= now + settings.hold_max_seconds
