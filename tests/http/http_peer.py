"""The scripted server as the fakes of providers want it: what they do not say otherwise is an empty JSON object."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from postroad.testing import HttpMode as Mode
from postroad.testing import HttpPeer, HttpReply
from postroad.testing import HttpRequest as Asked

__all__ = ["Asked", "HttpPeer", "Mode", "Reply", "http_peer"]


@dataclass(frozen=True)
class Reply(HttpReply):
    body: bytes = b"{}"
    headers: Sequence[tuple[str, str]] = (("Content-Type", "application/json"),)


@asynccontextmanager
async def http_peer(
    answer: Callable[[Asked], HttpReply], script: Callable[[Asked], HttpReply | None] = lambda asked: None
) -> AsyncGenerator[HttpPeer]:
    """A peer that listens on loopback while the block runs."""
    peer = HttpPeer(answer, script)
    async with peer.listening():
        yield peer
