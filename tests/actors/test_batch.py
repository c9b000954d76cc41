"""One commit for all; one bad operation harms nobody else; a store that cannot be trusted stops everything."""

from __future__ import annotations

import pytest
import trio

from postroad.actors.batch import Batch
from postroad.errors import StoreBroken, StoreError
from postroad.store.contract import Remember
from postroad.store.executor import StoreExecutor


class Told:
    """What each part heard, by name."""

    def __init__(self, batch):
        self.batch = batch
        self.done, self.failed = [], {}

    def add(self, name, done=None):
        def say_done(answer):
            self.done.append(name)
            if done:
                done()

        self.batch.add(Remember(name, b"x"), say_done, lambda error: self.failed.__setitem__(name, error))


def bad(*names, error=None):
    error = error or ValueError("bad in itself")
    return lambda operations: error if any(operation.name in names for operation in operations) else None


@pytest.fixture
def store(parts):
    return parts.FaultyStore()


@pytest.fixture
async def executor(store):
    return StoreExecutor(store)


@pytest.fixture
def told():
    return Told(Batch())


async def test_all_parts_go_into_one_transaction_in_order(store, executor, told):
    for name in "abc":
        told.add(name)
    await told.batch.commit(executor)
    assert told.done == ["a", "b", "c"]
    assert not told.failed
    assert len(store.applied) == 1


async def test_one_bad_operation_harms_nobody_else(store, executor, told):
    store.fault = bad("c")
    for name in "abcde":
        told.add(name)
    await told.batch.commit(executor)
    assert told.done == ["a", "b", "d", "e"]
    assert isinstance(told.failed["c"], StoreError)
    assert "bad in itself" in str(told.failed["c"])


async def test_many_bad_operations_in_a_row_harm_nobody_else(store, executor, told):
    store.fault = bad(*"bcdefg")
    for name in "abcdefgh":
        told.add(name)
    await told.batch.commit(executor)
    assert told.done == ["a", "h"]
    assert set(told.failed) == set("bcdefg")


async def test_a_single_failing_operation_is_not_tried_twice(store, executor, told):
    tries = []
    store.fault = lambda operations: tries.append(len(operations)) or StoreError("full")
    told.add("a")
    await told.batch.commit(executor)
    assert tries == [1]
    assert str(told.failed["a"]) == "full"


async def test_a_store_that_fails_is_not_asked_a_thousand_times(store, executor, told):
    tries = []
    store.fault = lambda operations: tries.append(len(operations)) or StoreError("disk full")
    for number in range(1000):
        told.add(str(number))
    await told.batch.commit(executor)
    assert tries == [1000, 1, 1, 1]
    assert len(told.failed) == 1000
    assert not told.done


async def test_what_the_store_takes_is_stored_though_the_whole_was_too_much(store, executor, told):
    store.fault = bad("b", error=StoreError("disk full"))
    for name in "abc":
        told.add(name)
    await told.batch.commit(executor)
    assert told.done == ["a", "c"]


@pytest.mark.parametrize("is_apart", [False, True])
async def test_a_broken_store_stops_loudly_and_everybody_is_told(store, executor, told, is_apart):
    def fault(operations):
        if is_apart and len(operations) > 1:
            return ValueError("take it apart")
        return StoreBroken("sync failed") if len(operations) > 1 or operations[0].name == "b" else None

    store.fault = fault
    for name in "abc":
        told.add(name)
    with pytest.raises(StoreBroken):
        await told.batch.commit(executor)
    assert told.done == (["a"] if is_apart else [])
    assert set(told.done) | set(told.failed) == set("abc")


async def test_a_cancelled_commit_leaves_nobody_waiting(executor, told):
    told.add("a")
    with trio.move_on_after(0) as scope:
        await told.batch.commit(executor)
    assert scope.cancelled_caught
    assert "stopped" in str(told.failed["a"])


@pytest.mark.parametrize("is_apart", [False, True])
async def test_a_bug_in_an_answer_leaves_nobody_waiting(store, executor, told, is_apart):
    def fail():
        raise ZeroDivisionError

    if is_apart:
        store.fault = lambda operations: ValueError("take it apart") if len(operations) > 1 else None
    told.add("a")
    told.add("b", fail)
    told.add("c")
    with pytest.raises(ZeroDivisionError):
        await told.batch.commit(executor)
    assert told.done == ["a", "b"]
    assert set(told.failed) == {"b", "c"}
