"""Plays the demo: starts the servers and an engine, sends, follows the events, and has what really happened verified."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import trio

from ... import open_engine
from ...engine import Engine
from ...errors import PostroadError
from ...events import Event, RecipientDeferred, RecipientDelivered, ReportQueued
from ...log import configure_logging
from ...receipt import Outcome, Receipt
from .letters import LETTERS, MARIA, configuration, mailbox_of
from .servers import Server, started
from .timeline import Timeline
from .verify import Evidence, Result, verify

__all__ = ["play"]

_LIMIT_SECONDS = 20.0
_ACCEPTS = "250 2.1.5 Ok"
_GREYLISTS = "451 4.7.1 Greylisted, please try again later"
_REFUSES = "550 5.1.1 No such user here"


def play(folder: Path | None, timeline: Timeline) -> Result:
    """Run the whole demo and say what came of it.  The folder is kept."""
    begun = time.monotonic()
    place = _empty(folder)
    with (place / "engine.log").open("w", encoding="utf-8") as log:
        configure_logging("info", json=True, stream=log)
        with started(("first", "second", "third"), place) as servers:
            timeline.opening(place, {server.name: (server.port, server.pid) for server in servers})
            outcomes = trio.run(_run_engine, place, servers, timeline)
            first, second, third = servers
            evidence = Evidence(first, second, third, mailbox_of(place), outcomes)
            return verify(evidence, folder=place, seconds=time.monotonic() - begun, limit=_LIMIT_SECONDS)


def _empty(folder: Path | None) -> Path:
    """A folder with nothing in it: what an earlier run left would be taken for this one's."""
    if folder is None:
        return Path(tempfile.mkdtemp(prefix="postroad-demo-"))
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise PostroadError(f"{folder} is not empty; name a folder that is, or none")
    return folder.absolute()


async def _run_engine(folder: Path, servers: Sequence[Server], timeline: Timeline) -> dict[str, Outcome]:
    first, second, third = servers
    await trio.to_thread.run_sync(first.tell, _ACCEPTS)
    await trio.to_thread.run_sync(third.tell, _REFUSES)
    config = folder / "postroad.toml"
    await trio.Path(config).write_text(configuration([server.port for server in servers]), encoding="utf-8")
    async with open_engine(config) as engine:
        return await _follow(engine, _Script(second, timeline))


class _Script:
    """Changes the second server's mind as the story goes on, and knows when it is over."""

    def __init__(self, second: Server, timeline: Timeline) -> None:
        self._second = second
        self._timeline = timeline
        self._minds = iter((_GREYLISTS, _ACCEPTS))
        self._waiting = {*LETTERS, "report"}
        self._report_id = ""

    @property
    def is_over(self) -> bool:
        return not self._waiting

    async def go_on(self, event: Event) -> None:
        self._timeline.event(event)
        match event:
            case RecipientDeferred(recipient=recipient) if recipient == MARIA:
                await self._change_mind()
            case RecipientDelivered(id=id) if id == self._report_id:
                self._waiting.discard("report")
            case RecipientDelivered(recipient=recipient):
                self._waiting.discard(recipient)
            case ReportQueued():
                self._report_id = event.report_id
                self._waiting -= set(event.recipients)
            case _:
                pass

    async def _change_mind(self) -> None:
        answer = next(self._minds, None)
        if answer is not None:
            await trio.to_thread.run_sync(self._second.tell, answer)
            self._timeline.aside(f"from now on the server of example.org answers: {answer}")


async def _follow(engine: Engine, script: _Script) -> dict[str, Outcome]:
    """Send, and follow the events until the story is over or its time is up; then ask what became of each message."""
    receipts: dict[str, Receipt] = {}
    async with engine.events() as events:
        with trio.move_on_after(_LIMIT_SECONDS - 3):
            for recipient, letter in LETTERS.items():
                receipts[recipient] = await engine.send_mail(**letter)
            async for event in events:
                await script.go_on(event)
                if script.is_over:
                    break
        return {recipient: await receipt.outcome() for recipient, receipt in receipts.items()}
