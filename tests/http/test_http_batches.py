"""Several messages in a request: gathered without waiting, each with a verdict of its own, and none harmed by another."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any

import msgspec
import pytest
import trio
import trio.testing
from fakes_of_providers import said
from http_peer import Asked, Mode, Reply
from http_road import Road, road_to

from postroad.message import Message
from postroad.outlasting import outlast
from postroad.testing import make_request
from postroad.transport import Transport
from postroad.verdict import Disposition, Scope, Verdict
from postroad_http.exchange import Unsent
from postroad_http.gathering import Gathering
from postroad_http.provider import Answer, Batching, Call
from postroad_http.providers import PROVIDERS
from postroad_http.settings import BatchTable

BATCHING = ["mailjet", "postmark", "resend"]
MOST = {"batch": 20}


@pytest.fixture(params=BATCHING)
async def batching(request: pytest.FixtureRequest) -> AsyncGenerator[Road]:
    async with road_to(request.param) as found:
        yield found


def content(number: int) -> bytes:
    return f"From: a@example.com\r\nSubject: number {number}.\r\n\r\nHello {number}.\r\n".encode()


class Calls:
    """Calls of `deliver` that run beside each other.  commits: numbers of those that said `committing`."""

    def __init__(self, transport: Transport) -> None:
        self.transport = transport
        self.found: dict[int, Verdict] = {}
        self.commits: list[int] = []
        self.scopes: dict[int, trio.CancelScope] = {}

    async def one(self, number: int, to: str = "b@example.org", doubt_seconds: float = 20.0) -> None:
        id = f"01k0{number:04}"
        message = Message(id=id, sender="a@example.com", accepted_at=0.0, size=1)
        request = make_request(
            (to,), id=id, message=message, content=content(number), commit=lambda: self.commits.append(number)
        )
        request.doubt_seconds = doubt_seconds
        self.scopes[number] = trio.CancelScope()
        with self.scopes[number]:
            (self.found[number],) = await self.transport.deliver(request)

    async def all(self, numbers: Sequence[int], **to: str) -> None:
        async with trio.open_nursery() as nursery:
            for number in numbers:
                nursery.start_soon(self.one, number, to.get(f"to_{number}", "b@example.org"))

    @property
    def dispositions(self) -> list[Disposition]:
        return [self.found[number].disposition for number in sorted(self.found)]


async def test_what_comes_at_once_goes_together_each_with_its_own_verdict(batching: Road) -> None:
    async with batching.open(**MOST) as transport:
        calls = Calls(transport)
        await calls.all(range(20))
    assert calls.dispositions == [Disposition.ACCEPTED] * 20
    assert len({verdict.reply for verdict in calls.found.values()}) == 20
    assert sorted(calls.commits) == list(range(20))
    assert sorted(mail.subject for mail in batching.fake.mails) == sorted(f"number {number}." for number in range(20))
    assert sorted(mail.id for mail in batching.fake.mails) == [f"01k0{number:04}" for number in range(20)]
    assert len(batching.peer.asked) <= 4


async def test_a_lone_message_goes_at_once_and_as_ever(batching: Road) -> None:
    async with batching.open(**MOST) as transport:
        await Calls(transport).all([1])
    (asked,) = batching.peer.asked
    assert asked.target in ("/v3.1/send", "/email", "/emails")


async def test_with_a_batch_of_one_each_goes_alone(batching: Road) -> None:
    async with batching.open(batch=1) as transport:
        assert transport.capabilities.messages_per_call == 1
        await Calls(transport).all(range(5))
    assert len(batching.peer.asked) == 5


async def test_no_request_holds_more_than_was_said(batching: Road) -> None:
    async with batching.open(batch=3) as transport:
        assert transport.capabilities.messages_per_call == 3
        calls = Calls(transport)
        await calls.all(range(10))
    assert calls.dispositions == [Disposition.ACCEPTED] * 10
    assert 4 <= len(batching.peer.asked) <= 10
    for asked in batching.peer.asked:
        assert asked.body.count(b"number ") <= 3


async def test_no_request_is_larger_than_the_provider_takes(batching: Road, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(PROVIDERS[batching.fake.name]), "call_bytes", 800)
    async with batching.open(**MOST) as transport:
        calls = Calls(transport)
        await calls.all(range(10))
    assert calls.dispositions == [Disposition.ACCEPTED] * 10
    assert max(len(asked.body) for asked in batching.peer.asked) <= 800 + 50


async def test_a_refused_one_harms_no_other(batching: Road) -> None:
    async with batching.open(**MOST) as transport:
        calls = Calls(transport)
        await calls.all(range(6), to_2="refused@example.org", to_5="refused-too@example.org")
    expected = [Disposition.ACCEPTED] * 6
    expected[2] = expected[5] = Disposition.REFUSED
    assert calls.dispositions == expected
    assert len(batching.fake.mails) == 4
    assert len(batching.peer.asked) < 6


@pytest.mark.parametrize("status", [400, 413, 422])
async def test_where_all_are_refused_for_one_each_is_tried_alone(batching: Road, status: int) -> None:
    batching.peer.script = lambda asked: _refusal(status) if asked.body.count(b"number ") > 1 else None
    async with batching.open(**MOST) as transport:
        calls = Calls(transport)
        await calls.all(range(4))
    assert calls.dispositions == [Disposition.ACCEPTED] * 4
    assert len(batching.fake.mails) == 4


def _refusal(status: int) -> Reply:
    return Reply(status, b"a word that names nobody", (("Content-Type", "text/plain"),))


@pytest.mark.parametrize("status", [401, 429, 500])
async def test_what_is_no_messages_fault_is_everybodys_and_not_tried_again(batching: Road, status: int) -> None:
    batching.peer.script = lambda asked: Reply(status, b"", (("Retry-After", "37"),))
    async with batching.open(**MOST) as transport:
        calls = Calls(transport)
        await calls.all(range(4))
    scope = Scope.TRANSPORT if status == 401 else Scope.SITE
    assert {(verdict.disposition, verdict.scope) for verdict in calls.found.values()} == {(Disposition.DEFERRED, scope)}
    assert {verdict.retry_after_seconds for verdict in calls.found.values()} == {37.0}
    assert len(batching.peer.asked) <= 2


@pytest.mark.parametrize("mode", [Mode.CUT_AFTER, Mode.CUT_ANSWER])
async def test_cut_after_the_request_each_is_in_doubt(batching: Road, mode: Mode) -> None:
    batching.peer.script = lambda asked: Reply(200, b'[{"ErrorCode": 0, "MessageID": "x"}]', mode=mode)
    async with batching.open(**MOST) as transport:
        calls = Calls(transport)
        await calls.all(range(4))
    assert calls.dispositions == [Disposition.IN_DOUBT] * 4
    assert all(verdict.handed_over for verdict in calls.found.values())
    assert sorted(calls.commits) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b"[]",
        b"<html>",
        b'[{"ErrorCode": 0, "Message": "OK", "MessageID": "one for all"}]',
        b'{"Messages": [{"Status": "success", "To": [{"MessageID": 1}]}]}',
        b'{"data": [{"id": "one for all"}]}',
        b'{"data": [{"id": "a"}, {"id": "b"}, {"id": "c"}], "errors": [{"index": 9, "message": "x"}]}',
    ],
)
async def test_a_success_that_does_not_tell_of_each_is_in_doubt_for_each(batching: Road, body: bytes) -> None:
    batching.peer.script = lambda asked: said(200, {}) if not asked.body else Reply(200, body)
    async with batching.open(**MOST) as transport:
        calls = Calls(transport)
        await calls.all(range(4))
    assert calls.dispositions == [Disposition.IN_DOUBT] * 4


async def test_nobody_there_defers_each(batching: Road) -> None:
    async with batching.open(**MOST, base_url="http://127.0.0.1:9") as transport:
        calls = Calls(transport)
        await calls.all(range(4))
    assert calls.dispositions == [Disposition.DEFERRED] * 4
    assert not calls.commits


# --- Gathering ---


async def test_while_two_requests_are_under_way_the_next_gathers_and_a_hanging_provider_holds_it_a_second(
    batching: Road, autojump_clock: trio.testing.MockClock
) -> None:
    async with batching.open(**MOST, timeout_seconds=50.0) as transport, trio.open_nursery() as nursery:
        calls = Calls(transport)
        batching.peer.script = lambda asked: Reply(mode=Mode.SILENT) if _is_hanging(asked) else None
        for number in (100, 101):
            nursery.start_soon(calls.one, number)
            await trio.sleep(0.1)
        begun = trio.current_time()
        await calls.all(range(5))
        assert trio.current_time() - begun < 2.0
        assert [calls.found[number].disposition for number in range(5)] == [Disposition.ACCEPTED] * 5
        assert len(batching.peer.asked) == 3


def _is_hanging(asked: Asked) -> bool:
    return b"number 10" in asked.body


async def test_what_waits_for_its_turn_can_be_cancelled_at_once(
    batching: Road, autojump_clock: trio.testing.MockClock
) -> None:
    batching.peer.script = lambda asked: Reply(mode=Mode.SILENT)
    async with batching.open(**MOST, timeout_seconds=5.0) as transport, trio.open_nursery() as nursery:
        calls = Calls(transport)
        for number in (100, 101, 1):
            nursery.start_soon(calls.one, number)
            await trio.sleep(0.1)
        begun = trio.current_time()
        calls.scopes[1].cancel()
        await trio.testing.wait_all_tasks_blocked()
        assert trio.current_time() == begun
        assert calls.scopes[1].cancelled_caught
    assert sorted(calls.found) == [100, 101]
    assert calls.commits == [100, 101]


# --- Cancelled ---


async def test_who_is_cancelled_before_the_request_went_is_left_out_of_it(batching: Road) -> None:
    """At every step that its call has: what was not announced was not handed over, and the others are accepted."""
    left = 0
    for step in range(40):
        del batching.fake.mails[:]
        async with batching.open(**MOST) as transport:
            calls = Calls(transport)
            async with trio.open_nursery() as nursery:
                for number in range(5):
                    nursery.start_soon(calls.one, number)
                for _ in range(step):
                    await trio.lowlevel.checkpoint()
                if 2 in calls.scopes:
                    calls.scopes[2].cancel()
        others = [number for number in calls.found if number != 2]
        assert sorted(others) == [0, 1, 3, 4]
        assert {calls.found[number].disposition for number in others} == {Disposition.ACCEPTED}
        sent = sorted(mail.subject for mail in batching.fake.mails)
        if 2 not in calls.found:
            left += 1
            assert 2 not in calls.commits
            assert "number 2." not in sent
        assert len(sent) == len(set(sent)) == len(calls.found)
    assert left


class StubExchange:
    """Its requests go on until they are cancelled.  committing: of each."""

    def __init__(self) -> None:
        self.committing: list[Callable[[], None]] = []

    def post(self, call: Call, committing: Callable[[], None]) -> Any:
        self.committing.append(committing)
        return StubPost()


class StubPost:
    is_handed_over = False

    async def ask(self, doubt_seconds: float) -> Unsent:
        async with trio.open_nursery() as nursery:
            await outlast(nursery, trio.sleep_forever, lambda: doubt_seconds)
        return Unsent("no answer in time")


async def test_nothing_goes_of_a_request_that_somebody_has_just_left() -> None:
    """Between the cancellation and the end of its request the last octets were about to go."""
    exchange: Any = StubExchange()
    provider: Any = PROVIDERS["postmark"]
    commits: list[str] = []
    scope = trio.CancelScope()
    async with trio.open_nursery() as nursery:
        gathering = Gathering(exchange, provider, nursery, most=20, calls=20)

        async def ask(name: str) -> None:
            with scope if name == "leaves" else trio.CancelScope():
                await gathering.ask(Call("https://x", (), b"{}"), lambda: commits.append(name), 0.0)

        nursery.start_soon(ask, "leaves")
        nursery.start_soon(ask, "stays")
        await trio.testing.wait_all_tasks_blocked()
        scope.cancel()
        with pytest.raises(RuntimeError, match="left"):
            exchange.committing[0]()
        assert not commits
        await trio.testing.wait_all_tasks_blocked()
        exchange.committing[1]()
        assert commits == ["stays"]
        nursery.cancel_scope.cancel()


async def test_cancelled_after_the_request_each_waits_for_its_own_doubt_and_cuts_nobody(
    batching: Road, autojump_clock: trio.testing.MockClock
) -> None:
    go_on = trio.Event()

    async def slow(asked: Asked) -> None:
        await go_on.wait()

    batching.peer.pause = slow
    async with batching.open(**MOST) as transport, trio.open_nursery() as nursery:
        calls = Calls(transport)
        for number, doubt_seconds in enumerate((20.0, 3.0, 9.0)):
            nursery.start_soon(calls.one, number, "b@example.org", doubt_seconds)
        await batching.peer.arrived.wait()
        calls.scopes[1].cancel()
        calls.scopes[2].cancel()
        await trio.sleep(5)
        assert calls.found[1].disposition is Disposition.IN_DOUBT
        assert calls.found[1].handed_over
        assert sorted(calls.found) == [1]
        go_on.set()
    assert {number: calls.found[number].disposition for number in (0, 2)} == dict.fromkeys((0, 2), Disposition.ACCEPTED)


async def test_where_all_gave_up_the_request_ends(batching: Road, autojump_clock: trio.testing.MockClock) -> None:
    batching.peer.script = lambda asked: Reply(mode=Mode.SILENT)
    begun = trio.current_time()
    async with batching.open(**MOST) as transport, trio.open_nursery() as nursery:
        calls = Calls(transport)
        for number in range(3):
            nursery.start_soon(calls.one, number, "b@example.org", 4.0)
        await batching.peer.arrived.wait()
        for scope in calls.scopes.values():
            scope.cancel()
    assert trio.current_time() - begun == pytest.approx(4.0, abs=0.5)
    assert calls.dispositions == [Disposition.IN_DOUBT] * 3


# --- What goes alone ---


async def test_resend_takes_no_files_in_a_batch() -> None:
    letter = b'From: a@example.com\r\nSubject: x\r\nContent-Type: multipart/mixed; boundary="q"\r\n\r\n'
    letter += b'--q\r\n\r\nHello\r\n--q\r\nContent-Type: application/pdf; name="a.pdf"\r\n\r\n%PDF\r\n--q--\r\n'
    async with road_to("resend") as road, road.open(**MOST) as transport, trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(transport.deliver, make_request(("b@example.org",), content=letter))
        nursery.start_soon(Calls(transport).all, range(3))
    assert [asked.target for asked in road.peer.asked].count("/emails") == 3
    assert len(road.fake.mails) == 6


async def test_resend_is_idempotent_as_long_as_each_goes_alone() -> None:
    async with road_to("resend") as road:
        async with road.open() as transport:
            assert (transport.capabilities.messages_per_call, transport.capabilities.idempotent) == (1, True)
        async with road.open(**MOST) as transport:
            assert (transport.capabilities.messages_per_call, transport.capabilities.idempotent) == (20, False)


async def test_a_large_one_holds_nobody_up(batching: Road) -> None:
    large = content(7) + b"x" * 70 * 5_000
    async with batching.open(**MOST) as transport, trio.open_nursery() as nursery:
        nursery.start_soon(Calls(transport).all, range(3))
        nursery.start_soon(transport.deliver, make_request(("b@example.org",), content=large))
    assert all(asked.body.count(b"number ") == 1 for asked in batching.peer.asked if len(asked.body) > 300_000)


# --- What the modules declare ---


def test_who_takes_several_says_so_in_settings_and_methods_alike() -> None:
    by_settings = {name for name, provider in PROVIDERS.items() if issubclass(provider.settings, BatchTable)}
    by_methods = {name for name, provider in PROVIDERS.items() if isinstance(provider, Batching)}
    assert by_settings == by_methods == set(BATCHING)


@pytest.mark.parametrize("number", [0, 1, 2, 4])
@pytest.mark.parametrize("name", BATCHING)
def test_an_answer_is_split_into_as_many_as_were_asked_or_not_at_all(name: str, number: int) -> None:
    bodies: dict[str, Any] = {
        "postmark": [{"ErrorCode": 0, "MessageID": "x"}] * 3,
        "mailjet": {"Messages": [{"Status": "success"}] * 3},
        "resend": {"data": [{"id": "x"}] * 3},
    }
    provider = PROVIDERS[name]
    assert isinstance(provider, Batching)
    answer = Answer(200, {}, json.dumps(bodies[name]).encode())
    assert provider.split(answer, number) is None
    assert len(provider.split(answer, 3) or ()) == 3


def test_mailjet_keeps_the_sandbox_of_its_messages() -> None:
    provider = PROVIDERS["mailjet"]
    assert isinstance(provider, Batching)
    from test_http_requests import write

    calls = [write("mailjet", content(number), "b@example.org", sandbox_mode=True)[1] for number in range(3)]
    table = msgspec.json.decode(provider.join(calls).body)
    assert table["SandboxMode"] is True
    assert [message["Subject"] for message in table["Messages"]] == ["number 0.", "number 1.", "number 2."]
    assert "SandboxMode" not in msgspec.json.decode(
        provider.join([write("mailjet", content(1), "b@example.org")[1]]).body
    )
