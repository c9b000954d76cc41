"""Many messages at once through a server that does anything at any time: the outcomes are those that the server knows of."""

from __future__ import annotations

import math
import random
from collections import Counter
from typing import Any

import pytest
import trio
from smtp_road import OpenRoad, Road
from trio.testing import MockClock

from postroad.testing.smtp_peer import (
    ACCEPT,
    Behaviour,
    Connection,
    Cut,
    Delay,
    Drip,
    Raw,
    Reaction,
    Reset,
    Silence,
    SmtpPeer,
)
from postroad.verdict import Disposition, Verdict

LARGE = b"Subject: Large\r\n\r\n" + b".0123456789abcdef\r\n" * 80_000
SMALL = b"Subject: Small\r\n\r\n.dot\r\n"
WAYS: tuple[tuple[dict[str, Any], tuple[str, ...]], ...] = (
    ({}, ("PIPELINING", "SIZE")),
    ({}, ("PIPELINING", "CHUNKING", "LIMITS RCPTMAX=2")),
    ({"pipelining": "off"}, ("CHUNKING", "LIMITS RCPTMAX=1 MAILMAX=3")),
    ({"chunking": "on"}, ("PIPELINING", "CHUNKING")),
    ({"protocol": "lmtp"}, ("PIPELINING",)),
    ({"protocol": "lmtp", "chunking": "on", "pipelining": "off"}, ("CHUNKING", "LIMITS RCPTMAX=2")),
    ({"messages_per_session": 2}, ()),
)


class Moody(Behaviour):
    """One answer in so many is something else."""

    def __init__(self, rng: random.Random, extensions: tuple[str, ...]) -> None:
        super().__init__(extensions=extensions)
        self._rng = rng

    def react(self, verb: str, argument: str, connection: Connection) -> Reaction:
        if self._rng.random() > 0.08:
            return ACCEPT
        moods: tuple[Reaction, ...] = (
            Cut(),
            Reset(),
            Silence(),
            "421 4.3.2 Bye",
            "451 4.3.0 Later",
            "452 4.5.3 Too many",
            "503 5.5.1 What?",
            "550 5.7.1 No",
            Raw(b"nonsense\r\n"),
            Raw(b"25", then_cut=True),
            Drip("451 4.3.0 Slowly", 0.5),
            Delay(30.0, ACCEPT),
        )
        return self._rng.choice(moods)


@pytest.mark.parametrize("way", range(len(WAYS)))
@pytest.mark.parametrize("seed", range(6))
async def test_every_recipient_has_the_outcome_that_the_server_knows_of(
    road: OpenRoad, seed: int, way: int, autojump_clock: MockClock
) -> None:
    settings, extensions = WAYS[way]
    rng = random.Random(seed)
    peer = SmtpPeer(Moody(rng, extensions), lmtp=settings.get("protocol") == "lmtp")
    outcomes: dict[str, Verdict | None] = {}
    async with road(peer=peer, sessions=3, is_strict=False, **settings) as open_road, trio.open_nursery() as nursery:
        for number in range(25):
            nursery.start_soon(_send, open_road, number, rng, outcomes)
    assert trio.current_time() < 25 * 2000
    taken = Counter(recipient for each in peer.transactions for recipient in each.recipients)
    assert {each.content for each in peer.transactions} <= {SMALL, LARGE}
    for recipient, verdict in outcomes.items():
        match verdict and verdict.disposition:
            case Disposition.ACCEPTED:
                assert taken[recipient] == 1, (recipient, verdict)
            case Disposition.IN_DOUBT:
                assert taken[recipient] <= 1, (recipient, verdict)
            case _:
                assert taken[recipient] == 0, (recipient, verdict)


async def _send(road: Road, number: int, rng: random.Random, outcomes: dict[str, Verdict | None]) -> None:
    """One message in five is cancelled; a recipient of one that was has no outcome, and must not get it later either."""
    names = [f"m{number}.{index}@example.org" for index in range(rng.choice((1, 1, 2, 5)))]
    outcomes.update(dict.fromkeys(names))
    patience = rng.choice((0.5, 3.0, 10.0)) if rng.random() < 0.2 else math.inf
    began = trio.current_time()
    with trio.move_on_after(patience):
        verdicts = await road.send(*names, content=LARGE if number % 8 == 7 else SMALL)
        outcomes.update(zip(names, verdicts, strict=True))
    assert trio.current_time() - began <= patience + 21
