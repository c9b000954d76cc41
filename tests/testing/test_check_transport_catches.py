"""No case of check_transport that cannot fail: each catches a transport that breaks just that, and passes the sound ones."""

from __future__ import annotations

import broken_transports_later
import pytest
from broken_transports import BROKEN
from honest_transport import Honest, Limited, check_all
from trio.testing import MockClock

from postroad.testing.duties import transport_duties
from postroad.testing.transport_cases import CASES
from postroad.testing.transport_suite import TransportFailed

OF_LITTLE = {
    "largest_content",
    "too_large_content",
    "no_eight_bit",
    "no_smtputf8",
    "messages_share_calls",
    "objection_holds",
    "begun_together",
}


async def test_a_sound_transport_passes_every_case_that_it_gives_something_to_try(autojump_clock: MockClock) -> None:
    report = await check_all(Honest())
    assert {result.case for result in report.results if result.skipped} == OF_LITTLE
    assert len(report.results) == len(CASES) >= 60


async def test_one_that_can_do_little_passes_and_refuses_the_rest(autojump_clock: MockClock) -> None:
    report = await check_all(Limited())
    skipped = {result.case for result in report.results if result.skipped}
    assert {"too_large_content", "no_eight_bit", "no_smtputf8", "largest_content"}.isdisjoint(skipped)
    assert len(skipped) < 10


@pytest.mark.parametrize(("case", "kind"), BROKEN, ids=[f"{case}-{kind.__name__}" for case, kind in BROKEN])
async def test_each_case_catches_what_breaks_it(case: str, kind: type[Honest], autojump_clock: MockClock) -> None:
    with pytest.raises(TransportFailed) as caught, broken_transports_later.KEPT:
        await check_all(kind(), only=[case], seconds=1000.0)
    assert [result.case for result in caught.value.report.problems] == [case]


def test_every_case_has_a_transport_that_it_catches() -> None:
    assert [case.name for case in CASES if case.name not in {name for name, _ in BROKEN}] == []
    assert {name for name, _ in BROKEN} <= {case.name for case in CASES}


def test_every_case_tries_a_duty_and_every_duty_is_tried() -> None:
    assert {case.duty for case in CASES} == set(transport_duties())


@pytest.mark.parametrize("argument", ["skip", "only"])
async def test_a_case_that_does_not_exist_is_named(argument: str) -> None:
    with pytest.raises(ValueError, match="there is no case one_recipeint"):
        await check_all(Honest(), **{argument: {"one_recipeint"}})


async def test_a_peer_that_gets_something_made_of_the_content_is_no_fault(autojump_clock: MockClock) -> None:
    class Rendering(Honest):
        async def read(self, request):  # type: ignore[no-untyped-def]
            return b"*" + (await super().read(request)).partition(b"Subject: ")[2].partition(b"\r\n")[0] + b"*"

    with pytest.raises(TransportFailed):
        await check_all(Rendering())
    assert (await check_all(Rendering(), renders=True)).problems == ()
