"""More of them: many calls at once, cancellation, peers in trouble, settings, and what is left behind."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import ExitStack, asynccontextmanager
from typing import Any

import msgspec
import trio
from broken_transports import Judging, Raising, breaks
from honest_transport import LATER, NOBODY, REFUSED, Honest

from postroad import Refusal
from postroad.errors import ConfigError
from postroad.message import Message
from postroad.testing.fakes import ACCEPTED
from postroad.transport import Capabilities, DeliveryRequest, Done, Withdraw
from postroad.verdict import Verdict

KEPT = ExitStack()  # what broken transports leave open, for the test to close


# --- Many at once ---


@breaks("ten_at_once", "large_and_small_at_once")
class Mixing(Honest):
    latest = b""

    async def read(self, request: DeliveryRequest) -> bytes:
        self.latest = await super().read(request)
        await trio.lowlevel.checkpoint()
        return self.latest


@breaks("ten_in_a_row", "opened_again")
class ThreeMails(Raising):
    def is_odd(self, request: DeliveryRequest) -> bool:
        self.count = getattr(self, "count", 0) + 1
        return self.count > 2


@breaks("two_transports")
class OneForAll(Honest):
    users = 0

    @asynccontextmanager
    async def open(self, settings: Any) -> AsyncGenerator[Any]:
        async with super().open(settings):
            self.users += 1
            try:
                yield self
            finally:
                self.users = 0

    async def deliver(self, request: DeliveryRequest) -> Sequence[Verdict]:
        if self.users > 1:
            raise RuntimeError("somebody else uses it")
        return await super().deliver(request)


@breaks("neighbours_of_the_cancelled", "cancelled_together")
class TornByCancelling(Honest):
    """A call that is cancelled leaves the others nothing that works."""

    is_torn = False

    async def deliver(self, request: DeliveryRequest) -> Sequence[Verdict]:
        try:
            verdicts = await super().deliver(request)
        except trio.Cancelled:
            self.is_torn = True
            raise
        if self.is_torn:
            raise RuntimeError("a neighbour was cancelled")
        return verdicts


@breaks("neighbours_of_the_unreadable")
class OneFailsAllFail(Honest):
    failed = False

    async def deliver(self, request: DeliveryRequest) -> Sequence[Verdict]:
        try:
            verdicts = await super().deliver(request)
        except Exception:
            self.failed = True
            raise
        if self.failed:
            raise RuntimeError("a neighbour failed")
        return verdicts


@breaks("ten_silent_at_once")
class OneAfterTheOther(Honest):
    """Deaf to its deadline for a while, and one call waits for the other's."""

    def __init__(self) -> None:
        super().__init__()
        self._turn = trio.Lock()

    async def deliver(self, request: DeliveryRequest) -> Sequence[Verdict]:
        if self.peer != "silent":
            return await super().deliver(request)
        with trio.CancelScope(shield=True):
            async with self._turn:
                await trio.sleep(1.5)
        await trio.lowlevel.checkpoint()
        return [LATER["broken"]]


@breaks("messages_share_calls")
class DeclaresMuch(Honest):
    able = Capabilities(messages_per_call=10)


@breaks("one_refused_at_once")
class OneIsRefusedAllAre(Judging):
    is_spoilt = False

    async def deliver(self, request: DeliveryRequest) -> Sequence[Verdict]:
        self.is_spoilt = self.is_spoilt or request.recipients[0].address == REFUSED
        return await super().deliver(request)

    def judge(self, request: DeliveryRequest, verdicts: list[Any]) -> Any:
        return [NOBODY] * len(verdicts) if self.is_spoilt else verdicts


@breaks("engine_keeps_send_at")
class WaitsForTheMoment(Judging):
    def judge(self, request: DeliveryRequest, verdicts: list[Any]) -> Any:
        return [LATER["broken"]] * len(verdicts) if request.message.send_at else verdicts


@breaks("objection_holds")
class ObjectsToAll(Honest):
    def objection(self, message: Message, recipients: Sequence[str], content: bytes) -> Refusal | None:
        return Refusal(field="content", problem="never")


class Beginner(Honest):
    """Begins attempts in tasks of its own, with something wrong in their end."""

    @asynccontextmanager
    async def open(self, settings: Any) -> AsyncGenerator[Any]:
        async with super().open(settings), trio.open_nursery() as self.nursery:
            yield self
            self.nursery.cancel_scope.cancel()

    def begin_delivery(self, request: DeliveryRequest, done: Done) -> Withdraw:
        self.nursery.start_soon(self._carry, request, done)
        return self.withdraw

    async def _carry(self, request: DeliveryRequest, done: Done) -> None:
        self.end(done, await self.deliver(request))

    def withdraw(self) -> bool:
        return False

    def end(self, done: Done, verdicts: Sequence[Verdict]) -> None:
        done(verdicts)


@breaks("begun_together")
class DoneTwice(Beginner):
    def end(self, done: Done, verdicts: Sequence[Verdict]) -> None:
        done(verdicts)
        done(verdicts)


@breaks("one_recipient", "ten_at_once")
class AnswersNothingBegun(Beginner):
    def end(self, done: Done, verdicts: Sequence[Verdict]) -> None:
        done([])


@breaks("cancelled_at_every_step")
class DoneThoughTakenBack(Beginner):
    def withdraw(self) -> bool:
        return True


@breaks("silent_peer")
class NeverDone(Beginner):
    """Says that the answer will come, and it never does."""


# --- Cancellation and deadlines ---


@breaks("cancelled_with_its_context")
class ClosesWithASigh(Honest):
    @asynccontextmanager
    async def open(self, settings: Any) -> AsyncGenerator[Any]:
        async with super().open(settings):
            try:
                yield self
            finally:
                with trio.CancelScope(shield=True):
                    await trio.sleep(100)


