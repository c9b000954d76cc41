"""The whole engine, cancelled at every checkpoint of its life: the next one opens at once and brings everything to its end.

A life accepts, leases, delivers, defers, settles, reports, drains and closes.  Its block is cancelled at a step of any of its
tasks: the application's own, the actors', the attempts', a transport's sessions.  `make test` takes some of the points,
POSTROAD_CUTS=1000000 all.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from cuts import cut_at, cut_everywhere, undisturbed
from scene import DEFERRED, MEMORY, REFUSED, SQLITE, Scene

from postroad.testing import ScriptedTransport
from postroad.testing.smtp_peer import ACCEPT, Behaviour, Cut, SmtpPeer

SCRIPT = {"refused@example.org": [REFUSED] * 99, "deferred@example.org": [DEFERRED]}
REPLIES = {
    "RCPT refused@example.org": "550 5.1.1 nobody",
    "RCPT deferred@example.org": ["451 4.7.1 later", ACCEPT],
    ".": [ACCEPT, Cut(), ACCEPT],
}
SCRIPTED, SMTP = "scripted", "smtp"
LETTERS = (
    ("plain", ("b@example.org",), "a@example.com", 0),
    ("mixed", ("b@example.org", "refused@example.org", "deferred@example.org"), "a@example.com", 0),
    ("whose report is refused", ("refused@example.org",), "refused@example.org", 0),
    ("large", ("b@example.org",), "a@example.com", 10),
)


async def live(scene: Scene, sections: Mapping[str, Any]) -> None:
    async with scene.engine(ScriptedTransport(SCRIPT), **sections) as engine:
        for body, recipients, sender, lines in LETTERS:
            receipt = await engine.submit(scene.submitting(body, recipients, sender, lines))
            scene.acknowledged(body, receipt.id)
        while (await engine.status()).messages:  # noqa: ASYNC110  # nothing tells how long a queue is
            await trio.sleep(0.02)


@asynccontextmanager
async def carried_by(carrier: str, scene: Scene) -> AsyncIterator[Mapping[str, Any]]:
    """The sections of the configuration for it."""
    if carrier == SCRIPTED:
        yield {}
        return
    peer = SmtpPeer(Behaviour(REPLIES))
    scene.listen(peer)
    async with peer.listening() as (host, port):
        out = {"plugin": "smtp", "smarthost": f"{host}:{port}", "helo": "client.example"}
        yield {"transports": {"out": out}, "routes": [{"transport": "out"}]}
    assert peer.faults == []


async def cut_life(kind: str, carrier: str, folder: Path, number: int) -> int:
    async with undisturbed():
        scene = Scene(kind, folder)
        async with carried_by(carrier, scene) as sections:
            count = await cut_at(number, lambda: live(scene, sections), with_children=True)
            await scene.drain(**sections)
        assert scene.broken_promises() == []
    return count


@pytest.mark.parametrize(
    ("kind", "carrier", "most"), [(MEMORY, SCRIPTED, 60), (MEMORY, SMTP, 40), (SQLITE, SCRIPTED, 6), (SQLITE, SMTP, 6)]
)
def test_an_engine_that_is_cancelled_at_any_checkpoint_loses_nothing(
    tmp_path: Path, kind: str, carrier: str, most: int
) -> None:
    async def run(number: int) -> int:
        folder = tmp_path / str(number)
        folder.mkdir()
        return await cut_life(kind, carrier, folder, number)

    cut_everywhere(f"{kind}, {carrier}", run, most, jumps=kind == MEMORY)


@pytest.mark.parametrize("kind", [MEMORY, SQLITE])
def test_a_start_and_an_end_that_are_cancelled_at_any_checkpoint_leave_nothing(tmp_path: Path, kind: str) -> None:
    async def run(number: int) -> int:
        folder = tmp_path / str(number)
        folder.mkdir()
        async with undisturbed():
            scene = Scene(kind, folder)

            async def start_and_end() -> None:
                async with scene.engine():
                    pass

            count = await cut_at(number, start_and_end, with_children=True)
            await scene.drain()
            assert scene.broken_promises() == []
        return count

    cut_everywhere(f"start and end, {kind}", run, 60 if kind == MEMORY else 20, jumps=kind == MEMORY)
