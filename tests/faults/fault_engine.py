"""An engine with the SMTP transport before a scripted server, and what it tells on the way."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import trio
from fault_case import Case, Expected
from structlog.testing import capture_logs

from postroad import Submission
from postroad.events import Event
from postroad.testing import open_test_engine, test_config
from postroad.testing.smtp_behaviour import EXTENSIONS
from postroad.testing.smtp_peer import Behaviour, SmtpPeer

__all__ = ["CONTENT", "MAIL", "Run", "engine_case", "outcome_of", "running"]

CONTENT = (
    b"From: a@example.com\r\nDate: Thu, 01 Jan 2026 00:00:00 +0000\r\nSubject: Hello\r\n"
    b"Message-ID: <one@example.com>\r\n\r\nHello\r\n"
)
MAIL = Submission(sender="a@example.com", recipients=["b@example.org"], content=CONTENT)


@dataclass
class Run:
    """An engine, its server, and all that was told."""

    engine: Any
    peer: SmtpPeer
    logs: list[Any]
    events: list[Event] = field(default_factory=list[Event])

    async def settle(self, submission: Submission = MAIL) -> str:
        """Submit, wait for the end of all recipients, and say what it was."""
        return await outcome_of(await self.engine.submit(submission))

    def saw(self, kind: type) -> bool:
        return any(isinstance(event, kind) for event in self.events)


async def outcome_of(receipt: Any) -> str:
    outcome = await receipt.settled()
    return " + ".join(
        "delivered" if one.state == "accepted" else f"{one.state} {one.status}" for one in outcome.recipients.values()
    )


@asynccontextmanager
async def running(
    replies: Mapping[str, Any] | None = None, *, extensions: Sequence[str] = EXTENSIONS
) -> AsyncIterator[Run]:
    peer = SmtpPeer(Behaviour(replies, extensions=extensions))
    async with peer.listening() as (host, port):
        transport = {"plugin": "smtp", "smarthost": f"{host}:{port}", "helo": "client.example"}
        config = test_config(transports={"out": transport}, routes=[{"transport": "out"}])
        with capture_logs() as logs:
            async with open_test_engine(config, start=1_767_225_600.0) as engine, trio.open_nursery() as nursery:
                run = Run(engine, peer, logs)
                await nursery.start(_listen, run)
                yield run
                nursery.cancel_scope.cancel()
    assert peer.faults == []


async def _listen(run: Run, *, task_status: trio.TaskStatus[None]) -> None:
    async with run.engine.events() as events:
        task_status.started()
        async for event in events:
            run.events.append(event)


def engine_case(
    row: str,
    what: str,
    meet: Callable[[], Any],
    *outcomes: str,
    facts: tuple[str, ...] = (),
    variant: str = "whole engine",
    seconds: tuple[float, float] = (0, 1),
    has_threads: bool = False,
) -> Case:
    expected = Expected(outcomes=outcomes, seconds=seconds, is_next_delivered=None, facts=facts)
    return Case(row=row, what=what, variant=variant, meet=meet, expected=expected, has_threads=has_threads)
