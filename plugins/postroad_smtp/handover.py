"""One request on its way through the pool to its verdicts.  Settled once; that wakes `deliver`, or calls who began it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import trio

from postroad.transport import DeliveryRequest, Done
from postroad.verdict import Disposition, Verdict

from .mx import Route

if TYPE_CHECKING:
    from .session import Session

__all__ = ["Handover"]

_HANDED_OVER = frozenset({Disposition.ACCEPTED, Disposition.IN_DOUBT})


class Handover:
    """payload: the content as it goes on the wire with the final dot, or None where it is streamed.  plain: the same content
    undotted, where a chunk may want it.

    session: who has it now; set by the session, None in the queue.  was_returned: it lost a connection through no fault of
    its own once, and gets a new connection, but not a third chance.  was_confused: the same for a server that chokes on
    what it offers itself.  is_withdrawn: its call was cancelled; nothing more is begun for it.
    excess: recipients, by index, that a transaction had no room for.
    done: what to call once with its verdicts, or with the error; who waits in `wait_settled` is woken by one of its own.
    """

    __slots__ = (
        "_done",
        "_verdicts",
        "error",
        "excess",
        "is_settled",
        "is_withdrawn",
        "payload",
        "plain",
        "request",
        "route",
        "session",
        "was_confused",
        "was_returned",
    )

    def __init__(
        self,
        request: DeliveryRequest,
        route: Route,
        payload: bytes | None,
        plain: bytes | None = None,
        done: Done | None = None,
    ) -> None:
        self.request = request
        self.route = route
        self.payload = payload
        self.plain = plain
        self.session: Session | None = None
        self.is_settled = False
        self._done: Done | None = done
        self._verdicts: list[Verdict | None] = [None] * len(request.recipients)
        self.error: Exception | None = None
        self.was_returned = False
        self.was_confused = False
        self.is_withdrawn = False
        self.excess: set[int] = set()

    # --- Verdicts, one for each recipient ---

    def open(self) -> Sequence[int]:
        """The recipients without a verdict, by index."""
        return [index for index, verdict in enumerate(self._verdicts) if verdict is None]

    def has_open(self, indexes: Sequence[int]) -> bool:
        """Whether one of these recipients has no verdict."""
        verdicts = self._verdicts
        for index in indexes:  # noqa: SIM110 - asked three times a message, and mostly true at once
            if verdicts[index] is None:
                return True
        return False

    @property
    def was_handed_over(self) -> bool:
        """Whether a recipient was, or may have been, accepted already, so that the verdicts must not be thrown away."""
        return any(verdict is not None and verdict.disposition in _HANDED_OVER for verdict in self._verdicts)

    @property
    def had_trouble(self) -> bool:
        """Whether it was put back for a connection's sake: the next one is better a new one."""
        return self.was_returned or self.was_confused

    def judge(self, index: int, verdict: Verdict) -> None:
        self._verdicts[index] = verdict

    def judge_open(self, index: int, verdict: Verdict) -> None:
        """The same, unless there is one already."""
        if self._verdicts[index] is None:
            self._verdicts[index] = verdict

    @property
    def verdicts(self) -> Sequence[Verdict]:
        """In the recipients' order; all there once it is settled."""
        return [verdict for verdict in self._verdicts if verdict is not None]

    def settle_if_judged(self) -> None:
        """Wake `deliver` if every recipient has its verdict."""
        if not self.is_settled and None not in self._verdicts:
            self._wake()

    def settle_rest(self, verdict: Verdict) -> None:
        """The verdict for every recipient that has none yet."""
        self._verdicts = [verdict if one is None else one for one in self._verdicts]
        self.settle_if_judged()

    def fail(self, error: Exception, verdict: Verdict) -> None:
        """Our own trouble, such as content that cannot be read: `deliver` raises it.  But where a recipient was accepted already,
        or may have been, that must not be forgotten; then `verdict` is for those who have none."""
        if self.was_handed_over:
            self.settle_rest(verdict)
            return
        self.error = error
        self._wake()

    def _wake(self) -> None:
        self.is_settled = True
        done, self._done = self._done, None
        if done is not None:
            done(self.error or self.verdicts)

    def forget_done(self) -> None:
        """It is taken back: its verdicts are nobody's."""
        self._done = None

    async def wait_settled(self, withdraw: Callable[[], bool]) -> None:
        """Wait for the verdicts.  When cancelled, `withdraw` is asked whether the request can still be taken back: if not, the
        wait goes on until whoever has it settles it, within `doubt_seconds`, and an answer is then an answer."""
        if self.is_settled:
            await trio.lowlevel.checkpoint()
            return
        task = trio.lowlevel.current_task()
        self._done = lambda _: trio.lowlevel.reschedule(task)
        await trio.lowlevel.wait_task_rescheduled(
            lambda _: trio.lowlevel.Abort.SUCCEEDED if withdraw() else trio.lowlevel.Abort.FAILED
        )
