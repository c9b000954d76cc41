"""Engines that end with much under way, hand mail to each other in a circle, have plugins that fail.  Rows 18, 38, 44, 65."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Any

import trio
from fault_case import Case, Seen
from fault_engine import CONTENT, MAIL, engine_case, outcome_of, running
from structlog.testing import capture_logs

from postroad import Filter, Submission, SubmissionError, hookimpl
from postroad.dsn import read_report
from postroad.store.memory import MemoryStore
from postroad.testing import Hang, ScriptedTransport, Slow, open_test_engine
from postroad.testing.fakes import ACCEPTED
from postroad.testing.smtp_peer import ACCEPT
from postroad.transport import Capabilities, DeliveryRequest
from postroad.verdict import Verdict

__all__ = ["cases"]

UNDER_WAY = 999
Deliver = Callable[[DeliveryRequest], Awaitable[Any]]


def cases() -> Iterator[Case]:
    yield engine_case(
        "18",
        f"{UNDER_WAY} attempts: a third answers in time, a third hangs, a third hangs after its hand-over",
        _meet_shutdown,
        "delivered",
        facts=(f"{UNDER_WAY} under way", "the next engine delivers the rest", "twice: only what was announced"),
        seconds=(10, 32),
    )
    for what, replies in (
        ("550 5.1.1 to its RCPT", {"RCPT a@example.com": "550 5.1.1 Unknown"}),
        ("550 5.7.1 to its MAIL FROM:<>", {"MAIL": [ACCEPT, "550 5.7.1 No null sender here"]}),
        ("554 5.6.0 to its final dot", {".": "554 5.6.0 No"}),
    ):
        yield engine_case(
            "38",
            f"a report gets {what}",
            partial(_meet_report, replies),
            "failed 5.1.1",
            facts=("1 report, none on it", "counted as unreported"),
        )
    yield engine_case(
        "44",
        "two engines, each of which sends to the other",
        _meet_loop,
        "delivered",
        facts=("ended after 51 hops", "1 report, to the sender, 5.4.6"),
    )
    for what, deliver, seconds in (
        ("raises an exception", _raises, (270, 400)),
        ("raises what is no Exception", _raises_foreign, (270, 400)),
        ("answers nonsense", _answers_nonsense, (270, 400)),
        ("hangs", _hangs, (3600, 8000)),
    ):
        yield engine_case(
            "65",
            f"a transport {what}",
            partial(_meet_plugin, deliver),
            "delivered",
            facts=("2 attempts", "the others at once"),
            seconds=seconds,
        )


# --- Row 18 ---


class _KeptStore(MemoryStore):
    """Outlives its engines."""

    @hookimpl
    def postroad_register_stores(self, register: Any) -> None:
        register("kept", contextmanager(lambda url, *, folder: iter([self])))


async def _meet_shutdown() -> Seen:
    store = _KeptStore()
    kinds = (Slow(5, ACCEPTED), Hang(), Hang(committed=True))
    names = [f"r{number}@example.org" for number in range(UNDER_WAY)]
    carrier = ScriptedTransport({name: [kinds[number % 3]] for number, name in enumerate(names)}, keep_content=False)
    sections: dict[str, Any] = {
        "plugins": {"kept": store},
        "spool": {"url": "kept:"},
        "in_flight": {"leases": UNDER_WAY},
        "windows": {"start": UNDER_WAY, "max": UNDER_WAY},
    }
    async with open_test_engine(transport=carrier, **sections) as engine:
        await engine.submit_many(
            [Submission(sender="a@example.com", recipients=(name,), content=CONTENT) for name in names]
        )
        await carrier.wait_calls(UNDER_WAY)
        under_way, begun = carrier.running, trio.current_time()
    seconds = trio.current_time() - begun
    following = ScriptedTransport(keep_content=False)
    with capture_logs() as logs:
        async with open_test_engine(transport=following, **sections) as engine:
            while (await engine.status()).messages:  # noqa: ASYNC110  # nothing tells how long a queue is
                await trio.sleep(60)
    arrived = [name for _, name in (*carrier.accepted, *following.accepted)]
    doubtful = {name for number, name in enumerate(names) if number % 3 == 2}
    announced = {line["recipient"] for line in logs if line["event"] == "maybe_duplicate"}
    is_all = sorted(arrived) == sorted(names) and len(carrier.accepted) == UNDER_WAY // 3
    return Seen(
        outcomes=("delivered" if is_all else f"{len(set(arrived))} ARRIVED",),
        seconds=seconds,
        facts=(
            f"{under_way} under way",
            "the next engine delivers the rest" if is_all else "SOME LOST OR TWICE",
            "twice: only what was announced" if announced == doubtful else f"{len(announced)} ANNOUNCED",
        ),
    )


# --- Row 38 ---


async def _meet_report(replies: Mapping[str, Any]) -> Seen:
    async with running({"RCPT b@example.org": "550 5.1.1 Unknown", **replies}) as run:
        outcome = await run.settle()
        seconds = trio.current_time()
        while (await run.engine.status()).messages:  # noqa: ASYNC110  # nothing tells how long a queue is
            await trio.sleep(3600)
        reports = [one for one in await run.engine.find(Filter()) if not one.message.sender]
        by_state = (await run.engine.status()).by_state
    return Seen(
        outcomes=(outcome,),
        seconds=seconds,
        facts=(
            "1 report, none on it" if len(reports) == 1 and not run.peer.transactions else f"{len(reports)} REPORTS",
            "counted as unreported" if by_state.get("unreported") == 1 else f"COUNTED AS {by_state}",
        ),
    )


# --- Row 44 ---


class _Relay:
    """A transport that hands over to another engine, as a server would that stands before it."""

    capabilities = Capabilities()

    def __init__(self) -> None:
        self.next: Any = None
        self.hops = 0

    async def deliver(self, request: DeliveryRequest) -> Sequence[Verdict]:
        content = b"Received: from here by there; Thu, 01 Jan 2026 00:00:00 +0000\r\n" + await request.content.read()
        names = [recipient.address for recipient in request.recipients]
        try:
            await self.next.submit(Submission(sender=request.message.sender, recipients=names, content=content))
        except SubmissionError as error:
            return [Verdict.refused(f"554 5.4.6 {error}", status="5.4.6")] * len(names)
        self.hops += 1
        return [ACCEPTED] * len(names)

    @asynccontextmanager
    async def factory(self, _settings: Any) -> Any:
        yield self

    @hookimpl
    def postroad_register_transports(self, register: Any) -> None:
        register("relay", self.factory)


async def _meet_loop() -> Seen:
    relays, boxes = (_Relay(), _Relay()), (ScriptedTransport(), ScriptedTransport())
    sections: dict[str, Any] = {
        "transports": {"box": {"plugin": "scripted"}, "other": {"plugin": "relay"}},
        "routes": [{"transport": "box", "recipients": "*@example.com"}, {"transport": "other"}],
    }
    async with (
        open_test_engine(transport=boxes[0], plugins={"relay": relays[0]}, **sections) as one,
        open_test_engine(transport=boxes[1], plugins={"relay": relays[1]}, **sections) as two,
    ):
        relays[0].next, relays[1].next = two, one
        outcome = await outcome_of(await one.submit(MAIL))
        seconds = trio.current_time()
        await trio.sleep(3600)
    hops = sum(relay.hops for relay in relays) + 1
    reports = [(call.addresses, read_report(call.content)) for box in boxes for call in box.calls]
    told = [(names, one.status) for names, report in reports if report for one in report.recipients]
    is_one = told == [(("a@example.com",), "5.4.6")]
    return Seen(
        outcomes=(outcome,),
        seconds=seconds,
        facts=(f"ended after {hops} hops", "1 report, to the sender, 5.4.6" if is_one else f"REPORTS {told}"),
    )


# --- Row 65 ---


async def _raises(request: DeliveryRequest) -> None:
    raise RuntimeError("a bug")


class _Foreign(BaseException):
    """As asyncio.CancelledError."""


async def _raises_foreign(request: DeliveryRequest) -> None:
    raise _Foreign


async def _answers_nonsense(request: DeliveryRequest) -> object:
    return object()


async def _hangs(request: DeliveryRequest) -> None:
    await trio.sleep_forever()


class _Failing:
    """A transport that fails once, for b@example.org."""

    capabilities = Capabilities()

    def __init__(self, deliver: Deliver) -> None:
        self._deliver = deliver
        self._is_over = False

    async def deliver(self, request: DeliveryRequest) -> Any:
        if request.recipients[0].address == "b@example.org" and not self._is_over:
            self._is_over = True
            return await self._deliver(request)
        return [ACCEPTED]

    @asynccontextmanager
    async def factory(self, _settings: Any) -> Any:
        yield self

    @hookimpl
    def postroad_register_transports(self, register: Any) -> None:
        register("failing", self.factory)


async def _meet_plugin(deliver: Deliver) -> Seen:
    sections: dict[str, Any] = {"transports": {"out": {"plugin": "failing"}}, "routes": [{"transport": "out"}]}
    other = Submission(sender="a@example.com", recipients=("c@example.org",), content=CONTENT)
    async with open_test_engine(plugins={"failing": _Failing(deliver)}, **sections) as engine:
        receipt = await engine.submit(MAIL)
        others = [await outcome_of(await engine.submit(other)) for _ in range(3)]
        are_at_once = others == ["delivered"] * 3 and trio.current_time() < 1
        outcome = await outcome_of(receipt)
        (recipient,) = (await receipt.outcome()).recipients.values()
    return Seen(
        outcomes=(outcome,),
        seconds=trio.current_time(),
        facts=(f"{recipient.attempts} attempts", "the others at once" if are_at_once else "THE OTHERS WAITED"),
    )
