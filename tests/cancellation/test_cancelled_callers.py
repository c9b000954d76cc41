"""Callers of a running engine, cancelled at every checkpoint: what was acknowledged stays, and the engine goes on.

`make test` takes some of the points, POSTROAD_CUTS=1000000 all.
"""

from __future__ import annotations

import io
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeAlias, cast

import pytest
from cuts import cut_at, cut_everywhere, undisturbed
from msgspec import structs
from scene import DEFERRED, MEMORY, SQLITE, Scene

from postroad import Engine, Filter
from postroad.testing import ScriptedTransport

Call: TypeAlias = Callable[[Scene, Engine], Awaitable[object]]


async def submit(scene: Scene, engine: Engine) -> None:
    receipt = await engine.submit(scene.submitting("one", ("b@example.org", "c@example.org")))
    scene.acknowledged("one", receipt.id)


async def submit_large(scene: Scene, engine: Engine) -> None:
    receipt = await engine.submit(scene.submitting("large", ("b@example.org",), lines=10))
    scene.acknowledged("large", receipt.id)


async def submit_open_file(scene: Scene, engine: Engine) -> None:
    """Read by one thread, written by another, stored by a third."""
    written = scene.submitting("large", ("b@example.org",), lines=10)
    with io.BytesIO(cast("bytes", written.content)) as file:
        receipt = await engine.submit(structs.replace(written, content=file))
    scene.acknowledged("large", receipt.id)


async def submit_many(scene: Scene, engine: Engine) -> None:
    bodies = ("one", "large", "two", "three")
    submissions = [scene.submitting(body, ("b@example.org",), lines=10 * (body == "large")) for body in bodies]
    for body, receipt in zip(bodies, await engine.submit_many(submissions), strict=True):
        scene.acknowledged(body, receipt.id)


async def send_mail(scene: Scene, engine: Engine) -> None:
    scene.submitting("Hello", ("b@example.org",))
    receipt = await engine.send_mail(sender="a@example.com", to="b@example.org", subject="Hello", body="Hello\r\n")
    scene.acknowledged("Hello", receipt.id)


async def settled(scene: Scene, engine: Engine) -> None:
    receipt = await engine.submit(scene.submitting("one", ("deferred@example.org",)))
    scene.acknowledged("one", receipt.id)
    assert (await receipt.settled()).is_delivered


async def look(scene: Scene, engine: Engine) -> None:
    await engine.status()
    await engine.find(Filter())


async def listen(scene: Scene, engine: Engine) -> None:
    async with engine.events() as events:
        await submit(scene, engine)
        async for event in events:
            if type(event).__name__ == "RecipientDelivered":
                break


async def read_a_bounce(scene: Scene, engine: Engine) -> None:
    await engine.receive_bounce(b"From: a@example.com\r\n\r\nHello\r\n")


def with_one_waiting(operate: Callable[[Engine, str], Awaitable[object]]) -> Call:
    async def call(scene: Scene, engine: Engine) -> None:
        receipt = await engine.submit(scene.submitting("one", ("deferred@example.org", "b@example.org")))
        scene.acknowledged("one", receipt.id)
        await operate(engine, receipt.id)

    return call


CALLS: dict[str, Call] = {
    "submit": submit,
    "submit, content in a file": submit_large,
    "submit, an open file": submit_open_file,
    "submit_many": submit_many,
    "send_mail": send_mail,
    "settled": settled,
    "status, find": look,
    "events": listen,
    "receive_bounce": read_a_bounce,
    "cancel": with_one_waiting(lambda engine, one: engine.cancel(one)),
    "hold": with_one_waiting(lambda engine, one: engine.hold(Filter(id=one))),
    "release": with_one_waiting(lambda engine, one: engine.release(Filter(id=one))),
    "retry": with_one_waiting(lambda engine, one: engine.retry(Filter(id=one))),
    "take_as_delivered": with_one_waiting(lambda engine, one: engine.take_as_delivered(Filter(id=one))),
}


async def cut_call(kind: str, folder: Path, call: Call, number: int) -> int:
    """One run: the call is cut, the engine goes on with another message, and the next engine brings all to an end."""
    async with undisturbed():
        scene = Scene(kind, folder)
        deferring = ScriptedTransport({"deferred@example.org": [DEFERRED]})
        async with scene.engine(deferring) as engine:
            count = await cut_at(number, lambda: call(scene, engine))
            receipt = await engine.submit(scene.submitting("behind", ("behind@example.org",)))
            scene.acknowledged("behind", receipt.id)
            assert (await receipt.settled()).is_delivered, "the engine goes on"
        await scene.drain()
        assert scene.broken_promises() == []
    return count


def call_is_threaded(name: str) -> bool:
    """Whether threads beside the store's take part, which only happens with a store that has one."""
    return name in ("submit, content in a file", "submit, an open file", "submit_many")


@pytest.mark.parametrize("kind", [MEMORY, SQLITE])
@pytest.mark.parametrize("name", CALLS)
def test_a_call_that_is_cancelled_at_any_checkpoint_harms_nothing(tmp_path: Path, kind: str, name: str) -> None:
    async def run(number: int) -> int:
        folder = tmp_path / str(number)
        folder.mkdir()
        return await cut_call(kind, folder, CALLS[name], number)

    most = 100 if kind == MEMORY else 20 if call_is_threaded(name) else 3
    cut_everywhere(f"{name} ({kind})", run, most, jumps=kind == MEMORY)
