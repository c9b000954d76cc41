"""Starts an engine and ends it: configuration, plugins, lock, store, recovery, transports, routes, ring; and backwards.

Nothing is accepted before the store is recovered, and nothing is closed before the leases are home (or their time is up).
"""

from __future__ import annotations

import itertools
import os
import random
import sys
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import trio

from .actors import Ring, supervise
from .actors.circuits import CIRCUITS, Circuits
from .actors.ports import Ports
from .carriers import Body, open_transports
from .clock import Clock
from .config import Config, load_config, revalidate
from .content import ContentCache, SpoolContent
from .decide.routing import RoutingTable
from .door import UNKNOWN_NAME, Door, hostname_of, is_known_elsewhere
from .engine import Engine
from .errors import ConfigError, EngineClosed, EngineCrashed, SpoolInUse
from .gate import serve_gate
from .housekeeping import every_seconds, keep_house
from .intake import Intake
from .log import get_logger
from .message import new_message_id, seeded_ids
from .observers import Observers
from .offline import RULES, rules_of
from .plugins import Plugins
from .reached import Progress, Reached
from .receipt import Waiters
from .recovery import recovery, tell_recovered
from .rerouting import reroute
from .spool import ContentFolder, Marks, Reserve, SpoolLock, SpoolPlace, boot_id
from .store.contract import CLOCK, Filter, Operation, Recovered, Remember, Retry, Store
from .store.executor import StoreExecutor
from .strangers import is_same, leaves
from .transport import Capabilities, Transport

__all__ = ["open_engine"]

_TOKEN_BITS = 40  # of a token for counting; the rest is the incarnation, so that tokens are unique for the spool's life
_RESTORED = (
    "the spool is older than what ran on it, so what waited is held: `postroad queue release --all` sends it, "
    "`queue settle` takes it as delivered, `queue cancel` withdraws it"
)
_DOOR_SECONDS, _LOCK_PAUSE_SECONDS = 1.0, 0.01

_log = get_logger()


@asynccontextmanager
async def open_engine(
    config: str | os.PathLike[str] | Mapping[str, Any] | Config,
    *,
    plugins: Mapping[str, object] | None = None,
    clock: Clock | None = None,
    seed: int | None = None,
) -> AsyncGenerator[Engine]:
    """Run an engine for the length of an `async with` block.

    config: the path of a TOML file, a mapping of the same shape, or a Config.
    plugins: plugin objects by name, beside those found by entry point (for tests, or plugins of the application itself).
    clock, seed: for tests and simulations; equal seeds draw the same jitter and mint the same ids.

    Leaving the block drains: running attempts have `in_flight.drain_seconds` to end; when the block is left by an error or a
    cancellation, they end at once.  What was accepted stays in the spool.

    Raises ConfigError (with `.key`), PluginError, SpoolForeign, SpoolInUse, SpoolTooNew, StoreError; and EngineCrashed out of the
    block, when the engine could not go on.
    """
    if not trio.lowlevel.in_trio_run():
        raise RuntimeError(
            "open_engine needs trio, and another loop runs; under asyncio or without a loop let `postroad serve` run beside, "
            "and hand mail over by postroad.handover.Handover (docs/embedding.md)"
        )
    given = revalidate(load_config(config))
    settings = await _with_hostname(given)
    body = Body()
    try:
        async with AsyncExitStack() as stack:
            engine, ports, contents, place = await _assemble(stack, settings, plugins or {}, clock, seed)
            if not given.reports.hostname and not is_known_elsewhere(settings.reports.hostname):
                _log.warning("hostname_unknown", hostname=settings.reports.hostname, hint=UNKNOWN_NAME)
            nursery = await stack.enter_async_context(trio.open_nursery())
            async with _running(nursery, ports, engine, settings):
                every = every_seconds(ports.clock)
                nursery.start_soon(keep_house, ports, contents, every)
                if settings.spool.socket and place.path is not None:
                    await nursery.start(serve_gate, engine, place.socket_path)
                with body:
                    yield engine
    except BaseExceptionGroup as group:
        _raise_as_meant(group, body.error)
        raise


