"""An actor that raises, at any note or in the middle of its work: the ring begins anew, or the engine ends; nothing is lost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio
from cuts import undisturbed
from scene import DEFERRED, MEMORY, REFUSED, Scene

from postroad import Engine, EngineClosed, EngineCrashed, StoreError
from postroad.actors.bounce import Bounce
from postroad.actors.delivery import Delivery
from postroad.actors.intake_parts import IntakeParts
from postroad.actors.leases import LeaseBook
from postroad.actors.notes import Attempted, Drain, FailuresWaiting, Leased, Returned, Room, Settled, Wake
from postroad.actors.policy import Policy
from postroad.actors.queue import Queue
from postroad.actors.record import Recorder
from postroad.testing import ScriptedTransport

NOTES = [
    *((Queue, "_take", kind) for kind in (Wake, Room, Settled, Drain)),
    *((Policy, "_take", kind) for kind in (Leased, Attempted)),
    *((Bounce, "_take", kind) for kind in (FailuresWaiting, Returned)),
]
WORK = [
    (Queue, "_commit"),
    (Queue, "_add_settlement"),
    (Queue, "_settle"),
    (Queue, "_begin"),
    (Queue, "_pass_on"),
    (IntakeParts, "_begin"),
    (LeaseBook, "end"),
    (Recorder, "accepted"),
    (Recorder, "settled"),
    (Policy, "_leave_all"),
    (Policy, "_leave"),
    (Policy, "_return"),
    (Policy, "_learn"),
    (Delivery, "_try"),
    (Delivery, "_pass_on"),
    (Bounce, "_work"),
    (Bounce, "_wait_for_notes"),
]
POINTS = [*NOTES, *((cls, name, object) for cls, name in WORK)]


class Foreign(BaseException):
    """As asyncio.CancelledError, or pytest's own."""


class Unspeakable(Exception):
    """Trio itself asks for its repr, so that shall work."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


KINDS: list[Callable[[], BaseException]] = [
    MemoryError,
    RecursionError,
    StopIteration,
    Unspeakable,
    lambda: ExceptionGroup("several", [ValueError("one"), KeyError("two")]),
    lambda: Foreign("not ours"),
    lambda: BaseExceptionGroup("several", [Foreign("one"), ValueError("two")]),
]


def break_it(
    monkeypatch: pytest.MonkeyPatch, cls: type, name: str, note: type, make: Callable[[], BaseException], times: int
) -> list[object]:
    """Let a method raise, so many times, where its first argument is such a note; return a list of the times."""
    original, raised = getattr(cls, name), list[object]()

    def breaks(self: Any, *args: Any, **options: Any) -> Any:
        if len(raised) < times and isinstance(args[0] if args else None, note):
            raised.append(name)
            raise make()
        return original(self, *args, **options)

    monkeypatch.setattr(cls, name, breaks)
    return raised


async def submit_all(scene: Scene, engine: Engine, turn: int = 0) -> None:
    """What the engine has no answer for, because it failed, is not acknowledged."""
    for what in ("delivered", "refused", "deferred"):
        body = f"{what} {turn}"
        try:
            receipt = await engine.submit(scene.submitting(body, (f"{what}@example.org", "b@example.org")))
        except (StoreError, EngineClosed):
            continue
        scene.acknowledged(body, receipt.id)


async def use(scene: Scene, engine: Engine) -> None:
    await submit_all(scene, engine)
    await engine.receive_bounce(b"From: a@example.com\r\n\r\nHello\r\n")
    while (await engine.status()).messages:  # noqa: ASYNC110  # nothing tells how long a queue is
        await trio.sleep(1)


def carrier() -> ScriptedTransport:
    return ScriptedTransport({"refused@example.org": [REFUSED], "deferred@example.org": [DEFERRED]})


def crashes(scene: Scene) -> int:
    return sum(line["event"] == "ring_crashed" for line in scene.log())


def named(point: tuple[type, str, type]) -> str:
    cls, name, note = point
    return f"{cls.__name__}.{name}" + ("" if note is object else f"({note.__name__})")


@pytest.mark.parametrize("point", POINTS, ids=named)
async def test_an_actor_that_raises_once_begins_anew_and_nothing_is_lost(
    autojump_clock: object, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, point: tuple[type, str, type]
) -> None:
    async with undisturbed():
        scene = Scene(MEMORY, tmp_path)
        raised = break_it(monkeypatch, *point, lambda: RuntimeError("a bug"), 1)
        async with scene.engine(carrier()) as engine:
            await use(scene, engine)
        assert len(raised) == crashes(scene) == 1
        await scene.drain()
        assert scene.broken_promises() == []


@pytest.mark.parametrize("point", POINTS, ids=named)
async def test_an_actor_that_keeps_raising_ends_the_engine_loudly_and_nothing_is_lost(
    autojump_clock: object, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, point: tuple[type, str, type]
) -> None:
    async with undisturbed():
        scene = Scene(MEMORY, tmp_path)
        with monkeypatch.context() as broken:
            break_it(broken, *point, lambda: RuntimeError("a bug"), 1_000_000)
            with pytest.raises(EngineCrashed):
                async with scene.engine(carrier()) as engine:
                    for turn in range(1 if point[2] is Drain else 50):
                        await submit_all(scene, engine, turn)
                        await engine.receive_bounce(b"From: a@example.com\r\n\r\nHello\r\n")
                        await trio.sleep(1)
        assert crashes(scene) == (1 if point[:2] == (Recorder, "settled") else 3)  # which brings leases home, too
        await scene.drain()
        assert scene.broken_promises() == []


@pytest.mark.parametrize("make", KINDS)
async def test_an_actor_may_raise_anything(
    autojump_clock: object, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, make: Callable[[], BaseException]
) -> None:
    async with undisturbed():
        scene = Scene(MEMORY, tmp_path)
        raised = [
            break_it(monkeypatch, cls, name, object, make, 1) for cls, name in ((Policy, "_return"), (Queue, "_settle"))
        ]
        async with scene.engine(carrier()) as engine:
            await use(scene, engine)
        assert [len(each) for each in raised] == [1, 1]
        assert crashes(scene) == 2
        await scene.drain()
        assert scene.broken_promises() == []


@pytest.mark.parametrize("make", [KeyboardInterrupt, SystemExit])
async def test_what_ends_the_program_ends_it_out_of_an_actor_too_and_nothing_is_lost(
    autojump_clock: object, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, make: Callable[[], BaseException]
) -> None:
    async with undisturbed():
        scene = Scene(MEMORY, tmp_path)
        carries = carrier()
        break_it(monkeypatch, Policy, "_return", object, make, 1)
        with pytest.raises(make):
            async with scene.engine(carries) as engine:
                await submit_all(scene, engine)
                await trio.sleep_forever()
        arrived = len(carries.accepted)
        await scene.drain()
        assert scene.broken_promises() == []
        assert arrived > 0
