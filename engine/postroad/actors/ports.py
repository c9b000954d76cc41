"""What the actors share with the outside: everything that is not a note.  Made once by the engine, and outlives the ring."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import trio

from ..clock import Clock
from ..config import Config
from ..content import ContentCache, SpoolContent
from ..decide.routing import RoutingTable
from ..door import Door
from ..intake import Intake
from ..message import Message
from ..observers import Observers
from ..reached import Reached
from ..receipt import Waiters
from ..spool import Marks, Reserve
from ..store.executor import StoreExecutor
from ..transport import Transport
from .circuits import Circuits

__all__ = ["Ports"]


@dataclass(slots=True, eq=False)
class Ports:
    """The ports.

    executor: queue only (bounce and content may ask the store).  transports, marks: delivery only.  random: policy only.
    new_id: mints the id of a message that is accepted at a time; door and bounce.
    reserve: queue, and housekeeping.  reached: housekeeping only.  circuits: policy only.
    home: set by queue once it drains and no lease is left.
    """

    config: Config
    clock: Clock
    executor: StoreExecutor
    intake: Intake
    cache: ContentCache
    observers: Observers
    waiters: Waiters
    marks: Marks
    reserve: Reserve
    reached: Reached
    circuits: Circuits
    table: RoutingTable
    transports: Mapping[str, Transport]
    door: Door
    content_of: Callable[[int, Message], SpoolContent]  # (handle, message)
    random: random.Random
    new_id: Callable[[float], str]
    tokens: Iterator[int]
    home: trio.Event
