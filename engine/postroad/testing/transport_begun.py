"""Calls a transport that begins attempts at once (`postroad.transport.Beginning`) as the engine does, for the kit's cases."""

from __future__ import annotations

from collections.abc import Sequence

import trio

from ..transport import Beginning, DeliveryRequest, Done, Transport, Withdraw
from ..verdict import Verdict

__all__ = ["deliver_begun"]

_SLACK_SECONDS = 1.0  # behind `doubt_seconds`


class _Answer:
    """Waits for what `done` is called with, and notes what must not be."""

    def __init__(self, misdeeds: list[str]) -> None:
        self._misdeeds = misdeeds
        self._over = trio.Event()
        self._is_back = False
        self.answer: Sequence[Verdict] | Exception | None = None

    def done(self, answer: Sequence[Verdict] | Exception) -> None:
        if self._is_back:
            self._misdeeds.append("`done` was called although `withdraw` had answered True")
        elif self._over.is_set():
            self._misdeeds.append("`done` was called twice")
        else:
            self.answer = answer
            self._over.set()

    async def wait(self, withdraw: Withdraw, doubt_seconds: float) -> None:
        """As the engine: when this is cancelled, for the answer to what was handed over, and that only so long."""
        try:
            await self._over.wait()
        except trio.Cancelled:  # noqa: ASYNC103  # an answer is an answer
            self._is_back = withdraw()
            if self._is_back or not await self._is_answered(doubt_seconds):  # noqa: ASYNC102  # shields itself
                raise

    async def _is_answered(self, doubt_seconds: float) -> bool:
        with trio.move_on_after(doubt_seconds + _SLACK_SECONDS, shield=True):
            await self._over.wait()
        if not self._over.is_set():
            self._misdeeds.append(
                f"`done` was not called within {doubt_seconds:g} s after `withdraw` had answered False"
            )
        return self._over.is_set()


async def deliver_begun(transport: Transport, request: DeliveryRequest, misdeeds: list[str]) -> Sequence[Verdict]:
    """As `deliver`, by `begin_delivery` where the transport can.  misdeeds: gets what its duty T18 forbids."""
    answer = _Answer(misdeeds)
    withdraw = _begin(transport, request, answer.done)
    if answer.answer is not None:
        await trio.lowlevel.checkpoint()
    elif withdraw is None:
        return await transport.deliver(request)
    else:
        await answer.wait(withdraw, request.doubt_seconds)
    if isinstance(answer.answer, Exception):
        raise answer.answer
    assert answer.answer is not None, "it was waited for"
    return answer.answer


def _begin(transport: Transport, request: DeliveryRequest, done: Done) -> Withdraw | None:
    return transport.begin_delivery(request, done) if isinstance(transport, Beginning) else None
