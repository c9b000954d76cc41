"""A worker that leases and settles in two spools in turn, a small and a large one, as queue does: what does the backlog cost?

A turn is a commit that settles the leases of the turn before and takes up to twenty on one lane; folding the log in is part of
it.  Lanes are drawn at random, since in a large spool that is what makes the pages cold.  Afterwards the same lanes are filled up
again, which is not timed, so that the spools keep their sizes.  Order: round; answers with microseconds of time and of CPU a
message, by spool.
"""

from __future__ import annotations

import itertools
import json
import random
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from postroad.message import Message
from postroad.store.contract import Accept, NewRecipient, Operation, Outcome, Recover, Settle, TakeLeases, Taken
from postroad.store.sqlite import SqliteStore, sqlite_store
from postroad.store.states import Step
from processes import take_orders
from workload import SENDER, Template, own_cpu_seconds

_LEASES = 20  # of a turn: what queue takes of a lane at most
_READ_ALONG = 4_000_000
_CHUNK = 1000
_FIRST_TOKEN = 1 << 60  # above all that an engine ever minted in this spool


class Spool:
    """A spool with the same number of messages on each of its lanes."""

    def __init__(self, store: SqliteStore, octets: int, name: str) -> None:
        self._store = store
        self._template = Template(octets, name)
        self._name = name
        self._tokens = itertools.count(_FIRST_TOKEN)
        self._numbers = itertools.count(1)
        self._random = random.Random(1)  # no secret
        self._store.apply([Recover(frozenset(), rebooted=False, now=time.time())])
        self._lanes = [lane.lane for lane in store.lanes()]

    def fill(self, lanes: int, each: int) -> None:
        self._lanes = [f"out/d{number}.example" for number in range(lanes)]
        self._accept([lane for _ in range(each) for lane in self._lanes])

    def _accept(self, lanes: list[str]) -> None:
        for first in range(0, len(lanes), _CHUNK):
            self._store.apply([self._message(lane) for lane in lanes[first : first + _CHUNK]])
            self._store.maintain(idle=False)

    def _message(self, lane: str) -> Accept:
        number = next(self._numbers)
        content = self._template.message(number)
        message = Message(id=f"{self._name}.{number}", sender=SENDER, accepted_at=time.time(), size=len(content))
        return Accept(message, (NewRecipient(f"user@{lane.rpartition('/')[2]}", lane, time.time()),), content)

    def turns(self, count: int) -> Mapping[str, float]:
        chosen = [self._random.choice(self._lanes) for _ in range(count)]
        seconds, cpu = time.perf_counter(), own_cpu_seconds()
        settles: list[Operation] = []
        taken: list[str] = []
        for lane in chosen:
            answers = self._store.apply([*settles, self._take(lane)])
            lease = answers[-1]
            assert isinstance(lease, Taken)
            self._store.maintain(idle=False)
            settles = [_settled(lease)] if lease.leases else []
            taken += [lane] * len(lease.leases)
        self._store.apply(settles)
        spent = {"us": time.perf_counter() - seconds, "cpu_us": own_cpu_seconds() - cpu}
        self._accept(taken)
        return {name: 1e6 * value / len(taken) for name, value in spent.items()}

    def _take(self, lane: str) -> TakeLeases:
        tokens = tuple(itertools.islice(self._tokens, _LEASES))
        return TakeLeases(lane, time.time(), tokens, _READ_ALONG, 100)


def _settled(taken: Taken) -> Settle:
    outcomes = [
        Outcome(lease.token, lease.handle, recipient.number, Step.DELIVER, status="2.0.0", reply="250 2.0.0 ok")
        for lease in taken.leases
        for recipient in lease.recipients
    ]
    return Settle(tuple(outcomes), time.time())


def main(settings: Mapping[str, Any]) -> None:
    """small, large: folders of spools.  The small one is made, the large one is there already."""
    with ExitStack() as stack:
        spools: dict[str, Spool] = {}
        for size in ("small", "large"):
            folder = Path(settings[size])
            store = stack.enter_context(sqlite_store(f"{folder}/spool.db", folder=folder))
            spools[size] = Spool(store, settings["octets"], f"{size}.{time.time_ns()}")
        spools["small"].fill(settings["small_lanes"], settings["each"])

        def obey(order: Mapping[str, Any]) -> Mapping[str, Any]:
            sizes = ["small", "large"] if order["round"] % 2 else ["large", "small"]
            return {size: spools[size].turns(order["turns"]) for size in sizes}

        take_orders(obey)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
