"""Messages that wait go together: one request for several, where the provider takes them, and to each its own answer.

Nothing waits for company: an idle transport sends at once.  While `_CALLS` requests are under way the next gathers, until one
of them ends, it is full, or a second has passed.  Whoever is cancelled before a request's last octets go is left out, and the
request begins anew without it, because the peer never had it whole; after that it alone waits for its answer, for its
`doubt_seconds`, and cuts nobody else's.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import trio

from .exchange import Exchange, Outcome, Post, Unanswered, Unsent
from .provider import Answer, Batching, Call

__all__ = ["Gathering", "Shared"]

_CALLS = 2  # one is read by the provider while the other is written; with more, each would have less to carry
_PATIENCE_SECONDS = 1.0  # then one request more: a provider that hangs must not stop everybody for its time-out


@dataclass(frozen=True, slots=True)
class Shared:
    """What became of a message.  is_of_all: the answer is the request's, which may be another message's fault."""

    outcome: Outcome
    is_of_all: bool = False


class Gathering:
    """most: messages in a request.  calls: requests at once, at the most."""

    def __init__(self, exchange: Exchange, batching: Batching, nursery: trio.Nursery, *, most: int, calls: int) -> None:
        self._exchange = exchange
        self._batching = batching
        self._nursery = nursery
        self._most = most
        self._calls = calls
        self._waiting: deque[_Share] = deque()
        self._running = 0
        self._is_relieved = False

    async def ask(self, call: Call, committing: Callable[[], None], doubt_seconds: float) -> Shared:
        """As `Exchange.ask`, but perhaps together with others."""
        share = _Share(call, committing)
        self._waiting.append(share)
        self._begin_due()
        await self._wait_settled(share, doubt_seconds)
        assert share.became is not None
        return share.became

    async def _wait_settled(self, share: _Share, doubt_seconds: float) -> None:
        share.waiter = trio.lowlevel.current_task()

        def abort(_: trio.lowlevel.RaiseCancelT) -> trio.lowlevel.Abort:
            if share.round is None:
                self._waiting.remove(share)
                return trio.lowlevel.Abort.SUCCEEDED
            if share.round.is_committed:
                self._nursery.start_soon(self._give_up, share, doubt_seconds)
            else:
                share.is_leaving = True
                share.round.scope.cancel()
            return trio.lowlevel.Abort.FAILED  # it is settled soon

        await trio.lowlevel.wait_task_rescheduled(abort)

    @staticmethod
    async def _give_up(share: _Share, seconds: float) -> None:
        with trio.move_on_after(seconds, shield=True):
            await share.settled.wait()
        if share.became is None and share.round is not None:
            share.settle(Unanswered("no answer in time", share.round.is_handed_over))
            share.round.end_if_forsaken()

    # --- When a request begins ---

    def _begin_due(self) -> None:
        if not self._waiting:
            return
        if self._running < _CALLS or len(self._waiting) >= self._most:
            self._begin()
        elif not self._is_relieved:
            self._is_relieved = True
            self._nursery.start_soon(self._relieve)

    def _begin(self) -> None:
        if self._running < self._calls:
            self._running += 1
            self._nursery.start_soon(self._run)

    async def _relieve(self) -> None:
        while self._waiting:
            await trio.sleep(_PATIENCE_SECONDS)
            if self._waiting:
                self._begin()
        self._is_relieved = False

    async def _run(self) -> None:
        with trio.CancelScope(shield=True):  # whoever waits for it ends it
            await trio.lowlevel.checkpoint()  # others of this turn come along
            shares = self._take()
            self._begin_due()
            while shares:
                shares = await self._carry(shares)
        self._running -= 1
        self._begin_due()

    def _take(self) -> list[_Share]:
        """The first that waits, and those that fit beside it."""
        taken: list[_Share] = []
        octets = 0
        while self._waiting and len(taken) < self._most:
            call = self._waiting[0].call
            octets += len(call.body) + 1
            if taken and (octets > self._batching.call_bytes or call.is_loner or taken[0].call.is_loner):
                break
            taken.append(self._waiting.popleft())
        return taken

    # --- A request ---

    async def _carry(self, shares: Sequence[_Share]) -> list[_Share]:
        """Ask for them; whom it has to be asked for anew, because another of them left."""
        calls = [share.call for share in shares]
        call = calls[0] if len(calls) == 1 else self._batching.join(calls)
        run = _Round(shares)
        run.post = self._exchange.post(call, run.commit)
        outcome: Outcome | None = None
        with run.scope:
            outcome = await run.post.ask(0.0)
        assert outcome is not None, "it ends by saying how, also when cancelled"
        if run.scope.cancel_called and not run.is_committed:
            for share in shares:
                if share.is_leaving:
                    share.settle(Unsent("cancelled"))
            return [share for share in shares if not share.is_leaving]
        for share, became in zip(shares, self._parted(outcome, len(shares)), strict=True):
            share.settle(became.outcome, is_of_all=became.is_of_all)
        return []

    def _parted(self, outcome: Outcome, number: int) -> Sequence[Shared]:
        if number == 1 or not isinstance(outcome, Answer):
            return [Shared(outcome)] * number
        parts = self._batching.split(outcome, number)
        if parts is not None:
            return [Shared(part) for part in parts]
        if outcome.status < 300:  # not a word of each: the reader of one answer must find nothing in it
            return [Shared(Answer(outcome.status, outcome.headers, b""))] * number
        return [Shared(outcome, is_of_all=True)] * number


class _Share:
    """A message's part in a request.  round: the request that it is part of, None while it waits."""

    def __init__(self, call: Call, committing: Callable[[], None]) -> None:
        self.call = call
        self.committing = committing
        self.waiter: trio.lowlevel.Task | None = None
        self.round: _Round | None = None
        self.is_leaving = False
        self.became: Shared | None = None
        self.settled = trio.Event()

    def settle(self, outcome: Outcome, *, is_of_all: bool = False) -> None:
        """Tell who waits, unless it gave up."""
        if self.became is None:
            self.became = Shared(outcome, is_of_all)
            self.settled.set()
            assert self.waiter is not None
            trio.lowlevel.reschedule(self.waiter)


class _Round:
    """A request under way, and whose messages it carries."""

    def __init__(self, shares: Sequence[_Share]) -> None:
        self._shares = shares
        self.scope = trio.CancelScope()
        self.post: Post | None = None
        self.is_committed = False
        for share in shares:
            share.round = self

    @property
    def is_handed_over(self) -> bool:
        return self.post is not None and self.post.is_handed_over

    def commit(self) -> None:
        """Its last octets go now.  Raises where somebody has just left: then they do not."""
        if self.scope.cancel_called:
            raise RuntimeError("somebody left")
        for share in self._shares:
            share.committing()
        self.is_committed = True

    def end_if_forsaken(self) -> None:
        if all(share.became is not None for share in self._shares):
            self.scope.cancel()
