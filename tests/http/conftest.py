"""Fixtures: roads to fakes of providers."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest
from fakes_of_providers import MAKERS
from http_road import Road, road_to


@pytest.fixture(params=sorted(MAKERS))
async def road(request: pytest.FixtureRequest) -> AsyncGenerator[Road]:
    """Every provider in turn."""
    async with road_to(request.param) as found:
        yield found


@pytest.fixture
async def postmark() -> AsyncGenerator[Road]:
    """One that takes fields; for what is the same with all."""
    async with road_to("postmark") as found:
        yield found


@pytest.fixture
async def ses() -> AsyncGenerator[Road]:
    """One that takes messages as they are, for several recipients."""
    async with road_to("ses") as found:
        yield found
