"""A road to a fake of a provider: its peer, and a transport to it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from fakes_of_providers import MAKERS, SECRET, Fake
from http_peer import Asked, HttpPeer, Reply, http_peer

from postroad.transport import Transport
from postroad_http import http_transport


@dataclass
class Road:
    """A transport's way to a fake."""

    fake: Fake
    peer: HttpPeer

    @property
    def settings(self) -> dict[str, Any]:
        return {**self.fake.settings, "api_key": SECRET, "base_url": self.peer.url}

    @property
    def is_raw(self) -> bool:
        """Whether the API takes the message as it is."""
        return self.fake.name in ("ses", "mailgun", "sparkpost", "mandrill")

    @asynccontextmanager
    async def open(self, **more: Any) -> AsyncGenerator[Transport]:
        async with http_transport({**self.settings, **more}) as transport:
            yield transport


@asynccontextmanager
async def road_to(name: str) -> AsyncGenerator[Road]:
    fake = MAKERS[name]()
    async with http_peer(fake.answer) as peer:
        yield Road(fake, peer)


def always(reply: Reply) -> Any:
    def script(asked: Asked) -> Reply:
        return reply

    return script
