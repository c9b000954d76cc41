"""MX delivery with its DNS server and one SMTP server, all on loopback; or with a resolver that needs none."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import trio

from postroad.testing import make_request
from postroad.testing.dns_peer import DnsPeer
from postroad.testing.smtp_peer import Behaviour, SmtpPeer
from postroad.verdict import Verdict
from postroad_smtp import smtp_transport
from postroad_smtp.answers import Found, Status


class Names:
    """A resolver with a fixed zone of (name, kind) to records."""

    def __init__(self, zone: dict[tuple[str, str], Sequence[Any]]) -> None:
        self._zone = zone

    async def look_up_ordinary(self, name: str, kinds: Sequence[str]) -> Sequence[tuple[str, Found, float]]:
        await trio.lowlevel.checkpoint()
        return ()

    async def look_up(self, name: str, kind: str, *, is_odd: bool = False) -> Found:
        await trio.lowlevel.checkpoint()
        records = tuple(self._zone.get((name, kind), ()))
        return Found(Status.FOUND if records else Status.NO_DATA, records, 300.0)


class Wide:
    """A transport without smarthost; its DNS server, and its peer on 127.0.0.1."""

    def __init__(self, transport: Any, dns: DnsPeer, peer: SmtpPeer) -> None:
        self.transport = transport
        self.dns = dns
        self.peer = peer

    async def send(self, domain: str) -> Verdict:
        (verdict,) = await self.transport.deliver(make_request(["b@example.org"], domain=domain))
        return verdict


@asynccontextmanager
async def open_wide(
    zone: Mapping[str, Any] | DnsPeer,
    *,
    allow: Sequence[str] = ("127.0.0.0/8", "::1/128"),
    replies: Any = None,
    host: str = "127.0.0.1",
    **more: Any,
) -> AsyncIterator[Wide]:
    dns = zone if isinstance(zone, DnsPeer) else DnsPeer(zone)
    peer = SmtpPeer(Behaviour(replies))
    async with dns.listening() as server, peer.listening(host) as (_, port):
        settings = {
            "port": port,
            "dns_servers": [server],
            "allow_networks": list(allow),
            "helo": "client.example",
            "dns_seconds": 4.0,
            **more,
        }
        async with smtp_transport(settings) as transport:
            assert transport.capabilities.by_domain
            yield Wide(transport, dns, peer)
    assert peer.faults == []
