"""The fixture `world`: a simulation around an asynchronous test, with the options that the test's module gives."""

from __future__ import annotations

import pytest

pytest_plugins = ["pytester"]

PROGRAM = """
import pytest
from postroad.testing import DAY

@pytest.fixture
def simulation_options():
    return {"seed": 3, "retry": {"give_up_seconds": DAY}}

async def test_a_day(world):
    world.server("example.com")
    world.server("example.org").down(9 * DAY)
    await world.engine.send_mail(sender="a@example.com", to="b@example.org", subject="x", body="y")
    await world.wait_finished()
    assert len(world.mailbox("a@example.com")) == 1
    assert DAY <= world.now <= 1.1 * DAY
    assert world.trace.startswith("seed 3")

async def test_that_fails(world):
    assert world.now == 1

@pytest.mark.parametrize("simulation_options", [{"within": DAY}])
async def test_that_never_ends(world):
    await world.engine.send_mail(sender="a@example.com", to="b@nowhere.example", subject="x", body="y", send_at=2e9)
    await world.wait_finished()
"""


def test_the_fixture_is_there_where_the_plugin_is_named(pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\ntrio_mode = true\n")
    pytester.makeconftest('pytest_plugins = ["postroad.testing.pytest_plugin"]\n')
    pytester.makepyfile(PROGRAM)
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider")
    result.assert_outcomes(passed=1, failed=2)
    result.stdout.fnmatch_lines(["*assert 0.0 == 1*", "*The end of the simulation's trace*", "*event MessageAccepted*"])
    result.stdout.fnmatch_lines(["*not over after 86400 virtual seconds; unfinished: * to b@nowhere.example: WAITING*"])