@asynccontextmanager
async def _running(nursery: trio.Nursery, ports: Ports, engine: Engine, config: Config) -> AsyncGenerator[None]:
    """Run the ring for the length of a block, whatever happens in it; then drain, with grace if all went well."""
    scope = trio.CancelScope(shield=True)
    grace = 0.0
    started = trio.Event()
    # Not `start`: when that is cancelled it waits for its task, and this one is shielded.
    nursery.start_soon(_run_ring, scope, ports, engine, started)
    try:
        await started.wait()
        yield
        grace = config.in_flight.drain_seconds
    finally:
        with trio.CancelScope(shield=True):
            if not engine.is_shut:
                await engine.close(grace)
        scope.cancel()
        nursery.cancel_scope.cancel()


async def _run_ring(scope: trio.CancelScope, ports: Ports, engine: Engine, started: trio.Event) -> None:
    """The ring is shielded: it ends after its drain, not in the middle of a settlement."""

    def begins(ring: Ring) -> None:
        engine.ring_started(ring)
        started.set()

    with scope:
        try:
            await supervise(ports, begins)
        finally:
            engine.shut()


def _raise_as_meant(group: BaseExceptionGroup[BaseException], body: BaseException | None) -> None:
    """What left the application's block comes out as it was; so does what alone ended the engine, without its group.

    That the engine is closed is no news beside the reason: who waited for it in the block hears that it crashed.
    """
    found = leaves(group)
    reasons = [leaf for leaf in found if not isinstance(leaf, EngineClosed)]
    if body is not None and is_same(group, body):
        meant = body
    elif len(found) == 1 or (len(reasons) == 1 and isinstance(reasons[0], EngineCrashed)):
        meant = (reasons or found)[0]
    else:
        return
    context = meant.__context__
    try:
        raise meant
    finally:
        meant.__context__ = context  # not "during handling of" the group


# --- putting together ---


async def _with_hostname(config: Config) -> Config:
    """Asking the system for its full name may ask a name server: not on trio's thread."""
    if config.reports.hostname:
        return config
    hostname = await trio.to_thread.run_sync(hostname_of, config)
    return msgspec.structs.replace(config, reports=msgspec.structs.replace(config.reports, hostname=hostname))


async def _assemble(
    stack: AsyncExitStack, config: Config, extra: Mapping[str, object], clock: Clock | None, seed: int | None
) -> tuple[Engine, Ports, ContentFolder, SpoolPlace]:
    plugins = Plugins()
    for name, plugin in extra.items():
        plugins.register(plugin, name)
    plugins.load_for(config)
    clock = clock or Clock()
    place = SpoolPlace.parse(config.spool.url, config.resolved(""))
    place.make_folder()
    executor = await _open_store(stack, plugins, place, clock)
    marks = Marks(place.marks_path, config.in_flight.leases)
    stack.callback(marks.close)
    reserve = Reserve(place.reserve_path, config.spool.reserve_bytes)
    if not reserve.keep():
        _log.error("disk_full", hint="there is no room for [spool] reserve_bytes; nothing is accepted until there is")
    reached = Reached(place.reached_path)
    incarnation = await _recover(executor, marks, reached, clock, config)
    new_id = new_message_id if seed is None else seeded_ids(f"{seed} {incarnation}")
    transports = await open_transports(stack, plugins, config)
    _check_callbacks(config, transports)
    table = _routing(config, transports, plugins)
    circuits = Circuits(await executor.ask(lambda store: store.recall(CIRCUITS)))
    contents = ContentFolder(place.content_folder)
    cache = ContentCache(config.limits.content_cache_bytes)
    ports = Ports(
        config=config,
        clock=clock,
        executor=executor,
        intake=Intake(config.limits),
        cache=cache,
        observers=Observers(config.limits.event_buffer, plugins.notice if plugins.notices else None),
        waiters=Waiters(),
        marks=marks,
        reserve=reserve,
        reached=reached,
        circuits=circuits,
        table=table,
        transports=transports,
        door=Door(config, table.lane, plugins.admit if plugins.admits else None, lambda: clock.ahead_seconds, new_id),
        content_of=partial(SpoolContent, cache=cache, executor=executor, path_of=contents.path_of),
        random=random.Random(seed),  # noqa: S311  # jitter is no secret
        new_id=new_id,
        tokens=_tokens(incarnation),
        home=trio.Event(),
    )
    await reroute(ports)
    return Engine(ports, contents), ports, contents, place


def _tokens(incarnation: int) -> Iterator[int]:
    return itertools.count((incarnation << _TOKEN_BITS) + 1)


