"""Keeps the spool small: forgets finished messages after their time, deletes content files that nobody needs any more.

Writes down how far the spool has come, too (`reached.py`).  Runs beside the ring, in small operations through the intake, so
that it never holds up a commit for long.
"""

from __future__ import annotations

from functools import partial

import trio

from .actors.ports import Ports
from .clock import Clock
from .errors import EngineClosed, PostroadError
from .log import get_logger
from .reached import Progress
from .spool import ContentFolder
from .store.contract import CLOCK, Prune, Pruned, Remember, Store

__all__ = ["EVERY_SECONDS", "VIRTUAL_SECONDS", "every_seconds", "keep_house"]

EVERY_SECONDS = 30.0
VIRTUAL_SECONDS = 600.0  # where five days pass in a second, looking every 30 s would be most of the work
_SWEEP_EVERY = 120  # times that: a content file whose submission turned out to be a duplicate is gone within two hours
_AT_ONCE = 500
_ORPHAN_SECONDS = 3600.0  # a content file without a message after that was left by a submission that never committed

_log = get_logger()


def every_seconds(clock: Clock) -> float:
    """How often it looks, and notes how far the clock has come."""
    return VIRTUAL_SECONDS if clock.is_virtual else EVERY_SECONDS


async def keep_house(ports: Ports, contents: ContentFolder, every_seconds: float = EVERY_SECONDS) -> None:
    """Run until cancelled."""
    try:
        while True:
            await _sweep_orphans(ports, contents)
            for _ in range(_SWEEP_EVERY):
                await trio.sleep(every_seconds)
                await _prune(ports, contents)
                _keep_reserve(ports)
    except EngineClosed:
        return


async def _prune(ports: Ports, contents: ContentFolder) -> None:
    limits = ports.config.limits
    try:
        while True:
            now = ports.clock.now()
            prune = Prune(before=now - limits.history_seconds, now=now, limit=_AT_ONCE, keep=limits.history_messages)
            pruned, _ = await ports.intake.put([prune, Remember(CLOCK, b"%d" % now)])
            assert isinstance(pruned, Pruned)
            ports.reached.note(Progress(ports.reached.life, int(now)))
            if pruned.content_files:
                await trio.to_thread.run_sync(contents.delete, pruned.content_files)
            if pruned.messages < _AT_ONCE and len(pruned.content_files) < _AT_ONCE:
                return
    except EngineClosed:
        raise
    except PostroadError as error:
        _log.warning("pruning_failed", error=repr(error))


def _keep_reserve(ports: Ports) -> None:
    """Try to have the reserve again; acceptance goes on from then on."""
    if ports.reserve.is_missing and ports.reserve.keep():
        _log.warning("accepting_again")


async def _sweep_orphans(ports: Ports, contents: ContentFolder) -> None:
    def ask(store: Store) -> list[str]:
        found = contents.orphans(lambda name: store.message(name) is not None, _ORPHAN_SECONDS)
        needed = store.content_files() if found else frozenset[str]()  # by rows that lost their message's id, too
        return [name for name in found if name not in needed]

    try:
        names = await ports.executor.ask(ask)
    except (PostroadError, OSError) as error:
        _log.warning("sweeping_failed", error=repr(error))
        return
    if names:
        _log.info("orphans_deleted", files=len(names))
        await trio.to_thread.run_sync(partial(contents.delete, names))
