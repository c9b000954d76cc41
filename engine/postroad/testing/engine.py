"""An engine for tests: memory store, scripted transport, and trio's MockClock, so that five days of retries take a moment.

    async def test_gives_up(autojump_clock):
        async with open_test_engine(transport=ScriptedTransport(...)) as engine:
            receipt = await engine.send_mail(sender="a@example.com", to="b@example.org", subject="Hi", body="Hello")
            outcome = await receipt.settled()

The clock follows trio's: under MockClock (pytest-trio's `autojump_clock` or `mock_clock`) time passes only as tasks sleep.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from ..clock import Clock
from ..config import Config, load_config
from ..engine import Engine
from ..opening import open_engine
from .fakes import ScriptedTransport

__all__ = ["open_test_engine", "test_config"]


def test_config(**sections: Any) -> Config:
    """A configuration for tests: memory spool, everybody may send, everything goes to the transport "scripted".

    Sections given here replace the default ones: `test_config(retry={"first_seconds": 10})`.
    """
    raw: dict[str, Any] = {
        "spool": {"url": "memory:"},
        "senders": {"authorized": ["*"]},
        "reports": {"hostname": "engine.test"},
        "transports": {"scripted": {"plugin": "scripted"}},
        "routes": [{"transport": "scripted"}],
    }
    return load_config({**raw, **sections})


test_config.__test__ = False  # type: ignore[attr-defined]  # pytest would collect it


@asynccontextmanager
async def open_test_engine(
    config: Config | None = None,
    *,
    transport: ScriptedTransport | None = None,
    plugins: Mapping[str, object] | None = None,
    seed: int = 0,
    start: float | None = None,
    **sections: Any,
) -> AsyncGenerator[Engine]:
    """Run an engine as `postroad.open_engine` does, with what a deterministic test wants as defaults.

    transport: what the transport named "scripted" does; by default it accepts everything.
    plugins: further plugin objects by name.  seed: of the jitter.
    start: the wall time at the beginning, Unix seconds; by default the present, so that `send_at=time.time() + 60` fits.
    sections: as for `test_config`, when no config is given.
    """
    config = config or test_config(**sections)
    scripted = transport or ScriptedTransport()
    begun = time.time() if start is None else start
    clock = Clock(follow_wall=False, wall=lambda: begun)
    every = {"scripted": scripted.plugin("scripted"), **(plugins or {})}
    async with open_engine(config, plugins=every, clock=clock, seed=seed) as engine:
        yield engine
