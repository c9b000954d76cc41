"""The cache of look-ups: one for many, kept for its time, bounded."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from postroad_smtp.cache import Cache


class Finder:
    """Finds "KEY 1", "KEY 2", ... each in a second, for ten."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    async def __call__(self, key: str) -> tuple[str, float]:
        self.calls.append(key)
        await trio.sleep(1)
        if key == "broken":
            raise ValueError(key)
        return f"{key} {len(self.calls)}", 10.0


async def test_a_hundred_that_ask_at_once_are_one_look_up(autojump_clock: MockClock) -> None:
    find = Finder()
    got: list[str] = []

    async def ask(cache: Cache[str]) -> None:
        got.append(await cache.get("a"))

    async with trio.open_nursery() as nursery:
        cache = Cache(nursery, find)
        for _ in range(100):
            nursery.start_soon(ask, cache)
    assert got == ["a 1"] * 100
    assert find.calls == ["a"]


async def test_what_was_begun_is_there_sooner(autojump_clock: MockClock) -> None:
    find = Finder()
    async with trio.open_nursery() as nursery:
        cache = Cache(nursery, find)
        for key in "abab":
            cache.begin(key)
        assert (await cache.get("a"), await cache.get("b")) == ("a 2", "b 2")
        assert trio.current_time() == 1.0
        cache.begin("a")
    assert sorted(find.calls) == ["a", "b"]


async def test_nothing_is_given_beyond_its_time(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        cache = Cache(nursery, Finder())
        assert await cache.get("a") == "a 1"
        await trio.sleep(9.9)
        assert cache.get_nowait("a") == "a 1"
        await trio.sleep(0.1)
        assert cache.get_nowait("a") is None
        assert await cache.get("a") == "a 2"


async def test_an_exception_goes_to_all_who_asked_and_is_not_kept(autojump_clock: MockClock) -> None:
    find = Finder()
    caught: list[ValueError] = []

    async def ask(cache: Cache[str]) -> None:
        with pytest.raises(ValueError, match="broken") as info:
            await cache.get("broken")
        caught.append(info.value)

    async with trio.open_nursery() as nursery:
        cache = Cache(nursery, find)
        async with trio.open_nursery() as askers:
            for _ in range(5):
                askers.start_soon(ask, cache)
        await ask(cache)
    assert len(caught) == 6
    assert find.calls == ["broken"] * 2


async def test_who_gives_up_takes_nobody_elses_answer_away(autojump_clock: MockClock) -> None:
    """The first asks for all; when it is cancelled, the next one does."""
    find = Finder()
    got: list[str] = []

    async def ask(cache: Cache[str], patience: float) -> None:
        with trio.move_on_after(patience):
            got.append(await cache.get("a"))

    async with trio.open_nursery() as nursery:
        cache = Cache(nursery, find)
        for patience in (0.5, 5.0, 5.0):
            nursery.start_soon(ask, cache, patience)
            await trio.testing.wait_all_tasks_blocked()
    assert got == ["a 2", "a 2"]
    assert trio.current_time() == 1.5


async def test_what_was_begun_goes_on_when_who_waits_for_it_gives_up(autojump_clock: MockClock) -> None:
    find = Finder()
    async with trio.open_nursery() as nursery:
        cache = Cache(nursery, find)
        cache.begin("a")
        with trio.move_on_after(0.5):
            await cache.get("a")
        assert await cache.get("a") == "a 1"
        assert trio.current_time() == 1.0


async def test_what_holds_for_no_time_is_for_those_who_wait(autojump_clock: MockClock) -> None:
    calls: list[str] = []
    got: list[str] = []

    async def find(key: str) -> tuple[str, float]:
        calls.append(key)
        await trio.sleep(1)
        return key, 0.0

    async def ask(cache: Cache[str]) -> None:
        got.append(await cache.get("a"))

    async with trio.open_nursery() as nursery:
        cache = Cache(nursery, find, size=1)
        cache.keep("b", "b", 10.0)
        for _ in range(3):
            nursery.start_soon(ask, cache)
        await trio.sleep(2)
        assert (got, calls, cache.get_nowait("a")) == (["a"] * 3, ["a"], None)
        assert cache.get_nowait("b") == "b"


async def test_the_oldest_entry_makes_room(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        cache = Cache(nursery, Finder(), size=3)
        for key in "abcd":
            await cache.get(key)
        assert [cache.get_nowait(key) is not None for key in "abcd"] == [False, True, True, True]


async def test_who_waits_when_the_transport_closes_is_told(autojump_clock: MockClock) -> None:
    async def ask(cache: Cache[str]) -> None:
        with pytest.raises(trio.ClosedResourceError):
            await cache.get("a")

    async with trio.open_nursery() as askers, trio.open_nursery() as nursery:
        cache = Cache(nursery, Finder())
        cache.begin("a")
        askers.start_soon(ask, cache)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
