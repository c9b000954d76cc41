"""Further cases of `check_transport`: settings, the factory's context, secrets, and what a long life leaves behind."""

from __future__ import annotations

import copy
import threading
import time
from collections.abc import Mapping
from typing import Any

import trio

from ..errors import ConfigError
from ..transport import Transport
from .leftovers import open_things
from .transport_bench import Bench, Unmet, require, secrets_of
from .transport_cases import AT_ONCE, CLOSED, enlist_case
from .transport_cases_later import CANCEL, SETTINGS, SHIELD_SECONDS

__all__: list[str] = []  # imported for its cases

DISCRETION, NEVER_BLOCK = "T14", "T17"
_MOST_STEP_SECONDS = 0.5  # what the engine calls slow
_MAILS, _MORE_MAILS, _KEPT_AT_MOST = 10, 30, 5


# --- Settings ---


@enlist_case("a setting of the wrong kind is refused by its name", SETTINGS)
async def setting_of_the_wrong_kind(bench: Bench) -> None:
    await trio.lowlevel.checkpoint()
    for key in bench.settings:
        wrong = {**bench.settings, key: object()}
        error = await _refusal_of(bench, wrong)
        require(error is not None, f"{key!r} was taken though it is of no kind at all")
        require(key in str(error), f"the error does not name {key!r}: {error}")


@enlist_case("the settings are only read", SETTINGS)
async def settings_are_left_alone(bench: Bench) -> None:
    given = copy.deepcopy(dict(bench.settings))
    async with bench.open(given):
        await trio.lowlevel.checkpoint()
    require(given == bench.settings, "the mapping was changed")


@enlist_case("it opens, and closes, though its peer is away", SETTINGS, "broken")
async def opens_without_its_peer(bench: Bench) -> None:
    async with bench.open(bench.broken):
        await trio.lowlevel.checkpoint()


async def _refusal_of(bench: Bench, settings: Mapping[str, Any]) -> ConfigError | None:
    try:
        async with bench.open(settings):
            await trio.lowlevel.checkpoint()
    except ConfigError as error:
        return error
    return None


# --- Secrets ---


@enlist_case("an error of the settings does not show their secrets", DISCRETION)
async def refused_settings_keep_their_secrets(bench: Bench) -> None:
    await trio.lowlevel.checkpoint()
    error = await _refusal_of(bench, {**bench.settings, "no_such_setting": 1})
    _require_hidden(bench, "the error", error)


@enlist_case("the transport's repr shows no secrets", DISCRETION)
async def repr_shows_no_secrets(bench: Bench) -> None:
    async with bench.open() as transport:
        _require_hidden(bench, "repr", repr(transport))
        _require_hidden(bench, "str", str(transport))


def _require_hidden(bench: Bench, where: str, text: object) -> None:
    for what, secret in secrets_of(bench.settings).items():
        require(secret not in str(text), f"{where} shows {what}")


# --- The context ---


@enlist_case("closed, it can be opened again, and again", CLOSED)
async def opened_again(bench: Bench) -> None:
    for _ in range(3):
        async with bench.open() as transport:
            await bench.deliver_accepted(transport, bench.mail())


@enlist_case("an exception raised inside its context comes out as it is", CLOSED)
async def errors_pass_through(bench: Bench) -> None:
    await trio.lowlevel.checkpoint()
    raised = RuntimeError("of the caller")
    try:
        async with bench.open() as transport:
            await bench.deliver(transport, bench.mail())
            raise raised
    except Exception as error:
        require(error is raised, f"it came out as {type(error).__name__}")
    else:
        raise Unmet("it was swallowed")


@enlist_case("forty mails leave no more open than ten", CLOSED)
async def nothing_is_kept_of_each_mail(bench: Bench) -> None:
    async with bench.open() as transport:
        before = await _kept_after(bench, transport, _MAILS)
        after = await _kept_after(bench, transport, _MORE_MAILS)
    for what, few, many in zip(("descriptors", "tasks", "threads"), before, after, strict=True):
        require(many - few <= _KEPT_AT_MOST, f"{few} {what} after {_MAILS} mails, {many} after {_MORE_MAILS} more")


async def _kept_after(bench: Bench, transport: Transport, number: int) -> tuple[int, ...]:
    for _ in range(number):
        await bench.deliver(transport, bench.mail())
    return *open_things(), threading.active_count()


@enlist_case("five deliveries at once are cancelled together, at once", CANCEL)
async def cancelled_together(bench: Bench) -> None:
    async with bench.open() as transport:
        for steps in range(4):
            begun = trio.current_time()
            async with trio.open_nursery() as nursery:
                for mail in [bench.mail() for _ in range(5)]:
                    nursery.start_soon(bench.deliver, transport, mail)
                for _ in range(steps):
                    await trio.lowlevel.checkpoint()
                nursery.cancel_scope.cancel()
            require(trio.current_time() - begun < SHIELD_SECONDS, f"after {steps} steps it went on for over 20 s")
        await bench.deliver_accepted(transport, bench.mail())


@enlist_case("large and small contents at once arrive as they were", AT_ONCE)
async def large_and_small_at_once(bench: Bench) -> None:
    large = (b"x" * 70 + b"\r\n") * 5000
    await bench.require_room(len(large) + 1000)
    async with bench.open() as transport, trio.open_nursery() as nursery:
        for body in (b"one\r\n", large, b"two\r\n", large, b"three\r\n"):
            nursery.start_soon(bench.deliver_accepted, transport, bench.mail(body=body, content={"at_hand": False}))


# --- The thread ---


@enlist_case("no step of a delivery takes half a second", NEVER_BLOCK)
async def never_blocks(bench: Bench) -> None:
    async with bench.open() as transport:
        longest = min([await _longest_step(bench, transport) for _ in range(3)])  # a busy machine is slow now and then
    require(longest < _MOST_STEP_SECONDS, f"one step took {longest:.1f} s")


async def _longest_step(bench: Bench, transport: Transport) -> float:
    watch = _StepWatch()
    trio.lowlevel.add_instrument(watch)
    await trio.lowlevel.checkpoint()  # so that the first step is one that is watched
    try:
        await bench.deliver(transport, bench.mail())
    finally:
        trio.lowlevel.remove_instrument(watch)
    return watch.longest


class _StepWatch(trio.abc.Instrument):
    def __init__(self) -> None:
        self._begun: float | None = None
        self.longest = 0.0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self._begun = time.perf_counter()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if self._begun is not None:
            self.longest = max(self.longest, time.perf_counter() - self._begun)
