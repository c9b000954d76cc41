"""What an engine makes of the life before it: leases left behind, tokens that were used, marks of hand-overs."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path

import pytest
import trio
from structlog.testing import capture_logs

import postroad
from postroad import Filter, Submission, Verdict, hookimpl
from postroad.clock import Clock
from postroad.events import RecipientFailed
from postroad.reached import Reached
from postroad.spool import Marks, boot_id
from postroad.store.contract import NO_ROUTE, UNROUTED, Accept, Cancel, NewRecipient, Remember, TakeLeases
from postroad.store.memory import MemoryStore
from postroad.store.sqlite import sqlite_store
from postroad.store.states import State
from postroad.testing.engine import open_test_engine, test_config
from postroad.testing.fakes import Hang, ScriptedTransport

RAW = b"From: a@example.com\r\nTo: b@example.org\r\nSubject: Hello\r\n\r\nHello.\r\n"
LEFT = 7  # the token of a lease that an earlier life left behind


class SharedStore(MemoryStore):
    """Outlives its engines, and remembers what they committed."""

    def __init__(self) -> None:
        super().__init__()
        self.applied = []

    def apply(self, operations):
        self.applied += operations
        return super().apply(operations)

    def tokens(self) -> set[int]:
        """Every token that was ever minted for a lease."""
        taken = [token for each in self.applied if isinstance(each, TakeLeases) for token in each.tokens]
        fresh = [new.lease for each in self.applied if isinstance(each, Accept) for new in each.recipients]
        return {token for token in (*taken, *fresh) if token}

    @hookimpl
    def postroad_register_stores(self, register):
        register("shared", contextmanager(lambda url, *, folder: iter([self])))


def engine_on(store, transport=None, **sections):
    return open_test_engine(transport=transport, plugins={"shared": store}, spool={"url": "shared:"}, **sections)


def submission(address="b@example.org"):
    return Submission(sender="a@example.com", recipients=(address,), content=RAW)


def died(store, boot: bytes) -> None:
    """An earlier life, in the boot of that name, accepted a message and died with its lease."""
    message = postroad.store.contract.Message(id="0" * 20, sender="a@example.com", accepted_at=1.0, size=len(RAW))
    recipient = NewRecipient("b@example.org", "scripted", 1.0, lease=LEFT)
    store.apply([Accept(message, (recipient,), RAW), Remember("incarnation", b"1"), Remember("boot", boot)])


@pytest.mark.parametrize(
    ("before", "here", "is_in_doubt"),
    [(b"one", "one", False), (b"one", "two", True), (b"one", "", True), (b"", "", True)],
)
async def test_after_a_reboot_every_lease_is_in_doubt(autojump_clock, monkeypatch, before, here, is_in_doubt):
    monkeypatch.setattr("postroad.opening.boot_id", lambda: here)
    store, transport = SharedStore(), ScriptedTransport()
    died(store, before)
    with capture_logs() as logs:
        async with engine_on(store, transport):
            (call,) = await transport.wait_ended(1)
    (recipient,) = call.request.recipients
    assert (recipient.in_doubt, recipient.attempts) == (is_in_doubt, int(is_in_doubt))
    assert ("maybe_duplicate" in [log["event"] for log in logs]) is is_in_doubt
    assert store.recall("boot") == here.encode()


@pytest.mark.parametrize("choice", ["hold", "take_as_delivered"])
async def test_after_a_crash_nothing_is_taken_as_delivered(autojump_clock, monkeypatch, choice):
    monkeypatch.setattr("postroad.opening.boot_id", lambda: "two")
    store, transport = SharedStore(), ScriptedTransport()
    died(store, b"one")
    with capture_logs() as logs:
        async with engine_on(store, transport, routes=[{"transport": "scripted", "in_doubt": choice}]) as engine:
            await trio.sleep(3600)
            assert transport.calls == []
            (recipient,) = store.message("0" * 20).recipients
            assert (recipient.state, recipient.in_doubt, recipient.attempts) == (State.HELD, True, 1)
            assert (await engine.release(Filter(in_doubt=True))).recipients == 1
            (call,) = await transport.wait_ended(1)
    assert call.request.recipients[0].in_doubt
    told = {log["event"]: log for log in logs}
    assert told["recovered"]["in_doubt"] == 1
    assert (told["held"]["id"], told["held"]["in_doubt"]) == ("0" * 20, True)
    assert told["held"]["reason"] == recipient.reason
    assert "maybe_duplicate" in told


async def test_what_was_cancelled_while_its_engine_died_is_told_by_the_log_of_the_next_one(autojump_clock, monkeypatch):
    monkeypatch.setattr("postroad.opening.boot_id", lambda: "one")
    store = SharedStore()
    died(store, b"one")
    store.apply([Cancel(Filter(), 2.0)])
    with capture_logs() as logs:
        async with engine_on(store):
            pass
    (recipient,) = store.message("0" * 20).recipients
    assert recipient.state is State.CANCELLED
    told = [(log["id"], log["recipient"]) for log in logs if log["event"] == "cancelled"]
    assert told == [("0" * 20, recipient.address)]


async def test_no_token_is_ever_used_again(autojump_clock):
    store = SharedStore()
    lives = []
    for _ in range(3):
        store.applied.clear()
        transport = ScriptedTransport()
        async with engine_on(store, transport) as engine:
            await engine.submit_many([submission(f"u{number}@example.org") for number in range(20)])
            await transport.wait_ended(20)
        lives.append(store.tokens())
    assert all(len(tokens) >= 20 for tokens in lives)
    assert not lives[0] & lives[1]
    assert not (lives[0] | lives[1]) & lives[2]


async def test_a_failure_that_the_engine_was_closed_upon_is_reported_once_by_the_next_one(autojump_clock):
    store, refusing = SharedStore(), ScriptedTransport(default=Verdict.refused("550 5.1.1 nobody", status="5.1.1"))
    with capture_logs() as logs:
        async with engine_on(store, refusing) as engine, engine.events() as events:
            await engine.submit(submission())
            async for event in events:
                if isinstance(event, RecipientFailed):
                    break
        assert [log["event"] for log in logs if log["log_level"] in ("error", "critical")] == []
        assert [store.message(event.id).recipients[0].state] == [State.FAILED], "closed before its report"
        transport = ScriptedTransport()
        async with engine_on(store, transport):
            (call,) = await transport.wait_ended(1)
    assert call.addresses == ("a@example.com",)
    assert b"550 5.1.1 nobody" in call.content
    assert store.message(event.id).recipients[0].state is State.REPORTED
    assert [log["event"] for log in logs].count("reported") == 1


async def test_a_shutdown_gives_up_nothing_however_old(autojump_clock):
    store, transport = SharedStore(), ScriptedTransport(default=Hang())
    message = postroad.store.contract.Message(id="0" * 20, sender="a@example.com", accepted_at=1.0, size=len(RAW))
    store.apply([Accept(message, (NewRecipient("b@example.org", "scripted", 1.0),), RAW)])
    async with engine_on(store, transport):
        await transport.wait_calls(1)
        await trio.sleep(1000)
    assert store.message(message.id).recipients[0].state is State.WAITING


@pytest.mark.parametrize("is_marked", [False, True])
async def test_a_hand_over_that_a_kill_cut_is_in_doubt_and_named(tmp_path: Path, is_marked):
    """The marks are read before they are forgotten."""
    died_on_disk(tmp_path, is_marked=is_marked)
    transport = ScriptedTransport()
    with trio.fail_after(30), capture_logs() as logs:
        async with postroad.open_engine(on_disk(tmp_path), plugins={"scripted": transport.plugin("scripted")}):
            (call,) = await transport.wait_ended(1)
    (recipient,) = call.request.recipients
    assert (recipient.in_doubt, recipient.attempts) == (is_marked, int(is_marked))
    told = [(log["id"], log["recipient"]) for log in logs if log["event"] == "in_doubt"]
    assert told == [("0" * 20, "b@example.org")] * is_marked


async def test_mail_that_was_held_for_want_of_a_route_leaves_once_there_is_one(autojump_clock):
    store, transport = SharedStore(), ScriptedTransport()
    message = postroad.store.contract.Message(id="0" * 20, sender="a@example.com", accepted_at=1.0, size=len(RAW))
    recipient = NewRecipient("b@example.org", UNROUTED, 1.0, state=State.HELD, reason=NO_ROUTE)
    store.apply([Accept(message, (recipient,), RAW)])
    async with engine_on(store, transport):
        await trio.sleep(60)
    assert len(transport.accepted) == 1


YEAR, BEGIN = 365 * 86_400.0, 1_767_225_600.0


async def test_a_clock_that_was_set_back_between_two_lives_freezes_nothing_and_keeps_what_is_to_be_sent_later(
    autojump_clock,
):
    store, down = SharedStore(), ScriptedTransport(default=Verdict.deferred("451 later", status="4.7.1"))
    async with engine_on(store, down, start=BEGIN) as engine:
        await engine.submit(submission())
        await engine.submit(
            postroad.Submission(sender="a@example.com", recipients=["l@example.org"], content=RAW, send_at=BEGIN + 3000)
        )
        await trio.sleep(1000)
    transport = ScriptedTransport()
    with capture_logs() as logs:
        async with engine_on(store, transport, start=BEGIN - YEAR):
            begun = trio.current_time()
            (call,) = await transport.wait_ended(1)
            assert trio.current_time() - begun < 60
            await trio.sleep(YEAR)
            assert len(transport.calls) == 1
            later = (await transport.wait_ended(2))[1]
    assert (call.addresses, later.addresses) == (("b@example.org",), ("l@example.org",))
    assert trio.current_time() - begun == pytest.approx(YEAR + 3000, abs=60)
    assert [log["event"] for log in logs].count("clock_set_back") == 1


async def test_a_clock_that_was_set_back_freezes_nothing_that_was_never_tried(autojump_clock):
    """Nor does it hurry what is to be sent later."""
    store = SharedStore()
    async with engine_on(store, ScriptedTransport(), start=BEGIN) as engine:
        await trio.sleep(100)
        await engine.drain()
        await engine.submit(submission())
        await engine.submit(
            postroad.Submission(sender="a@example.com", recipients=["l@example.org"], content=RAW, send_at=BEGIN + 9000)
        )
    transport = ScriptedTransport()
    async with engine_on(store, transport, start=BEGIN - 7200):
        await trio.sleep(3600)
        assert [call.addresses for call in transport.calls] == [("b@example.org",)]
        await transport.wait_ended(2)


@pytest.mark.parametrize("expires", [False, True])
async def test_what_was_given_while_the_wall_was_set_back_leaves_at_its_send_at_after_a_restart(
    autojump_clock, expires
):
    """The engine that took it counted on by the wall of before; the next one begins with the wall as it is."""
    begun, offset = trio.current_time(), 0.0

    def wall() -> float:
        return BEGIN + trio.current_time() - begun + offset

    store, transport = SharedStore(), ScriptedTransport()
    config = test_config(spool={"url": "shared:"})
    plugins = {"scripted": transport.plugin("scripted"), "shared": store}
    async with postroad.open_engine(config, plugins=plugins, clock=Clock(wall=wall)) as engine:
        offset = -7200
        await trio.sleep(100)
        wanted = wall() + 3000
        until = wanted + 900 if expires else None
        for address in ("l@example.org", "h@example.org"):
            await engine.submit(
                Submission(sender="a@example.com", recipients=[address], content=RAW, send_at=wanted, expires_at=until)
            )
        await engine.hold(Filter(recipient="h@example.org"))
    for _ in range(2):  # nothing is taken back twice
        async with postroad.open_engine(config, plugins=plugins, clock=Clock(wall=wall)) as engine:
            await engine.release(Filter())
            await trio.sleep(100)
    async with postroad.open_engine(config, plugins=plugins, clock=Clock(wall=wall)):
        await transport.wait_ended(2)
        assert wanted <= wall() < wanted + 60
    for call in transport.calls:
        message = call.request.message
        assert (message.send_at, message.expires_at) == (wanted, until)
        assert message.accepted_at < wanted


async def test_a_small_step_back_between_two_lives_tries_nothing_too_soon(autojump_clock):
    store, down = SharedStore(), ScriptedTransport(default=Verdict.deferred("451 later", status="4.7.1"))
    async with engine_on(store, down, start=BEGIN) as engine:
        await engine.submit(submission())
        await down.wait_ended(1)
    transport = ScriptedTransport()
    async with engine_on(store, transport, start=BEGIN - 120):
        begun = trio.current_time()
        await transport.wait_ended(1)
    assert 300 < trio.current_time() - begun < 600


async def test_a_year_of_rest_between_two_lives_gives_up_nothing_that_was_not_tried_since(autojump_clock):
    store, down = SharedStore(), ScriptedTransport(default=Verdict.deferred("451 later", status="4.7.1"))
    async with engine_on(store, down, start=BEGIN) as engine:
        await engine.submit(submission())
        await down.wait_ended(1)
    transport = ScriptedTransport()
    async with engine_on(store, transport, start=BEGIN + YEAR):
        (call,) = await transport.wait_ended(1)
    assert call.addresses == ("b@example.org",)


def on_disk(folder: Path) -> dict[str, object]:
    return {
        "folder": str(folder),
        "spool": {"url": "sqlite:p.db"},
        "senders": {"authorized": ["*"]},
        "transports": {"scripted": {"plugin": "scripted"}},
        "routes": [{"transport": "scripted"}],
        "in_flight": {"leases": 50},
    }


def died_on_disk(folder: Path, *, is_marked: bool) -> None:
    """An earlier life of this boot, whose process died with a lease."""
    with sqlite_store(str(folder / "p.db"), folder=folder) as store:
        died(store, boot_id().encode())
    Reached(folder / "p.db.reached").make()
    marks = Marks(folder / "p.db.marks", 3)
    if is_marked:
        marks.mark(2, LEFT)
    marks.close()


async def test_marks_of_an_earlier_life_are_read_once_and_forgotten(tmp_path: Path):
    path = tmp_path / "p.db.marks"
    before = Marks(path, 3)
    before.mark(2, LEFT)
    before.close()
    with trio.fail_after(30):
        async with postroad.open_engine(
            on_disk(tmp_path), plugins={"scripted": ScriptedTransport().plugin("scripted")}
        ):
            after = Marks(path, 3)
            assert after.tokens() == frozenset()
            assert path.stat().st_size == 8 * 50, "a mark must find its room on the disk"
            after.close()


async def test_what_failing_actors_leave_to_nobody_is_named_as_at_a_start(autojump_clock, monkeypatch):
    """A commit leased it, and the actors failed before they heard of that."""
    from postroad.actors.policy import Policy

    def fails(self, note, now):
        monkeypatch.undo()
        raise RuntimeError("a bug in policy")

    store, transport = SharedStore(), ScriptedTransport([Hang()])
    asking = {"transport": "scripted", "name": "asking", "in_doubt": "hold", "recipients": "*@h.example"}
    with capture_logs() as logs:
        async with engine_on(store, transport, routes=[asking, {"transport": "scripted"}]) as engine:
            await engine.submit(submission("c@example.org"))
            await transport.wait_calls(1)
            for number, (to, lane) in enumerate([("d@x.example", "scripted"), ("h@h.example", "asking")], 1):
                leave_leased(store, engine, number, to, lane, is_marked=True)
            leave_leased(store, engine, 3, "cancelled@x.example", "scripted", is_marked=False)
            store.apply([Cancel(Filter(recipient="cancelled@x.example"), 1.0)])
            monkeypatch.setattr(Policy, "_return", fails)
            await engine.submit(submission("fresh@example.org"))
            await transport.wait_calls(4)
    told = [(log["event"], log["recipient"]) for log in logs if log.get("recipient", "").endswith("x.example")]
    assert ("in_doubt", "d@x.example") in told
    assert ("cancelled", "cancelled@x.example") in told
    assert [log["recipient"] for log in logs if log["event"] == "held"] == ["h@h.example"]


def leave_leased(store, engine, number: int, to: str, lane: str, *, is_marked: bool) -> None:
    message = postroad.store.contract.Message(
        id=str(number) * 20, sender="a@example.com", accepted_at=1.0, size=len(RAW)
    )
    store.apply([Accept(message, (NewRecipient(to, lane, 1.0, lease=number),), RAW)])
    if is_marked:
        engine._ports.marks.mark(40 + number, number)
