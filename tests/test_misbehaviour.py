"""Plugins that misbehave: each harms the message it was asked about, at most, is named in the log, and the others go on.

What a transport may raise or answer, alone and in a whole engine; what hooks may; factories at the start and at the end.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import asynccontextmanager
from types import SimpleNamespace

import pytest
import trio
from structlog.testing import capture_logs

import postroad
from postroad import EngineCrashed, PluginError, Submission, SubmissionError, Verdict, hookimpl
from postroad.testing import open_test_engine
from postroad.testing.fakes import ACCEPTED
from postroad.transport import Capabilities

RAW = b"From: a@example.com\r\nTo: b@example.org\r\nSubject: Hello\r\n\r\nHello.\r\n"


def submission(address: str = "b@example.org") -> Submission:
    return Submission(sender="a@example.com", recipients=(address,), content=RAW)


class Unspeakable(Exception):
    """Even asking what it says raises."""

    def __str__(self) -> str:
        raise RuntimeError("no words")

    __repr__ = __str__


class UnspeakableOSError(OSError):
    def __str__(self) -> str:
        raise RuntimeError("no words")

    __repr__ = __str__


class Foreign(BaseException):
    """As asyncio.CancelledError, or pytest's own."""


class Unspoken:
    """An answer that cannot be shown."""

    def __repr__(self) -> str:
        raise Unspeakable


async def leaked_cancelled() -> BaseException:
    """trio's own, kept beyond its scope."""
    with trio.CancelScope() as scope:
        scope.cancel()
        try:
            await trio.sleep_forever()
        except trio.Cancelled as error:  # noqa: ASYNC103  # what is tried
            kept = error
    return kept


RAISED = {
    "an exception": lambda: RuntimeError("bug"),
    "a BaseException": lambda: Foreign("not ours"),
    "RecursionError": lambda: RecursionError("deep"),
    "a group": lambda: ExceptionGroup("several", [ValueError("one"), OSError(24, "no descriptors")]),
    "a group of BaseExceptions": lambda: BaseExceptionGroup("several", [Foreign("one"), ValueError("two")]),
    "StopIteration": lambda: StopIteration("end"),
    "StopAsyncIteration": lambda: StopAsyncIteration("end"),
    "GeneratorExit": lambda: GeneratorExit(),
    "one that has no words": lambda: Unspeakable(),
    "one of our own": lambda: EngineCrashed("not really"),
    "one of our store": lambda: postroad.StoreError("not really"),
}

LOCAL = {"MemoryError": MemoryError, "an OSError that has no words": lambda: UnspeakableOSError(24, "x")}


class Endless(Sequence):
    def __len__(self) -> int:
        return 1

    def __getitem__(self, index):
        return ACCEPTED if isinstance(index, int) else [ACCEPTED]


class Trap(Sequence):
    def __len__(self) -> int:
        raise RuntimeError("do not count me")

    def __getitem__(self, index):
        raise Foreign("do not touch me")


async def never_awaited() -> list[Verdict]:
    return [ACCEPTED]


def generator() -> Iterator[Verdict]:
    yield ACCEPTED


ANSWERED = {
    "None": lambda: None,
    "too few": list,
    "too many": lambda: [ACCEPTED, ACCEPTED],
    "a word": lambda: "x",
    "no Verdicts": lambda: [object()],
    "a generator": generator,
    "a class": lambda: list,
    "a sequence without an end": Endless,
    "a sequence that raises": Trap,
    "one that cannot be shown": Unspoken,
    "a list of what cannot be shown": lambda: [Unspoken()],
    "a hint that is no number": lambda: [Verdict.deferred("x", retry_after_seconds=float("nan"))],
}


class Carrier:
    """A transport that does as it is told for the address bad@example.org, once, and accepts everything else."""

    capabilities = Capabilities()

    def __init__(self, deed) -> None:
        self.deed = deed
        self.calls: list[str] = []

    async def deliver(self, request):
        (recipient,) = request.recipients
        is_first = recipient.address not in self.calls
        self.calls.append(recipient.address)
        if recipient.address == "bad@example.org" and is_first:
            return await self.deed(request)
        return [ACCEPTED]

    @asynccontextmanager
    async def factory(self, settings):
        yield self

    @hookimpl
    def postroad_register_transports(self, register):
        register("carrier", self.factory)


CARRIED = {"plugins": {}, "transports": {"out": {"plugin": "carrier"}}, "routes": [{"transport": "out"}]}


