"""One request on its way through the pool, from `deliver` to its verdicts.  Settled once; whoever settles it wakes `deliver`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import trio

from postroad.transport import DeliveryRequest
from postroad.verdict import Verdict

from .mx import Route

if TYPE_CHECKING:
    from .session import Session

__all__ = ["Handover"]


class Handover:
    """payload: the content as it goes on the wire with the final dot, or None where it is streamed.

    session: who has it now; set by the session, None in the queue.  was_returned: it lost a connection through no fault of
    its own once, and gets a new connection, but not a third chance.  is_withdrawn: nobody waits for it any more.
    """

    __slots__ = (
        "_waiter",
        "error",
        "is_settled",
        "is_withdrawn",
        "payload",
        "request",
        "route",
        "session",
        "verdicts",
        "was_returned",
    )

    def __init__(self, request: DeliveryRequest, route: Route, payload: bytes | None) -> None:
        self.request = request
        self.route = route
        self.payload = payload
        self.session: Session | None = None
        self.is_settled = False
        self._waiter: trio.lowlevel.Task | None = None  # `deliver`, while it waits
        self.verdicts: Sequence[Verdict] = ()
        self.error: Exception | None = None
        self.was_returned = False
        self.is_withdrawn = False

    def settle(self, verdicts: Sequence[Verdict]) -> None:
        """One verdict per recipient, in order."""
        assert len(verdicts) == len(self.request.recipients)
        self.verdicts = verdicts
        self._wake()

    def settle_all(self, verdict: Verdict) -> None:
        """The same verdict for every recipient."""
        self.settle((verdict,) * len(self.request.recipients))

    def fail(self, error: Exception) -> None:
        """Our own trouble, such as content that cannot be read: `deliver` raises it."""
        self.error = error
        self._wake()

    def _wake(self) -> None:
        self.is_settled = True
        if self._waiter is not None:
            trio.lowlevel.reschedule(self._waiter)
            self._waiter = None

    async def wait_settled(self, withdraw: Callable[[], bool]) -> None:
        """Wait for the verdicts.  When cancelled, `withdraw` is asked whether the request can still be taken back: if not, the
        wait goes on until whoever has it settles it, within 20 s, and an answer is then an answer."""
        if self.is_settled:
            await trio.lowlevel.checkpoint()
            return
        self._waiter = trio.lowlevel.current_task()
        await trio.lowlevel.wait_task_rescheduled(lambda _: self._abort(withdraw))

    def _abort(self, withdraw: Callable[[], bool]) -> trio.lowlevel.Abort:
        if not withdraw():
            return trio.lowlevel.Abort.FAILED
        self._waiter = None
        return trio.lowlevel.Abort.SUCCEEDED
