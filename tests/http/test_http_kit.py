"""check_transport with every provider's fake."""

from __future__ import annotations

import trio
import trio.testing
from http_peer import Mode, Reply, http_peer
from http_road import Road, always

from postroad.testing import check_transport
from postroad.testing.transport_cases_later import CASES
from postroad_http import http_transport

CLOSED = "http://127.0.0.1:9"  # discard: nobody listens


async def test_it_does_its_duties(road: Road) -> None:
    report = await check_transport(
        http_transport,
        road.settings,
        handed_over=lambda: [mail.octets for mail in road.fake.mails],
        refused_recipient="refused@example.org",
        broken={**road.settings, "base_url": CLOSED},
        skip={"silent_peer"},
    )
    assert not [result for result in report.results if result.skipped and result.case != "silent_peer"]


async def test_a_silent_peer_holds_it_no_longer_than_the_doubt(
    road: Road, autojump_clock: trio.testing.MockClock
) -> None:
    async with http_peer(always(Reply()), always(Reply(mode=Mode.SILENT))) as silent:
        await check_transport(
            http_transport,
            road.settings,
            silent={**road.settings, "base_url": silent.url},
            skip={case.name for case in CASES} - {"silent_peer"},
        )
