"""The clients of a transport, one for each connection, made as they are needed.

httpx2's own pool looks at every idle connection, by a system call each, before and after each request: with 20 of them that
costs as much as a tenth of the request.  The newest is taken first, and one that nobody took for a while is closed, so that few
calls keep few connections.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

import httpx2
import trio

__all__ = ["Clients"]


class Clients:
    """make: makes one that keeps a connection.  most: at once.  idle_seconds: after which one that is not used is closed."""

    def __init__(self, make: Callable[[], httpx2.AsyncClient], most: int, idle_seconds: float) -> None:
        self._make = make
        self._turns = trio.Semaphore(most)
        self._idle_seconds = idle_seconds
        self._idle: deque[tuple[httpx2.AsyncClient, float]] = deque()

    @asynccontextmanager
    async def one(self) -> AsyncGenerator[httpx2.AsyncClient]:
        """Waits while all are taken."""
        try:
            self._turns.acquire_nowait()
        except trio.WouldBlock:
            await self._turns.acquire()
        try:
            client = self._idle.pop()[0] if self._idle else self._make()
        except BaseException:
            self._turns.release()
            raise
        try:
            if self._idle and trio.current_time() - self._idle[0][1] > self._idle_seconds:
                await _close(self._idle.popleft()[0])
            yield client
        finally:
            self._idle.append((client, trio.current_time()))
            self._turns.release()

    async def close(self) -> None:
        """When none is taken any more."""
        while self._idle:
            await _close(self._idle.pop()[0])


async def _close(client: httpx2.AsyncClient) -> None:
    with trio.CancelScope(shield=True):  # closes sockets, and waits for nobody
        await client.aclose()
