"""check_transport passes a transport that does its duties, and catches each kind that does not."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
import structlog
import trio
from honest_transport import NOBODY, REFUSED, Honest, check
from trio.testing import MockClock

from postroad.log import configure_logging, forget_loggers, get_logger
from postroad.store.contract import LeasedRecipient
from postroad.testing.fakes import ACCEPTED, Hang, ScriptedTransport
from postroad.testing.transport_bench import Bench
from postroad.testing.transport_cases import CASES
from postroad.testing.transport_suite import TransportFailed, check_transport
from postroad.transport import Capabilities, DeliveryRequest
from postroad.verdict import Disposition, Verdict


async def problems(transport: Honest, **more: Any) -> dict[str, str]:
    with pytest.raises(TransportFailed) as caught:
        await check(transport, **more)
    return {result.case: result.problem for result in caught.value.report.problems}


async def test_a_sound_transport_passes() -> None:
    report = await check(Honest())
    assert report.problems == ()
    skipped = {result.case: result.skipped for result in report.results if result.skipped}
    assert skipped["silent_peer"] == "needs silent"
    assert skipped["retry_hint"] == "needs deferring and retry_after_seconds"


async def test_the_scripted_transport_passes(autojump_clock: MockClock) -> None:
    scripted = ScriptedTransport({REFUSED: [NOBODY] * 100})
    silent = ScriptedTransport(default=Hang())
    broken = ScriptedTransport(default=Verdict.deferred("451 4.3.0 later"))

    @asynccontextmanager
    async def factory(settings: Any) -> AsyncGenerator[Any]:
        chosen = {"silent": silent, "broken": broken, "": scripted}[settings["peer"]]
        async with chosen.factory(settings) as transport:
            yield transport

    report = await check_transport(
        factory,
        {"peer": ""},
        handed_over=lambda: [call.content for call in scripted.calls if ACCEPTED in (call.verdicts or ())],
        refused_recipient=REFUSED,
        silent={"peer": "silent"},
        broken={"peer": "broken"},
        skip={  # its factory takes anything, it reads every mail at once, and it keeps every call
            *("unknown_setting", "setting_of_the_wrong_kind", "content_is_let_go"),
            *("large_content", "large_content_in_odd_pieces", "content_that_breaks_off"),
        },
    )
    assert report.problems == ()
    assert len(report.results) == len(CASES)
    assert "broken_peer" in {result.case for result in report.results if not result.skipped}


async def test_the_report_names_case_expectation_and_duty() -> None:
    class Sloppy(Honest):
        async def deliver(self, request: DeliveryRequest) -> Sequence[Verdict]:
            return [*await super().deliver(request), ACCEPTED]

    with pytest.raises(TransportFailed) as caught:
        await check(Sloppy())
    assert "one_recipient: 2 verdicts for 1 recipients" in str(caught.value)
    assert "expected: one accepted recipient gives one verdict" in str(caught.value)
    assert "duty: T1 One verdict each: a sequence with one Verdict per recipient" in str(caught.value)


# --- Kinds of broken transport ---


async def test_verdicts_in_another_order_are_caught() -> None:
    class Shuffling(Honest):
        async def deliver(self, request: DeliveryRequest) -> Sequence[Verdict]:
            return list(reversed(await super().deliver(request)))

    assert list(await problems(Shuffling())) == ["one_refused_among_many"]


async def test_a_hand_over_without_committing_is_caught() -> None:
    class Hasty(Honest):
        async def deliver(self, request: DeliveryRequest) -> Sequence[Verdict]:
            self.taken.append(await self.read(request))
            return [self.answer(recipient) for recipient in request.recipients]

    assert (await problems(Hasty()))["one_recipient"] == "accepted without a call of committing()"


async def test_committing_after_the_hand_over_is_caught() -> None:
    class Late(Honest):
        async def deliver(self, request: DeliveryRequest) -> Sequence[Verdict]:
            self.taken.append(await self.read(request))
            await trio.lowlevel.checkpoint()
            request.committing()
            return [self.answer(recipient) for recipient in request.recipients]

    assert {"committing_comes_first", "cancelled_at_every_step"} <= set(await problems(Late()))


@pytest.mark.parametrize(
    ("change", "case"),
    [
        (lambda data: data.replace(b"\r\n.\r\n", b"\r\n"), "lone_dots"),
        (lambda data: data.replace(b"\r\n..\r\n", b"\r\n.\r\n"), "lone_dots"),
        (lambda data: data.replace(b"\r\nFrom x", b"\r\n>From x"), "lines_that_look_like_commands"),
        (lambda data: data.decode("ascii", "replace").encode(), "eight_bit"),
        (lambda data: data.replace(b"x" * 998, b"x" * 500 + b"\r\n" + b"x" * 498), "long_lines"),
        (lambda data: data[:1_000_000], "large_content"),
    ],
    ids=["loses dots", "unstuffs twice", "escapes From", "ASCII only", "breaks lines", "truncates"],
)
async def test_changed_content_is_caught(change: Callable[[bytes], bytes], case: str) -> None:
    class Changing(Honest):
        async def read(self, request: DeliveryRequest) -> bytes:
            return change(await super().read(request))

    assert (await problems(Changing()))[case] == "the body was changed"


async def test_contents_mixed_up_between_calls_are_caught() -> None:
    class Mixing(Honest):
        async def read(self, request: DeliveryRequest) -> bytes:
            self.latest = await super().read(request)
            await trio.lowlevel.checkpoint()
            return self.latest

    assert "ten_at_once" in await problems(Mixing())


async def test_reading_a_large_content_at_once_is_caught() -> None:
    class Greedy(Honest):
        async def read(self, request: DeliveryRequest) -> bytes:
            return await request.content.read()

    assert "octets were read at once" in (await problems(Greedy()))["large_content"]


async def test_accepting_without_content_is_caught() -> None:
    class Blind(Honest):
        async def read(self, request: DeliveryRequest) -> bytes:
            try:
                return await super().read(request)
            except Exception:
                return b""

    assert (await problems(Blind()))["unreadable_content"] == "accepted without content"


async def test_an_exception_instead_of_a_verdict_is_caught() -> None:
    class Raising(Honest):
        async def deliver(self, request: DeliveryRequest) -> Sequence[Verdict]:
            if not request.message.sender:
                raise ValueError("no sender")
            return await super().deliver(request)

    assert (await problems(Raising()))["null_sender"] == "raised ValueError: no sender"


async def test_swallowing_cancellation_is_caught(autojump_clock: MockClock) -> None:
    class Stubborn(Honest):
        async def deliver(self, request: DeliveryRequest) -> Sequence[Verdict]:
            with trio.CancelScope(shield=True):
                await trio.sleep(40)
            return await super().deliver(request)

    found = await problems(Stubborn(), seconds=5000.0)
    assert "it went on for over 20 s" in found["cancelled_at_every_step"]


async def test_hanging_is_caught(autojump_clock: MockClock) -> None:
    class Deaf(Honest):
        async def deliver(self, request: DeliveryRequest) -> Sequence[Verdict]:
            if request.message.smtputf8:
                await trio.sleep_forever()
            return await super().deliver(request)

    assert (await problems(Deaf()))["smtputf8"] == "did not end within 60 s"


@pytest.fixture
def quiet_log() -> Iterator[None]:
    configure_logging("error")
    yield
    structlog.reset_defaults()
    forget_loggers()


@pytest.mark.usefixtures("quiet_log")
@pytest.mark.parametrize("how", ["structlog", "logging"])
async def test_content_or_secrets_in_the_log_are_caught(how: str) -> None:
    """Also where lines of their level are not wanted."""

    class Talkative(Honest):
        async def deliver(self, request: DeliveryRequest) -> Sequence[Verdict]:
            text = f"sending {await self.read(request)!r}" if request.message.sender else "login correct horse"
            get_logger().debug(text) if how == "structlog" else logging.getLogger("mine").debug(text)
            return await super().deliver(request)

    found = await problems(Talkative())
    assert found["one_recipient"].startswith("content was written into the log")
    assert found["null_sender"].startswith("the setting 'password' was written into the log")


async def test_a_descriptor_left_open_is_caught() -> None:
    class Leaking(Honest):
        async def deliver(self, request: DeliveryRequest) -> Sequence[Verdict]:
            opened.append(os.open(os.devnull, os.O_RDONLY))
            return await super().deliver(request)

    opened: list[int] = []
    try:
        assert "descriptors" in (await problems(Leaking()))["one_recipient"]
    finally:
        for descriptor in opened:
            os.close(descriptor)


async def test_chunks_left_open_are_caught() -> None:
    class Untidy(Honest):
        async def read(self, request: DeliveryRequest) -> bytes:
            manager = request.content.chunks()
            kept.append(manager)
            return b"".join([piece async for piece in await manager.__aenter__()])

    kept: list[Any] = []
    found = await problems(Untidy())
    for manager in kept:
        await manager.__aexit__(None, None, None)
    assert found["one_recipient"] == "the content's chunks were left open"


@pytest.mark.parametrize(
    ("verdict", "problem"),
    [
        (Verdict.accepted("ok\r\nforged"), "a verdict's reply is not printable"),
        (Verdict.accepted("x" * 600), "a verdict's reply is not printable, or too long"),
        (Verdict.accepted("ok", status="5.0.0"), "status '5.0.0' with accepted, not 2.x.x"),
        (Verdict(disposition=Disposition.ACCEPTED), "status '' with accepted, not 2.x.x"),
        ("250 ok", "str instead of a Verdict"),
    ],
)
async def test_nonsense_verdicts_are_caught(verdict: Any, problem: str) -> None:
    class Nonsense(Honest):
        def answer(self, recipient: LeasedRecipient) -> Verdict:
            return verdict

    assert (await problems(Nonsense()))["one_recipient"].startswith(problem)


async def test_capabilities_out_of_range_are_caught() -> None:
    class Boasting(Honest):
        @property
        def capabilities(self) -> Capabilities:
            return Capabilities(recipients_per_call=1000)

    assert (await problems(Boasting()))["sound_capabilities"] == "recipients_per_call is 1000"


async def test_a_factory_that_takes_any_setting_is_caught() -> None:
    class Lax(Honest):
        @asynccontextmanager
        async def open(self, settings: Any) -> AsyncGenerator[Any]:
            yield self

    assert (await problems(Lax()))["unknown_setting"] == "it was taken"


async def test_bouncing_mail_because_nothing_can_be_reached_is_caught() -> None:
    class Bouncing(Honest):
        @asynccontextmanager
        async def open(self, settings: Any) -> AsyncGenerator[Any]:
            async with super().open({k: v for k, v in settings.items() if k != "dead"}):
                yield Dead() if "dead" in settings else self

    class Dead(Honest):
        async def deliver(self, request: DeliveryRequest) -> Sequence[Verdict]:
            return [Verdict.refused("no route") for _ in request.recipients]

    found = await problems(Bouncing(), broken={"dead": True})
    assert found["broken_peer"] == "refused where nothing can be reached"


async def test_every_case_says_its_expectation_and_duty() -> None:
    assert len({case.name for case in CASES}) == len(CASES) >= 30
    assert all(case.expected and case.duty for case in CASES)


async def test_mails_of_one_body_have_one_size_however_many_came_before() -> None:
    """A content of exactly the declared size is made by the size of the mail before it: the 10th or 100th, too."""
    never_opened: Any = None
    bench = Bench(never_opened, {}, "example.org", None, None, None, None)
    assert len({bench.mail(body=b"").content.size for _ in range(120)}) == 1
