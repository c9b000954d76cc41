"""The other side: servers that do what their domain's mood says, and write down what reached them and what they accepted.

It is a transport, so that no socket stands between the rules and a verdict; `tests/crash` has a real server behind real SMTP.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from email import message_from_bytes
from email.message import Message
from typing import Any, TypeAlias

import trio

from postroad import Verdict, hookimpl
from postroad.clock import Clock
from postroad.store.contract import LeasedRecipient
from postroad.testing.promises import Arrival, Attempt, forbidden_octets
from postroad.transport import Capabilities, DeliveryRequest
from postroad.verdict import Scope

__all__ = ["MOODS", "MoodyServers"]

Answer: TypeAlias = Any  # also what no transport should answer
_OK = Verdict.accepted("250 2.0.0 taken")
_LATER = Verdict.deferred("451 4.7.1 later", status="4.7.1")
_NOBODY = Verdict.refused("550 5.1.1 nobody", status="5.1.1")
_DOWN = Verdict.deferred("421 4.3.2 down", status="4.3.2", scope=Scope.SITE)
_WRONG = Verdict.deferred("535 5.7.8 wrong password", status="5.7.8", scope=Scope.TRANSPORT)
_BUSY = Verdict.postponed("too many open files")
_CUT = Verdict.in_doubt("connection lost after the dot", handed_over=True)
_TORN = Verdict.in_doubt("connection lost within the content")


class MoodyServers:
    """moods: by domain.  now: Unix seconds.  kill: ends the engine's process.  is_alive: from whom something can still come."""

    clock: Clock  # of the engine that lives now
    capabilities = Capabilities(by_domain=True, recipients_per_call=3)

    def __init__(
        self, moods: Mapping[str, str], now: Callable[[], float], kill: Callable[[], None], is_alive: Callable[[], bool]
    ) -> None:
        self._moods = moods
        self._now = now
        self._kill = kill
        self._is_alive = is_alive
        self.arrivals: list[Arrival] = []
        self.attempts: list[Attempt] = []
        self._mood_of: dict[str, str] = {}  # by the attempt's id: moods change while it is under way
        self.doubtful: list[bool] = []  # of each attempt: whether its answer is never seen after a hand-over began
        self.is_time_sure = True  # until a clock is set back: what was due before may then be tried at any time
        self.too_early: list[str] = []  # ids of messages that came before their time
        self.under_way: set[tuple[str, str]] = set()

    async def deliver(self, request: DeliveryRequest) -> Answer:
        assert request.domain is not None
        self.under_way.update(places := _places(request))
        try:
            mood = self._mood_of[request.id] = self._moods.get(request.domain, "willing")
            return await MOODS[mood](self, request)
        finally:
            self.under_way.difference_update(places)

    def meet(self, request: DeliveryRequest) -> None:
        assert request.domain is not None
        if not self._is_alive():
            return
        self.attempts.append(Attempt(request.domain, self._now(), _places(request)))
        self.doubtful.append(False)
        if self.is_time_sure and self.clock.now() < (request.message.send_at or 0.0):
            self.too_early.append(request.message.id)

    def commit(self, request: DeliveryRequest) -> None:
        """From here on it may arrive; an attempt before this, cut short, leaves no doubt."""
        request.committing()
        if self._mood_of[request.id] in _DOUBTFUL and self._is_alive():
            places = _places(request)
            self.doubtful[max(n for n, attempt in enumerate(self.attempts) if attempt.places == places)] = True

    async def take(self, request: DeliveryRequest, recipients: Iterable[LeasedRecipient]) -> None:
        """Accept it for these, from here on."""
        content = await request.content.read()
        if not self._is_alive():
            await trio.sleep_forever()
        self.commit(request)
        message = message_from_bytes(content)
        id, body = message["Message-ID"].strip("<>").partition("@")[0], content.partition(b"\r\n\r\n")[2].split()[0]
        forbidden, failed = forbidden_octets(content), _failed_places(message)
        self.arrivals += [Arrival(id, each.address, body.decode(), forbidden, failed) for each in recipients]

    # --- moods ---

    async def willing(self, request: DeliveryRequest) -> Answer:
        self.meet(request)
        await self.take(request, request.recipients)
        return [_OK] * len(request.recipients)

    async def slow(self, request: DeliveryRequest) -> Answer:
        self.meet(request)
        await trio.sleep(100)
        await self.take(request, request.recipients)
        return [_OK] * len(request.recipients)

    async def mixed(self, request: DeliveryRequest) -> Answer:
        self.meet(request)
        verdicts = [(_OK, _LATER, _NOBODY)[number % 3] for number in range(len(request.recipients))]
        await self.take(request, request.recipients[::3])
        return verdicts

    async def local(self, request: DeliveryRequest) -> Answer:
        return [_BUSY] * len(request.recipients)

    async def unanswered(self, request: DeliveryRequest) -> Answer:
        self.meet(request)
        await self.take(request, request.recipients)
        return [_CUT] * len(request.recipients)

    async def torn(self, request: DeliveryRequest) -> Answer:
        self.meet(request)
        self.commit(request)
        return [_TORN] * len(request.recipients)

    async def silent(self, request: DeliveryRequest) -> Answer:
        self.meet(request)
        await trio.sleep_forever()

    async def silent_after_the_dot(self, request: DeliveryRequest) -> Answer:
        self.meet(request)
        await self.take(request, request.recipients)
        await trio.sleep_forever()

    async def raising(self, request: DeliveryRequest) -> Answer:
        self.meet(request)
        raise RuntimeError("a bug of the transport")

    async def raising_after_the_dot(self, request: DeliveryRequest) -> Answer:
        self.meet(request)
        await self.take(request, request.recipients)
        raise RuntimeError("a bug of the transport")

    async def nonsense(self, request: DeliveryRequest) -> Answer:
        self.meet(request)
        return ["250 fine"]

    async def killing(self, request: DeliveryRequest) -> Answer:
        self.meet(request)
        self._kill()
        await trio.sleep_forever()

    async def killing_before_the_dot(self, request: DeliveryRequest) -> Answer:
        self.meet(request)
        self.commit(request)
        self._kill()
        await trio.sleep_forever()

    async def killing_after_the_dot(self, request: DeliveryRequest) -> Answer:
        self.meet(request)
        await self.take(request, request.recipients)
        self._kill()
        await trio.sleep_forever()

    # --- as a plugin ---

    @asynccontextmanager
    async def _factory(self, settings: Mapping[str, Any]) -> AsyncIterator[MoodyServers]:
        yield self

    @hookimpl
    def postroad_register_transports(self, register: Callable[[str, Any], None]) -> None:
        register("moody", self._factory)


