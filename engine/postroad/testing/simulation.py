"""The whole engine in a simulated world: virtual time, scripted mail servers and DNS, and a seed from which all chance follows.

The engine, its retries, windows and reports, and the SMTP transport are the real ones; only time, sockets and the disk are not.
No thread runs, so that the clock jumps when everybody waits, and never else.  At the end every promise is checked
(`promises.py`).  docs/testing.md shows how tests are written with it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping
from contextlib import ExitStack, asynccontextmanager, contextmanager
from typing import Any

import msgspec
import trio
import trio.testing

from ..config import Config, Spool, load_config
from ..errors import ConfigError
from .deterministic import deterministic
from .promises import broken_promises
from .simulated_server import DAY
from .simulated_trace import captured_log
from .simulated_world import World

__all__ = ["BrokenPromise", "open_simulation", "simulate"]

_START = 1_767_225_600.0  # 1 January 2026, 00:00 UTC


_running = threading.Lock()


class BrokenPromise(AssertionError):
    """The engine did what it must never do: a defect of Postroad.  The text says which; docs/testing.md lists them."""


def simulate(
    story: Callable[[World], Awaitable[object]],
    *,
    seed: int | None = 0,
    config: str | os.PathLike[str] | Mapping[str, Any] | Config | None = None,
    **options: Any,
) -> World:
    """Run a story in a world of its own, and return that world as the story left it.

    story: is given the world.  Everything else, and what else is raised, is as with `open_simulation`.  Not to be called inside
    `trio.run`.
    """

    async def tell() -> World:
        async with open_simulation(config, seed=seed, **options) as world:
            await story(world)
            return world

    return trio.run(tell, clock=trio.testing.MockClock(autojump_threshold=0))


@asynccontextmanager
async def open_simulation(
    config: str | os.PathLike[str] | Mapping[str, Any] | Config | None = None,
    *,
    seed: int | None = 0,
    plugins: Mapping[str, object] | None = None,
    start: float = _START,
    follows_wall: bool = False,
    within: float = 30 * DAY,
    **sections: Any,
) -> AsyncGenerator[World]:
    """Run an engine in a simulated world for the length of an `async with` block, under trio's MockClock with autojump.

    config: the application's own configuration, of which the spool is replaced by one in memory; its transports must be SMTP.
        By default every sender is authorized, and all mail is delivered by MX.  sections: replace those of the default.
    seed: of all chance: jitter, ids, the order of servers and of tasks, the module `random`.  None: chance is left to itself.
    plugins: further plugin objects by name.  start: the wall time at the beginning, Unix seconds.
    follows_wall: the engine looks at the wall clock as a real one does, so that `World.move_wall` has an effect.
    within: virtual seconds after which it must be over; else trio.TooSlowError is raised.

    Raises BrokenPromise at the end if the engine broke one; ConfigError; RuntimeError where trio's clock is a real one, trio has
    no deterministic scheduling, or another simulation runs in this process.
    """
    if not isinstance(trio.lowlevel.current_clock(), trio.testing.MockClock):
        raise RuntimeError(
            "a simulation needs virtual time: give the test the fixture autojump_clock, or call simulate()"
        )
    settings = _settings(config, sections)
    failure: BaseException | None = None
    with ExitStack() as stack:
        stack.enter_context(_alone())
        if seed is not None:
            stack.enter_context(deterministic(seed))
        async with trio.open_nursery() as nursery:
            world = World(nursery, settings, plugins or {}, seed=seed, start=start, follows_wall=follows_wall)
            stack.callback(world.end)
            stack.enter_context(captured_log(world.note_log))
            try:
                with trio.move_on_after(within) as scope:
                    await world.start()
                    yield world
                if scope.cancelled_caught:
                    left = "; ".join(world.unfinished()) or "nothing"
                    raise trio.TooSlowError(f"it is not over after {within:g} virtual seconds; unfinished: {left}")
                await world.stop()
            except trio.Cancelled:
                raise
            except (
                BaseException
            ) as error:  # what a test raises to fail or to be skipped, too: it must come out as it is
                error.add_note(f"The end of the simulation's trace:\n{world.end_of_trace}")
                failure = error
            nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure
    broken = broken_promises(world.evidence())
    if broken:
        raise BrokenPromise("; ".join(broken))


@contextmanager
def _alone() -> Generator[None]:
    """structlog, the module `random` and trio's chance belong to the process."""
    if not _running.acquire(blocking=False):
        raise RuntimeError("another simulation runs in this process: let one end before the next, or use processes")
    try:
        yield
    finally:
        _running.release()


def _settings(
    config: str | os.PathLike[str] | Mapping[str, Any] | Config | None, sections: Mapping[str, Any]
) -> Config:
    if config is not None and sections:
        raise ConfigError(next(iter(sections)), "give either config, or sections for the default one")
    read = load_config({**_DEFAULT, **sections} if config is None else config)
    for name, table in read.transports.items():
        if table["plugin"] != "smtp":
            raise ConfigError(
                f"transports.{name}.plugin",
                f"is {table['plugin']!r}; a simulated world speaks SMTP only: give this route an SMTP transport here",
            )
    hostname = read.reports.hostname or "engine.test"  # asking the system takes a thread, and differs by machine
    return msgspec.structs.replace(
        read,
        spool=Spool(url="simulated:", content_file_bytes=1 << 40, reserve_bytes=0),
        reports=msgspec.structs.replace(read.reports, hostname=hostname),
        plugins=[name for name in read.plugins if name != "smtp"],
    )


_DEFAULT: Mapping[str, Any] = {
    "senders": {"authorized": ["*"]},
    "transports": {"out": {"plugin": "smtp"}},
    "routes": [{"transport": "out"}],
}
