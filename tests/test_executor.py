"""The road to the store: a plain store in line, a threaded one in threads of its own; a commit is never given up."""

from __future__ import annotations

import threading

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from postroad.errors import EngineClosed, StoreError
from postroad.store.contract import Remember
from postroad.store.executor import StoreExecutor
from postroad.store.memory import MemoryStore


class ThreadedStore(MemoryStore):
    """Blocks each commit until it is let through."""

    threaded = True

    def __init__(self):
        super().__init__()
        self.gate = threading.Event()
        self.began = threading.Event()
        self.threads = []

    def apply(self, operations):
        self.threads.append(threading.current_thread().name)
        self.began.set()
        assert self.gate.wait(20)
        return super().apply(operations)


@pytest.fixture
def store():
    store = ThreadedStore()
    yield store
    store.gate.set()


async def test_a_plain_store_runs_in_line():
    executor = StoreExecutor(MemoryStore())
    assert await executor.apply([Remember("a", b"x")]) == [None]
    assert await executor.ask(lambda store: store.recall("a")) == b"x"
    executor.close()


async def test_a_plain_store_can_be_cancelled_before_it_is_asked():
    executor = StoreExecutor(MemoryStore())
    with trio.move_on_after(0):
        await executor.apply([Remember("a", b"x")])
    assert executor.store.recall("a") is None


async def test_questions_are_answered_while_a_commit_is_under_way(store):
    executor = StoreExecutor(store)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(executor.apply, [Remember("a", b"x")])
        await wait_all_tasks_blocked()
        assert await executor.ask(lambda store: threading.current_thread().name) == "postroad-reader"
        assert await executor.ask(lambda store: store.recall("a")) is None
        store.gate.set()
    assert await executor.ask(lambda store: store.recall("a")) == b"x"
    assert store.threads == ["postroad-store"]
    executor.close()


async def test_a_commit_under_way_is_not_given_up_by_cancellation(store):
    executor, answers = StoreExecutor(store), []

    async def apply():
        answers.append(await executor.apply([Remember("a", b"x")]))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(apply)
        await trio.to_thread.run_sync(store.began.wait, 20)
        nursery.cancel_scope.cancel()
        with trio.CancelScope(shield=True):
            await wait_all_tasks_blocked()
        store.gate.set()
    assert answers == [[None]]
    assert store.recall("a") == b"x"
    executor.close()


async def test_the_stores_errors_come_back_to_the_caller(store):
    executor = StoreExecutor(store)
    store.gate.set()
    store.close()
    with pytest.raises(StoreError, match="closed"):
        await executor.apply([Remember("a", b"x")])

    def fail(store):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await executor.ask(fail)
    assert await executor.ask(lambda store: 7) == 7  # the thread lives on
    executor.close()


async def test_closing_ends_the_threads_after_what_was_asked_for(store):
    executor = StoreExecutor(store)
    store.gate.set()
    await executor.apply([Remember("a", b"x")])
    names = {"postroad-store", "postroad-reader"}
    assert names <= {thread.name for thread in threading.enumerate()}
    executor.close()
    assert not names & {thread.name for thread in threading.enumerate()}


async def test_maintenance_that_raises_harms_no_later_commit():
    class Store(MemoryStore):
        threaded = True

        def maintain(self, *, idle):
            raise RuntimeError("a bug")

    executor = StoreExecutor(Store())
    with trio.fail_after(10):
        for _ in range(3):
            assert await executor.apply([]) == []
    executor.close()


async def test_after_its_end_it_refuses_what_nobody_would_do():
    class Store(MemoryStore):
        threaded = True

    executor = StoreExecutor(Store())
    executor.close()
    for call in (executor.apply([]), executor.ask(len), executor.write(list)):
        with trio.fail_after(10), pytest.raises(EngineClosed):
            await call
