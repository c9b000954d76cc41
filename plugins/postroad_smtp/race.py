"""Connects to one of a host's addresses: Happy Eyeballs (RFC 8305 sections 4 and 5).

The families come in turns; each address is started a quarter of a second after the one before it, or at once when that one
failed; the first connection wins, and the others are closed.  Of several in the same instant the first in order wins, so that a
race under a test's clock ends the same each time.  Knows no SMTP; opens a nursery, because attempts overlap.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from itertools import chain, zip_longest
from typing import TypeAlias

import trio

__all__ = ["Finish", "in_turns", "race"]

_HEAD_START_SECONDS = 0.25  # RFC 8305 section 5: the "Connection Attempt Delay" it recommends
_CLOSE_SECONDS = 1.0  # closing forcefully does not wait; this is the net below that

DialOne: TypeAlias = Callable[[str], Awaitable[trio.abc.Stream]]


def in_turns(addresses: Sequence[str]) -> list[str]:
    """The addresses with their families in turns, in the given order within each and beginning with the first one's family."""
    if not addresses:
        return []
    is_first_v6 = ":" in addresses[0]
    first = [address for address in addresses if (":" in address) is is_first_v6]
    second = [address for address in addresses if (":" in address) is not is_first_v6]
    pairs = chain.from_iterable(zip_longest(first, second))
    return [address for address in pairs if address is not None]


@dataclass(slots=True)
class Finish:
    """How a race ended.

    stream, address: the winner; None and "" when there is none.  failures: by address, in the order of their end.
    overtaken: addresses that were started before the winner and had not answered yet.
    """

    address: str = ""
    stream: trio.abc.Stream | None = None
    failures: dict[str, OSError] = field(default_factory=dict[str, OSError])
    overtaken: Sequence[str] = ()


async def race(dial: DialOne, addresses: Sequence[str]) -> Finish:
    """Connect to the first of the addresses that answers.  Nothing else stays open; an OSError of `dial` is a failure."""
    if len(addresses) != 1:
        return await _Race(dial, addresses).run()
    finish = Finish()
    try:
        finish.stream = await dial(addresses[0])
        finish.address = addresses[0]
    except OSError as error:
        finish.failures[addresses[0]] = error
    return finish


class _Race:
    def __init__(self, dial: DialOne, addresses: Sequence[str]) -> None:
        self._dial = dial
        self._addresses = addresses
        self._streams: dict[str, trio.abc.Stream] = {}
        self._failures: dict[str, OSError] = {}
        self._fault: Exception | None = None
        self._news = trio.Event()

    async def run(self) -> Finish:
        try:
            async with trio.open_nursery() as nursery:
                for address in self._addresses:
                    nursery.start_soon(self._try, address)
                    await self._wait_for_turn(address)
                    if self._is_decided:
                        break
                while not self._is_decided and len(self._failures) < len(self._addresses):
                    await self._wait_for_news()
                await trio.lowlevel.checkpoint()  # so that all get there who are due in this instant, in any order
                nursery.cancel_scope.cancel()
            if self._fault is not None:
                raise self._fault
        except BaseException:
            with trio.move_on_after(_CLOSE_SECONDS, shield=True):
                await self._close()
            raise
        return await self._finish()

    @property
    def _is_decided(self) -> bool:
        return bool(self._streams) or self._fault is not None

    async def _try(self, address: str) -> None:
        try:
            self._streams[address] = await self._dial(address)
        except OSError as error:
            self._failures[address] = error
        except Exception as error:  # a mistake, and no group of one
            self._fault = error
        finally:
            self._news.set()

    async def _wait_for_turn(self, address: str) -> None:
        """Until the next address may be started: the one before it had its head start, or failed."""
        with trio.move_on_after(_HEAD_START_SECONDS):
            while not self._is_decided and address not in self._failures:
                await self._wait_for_news()

    async def _wait_for_news(self) -> None:
        self._news = trio.Event()
        await self._news.wait()

    async def _finish(self) -> Finish:
        winner = next((address for address in self._addresses if address in self._streams), "")
        stream = self._streams.pop(winner, None)
        with trio.move_on_after(_CLOSE_SECONDS, shield=True):
            await self._close()
        before = self._addresses[: self._addresses.index(winner)] if winner else ()
        overtaken = [address for address in before if address not in self._failures]
        return Finish(winner, stream, self._failures, overtaken)

    async def _close(self) -> None:
        for stream in self._streams.values():
            await trio.aclose_forcefully(stream)
