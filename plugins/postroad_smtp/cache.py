"""Remembers what was expensive to find out, for a while, and finds out once what many ask at the same time (single-flight).

dnspython's own cache does the first but not the second: 100 equal look-ups send 100 queries.  Who asks first finds out, in its
own task; when it is cancelled, the next one does, so that it takes nobody else's answer away.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

import trio

__all__ = ["Cache"]

T = TypeVar("T")


class _Flight(Generic[T]):
    __slots__ = ("error", "landed", "value")

    def __init__(self) -> None:
        self.landed = trio.Event()
        self.value: T | None = None
        self.error: Exception | None = None


class Cache(Generic[T]):
    """Values by key.  find: makes a value and says for how many seconds it holds, 0 for those alone who wait for it.
    nursery: for what is found out beforehand.  size: entries kept at the most."""

    def __init__(
        self, nursery: trio.Nursery, find: Callable[[str], Awaitable[tuple[T, float]]], *, size: int = 10_000
    ) -> None:
        self._nursery = nursery
        self._find = find
        self._size = size
        self._kept: dict[str, tuple[float, T]] = {}
        self._flights: dict[str, _Flight[T]] = {}

    def get_nowait(self, key: str) -> T | None:
        """What is remembered and still holds."""
        kept = self._kept.get(key)
        return kept[1] if kept is not None and trio.current_time() < kept[0] else None

    async def get(self, key: str) -> T:
        """The value; found out if need be.  Raises what `find` raised."""
        while (value := self.get_nowait(key)) is None:
            flight = self._flights.get(key)
            if flight is None:
                return await self._find_here(key)
            await flight.landed.wait()
            if flight.error is not None:
                raise flight.error
            if flight.value is not None:
                return flight.value
        return value

    def begin(self, key: str) -> None:
        """Have it found out, if need be, without waiting: `get` then has it sooner."""
        if self.get_nowait(key) is None and key not in self._flights:
            self._nursery.start_soon(self._find_apart, key, self._take_off(key))

    def keep(self, key: str, value: T, seconds: float) -> None:
        """Remember what was found out in another way."""
        self._kept.pop(key, None)
        while len(self._kept) >= self._size:
            del self._kept[next(iter(self._kept))]
        self._kept[key] = (trio.current_time() + seconds, value)

    def _take_off(self, key: str) -> _Flight[T]:
        flight = self._flights[key] = _Flight()
        return flight

    async def _find_here(self, key: str) -> T:
        """In the task of the first who asks: should that be cancelled, the next one asks again."""
        flight = self._take_off(key)
        try:
            return await self._fly(key, flight)
        except Exception as error:
            flight.error = error
            raise
        finally:
            self._land(key, flight)

    async def _find_apart(self, key: str, flight: _Flight[T]) -> None:
        try:
            await self._fly(key, flight)
        except Exception as error:  # it belongs to those who asked, not to the nursery
            flight.error = error
        finally:
            if flight.value is None and flight.error is None:
                flight.error = trio.ClosedResourceError("the transport is closing")
            self._land(key, flight)

    async def _fly(self, key: str, flight: _Flight[T]) -> T:
        value, seconds = await self._find(key)
        flight.value = value
        if seconds > 0:
            self.keep(key, value, seconds)
        return value

    def _land(self, key: str, flight: _Flight[T]) -> None:
        del self._flights[key]
        flight.landed.set()