@breaks("silent_peer")
class AcceptsSilence(Honest):
    async def deliver(self, request: DeliveryRequest) -> Sequence[Verdict]:
        if self.peer != "silent":
            return await super().deliver(request)
        request.committing()
        return [ACCEPTED]


class Stubborn(Honest):
    """Waits on when it is cancelled."""

    deaf_to, deaf_seconds = "", 0.0

    async def deliver(self, request: DeliveryRequest) -> Sequence[Verdict]:
        if self.peer == self.deaf_to:
            with trio.CancelScope(shield=True):
                await trio.sleep(self.deaf_seconds)
        return await super().deliver(request)


@breaks("cancelled_at_every_step", "cancelled_in_a_large_content", "cancelled_together")
class DeafForLong(Stubborn):
    deaf_to, deaf_seconds = "", 40.0


@breaks("deadline_to_the_second")
class DeafForAWhile(Stubborn):
    deaf_to, deaf_seconds = "silent", 5.0


@breaks("mute_peer")
class PatientInDoubt(Honest):
    async def wait_for_the_answer(self, request: DeliveryRequest, verdicts: Sequence[Verdict]) -> Sequence[Verdict]:
        if self.peer == "mute":
            with trio.CancelScope(shield=True):
                await trio.sleep(20)
        return await super().wait_for_the_answer(request, verdicts)


# --- Trouble ---


@breaks("broken_peer", "deferring_peer")
class Bouncing(Honest):
    def later(self) -> Verdict:
        return Verdict.refused("no", status="5.0.0")


@breaks("broken_says_why")
class Wordless(Honest):
    def later(self) -> Verdict:
        return msgspec.structs.replace(super().later(), reply="")


@breaks("broken_at_once", "babbling_peer")
class RaisesInTrouble(Honest):
    def later(self) -> Verdict:
        raise OSError("nobody is there")


@breaks("retry_hint")
class Hintless(Honest):
    def later(self) -> Verdict:
        return msgspec.structs.replace(super().later(), retry_after_seconds=None)


@breaks("refused_credentials")
class RecipientsFault(Honest):
    def later(self) -> Verdict:
        return Verdict.deferred("535 no", status="4.7.8")


@breaks("babbling_peer")
class Trusting(Judging):
    def judge(self, request: DeliveryRequest, verdicts: list[Any]) -> Any:
        if self.peer == "babbling":
            request.committing()
            return [ACCEPTED] * len(verdicts)
        return verdicts


@breaks("lost_answer")
class ForgetsTheDoubt(Judging):
    def judge(self, request: DeliveryRequest, verdicts: list[Any]) -> Any:
        return [LATER["broken"]] * len(verdicts) if self.peer == "lost" else verdicts


# --- Settings and secrets ---


class Lax(Honest):
    """Takes any settings, as they are."""

    @asynccontextmanager
    async def open(self, settings: Any) -> AsyncGenerator[Any]:
        known = {key: settings[key] for key in ("password", "peer") if isinstance(settings.get(key), str)}
        async with super().open(known):
            yield self


@breaks("unknown_setting", "setting_of_the_wrong_kind")
class TakesAnything(Lax):
    pass


@breaks("settings_are_left_alone")
class Popping(Honest):
    @asynccontextmanager
    async def open(self, settings: Any) -> AsyncGenerator[Any]:
        async with super().open(settings):
            settings.pop("password", "")
            yield self


@breaks("opens_without_its_peer")
class Impatient(Honest):
    @asynccontextmanager
    async def open(self, settings: Any) -> AsyncGenerator[Any]:
        async with super().open(settings):
            if self.peer == "broken":
                raise ConfigError("peer", "nobody is there")
            yield self


@breaks("refused_settings_keep_their_secrets")
class ShowsAll(Honest):
    @asynccontextmanager
    async def open(self, settings: Any) -> AsyncGenerator[Any]:
        if "no_such_setting" in settings:
            raise ConfigError("no_such_setting", f"is not known among {settings}")
        async with super().open(settings):
            yield self


@breaks("repr_shows_no_secrets")
class Describing(Honest):
    def __repr__(self) -> str:
        return "Describing(password='correct horse')"


# --- The context ---


@breaks("opened_for_nothing")
class SaysHello(Honest):
    @asynccontextmanager
    async def open(self, settings: Any) -> AsyncGenerator[Any]:
        async with super().open(settings):
            self.taken.append(b"Hello")
            yield self


@breaks("errors_pass_through")
class Grouping(Honest):
    @asynccontextmanager
    async def open(self, settings: Any) -> AsyncGenerator[Any]:
        async with super().open(settings), trio.open_nursery():
            yield self


@breaks("nothing_is_kept_of_each_mail")
class OneFileEach(Honest):
    async def deliver(self, request: DeliveryRequest) -> Sequence[Verdict]:
        KEPT.callback(os.close, os.open(os.devnull, os.O_RDONLY))
        return await super().deliver(request)


@breaks("nothing_is_kept_of_each_mail")
class OneThreadEach(Honest):
    async def deliver(self, request: DeliveryRequest) -> Sequence[Verdict]:
        end = threading.Event()
        thread = threading.Thread(target=end.wait)
        thread.start()
        KEPT.callback(thread.join)
        KEPT.callback(end.set)
        return await super().deliver(request)


@breaks("never_blocks")
class Blocking(Honest):
    async def deliver(self, request: DeliveryRequest) -> Sequence[Verdict]:
        time.sleep(0.51)  # noqa: ASYNC251  # what is to be found
        return await super().deliver(request)