async def misbehave(
    deed, *, lines: Sequence[str] = ("transport_failed",), attempts: int = 2, crashes: int = 0
) -> list[dict]:
    """The bad message between two others: they arrive at once, the bad one at its next try.  Return what the log says of it."""
    carrier = Carrier(deed)
    with capture_logs() as logs:
        async with open_test_engine(**{**CARRIED, "plugins": {"carrier": carrier}}) as engine:
            before, bad, behind = [
                await engine.submit(submission(address))
                for address in ("before@example.org", "bad@example.org", "behind@example.org")
            ]
            for receipt in (before, behind):
                (outcome,) = (await receipt.settled()).recipients.values()
                assert (outcome.state, outcome.attempts) == ("accepted", 1)
            (outcome,) = (await bad.settled()).recipients.values()
            assert (outcome.state, outcome.attempts) == ("accepted", attempts)
    about = [log for log in logs if log.get("id") == bad.id]
    assert [log["event"] for log in about] == ["accepted", *lines, "deferred", "delivered"]
    assert all(log["transport"] == "out" for log in about if log["event"] == "transport_failed")
    assert [log["event"] for log in logs].count("ring_crashed") == crashes
    return about


@pytest.mark.parametrize("what", RAISED)
async def test_a_transport_that_raises_defers_that_message_alone(autojump_clock, what):
    async def raises(request):
        raise RAISED[what]()

    about = await misbehave(raises)
    assert about[2]["status"] == "4.3.0"
    assert about[2]["reply"].startswith("transport 'out' failed: ")


async def test_a_cancellation_that_nobody_asked_for_defers_that_message_alone(autojump_clock):
    async def raises(request):
        raise await leaked_cancelled()

    await misbehave(raises)


async def test_a_cancellation_in_a_group_defers_that_message_alone(autojump_clock):
    async def raises(request):
        raise BaseExceptionGroup("several", [await leaked_cancelled(), ValueError("and that")])

    await misbehave(raises)


@pytest.mark.parametrize("what", ANSWERED)
async def test_a_transport_that_answers_nonsense_defers_that_message_alone(autojump_clock, what):
    async def answers(request):
        return ANSWERED[what]()

    about = await misbehave(answers)
    assert about[2]["status"] == "4.3.0"


@pytest.mark.parametrize("what", LOCAL)
async def test_local_trouble_in_a_transport_costs_no_try(autojump_clock, what):
    async def raises(request):
        raise LOCAL[what]()

    about = await misbehave(raises, lines=(), attempts=1)
    assert about[1]["reply"].startswith("local trouble: ")


async def test_what_ends_the_program_ends_it_out_of_a_transport_too_and_nothing_is_lost(autojump_clock):
    async def interrupted(request):
        raise KeyboardInterrupt

    carrier = Carrier(interrupted)
    with pytest.raises(KeyboardInterrupt):
        async with open_test_engine(**{**CARRIED, "plugins": {"carrier": carrier}}) as engine:
            await engine.submit(submission("bad@example.org"))
            await trio.sleep_forever()


ABSURD = {
    "statuses of no class": ("9.9.9", "451 later"),
    "a status in other digits": ("4.\u0661.\u0661", "451 later"),
    "a reply of 10 MB": ("4.0.0", "x" * 10_000_000),
    "NULs and line ends": ("4.0.0\0", "451 \0\r\n250 2.0.0 Ok\r\n"),
    "lone surrogates": ("4.0.0", "451 \udc80\ud800"),
}
HINTS = [-1.0, -1e308, 0, 1e308, float("inf"), float("-inf"), True]


@pytest.mark.parametrize("what", ABSURD)
async def test_absurd_words_in_a_verdict_are_made_harmless(autojump_clock, what):
    status, reply = ABSURD[what]

    async def absurd(request):
        return [Verdict.deferred(reply, status=status, remote=reply, site=reply, tls=reply)]

    about = await misbehave(absurd, lines=())
    for name in ("status", "reply", "remote", "tls"):
        assert about[1][name].isprintable()
        assert len(about[1][name]) <= 512


@pytest.mark.parametrize("hint", HINTS)
async def test_an_absurd_wish_to_be_asked_again_is_bounded(autojump_clock, hint):
    async def absurd(request):
        return [Verdict.deferred("451 later", retry_after_seconds=hint)]

    about = await misbehave(absurd, lines=())
    assert 0 < about[1]["due_in"] <= 14_400 * 1.1


