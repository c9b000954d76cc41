"""Both stores keep the contract, and the suite that says so notices a store that does not."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from postroad.store.contract import Accept, Operation, Result, Store
from postroad.store.memory import MemoryStore, memory_store
from postroad.store.sqlite import sqlite_store
from postroad.testing.store_suite import OpenStore, StoreFailed, check_store, store_checks


@pytest.mark.parametrize("check", list(store_checks(durable=False)), ids=lambda check: check.__name__)
def test_the_memory_store_keeps_the_contract(check: Callable[[OpenStore], None], tmp_path: Path) -> None:
    check(lambda name: memory_store("", folder=tmp_path))


@pytest.mark.parametrize("check", list(store_checks(durable=True)), ids=lambda check: check.__name__)
def test_the_sqlite_store_keeps_the_contract(check: Callable[[OpenStore], None], tmp_path: Path) -> None:
    check(lambda name: sqlite_store(str(tmp_path / name), folder=tmp_path))


def test_the_sqlite_store_keeps_the_contract_with_a_single_connection(tmp_path: Path) -> None:
    check_store(lambda name: sqlite_store(str(tmp_path / name), folder=tmp_path, exclusive=True), durable=True)


class _Forgetful(MemoryStore):
    """Answers, and stores nothing of every second message."""

    def __init__(self) -> None:
        super().__init__()
        self._odd = False

    def apply(self, operations: Sequence[Operation]) -> list[Result]:
        results = super().apply(operations)
        self._odd = not self._odd
        if self._odd and isinstance(operations[0], Accept):
            self._shelf.handles.pop(operations[0].message.id)
        return results


def test_a_store_that_loses_a_message_is_named_with_its_duty() -> None:
    @contextmanager
    def forgetful(name: str) -> Iterator[Store]:
        yield _Forgetful()

    with pytest.raises(
        StoreFailed, match=r"(?s)accepted_is_kept: the message m1 is not there.*duty: What was accepted"
    ):
        check_store(forgetful, durable=False)


def test_a_durable_store_that_forgets_is_named(tmp_path: Path) -> None:
    def forgets(name: str) -> AbstractContextManager[Store]:
        return memory_store("", folder=tmp_path)

    with pytest.raises(StoreFailed, match="everything_is_there_again"):
        check_store(forgets, durable=True)
