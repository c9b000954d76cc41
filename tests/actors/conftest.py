"""Ports with fakes behind them: memory store, scripted transports, trio's clock, nobody outside."""

from __future__ import annotations

import itertools
import random
from contextlib import asynccontextmanager
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from postroad.actors.circuits import Circuits
from postroad.actors.delivery import Delivery
from postroad.actors.inbox import Inbox
from postroad.actors.notes import Attempt, Attempted, Lease
from postroad.actors.ports import Ports
from postroad.clock import Clock
from postroad.config import load_config
from postroad.content import ContentCache, SpoolContent
from postroad.decide.routing import RoutingTable
from postroad.door import Door
from postroad.errors import StoreError
from postroad.intake import Intake
from postroad.message import Message, new_message_id
from postroad.observers import Observers
from postroad.reached import Reached
from postroad.receipt import Waiters
from postroad.spool import ContentFolder, Marks, Reserve
from postroad.store.contract import Accept, LeasedRecipient, NewRecipient, Outcome, Settle
from postroad.store.executor import StoreExecutor
from postroad.store.memory import MemoryStore
from postroad.store.states import Step
from postroad.testing.fakes import MemoryContent, ScriptedTransport

START = 1_750_000_000.0


class FaultyStore(MemoryStore):
    """A memory store that fails as told.  fault: asked for every `apply`; applied: what was committed, call by call."""

    def __init__(self) -> None:
        super().__init__()
        self.fault: Any = lambda operations: None
        self.applied: list[list[Any]] = []

    def apply(self, operations):
        error = self.fault(operations)
        if error is not None:
            raise error
        answers = super().apply(operations)
        self.applied.append(list(operations))
        return answers


class Parts:
    """Makes what actors need."""

    START = START

    def ports(
        self, *, store=None, transports=None, by_domain=True, plugin_notice=None, names=("out",), **sections
    ) -> Ports:
        config = load_config(
            {
                "spool": {"url": "memory:"},
                "senders": {"authorized": ["*"]},
                "reports": {"hostname": "engine.test"},
                "transports": {name: {"plugin": "scripted"} for name in names},
                "routes": [{"transport": "out"}],
                **sections,
            }
        )
        table = RoutingTable(config, dict.fromkeys(config.transports, by_domain))
        executor = StoreExecutor(store or FaultyStore())
        cache = ContentCache(config.limits.content_cache_bytes)
        return Ports(
            config=config,
            clock=Clock(follow_wall=False, wall=lambda: START),
            executor=executor,
            intake=Intake(config.limits),
            cache=cache,
            observers=Observers(config.limits.event_buffer, plugin_notice),
            waiters=Waiters(),
            marks=Marks(None, config.in_flight.leases),
            reserve=Reserve(None, 0),
            reached=Reached(None),
            circuits=Circuits(),
            table=table,
            transports=transports or {"out": ScriptedTransport()},
            door=Door(config, table.lane),
            content_of=partial(SpoolContent, cache=cache, executor=executor, path_of=ContentFolder(None).path_of),
            random=random.Random(0),
            new_id=new_message_id,
            tokens=itertools.count(1),
            home=trio.Event(),
        )

    def message(self, id="m1", **fields) -> Message:
        return Message(**{"id": id, "sender": "a@example.com", "accepted_at": START, "size": 5, **fields})

    def accept(self, id="m1", lane="out/example.org", to=("b@example.org",), due=START, **fields) -> Accept:
        recipients = tuple(NewRecipient(address=address, lane=lane, due=due) for address in to)
        return Accept(self.message(id, **fields), recipients, b"Hello")

    def lease(self, token=1, lane="out/example.org", to=("b@example.org",), *, slot=None, content=b"Hello", **fields):
        message = self.message(fields.pop("id", f"m{token}"), **{"size": len(content), **fields})
        return Lease(
            token=token,
            slot=token if slot is None else slot,
            handle=token,
            lane=lane,
            message=message,
            recipients=tuple(LeasedRecipient(number, address) for number, address in enumerate(to)),
            content=MemoryContent(content),
        )

    def outcomes(self, lease, step=Step.DELIVER, **fields) -> tuple[Outcome, ...]:
        return tuple(
            Outcome(
                **{"token": lease.token, "handle": lease.handle, "number": recipient.number, "step": step, **fields}
            )
            for recipient in lease.recipients
        )

    def settles(self, operations) -> bool:
        return any(isinstance(operation, Settle) for operation in operations)

    FaultyStore = FaultyStore
    StoreError = StoreError


class Box:
    """Another actor's inbox that only collects."""

    def __init__(self) -> None:
        self.notes: list[Any] = []

    def put(self, note) -> None:
        self.notes.append(note)

    def put_latest(self, key, note) -> None:
        self.notes.append(note)

    def take(self, kind) -> list[Any]:
        taken = [note for note in self.notes if isinstance(note, kind)]
        self.notes = [note for note in self.notes if not isinstance(note, kind)]
        return taken


@pytest.fixture
def parts() -> Parts:
    return Parts()


@pytest.fixture
def boxes():
    return SimpleNamespace(queue=Box(), policy=Box(), delivery=Box(), bounce=Box())


class Bay:
    """Delivery between an inbox and policy's box."""

    def __init__(self, parts, boxes, transport, **in_flight):
        self.parts = parts
        self.transport = transport
        self.ports = parts.ports(transports={"out": transport}, in_flight=in_flight)
        self.policy = boxes.policy
        self.inbox = Inbox(1000)
        self.delivery = Delivery(self.ports, self.inbox, boxes.policy)

    async def send(self, *leases, seconds=60.0):
        self.inbox.put([Attempt(lease, "out", "example.org", seconds) for lease in leases])
        await wait_all_tasks_blocked()

    def back(self):
        return self.policy.take(Attempted)


@pytest.fixture
def bay(parts, boxes):
    @asynccontextmanager
    async def open_bay(transport=None, **in_flight):
        bay = Bay(parts, boxes, transport or ScriptedTransport(), **in_flight)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bay.delivery.run)
            yield bay
            nursery.cancel_scope.cancel()

    return open_bay