@pytest.mark.parametrize("what", ABSURD)
async def test_a_refusal_in_absurd_words_is_reported(autojump_clock, what):
    status, reply = ABSURD[what]

    async def absurd(request):
        return [Verdict.refused(reply, status=status, remote=reply)]

    carrier = Carrier(absurd)
    with capture_logs() as logs:
        async with open_test_engine(**{**CARRIED, "plugins": {"carrier": carrier}}) as engine:
            receipt = await engine.submit(submission("bad@example.org"))
            assert (await receipt.settled()).recipients["bad@example.org"].state == "failed"
            with trio.fail_after(1000):
                while (await engine.status()).messages:  # noqa: ASYNC110  # its report is a message, too
                    await trio.sleep(1)
    assert carrier.calls == ["bad@example.org", "a@example.com"]
    assert not [log for log in logs if log["log_level"] == "error"]


async def test_a_transport_that_hangs_is_ended_at_its_deadline(autojump_clock):
    async def hangs(request):
        await trio.sleep_forever()

    about = await misbehave(hangs, lines=())
    assert about[1]["status"] == "4.4.2"


async def test_a_transport_that_answers_although_it_is_cancelled_is_believed(autojump_clock):
    async def stubborn(request):
        while True:
            try:
                await trio.sleep_forever()
            except trio.Cancelled:  # noqa: ASYNC103  # what is tried
                return [Verdict.deferred("451 as you like")]

    about = await misbehave(stubborn, lines=())
    assert about[1]["reply"] == "451 as you like"


async def test_a_transport_that_turns_its_cancellation_into_an_error_defers_that_message_alone(autojump_clock):
    async def confused(request):
        try:
            await trio.sleep_forever()
        except trio.Cancelled as error:  # noqa: ASYNC103  # what is tried
            raise ConnectionError("I was cancelled") from error

    about = await misbehave(confused)
    assert about[2]["reply"].endswith("ConnectionError")


async def test_a_nursery_that_a_transport_leaves_open_restarts_the_actors_loudly_and_loses_nothing(autojump_clock):
    async def leaks(request):
        nursery = await trio.open_nursery().__aenter__()
        nursery.start_soon(trio.sleep, 7)
        return [ACCEPTED]

    await misbehave(leaks, crashes=1)  # trio itself cannot go on with such a task


async def test_a_transport_that_leaves_a_scope_open_defers_that_message_alone(autojump_clock):
    async def leaks(request):
        trio.CancelScope().__enter__()
        return [ACCEPTED]

    await misbehave(leaks)


@pytest.mark.parametrize("is_late", [False, True])
async def test_a_transport_that_blocks_the_thread_is_named_and_the_others_go_on(autojump_clock, monkeypatch, is_late):
    monkeypatch.setattr("postroad.actors.watched.SLOW_SECONDS", 0.02)

    async def blocks(request):
        if is_late:
            await trio.sleep(1)
        time.sleep(0.05)  # noqa: ASYNC251  # what is tried
        return [Verdict.deferred("451 after a while")]

    about = await misbehave(blocks, lines=("transport_slow",))
    assert (about[1]["transport"], about[1]["seconds"] >= 0.05) == ("out", True)
    assert about[2]["reply"] == "451 after a while"


async def test_a_transport_may_send_mail_itself(autojump_clock):
    engines = []

    async def calls_back(request):
        receipt = await engines[0].send_mail(sender="a@example.com", to="c@example.org", subject="Inner", body="x")
        assert (await receipt.settled()).is_delivered
        await engines[0].cancel(request.message.id)
        return [ACCEPTED]

    carrier = Carrier(calls_back)
    async with open_test_engine(**{**CARRIED, "plugins": {"carrier": carrier}}) as engine:
        engines.append(engine)
        receipt = await engine.submit(submission("bad@example.org"))
        assert (await receipt.settled()).is_delivered
    assert carrier.calls == ["bad@example.org", "c@example.org"]


# --- Hooks ---


class Hooks:
    """A plugin whose hooks do something for a message to bad@example.org, and say nothing else."""

    def __init__(self, deed) -> None:
        self.deed = deed

    def _meets(self, *addresses):
        return self.deed() if "bad@example.org" in addresses else None


class Admits(Hooks):
    @hookimpl
    def postroad_admit(self, submission):
        return self._meets(*submission.recipients)


class Routes(Hooks):
    @hookimpl
    def postroad_route(self, recipient):
        return self._meets(recipient)


