"""check_transport with every provider's fake."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import trio
import trio.testing
from http_peer import Mode, Reply, http_peer
from http_road import Road, always

from postroad.testing import check_transport
from postroad.testing.transport_suite import CASES
from postroad_http import http_transport

CLOSED = "http://127.0.0.1:9"  # discard: nobody listens


# Where the API takes fields, the provider writes the header: it folds as it likes, and a field that is there twice is refused.
WRITTEN_ANEW = {"header_fields"}
TOO_MANY = Reply(429, headers=(("Retry-After", "120"),))


@asynccontextmanager
async def other_peers(road: Road) -> AsyncGenerator[dict[str, dict[str, Any]]]:
    """What the kit calls the peers that are in trouble, and the settings that lead to each."""
    async with (
        http_peer(always(Reply(mode=Mode.CUT_AFTER))) as lost,
        http_peer(always(TOO_MANY)) as deferring,
        http_peer(always(Reply(401))) as forbidden,
        http_peer(always(Reply(body=b"\xff{ nonsense"))) as babbling,
    ):
        peers = {"lost": lost, "deferring": deferring, "forbidden": forbidden, "babbling": babbling}
        yield {name: {**road.settings, "base_url": peer.url} for name, peer in peers.items()}


async def test_it_does_its_duties(road: Road) -> None:
    async with other_peers(road) as others:
        report = await check_transport(
            http_transport,
            road.settings,
            handed_over=lambda: [mail.octets for mail in road.fake.mails],
            refused_recipient="refused@example.org",
            broken={**road.settings, "base_url": CLOSED},
            retry_after_seconds=120,
            calls=lambda: len(road.peer.asked),
            skip={case.name for case in CASES if {"silent", "mute"} & set(case.needs)}
            | (set() if road.is_raw else WRITTEN_ANEW),
            **others,
        )
    skipped = {
        result.case: result.skipped for result in report.results if result.skipped and result.skipped != "as asked"
    }
    assert not {case: why for case, why in skipped.items() if why.startswith("needs")}


async def test_a_peer_that_never_answers_holds_it_no_longer_than_the_doubt(
    road: Road, autojump_clock: trio.testing.MockClock
) -> None:
    async with http_peer(always(Reply()), always(Reply(mode=Mode.SILENT))) as silent:
        nobody = {**road.settings, "base_url": silent.url}
        await check_transport(
            http_transport,
            road.settings,
            silent=nobody,
            mute=nobody,
            only={case.name for case in CASES if {"silent", "mute"} & set(case.needs)},
        )
