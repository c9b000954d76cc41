"""Tells observers what was committed: subscribers over bounded buffers, plugins through `postroad_notice`.

Costs nothing while nobody listens: ask `is_active` before building an event.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable, Generator
from contextlib import contextmanager

import trio

from .events import Event, Missed

__all__ = ["Observers", "Subscription"]


class Subscription:
    """The events of one reader, in order.  Iterate with `async for`; it ends when the engine closes."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._events: deque[Event] = deque()  # at most `limit`, and one Missed
        self._news = trio.Event()
        self._is_closed = False

    def put(self, event: Event) -> None:
        if len(self._events) >= self._limit:
            self._miss(event.at)
        else:
            self._events.append(event)
        self._news.set()

    def _miss(self, at: float) -> None:
        """Say in its place what was dropped: events that fit again come behind it."""
        last = self._events[-1]
        if isinstance(last, Missed):
            self._events[-1] = Missed(at=at, count=last.count + 1)
        else:
            self._events.append(Missed(at=at, count=1))

    def close(self) -> None:
        self._is_closed = True
        self._news.set()

    def __aiter__(self) -> AsyncIterator[Event]:
        return self

    async def __anext__(self) -> Event:
        await trio.lowlevel.checkpoint()
        while not self._events:
            if self._is_closed:
                raise StopAsyncIteration
            self._news = trio.Event()
            await self._news.wait()
        return self._events.popleft()


class Observers:
    """Whoever listens.  notice: tells plugins, or None where none wants to know."""

    def __init__(self, buffer: int, notice: Callable[[Event], None] | None = None) -> None:
        self._buffer = buffer
        self._notice = notice
        self._subscriptions: set[Subscription] = set()

    @property
    def is_active(self) -> bool:
        return bool(self._subscriptions) or self._notice is not None

    def publish(self, event: Event) -> None:
        """Tell everybody; never blocks."""
        for subscription in self._subscriptions:
            subscription.put(event)
        if self._notice is not None:
            self._notice(event)

    @contextmanager
    def subscribed(self) -> Generator[Subscription]:
        subscription = Subscription(self._buffer)
        self._subscriptions.add(subscription)
        try:
            yield subscription
        finally:
            self._subscriptions.discard(subscription)

    def close(self) -> None:
        for subscription in self._subscriptions:
            subscription.close()
