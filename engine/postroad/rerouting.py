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

_GENERATION = "routes"  # the fact's name

_log = get_logger()


async def reroute(ports: Ports) -> None:
    """Give every queued recipient a lane of the present table."""
    generation = ports.table.generation
    known = await ports.executor.ask(lambda store: store.recall(_GENERATION))
    lanes = {UNROUTED}
    if known != generation:
        lanes |= await ports.executor.ask(_lanes)
    for lane in sorted(lanes):
        await _move(ports, lane)
    if known != generation:
        await ports.executor.apply([Remember(_GENERATION, generation)])


def _lanes(store: Store) -> set[str]:
    return {lane.lane for lane in store.lanes()}


async def _move(ports: Ports, lane: str) -> None:
    def choose(message: Message, address: str) -> str | None:
        return ports.table.lane(message.sender, address, message.tags)

    moved = held = 0
    operation: Move | None = Move(lane, choose, ports.clock.now())
    while operation is not None:
        (answer,) = await ports.executor.apply([operation])
        assert isinstance(answer, Moved)
        moved, held = moved + answer.recipients, held + answer.held
        operation = None if answer.rest is None else Move(lane, choose, ports.clock.now(), after=answer.rest)
    if held:
        _log.warning("held_without_route", lane=lane, recipients=held)
    elif moved:
        _log.info("rerouted", lane=lane, recipients=moved)
