"""One commit of the queue: operations, and what to do with each answer.

If the whole fails, its parts are tried apart, so that one bad operation harms nobody else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..errors import StoreBroken, StoreError
from ..log import get_logger
from ..store.contract import Operation, Result
from ..store.executor import StoreExecutor

__all__ = ["Batch"]

_HOPELESS = 3  # failures of the store in a row, after which the rest is not tried apart

_log = get_logger()

Done = Callable[[Any], None]
Failed = Callable[[Exception], None]


class Batch:
    """Gather with `add`, then `commit` once.  Exactly one of done and failed is called for each part, unless done raises."""

    def __init__(self) -> None:
        self._operations: list[Operation] = []
        self._done: list[Done] = []
        self._failed: list[Failed] = []

    def __len__(self) -> int:
        return len(self._operations)

    def add(self, operation: Operation, done: Done, failed: Failed) -> None:
        self._operations.append(operation)
        self._done.append(done)
        self._failed.append(failed)

    async def commit(self, executor: StoreExecutor) -> None:
        """Commit everything in one transaction, or each part apart if that fails.

        Raises StoreBroken when the storage cannot be trusted any more; every part has been told.
        """
        try:
            answers = await executor.apply(self._operations)
        except StoreBroken as error:
            self._fail_from(0, error)
            raise
        except Exception as error:
            await self._commit_apart(executor, error)
        except BaseException:  # cancelled before the store was asked
            self._fail_from(0, StoreError("the engine was stopped before this was stored"))
            raise
        else:
            self._tell(0, answers)

    def _tell(self, first: int, answers: Sequence[Result]) -> None:
        """Tell parts their answers, in order, beginning with the one at `first`."""
        index = first
        try:
            for index, answer in enumerate(answers, first):
                self._done[index](answer)
        except BaseException:  # a bug of the ring, which stops: nobody may wait for ever
            self._fail_from(index, StoreError("this was stored, but the engine failed before it could say so"))
            raise

    async def _commit_apart(self, executor: StoreExecutor, whole: Exception) -> None:
        _log.warning("commit_failed", operations=len(self), error=repr(whole))
        if len(self) == 1:
            self._failed[0](_as_store_error(whole))
            return
        failures = 0  # of the storage, in a row: an operation that is bad in itself says nothing of the others
        for index, operation in enumerate(self._operations):
            if failures >= _HOPELESS:
                self._fail_from(index, _as_store_error(whole))
                return
            try:
                answers = await executor.apply([operation])
            except StoreBroken as error:
                self._fail_from(index, error)
                raise
            except Exception as error:
                failures += isinstance(error, StoreError)
                self._failed[index](_as_store_error(error))
            except BaseException:
                self._fail_from(index, StoreError("the engine was stopped before this was stored"))
                raise
            else:
                failures = 0
                self._tell(index, answers)

    def _fail_from(self, index: int, error: Exception) -> None:
        """Everybody hears of it, whatever telling one of them does."""
        for failed in self._failed[index:]:
            try:
                failed(error)
            except Exception:
                _log.exception("telling_failed", error=repr(error))


def _as_store_error(error: Exception) -> Exception:
    if isinstance(error, StoreError):
        return error
    wrapped = StoreError(f"this could not be stored: {error!r}")
    wrapped.__cause__ = error
    return wrapped
