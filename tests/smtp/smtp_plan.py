"""A transport over MX whose connections follow a plan, so that what is dialled, when, and who answers is the test's to say."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import trio
from smtp_wide import Names

from postroad.testing import make_request
from postroad.testing.smtp_peer import SmtpPeer
from postroad.verdict import Verdict
from postroad_smtp.settings import SmtpSettings
from postroad_smtp.transport import SmtpTransport

Step = float | OSError


class Plan:
    """A transport over MX whose connections follow a plan: seconds until the peer answers, or an exception; a list: one each."""

    def __init__(self, addresses: dict[str, Sequence[str]], plan: Mapping[str, Step | list[Step]]) -> None:
        self.dialled: list[tuple[str, float]] = []
        self._plan = plan
        self._zone: dict[tuple[str, str], Sequence[Any]] = {
            ("example.org", "MX"): [(10 * number, host) for number, host in enumerate(addresses, 1)]
        }
        for host, found in addresses.items():
            for kind, is_v6 in (("AAAA", True), ("A", False)):
                self._zone[host, kind] = [address for address in found if (":" in address) is is_v6]

    @asynccontextmanager
    async def running(self, peer: SmtpPeer | Mapping[str, SmtpPeer], **settings: Any) -> AsyncIterator[SmtpTransport]:
        """peer: who is reached, or who at each address."""
        async with trio.open_nursery() as nursery:

            async def dial(address: str, port: int) -> trio.abc.Stream:
                self.dialled.append((address, trio.current_time()))
                planned = self._plan[address]
                step = planned.pop(0) if isinstance(planned, list) else planned
                await trio.sleep(0 if isinstance(step, OSError) else step)
                if isinstance(step, OSError):
                    raise step
                reached = peer if isinstance(peer, SmtpPeer) else peer[address]
                return reached.connect(nursery)

            read = SmtpSettings(helo="client.example", **settings)
            yield (
                transport := SmtpTransport(read, nursery, dial=dial, resolver=Names(self._zone), rng=random.Random(1))
            )
            transport.close()


async def send(transport: SmtpTransport, **more: Any) -> Verdict:
    """One message for example.org, and what became of it."""
    (verdict,) = await transport.deliver(make_request(**{"domain": "example.org", **more}))
    return verdict
