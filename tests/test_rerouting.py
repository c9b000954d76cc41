"""When the routes change, queued mail gets new lanes; what has none is held, and released when there is one again."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from structlog.testing import capture_logs

from postroad import rerouting
from postroad.clock import Clock
from postroad.config import Config, Route
from postroad.decide.routing import RoutingTable
from postroad.message import Message
from postroad.rerouting import reroute
from postroad.store.contract import Accept, Filter, Hold, Move, NewRecipient, Outcome, Settle, TakeLeases
from postroad.store.executor import StoreExecutor
from postroad.store.memory import MemoryStore
from postroad.store.states import State, Step

NOW = 1_750_000_000.0


class Spool:
    """A store over several lives of an engine."""

    def __init__(self):
        self.store = MemoryStore()
        self.operations = []
        apply = self.store.apply
        self.store.apply = lambda operations: self.operations.extend(operations) or apply(operations)

    async def start(self, *routes):
        config = Config(
            transports={"mx": {"plugin": "smtp"}, "relay": {"plugin": "smtp"}},
            routes=tuple(Route(**route) for route in routes),
        )
        table = RoutingTable(config, {"mx": True, "relay": False})
        self.operations.clear()
        clock = Clock(follow_wall=False, wall=lambda: NOW)
        await reroute(SimpleNamespace(table=table, executor=StoreExecutor(self.store), clock=clock))

    def accept(self, id, lane, address="b@example.org", **fields):
        message = Message(id=id, sender="a@example.com", accepted_at=NOW, size=1, **fields)
        self.store.apply([Accept(message, (NewRecipient(address, lane, NOW),), b"x")])

    def where(self, id):
        stored = self.store.message(id)
        assert stored is not None
        return stored.recipients[0].lane, stored.recipients[0].state


@pytest.fixture
def spool():
    return Spool()


async def test_mail_moves_to_the_lanes_of_the_new_routes(spool):
    await spool.start({"transport": "relay"})
    spool.accept("m1", "relay")
    spool.accept("m2", "relay", tags=("bulk",))
    with capture_logs() as logs:
        await spool.start({"transport": "relay", "name": "bulk", "tag": "bulk"}, {"transport": "mx"})
    assert spool.where("m1") == ("mx/example.org", State.WAITING)
    assert spool.where("m2") == ("bulk", State.WAITING)
    assert {"event": "rerouted", "lane": "relay", "recipients": 2, "log_level": "info"} in logs


async def test_mail_without_a_route_is_held_loudly_and_released_when_there_is_one(spool):
    await spool.start({"transport": "relay"})
    spool.accept("m1", "relay")
    with capture_logs() as logs:
        await spool.start({"transport": "relay", "recipients": "*@example.net"})
    assert spool.where("m1")[1] is State.HELD
    assert ("held_without_route", "warning") in [(log["event"], log["log_level"]) for log in logs]
    await spool.start({"transport": "mx"})
    assert spool.where("m1") == ("mx/example.org", State.WAITING)


async def test_mail_that_came_in_without_a_route_gets_one_at_the_next_start(spool):
    await spool.start()
    message = Message(id="m1", sender="a@example.com", accepted_at=NOW, size=1)
    held = NewRecipient("b@example.org", "?", NOW, state=State.HELD, reason="no route")
    spool.store.apply([Accept(message, (held,), b"x")])
    await spool.start({"transport": "mx"})
    assert spool.where("m1") == ("mx/example.org", State.WAITING)


async def test_what_came_in_while_no_engine_ran_is_routed_at_every_start(spool):
    await spool.start({"transport": "mx"})
    spool.accept("m1", "?")
    with capture_logs() as logs:
        await spool.start({"transport": "mx"})
    assert logs == [{"event": "routed", "recipients": 1, "log_level": "info"}]
    assert spool.where("m1") == ("mx/example.org", State.WAITING)


async def test_the_backlog_is_left_alone_while_the_routes_stay(spool):
    await spool.start({"transport": "mx"})
    for number in range(20):
        spool.accept(f"m{number}", f"mx/{number}.example")
    await spool.start({"transport": "mx"})
    assert [type(operation) for operation in spool.operations] == [Move]


async def test_a_long_backlog_moves_in_bounded_steps(spool, monkeypatch):
    monkeypatch.setattr(rerouting, "_RECIPIENTS_AT_ONCE", 14)
    await spool.start({"transport": "relay"})
    for number in range(50):
        spool.accept(f"m{number}", "relay")
    await spool.start({"transport": "mx"})
    assert {spool.where(f"m{number}") for number in range(50)} == {("mx/example.org", State.WAITING)}
    assert sum(isinstance(operation, Move) for operation in spool.operations) >= 8


async def test_what_an_operator_holds_stays_held(spool):
    """Should its lane be gone when it is released, policy routes it anew."""
    await spool.start({"transport": "relay"})
    spool.accept("m1", "relay")
    spool.accept("m2", "relay")
    spool.store.apply([Hold(Filter(id="m1"), "by hand", NOW)])
    await spool.start({"transport": "mx"})
    assert spool.where("m1")[1] is State.HELD
    assert spool.where("m2") == ("mx/example.org", State.WAITING)


async def test_what_policy_held_for_want_of_a_route_is_found_at_the_next_start(spool):
    """It lies on the lane for what has no route, so that no start needs to look at every lane."""
    await spool.start({"transport": "relay"})
    spool.accept("m1", "gone")
    (taken,) = spool.store.apply([TakeLeases("gone", NOW, (1,))])
    reply = "no route: the configuration has none for lane 'gone'"
    outcome = Outcome(1, taken.leases[0].handle, 0, Step.HOLD, tried=False, reply=reply, lane="?")
    spool.store.apply([Settle((outcome,), NOW)])
    await spool.start({"transport": "relay"})
    assert spool.where("m1") == ("relay", State.WAITING)
