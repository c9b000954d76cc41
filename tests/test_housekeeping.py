"""The spool stays small: old history and unneeded content files go, and no trouble with that stops the engine."""

from __future__ import annotations

import os
from contextlib import asynccontextmanager
from types import SimpleNamespace

import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import wait_all_tasks_blocked

from postroad.clock import Clock
from postroad.config import Config, Limits
from postroad.errors import StoreError
from postroad.housekeeping import keep_house
from postroad.intake import Intake
from postroad.message import Message
from postroad.reached import Reached
from postroad.spool import ContentFolder, Reserve
from postroad.store.contract import Accept, NewRecipient, Outcome, Prune, Settle
from postroad.store.executor import StoreExecutor
from postroad.store.memory import MemoryStore
from postroad.store.states import Step

START = 1_750_000_000.0


class House:
    def __init__(self, tmp_path, clock):
        self.clock = clock
        self.store = MemoryStore()
        self.contents = ContentFolder(tmp_path / "contents")
        self.path = tmp_path / "contents"
        limits = Limits(history_seconds=3600)
        self.ports = SimpleNamespace(
            config=Config(limits=limits),
            clock=Clock(follow_wall=False, wall=lambda: START),
            intake=Intake(limits),
            executor=StoreExecutor(self.store),
            reserve=Reserve(None, 0),
            reached=Reached(None),
        )
        self.prunes = 0
        self.fault = None

    def deliver(self, id, *, is_large=False):
        """A message that is finished now."""
        content = self.contents.write(id, b"x") if is_large else b"x"
        now = self.ports.clock.now()
        message = Message(id=id, sender="a@example.com", accepted_at=now, size=1)
        accept = Accept(message, (NewRecipient("b@example.org", "out", now, lease=7),), content)
        (answer,) = self.store.apply([accept])
        self.store.apply([Settle((Outcome(7, answer.handle, 0, Step.DELIVER),), now)])

    async def commit_all(self):
        bell = trio.lowlevel.ParkingLot()
        self.ports.intake.ring_bell = bell.unpark_all
        while True:
            taken = self.ports.intake.take(100, 10**9)
            self.ports.intake.put_back(())
            for entry in taken:
                self.prunes += isinstance(entry.operation, Prune)
                if self.fault:
                    entry.fail(self.fault)
                else:
                    entry.finish(self.store.apply([entry.operation])[0])
            await bell.park()

    async def pass_time(self, seconds, step=30):
        for _ in range(seconds // step):
            self.clock.jump(step)
            await self.settle_down()

    async def settle_down(self):
        """Until no thread has anything left to do, however busy the machine is."""
        limiter = trio.to_thread.current_default_thread_limiter()
        for _ in range(3):
            await self.ports.executor.ask(lambda store: None)  # behind what it was asked before
            while limiter.borrowed_tokens:  # nothing tells when a thread is done
                await trio.to_thread.run_sync(lambda: None)
            await wait_all_tasks_blocked()


@pytest.fixture
def house(tmp_path, mock_clock):
    @asynccontextmanager
    async def open_house(before=lambda house: None):
        house = House(tmp_path, mock_clock)
        before(house)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(house.commit_all)
            nursery.start_soon(keep_house, house.ports, house.contents)
            await house.settle_down()
            yield house
            nursery.cancel_scope.cancel()

    return open_house


def old_file(house, name):
    house.contents.write(name, b"left behind")
    os.utime(house.path / name, (START - 10**6, START - 10**6))


async def test_finished_messages_are_forgotten_after_their_time_with_their_files(mock_clock, house):
    async with house() as home:
        home.deliver("m1")
        home.deliver("m2", is_large=True)
        await home.pass_time(3600)
        assert home.store.message("m1") is not None
        await home.pass_time(60)
        assert home.store.message("m1") is None
        assert home.store.message("m2") is None
        assert list(home.path.iterdir()) == []


async def test_the_content_of_a_finished_message_goes_at_once_though_it_is_remembered(mock_clock, house):
    async with house() as home:
        home.deliver("m1", is_large=True)
        await home.pass_time(30)
        assert home.store.message("m1") is not None
        assert list(home.path.iterdir()) == []


async def test_unfinished_messages_are_never_forgotten(mock_clock, house):
    async with house() as home:
        message = Message(id="m1", sender="a@example.com", accepted_at=START, size=1)
        home.store.apply(
            [Accept(message, (NewRecipient("b@example.org", "out", START),), home.contents.write("m1", b"x"))]
        )
        await home.pass_time(10 * 86_400, step=43_200)
        assert home.store.message("m1") is not None
        assert (home.path / "m1").read_bytes() == b"x"


async def test_a_long_history_goes_in_bounded_steps(mock_clock, house):
    async with house() as home:
        for number in range(1200):
            home.deliver(f"m{number}")
        await home.pass_time(3600, step=600)
        before = home.prunes
        await home.pass_time(30)
        assert home.prunes - before == 3
        assert home.store.message("m7") is None


async def test_files_without_a_message_are_swept_at_the_start_and_later(mock_clock, house):
    async with house(lambda home: old_file(home, "orphan")) as home:
        assert list(home.path.iterdir()) == []
        old_file(home, "later")
        home.contents.write("young", b"its commit is under way")
        await home.pass_time(3630)
        assert [path.name for path in home.path.iterdir()] == ["young"]


async def test_the_file_of_a_message_that_waits_for_long_stays(mock_clock, house):
    def wait(home):
        message = Message(id="waits", sender="a@example.com", accepted_at=START, size=1)
        place = home.contents.write("waits", b"x")
        home.store.apply([Accept(message, (NewRecipient("b@example.org", "out", START),), place)])
        os.utime(home.path / "waits", (1.0, 1.0))

    async with house(wait) as home:
        await home.pass_time(3630)
        assert [path.name for path in home.path.iterdir()] == ["waits"]


async def test_a_failing_store_is_logged_and_tried_again(mock_clock, house):
    async with house() as home:
        home.deliver("m1")
        home.fault = StoreError("disk full")
        with capture_logs() as logs:
            await home.pass_time(3660, step=60)
        assert {log["event"] for log in logs} == {"pruning_failed"}
        home.fault = None
        await home.pass_time(30)
        assert home.store.message("m1") is None


async def test_a_folder_that_cannot_be_read_does_not_stop_the_engine(mock_clock, house, monkeypatch):
    def fail(self, known, older_than):
        raise PermissionError("not ours")

    monkeypatch.setattr(ContentFolder, "orphans", fail)
    with capture_logs() as logs:
        async with house() as home:
            home.deliver("m1")
            await home.pass_time(3660, step=60)
            assert home.store.message("m1") is None
    assert "sweeping_failed" in [log["event"] for log in logs]


async def test_it_ends_when_the_engine_closes(mock_clock, house):
    async with house() as home:
        home.ports.intake.close()
        await home.pass_time(60)
