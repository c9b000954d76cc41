"""A fixture for pytest-trio: `world`, a simulated world with a running engine (`simulation.py`).

Name it in a conftest.py: `pytest_plugins = ["postroad.testing.pytest_plugin"]`.  It needs the extra `testing`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from .simulated_world import World
from .simulation import open_simulation

__all__ = ["simulation_options", "world"]


@pytest.fixture
def simulation_options() -> dict[str, Any]:
    """Arguments of `open_simulation` for the fixture `world`; override it to give some."""
    return {}


@pytest.fixture
async def world(simulation_options: dict[str, Any]) -> AsyncGenerator[World]:
    """A simulated world for one test, which runs in virtual time.  The promises are checked when the test is over."""
    async with open_simulation(**simulation_options) as world:
        yield world  # pytest-trio closes it


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests with a world run under a clock that jumps."""
    for item in items:
        if "world" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.trio(run=_run_in_virtual_time))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """With a test that fails goes the end of its world's trace."""
    report = yield
    fixture: Any = getattr(item, "funcargs", {}).get("world")
    world = getattr(fixture, "fixture_value", None)  # of pytest-trio
    if report.when == "call" and report.failed and isinstance(world, World):
        report.sections.append(("The end of the simulation's trace", world.end_of_trace))
    return report


def _run_in_virtual_time(*args: Any, clock: trio.abc.Clock | None = None, **kwargs: Any) -> Any:
    return trio.run(*args, clock=clock or MockClock(autojump_threshold=0), **kwargs)