def _all(verdict: Verdict) -> Callable[[MoodyServers, DeliveryRequest], Awaitable[Answer]]:
    async def answer(servers: MoodyServers, request: DeliveryRequest) -> Sequence[Verdict]:
        servers.meet(request)
        return [verdict] * len(request.recipients)

    return answer


MOODS: dict[str, Callable[[MoodyServers, DeliveryRequest], Awaitable[Answer]]] = {
    "willing": MoodyServers.willing,
    "slow": MoodyServers.slow,
    "mixed": MoodyServers.mixed,
    "later": _all(_LATER),
    "refusing": _all(_NOBODY),
    "down": _all(_DOWN),
    "wrong password": _all(_WRONG),
    "local trouble": MoodyServers.local,
    "unanswered": MoodyServers.unanswered,
    "torn": MoodyServers.torn,
    "silent": MoodyServers.silent,
    "silent after the dot": MoodyServers.silent_after_the_dot,
    "raising": MoodyServers.raising,
    "raising after the dot": MoodyServers.raising_after_the_dot,
    "nonsense": MoodyServers.nonsense,
    "killing": MoodyServers.killing,
    "killing before the dot": MoodyServers.killing_before_the_dot,
    "killing after the dot": MoodyServers.killing_after_the_dot,
}


_DOUBTFUL = {
    "unanswered",
    "torn",
    "silent after the dot",
    "raising after the dot",
    "killing before the dot",
    "killing after the dot",
}


def _places(request: DeliveryRequest) -> tuple[tuple[str, str], ...]:
    return tuple((request.message.id, recipient.address) for recipient in request.recipients)


def _failed_places(message: Message) -> tuple[tuple[str, str], ...]:
    """Of a report of failure: the message it answers, and the recipients of its second part (RFC 3464 section 2.3)."""
    parts = [part for part in message.walk() if part["Action"] == "failed"]
    if not parts:
        return ()
    id = message["In-Reply-To"].strip("<>").partition("@")[0]
    return tuple((id, part["Final-Recipient"].partition(";")[2].strip()) for part in parts)
