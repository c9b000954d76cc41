"""Calls a transport that begins attempts at once (`postroad.transport.Beginning`) as the engine does, for the kit's cases."""

from __future__ import annotations

from collections.abc import Sequence

import trio

from ..transport import Beginning, DeliveryRequest, Done, Transport, Withdraw
from ..verdict import Verdict

__all__ = ["deliver_begun"]


class _Answer:
    """Waits for what `done` is called with, and notes what must not be."""

    def __init__(self, misdeeds: list[str]) -> None:
        self._misdeeds = misdeeds
        self._waiter: trio.lowlevel.Task | None = None
        self._is_back = False
        self.answer: Sequence[Verdict] | Exception | None = None

    def done(self, answer: Sequence[Verdict] | Exception) -> None:
        if self._is_back:
            self._misdeeds.append("`done` was called although `withdraw` had answered True")
        elif self.answer is not None:
            self._misdeeds.append("`done` was called twice")
        else:
            self.answer = answer
            if self._waiter is not None:
                trio.lowlevel.reschedule(self._waiter)

    async def wait(self, withdraw: Withdraw) -> None:
        def abort(_: object) -> trio.lowlevel.Abort:
            self._is_back = withdraw()
            return trio.lowlevel.Abort.SUCCEEDED if self._is_back else trio.lowlevel.Abort.FAILED

        self._waiter = trio.lowlevel.current_task()
        await trio.lowlevel.wait_task_rescheduled(abort)


async def deliver_begun(transport: Transport, request: DeliveryRequest, misdeeds: list[str]) -> Sequence[Verdict]:
    """As `deliver`, by `begin_delivery` where the transport can.  misdeeds: gets what its duty T18 forbids."""
    answer = _Answer(misdeeds)
    withdraw = _begin(transport, request, answer.done)
    if withdraw is None and answer.answer is None:
        return await transport.deliver(request)
    if answer.answer is None and withdraw is not None:
        await answer.wait(withdraw)
    else:
        await trio.lowlevel.checkpoint()
    if isinstance(answer.answer, Exception):
        raise answer.answer
    assert answer.answer is not None, "it was waited for"
    return answer.answer


def _begin(transport: Transport, request: DeliveryRequest, done: Done) -> Withdraw | None:
    return transport.begin_delivery(request, done) if isinstance(transport, Beginning) else None
