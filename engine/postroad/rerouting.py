"""Routes queued mail anew when the configuration's routes changed since it was accepted, and what came in unrouted.

A lane is a cached answer of routing, stamped with the table's generation.  Recipients that have no route any more are HELD,
loudly; those held for want of a route are released when there is one.  It runs before the ring starts, in bounded batches.
"""

from __future__ import annotations

from .actors.ports import Ports
from .log import get_logger
from .message import Message
from .store.contract import UNROUTED, Move, Moved, Remember, Store

__all__ = ["reroute"]

_LANES_AT_ONCE = 200
_RECIPIENTS_AT_ONCE = 10_000  # of all lanes in one commit
_GENERATION = "routes"  # the fact's name

_log = get_logger()


async def reroute(ports: Ports) -> None:
    """Give every queued recipient a lane of the present table."""
    generation = ports.table.generation
    known = await ports.executor.ask(lambda store: store.recall(_GENERATION))
    lanes = {UNROUTED}
    if known != generation:
        lanes |= await ports.executor.ask(_lanes)
    names = sorted(lanes)
    for first in range(0, len(names), _LANES_AT_ONCE):
        await _move(ports, names[first : first + _LANES_AT_ONCE])
    if known != generation:
        await ports.executor.apply([Remember(_GENERATION, generation)])


def _lanes(store: Store) -> set[str]:
    return {lane.lane for lane in store.lanes()}


async def _move(ports: Ports, lanes: list[str]) -> None:
    """Move the recipients of some lanes, all lanes in one commit: one for each would take minutes for ten thousand."""

    def choose(message: Message, address: str) -> str | None:
        return ports.table.lane_of(message, address)

    limit = _RECIPIENTS_AT_ONCE // len(lanes)
    after = dict.fromkeys(lanes, (0, 0))
    while after:
        moves = [Move(lane, choose, ports.clock.now(), limit=limit, after=place) for lane, place in after.items()]
        answers = await ports.executor.apply(moves)
        after = {}
        for lane, answer in zip([move.lane for move in moves], answers, strict=True):
            assert isinstance(answer, Moved)
            _say(lane, answer)
            if answer.rest is not None:
                after[lane] = answer.rest


def _say(lane: str, answer: Moved) -> None:
    """UNROUTED is no lane that anybody named: what was on it came in while no engine ran, and now has its first."""
    event, named = ("routed", {}) if lane == UNROUTED else ("rerouted", {"lane": lane})
    if answer.held:
        _log.warning("held_without_route", **named, recipients=answer.held)
    elif answer.recipients:
        _log.info(event, **named, recipients=answer.recipients)