class Notices(Hooks):
    @hookimpl
    def postroad_notice(self, event):
        self._meets(getattr(event, "recipient", ""))


def raising(make):
    def deed():
        raise make()

    return deed


OF_HOOKS = {**RAISED, **LOCAL}


@pytest.mark.parametrize("what", OF_HOOKS)
async def test_a_door_hook_that_raises_refuses_that_submission_and_is_named(autojump_clock, what):
    with capture_logs() as logs:
        async with open_test_engine(plugins={"guard": Admits(raising(OF_HOOKS[what]))}) as engine:
            with pytest.raises(SubmissionError, match="'guard'"):
                await engine.submit(submission("bad@example.org"))
            assert (await (await engine.submit(submission())).settled()).is_delivered
            assert (await engine.find(postroad.Filter()))[0].recipients[0].address == "b@example.org"
    assert [(log["plugin"], log["hook"]) for log in logs if log["event"] == "hook_failed"] == [
        ("guard", "postroad_admit")
    ]


@pytest.mark.parametrize("what", OF_HOOKS)
async def test_a_routing_hook_that_raises_leaves_it_to_the_rules_and_is_named(autojump_clock, what):
    with capture_logs() as logs:
        async with open_test_engine(plugins={"guide": Routes(raising(OF_HOOKS[what]))}) as engine:
            assert (await (await engine.submit(submission("bad@example.org"))).settled()).is_delivered
    assert [(log["plugin"], log["hook"]) for log in logs if log["event"] == "hook_failed"] == [
        ("guide", "postroad_route")
    ]


@pytest.mark.parametrize("what", OF_HOOKS)
async def test_a_notice_hook_that_raises_changes_nothing_and_is_named(autojump_clock, what):
    with capture_logs() as logs:
        async with open_test_engine(plugins={"ear": Notices(raising(OF_HOOKS[what]))}) as engine:
            assert (await (await engine.submit(submission("bad@example.org"))).settled()).is_delivered
            assert (await (await engine.submit(submission())).settled()).is_delivered
    assert {(log["plugin"], log["hook"]) for log in logs if log["event"] == "hook_failed"} == {
        ("ear", "postroad_notice")
    }
    assert not [log for log in logs if log["event"] == "ring_crashed"]


@pytest.mark.parametrize("answer", [7, True, b"yes", Unspoken(), object(), []], ids=lambda a: type(a).__name__)
async def test_a_hook_that_answers_nonsense_is_named(autojump_clock, answer):
    with capture_logs() as logs:
        async with open_test_engine(
            plugins={"guard": Admits(lambda: answer), "guide": Routes(lambda: answer)}
        ) as engine:
            with pytest.raises(SubmissionError, match="'guard'"):
                await engine.submit(submission("bad@example.org"))
        async with open_test_engine(plugins={"guide": Routes(lambda: answer)}) as engine:
            await engine.submit(submission("bad@example.org"))
    assert [(log["plugin"], log["hook"]) for log in logs if log["event"] == "hook_failed"] == [
        ("guide", "postroad_route")
    ]


# --- Factories ---


class Made:
    """A plugin whose transport is made by a given factory, beside one that accepts everything."""

    def __init__(self, factory) -> None:
        self.factory = factory

    @hookimpl
    def postroad_register_transports(self, register):
        register("made", self.factory)


MADE = {"transports": {"scripted": {"plugin": "scripted"}, "odd": {"plugin": "made"}}}


@asynccontextmanager
async def raises_at_the_start(settings):
    raise Foreign("cannot begin")
    yield


@asynccontextmanager
async def fails_in_a_group(settings):
    async with trio.open_nursery():
        raise ValueError("cannot begin")
    yield


def raises_at_once(settings):
    raise Unspeakable


@pytest.mark.parametrize(
    "factory",
    [raises_at_the_start, fails_in_a_group, raises_at_once, lambda settings: None, lambda settings: never_awaited],
)
async def test_a_factory_that_fails_is_named_and_nothing_stays_open(tmp_path, factory):
    sections = {"folder": str(tmp_path), "spool": {"url": "sqlite:p.db"}, **MADE}
    for _ in range(2):  # the second finds the spool unlocked
        with pytest.raises(PluginError, match="transport 'odd' \\(plugin 'made'\\) failed: "):
            async with open_test_engine(plugins={"made": Made(factory)}, **sections):
                raise AssertionError("it began")