async def _open_store(stack: AsyncExitStack, plugins: Plugins, place: SpoolPlace, clock: Clock) -> StoreExecutor:
    if place.path is not None:
        await _lock(stack, SpoolLock(place.lock_path))
    opened = plugins.stores[place.scheme](place.rest, folder=place.content_folder or Path())
    store = opened.__enter__() if clock.is_virtual else await trio.to_thread.run_sync(opened.__enter__)
    if clock.is_virtual:
        stack.callback(opened.__exit__, None, None, None)
    else:
        stack.push_async_exit(partial(_close_store, opened))
    executor = StoreExecutor(store)
    stack.callback(executor.close)
    return executor


async def _lock(stack: AsyncExitStack, lock: SpoolLock) -> None:
    """Take the spool.  A door of another process has it for the time of one insert; another engine, for good."""
    with trio.move_on_after(_DOOR_SECONDS):
        while True:
            try:
                stack.enter_context(lock)
            except SpoolInUse:
                await trio.sleep(_LOCK_PAUSE_SECONDS)
            else:
                return
    stack.enter_context(lock)


async def _close_store(opened: AbstractContextManager[Store], *exc_info: Any) -> None:
    with trio.CancelScope(shield=True):
        await trio.to_thread.run_sync(opened.__exit__, None, None, None)


async def _recover(executor: StoreExecutor, marks: Marks, reached: Reached, clock: Clock, config: Config) -> int:
    """Settle what an earlier life left leased, leave the rules for doors; return the number of this life."""
    known, boot, noted = await executor.ask(lambda store: [store.recall(n) for n in ("incarnation", "boot", CLOCK)])
    now = clock.now()
    here = boot_id().encode()
    rebooted = known is not None and (not here or boot != here or not known.isdigit())
    life = int(known) if known and known.isdigit() else 0  # a damaged one: no mark is trusted
    restored = reached.is_ahead_of(Progress(life, int(noted) if noted and noted.isdigit() else sys.maxsize))
    if not life:
        reached.make()
    incarnation = max(life, reached.life) + 1
    recover = recovery(marks, config.all_routes, now, rebooted=rebooted, restored=restored)
    operations: list[Operation] = [recover, Remember("incarnation", b"%d" % incarnation), Remember("boot", here)]
    operations += [Remember(RULES, rules_of(config, hostname_of(config))), Remember(CLOCK, b"%d" % now)]
    set_back = int(noted) - now if noted and noted.isdigit() else 0.0
    if set_back > config.retry.first_seconds:  # due times lie on the scale of before, and would be frozen for as long
        operations.append(Retry(Filter(), now, untried_until=now + set_back + 2 * every_seconds(clock)))
        _log.warning("clock_set_back", seconds=round(set_back, 3), hint="what waits is tried now")
    recovered = (await executor.apply(operations))[0]
    assert isinstance(recovered, Recovered)
    marks.reset()
    reached.make()
    reached.note(Progress(incarnation, int(now)))
    if restored:
        _log.error("spool_restored", in_doubt=recovered.restored, hint=_RESTORED)
    tell_recovered(recovered, rebooted=rebooted)
    return incarnation


def _check_callbacks(config: Config, transports: Mapping[str, Transport]) -> None:
    """Incoming mail is not canonical: it must not come to a transport that takes it for mail to be sent."""
    name = config.callbacks.transport
    if name and not transports[name].capabilities.callbacks:
        kind = config.transports[name]["plugin"]
        raise ConfigError(
            "callbacks.transport", f'{name!r} (plugin = "{kind}") tells no application; see docs/callbacks.md'
        )


def _declared(transports: Mapping[str, Transport]) -> dict[str, Capabilities]:
    """A stranger's may be of a class of his own, and lack what ours have by now."""
    declared: dict[str, Any] = {name: transport.capabilities for name, transport in transports.items()}
    return {name: able for name, able in declared.items() if isinstance(able, Capabilities)}


def _routing(config: Config, transports: Mapping[str, Transport], plugins: Plugins) -> RoutingTable:
    return RoutingTable(
        config,
        {name: transport.capabilities.by_domain for name, transport in transports.items()},
        {name: transport.capabilities.recipients_per_call for name, transport in transports.items()},
        plugins.routes,
        _declared(transports),
    )