async def test_a_setting_that_is_refused_within_a_nursery_is_named_by_its_key(autojump_clock):
    @asynccontextmanager
    async def factory(settings):
        async with trio.open_nursery():
            raise postroad.ConfigError("colour", "must be black")
        yield

    with pytest.raises(postroad.ConfigError) as caught:
        async with open_test_engine(plugins={"made": Made(factory)}, **MADE):
            pass
    assert caught.value.key == "transports.odd.colour"


async def ends(factory) -> list[dict]:
    """An engine whose block is left in peace.  Mail went its way, and the log is returned."""
    with capture_logs() as logs:
        async with open_test_engine(plugins={"made": Made(factory)}, **MADE) as engine:
            assert (await (await engine.submit(submission())).settled()).is_delivered
    return [log for log in logs if log["event"] == "transport_failed"]


@pytest.mark.parametrize("what", OF_HOOKS)
async def test_a_transport_that_fails_at_its_end_is_named_in_the_log_and_keeps_nobody(autojump_clock, what):
    @asynccontextmanager
    async def factory(settings):
        yield Carrier(None)
        raise OF_HOOKS[what]()

    (line,) = await ends(factory)
    assert (line["transport"], line["plugin"], line["at"]) == ("odd", "made", "its end")


async def test_a_transport_whose_end_hangs_is_given_up_and_named(autojump_clock):
    @asynccontextmanager
    async def factory(settings):
        yield Carrier(None)
        await trio.sleep_forever()

    (line,) = await ends(factory)
    assert (line["transport"], line["seconds"]) == ("odd", 30.0)
    assert trio.current_time() < 60


async def test_a_transport_cannot_swallow_what_ended_the_application(autojump_clock):
    class Swallows:
        async def __aenter__(self):
            return Carrier(None)

        async def __aexit__(self, *about):
            return True

    with pytest.raises(KeyError, match="mine"):
        async with open_test_engine(plugins={"made": Made(lambda settings: Swallows())}, **MADE):
            raise KeyError("mine")


async def test_what_ended_the_application_is_not_hidden_by_a_transport_that_fails_at_its_end(autojump_clock):
    @asynccontextmanager
    async def factory(settings):
        try:
            yield Carrier(None)
        finally:
            raise ValueError("at its end")

    with pytest.raises(KeyError, match="mine"):
        async with open_test_engine(plugins={"made": Made(factory)}, **MADE):
            raise KeyError("mine")


async def test_a_transport_whose_own_task_fails_ends_the_engine_and_is_named(autojump_clock):
    async def fails():
        await trio.sleep(5)
        raise ValueError("in the background")

    @asynccontextmanager
    async def factory(settings):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fails)
            yield Carrier(None)

    with pytest.raises(PluginError, match=r"transport 'odd' .* failed: ValueError"):
        async with open_test_engine(plugins={"made": Made(factory)}, **MADE) as engine:
            assert (await (await engine.submit(submission())).settled()).is_delivered
            await trio.sleep_forever()


class _Mad:
    async def deliver(self, request):
        return []


class _Raising(_Mad):
    @property
    def capabilities(self):
        raise ValueError("mad")


class _Worded(_Mad):
    capabilities = SimpleNamespace(by_domain=False, recipients_per_call="many")


class _Opening:
    """Registers a transport under the name "mad", whose factory holds a nursery, as it may."""

    def __init__(self, transport):
        self._transport = transport

    @hookimpl
    def postroad_register_transports(self, register):
        @asynccontextmanager
        async def factory(settings):
            async with trio.open_nursery():
                yield self._transport

        register("mad", factory)


@pytest.mark.parametrize("transport", [_Mad(), _Raising(), _Worded()], ids=["none", "raising", "no number"])
async def test_a_transport_without_sound_capabilities_is_named(transport):
    config = {"transports": {"x": {"plugin": "mad"}}, "routes": [{"transport": "x"}]}
    with pytest.raises(PluginError, match=r"'x'.*capabilities"):
        async with open_test_engine(plugins={"mad": _Opening(transport)}, **config):
            pass


async def test_an_error_of_the_application_is_not_told_as_the_transports():
    sound = _Mad()
    sound.capabilities = Capabilities()
    config = {"transports": {"x": {"plugin": "mad"}}, "routes": [{"transport": "x"}]}
    with capture_logs() as logs, pytest.raises(ZeroDivisionError):
        async with open_test_engine(plugins={"mad": _Opening(sound)}, **config):
            raise ZeroDivisionError
    assert [log for log in logs if log["event"] == "transport_failed"] == []
