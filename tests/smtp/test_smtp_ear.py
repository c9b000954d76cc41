"""One task that hears for all sessions: what it spares, what it leaves to a session's own task, and that it is fair."""

from __future__ import annotations

import selectors
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest
import trio
import trio.testing
from smtp_road import OpenRoad, Road
from trio.testing import MockClock

from postroad.testing import make_request
from postroad.testing.smtp_peer import ACCEPT, Cut, Delay, Silence, SmtpPeer
from postroad.verdict import Disposition, Verdict
from postroad_smtp import ear as ear_module
from postroad_smtp import opening, plain
from postroad_smtp.conversation import Conversation
from postroad_smtp.ear import Ear
from postroad_smtp.plain import PlainStream
from postroad_smtp.wire import Wire

ACCEPTED, IN_DOUBT, DEFERRED = Disposition.ACCEPTED, Disposition.IN_DOUBT, Disposition.DEFERRED


class _Listener:
    def __init__(self, hears: Callable[[_Listener], bool]) -> None:
        self.ours, self.theirs = socket.socketpair()
        for each in (self.ours, self.theirs):
            each.setblocking(False)
        self._hears = hears
        self.heard = 0
        self.went_on = 0

    def hear(self) -> bool:
        self.heard += 1
        return self._hears(self)

    def go_on_if_waiting(self) -> None:
        self.went_on += 1


def _read(listener: _Listener) -> bool:
    listener.ours.recv(100)
    return False


@contextmanager
def _listeners(count: int, hears: Callable[[_Listener], bool] = _read) -> Iterator[list[_Listener]]:
    made = [_Listener(hears) for _ in range(count)]
    try:
        yield made
    finally:
        for each in made:
            each.ours.close()
            each.theirs.close()


class _Tasks(trio.abc.Instrument):
    """Counts how often sessions' own tasks run."""

    def __init__(self) -> None:
        self.of_sessions = 0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.of_sessions += task.name.endswith("Session.run")


async def _begin(way: Road) -> Verdict:
    """A message as the engine gives it: begun at once."""
    over, got = trio.Event(), list[Verdict]()

    def done(answer: object) -> None:
        assert isinstance(answer, list)
        got.extend(answer)
        over.set()

    content = b"Subject: x\r\n\r\nx\r\n"
    assert way.transport.begin_delivery(make_request(("b@example.org",), content=content), done)  # type: ignore[attr-defined]
    await over.wait()
    return got[0]


# --- What it spares ---


@contextmanager
def _counted_tasks() -> Iterator[_Tasks]:
    tasks = _Tasks()
    trio.lowlevel.add_instrument(tasks)
    try:
        yield tasks
    finally:
        trio.lowlevel.remove_instrument(tasks)


@pytest.mark.parametrize("messages_per_session", [100, 1])
@pytest.mark.parametrize("is_answered_at_once", [True, False])
async def test_no_task_of_a_session_runs_for_a_message(
    road: OpenRoad, messages_per_session: int, monkeypatch: pytest.MonkeyPatch, *, is_answered_at_once: bool
) -> None:
    """Nor for a connection, be it one for each message, and whether this machine has answered at once or not."""
    monkeypatch.setattr(plain, "_ASKS_AGAIN", is_answered_at_once)
    async with road(sessions=1, messages_per_session=messages_per_session) as way:
        with _counted_tasks() as tasks:
            for _ in range(20):
                assert (await _begin(way)).disposition is ACCEPTED
        assert tasks.of_sessions == 0
        assert len(way.peer.connections) == 20 // min(20, messages_per_session)


async def test_a_connection_ends_without_a_task_when_quit_is_answered(
    road: OpenRoad, autojump_clock: MockClock
) -> None:
    """Whether its answer comes with the content's, or later."""
    async with road({"QUIT": [ACCEPT, Delay(1.0, ACCEPT)]}, sessions=1, messages_per_session=1) as way:
        with _counted_tasks() as tasks:
            for _ in range(3):
                assert (await _begin(way)).disposition is ACCEPTED
            await trio.testing.wait_all_tasks_blocked()
        assert tasks.of_sessions == 0
        assert [each.commands[-1] for each in way.peer.connections] == ["QUIT"] * 3


async def test_a_resting_session_says_the_envelope_in_the_call_that_brings_the_message(road: OpenRoad) -> None:
    async with road(sessions=1) as way:
        assert (await _begin(way)).disposition is ACCEPTED
        said: list[bytes] = []
        (session,) = next(iter(way.transport._sites._sites.values()))._sessions  # type: ignore[attr-defined]
        plain = session._talk.wire._plain
        send = plain.send_nowait
        plain.send_nowait = lambda data: (said.append(bytes(data)), send(data))[1]
        request = make_request(("b@example.org",), content=b"Subject: x\r\n\r\nx\r\n")
        over = trio.Event()
        way.transport.begin_delivery(request, lambda _: over.set())  # type: ignore[attr-defined]
        assert [each[:10] for each in said] == [b"MAIL FROM:"]
        await over.wait()


async def test_a_resting_connection_that_the_server_closes_ends_by_itself(road: OpenRoad) -> None:
    async with road({".": [ACCEPT, ACCEPT]}, peer=SmtpPeer(dialogue=_ONE_AND_OUT)) as way:
        await way.send()
        with trio.fail_after(10):
            while way.transport._sites._sites:  # type: ignore[attr-defined]
                await trio.lowlevel.checkpoint()


_ONE_AND_OUT = """
S: 220 peer.example ESMTP
C: EHLO client.example
S: 250 peer.example
C: MAIL *
S: 250 Ok
C: RCPT *
S: 250 Ok
C: DATA
S: 354 Go on
!content
S: 250 Ok
!cut
"""


async def test_a_message_that_comes_with_the_end_of_a_resting_connection_goes_to_another(road: OpenRoad) -> None:
    """The ear has not looked since: nothing is said into a connection that was closed, and no second chance is used up."""
    async with road({"CONNECT": [ACCEPT, ACCEPT]}, sessions=1) as way:
        await way.send()
        await trio.testing.wait_all_tasks_blocked()
        (session,) = next(iter(way.transport._sites._sites.values()))._sessions  # type: ignore[attr-defined]
        session._talk.wire._plain.socket.shutdown(socket.SHUT_RD)
        assert (await _begin(way)).disposition is ACCEPTED
        assert [each.commands.count("DATA") for each in way.peer.connections] == [1, 1]


# --- What holds all the same ---


async def test_a_connection_that_is_refused_later_is_told_as_that(
    road: OpenRoad, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not as a lost one: nobody was spoken to."""
    monkeypatch.setattr(plain, "_ASKS_AGAIN", False)
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        async with road(smarthost=f"127.0.0.1:{nobody.getsockname()[1]}") as way:
            verdict = await _begin(way)
            assert verdict.disposition is DEFERRED
            assert verdict.reply.startswith("cannot connect: Connection refused")


async def test_a_connection_that_nobody_answers_is_waited_for_as_long_as_it_may_take(
    road: OpenRoad, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    with _listeners(1) as (full,):
        with suppress(BlockingIOError):
            while True:
                full.ours.send(bytes(65_536))
        monkeypatch.setattr(opening, "connect_nowait", lambda *_: PlainStream(full.ours.dup(), is_pending=True))
        async with road(connect_seconds=7) as way:
            with trio.fail_after(60):
                verdict = await _begin(way)
    assert verdict.reply == "cannot connect: no answer within 7 seconds"
    assert 6.9 <= trio.current_time() <= 7.1


async def test_a_server_that_does_not_greet_is_waited_for_as_long_as_it_may_take(
    road: OpenRoad, autojump_clock: MockClock
) -> None:
    async with road({"CONNECT": Silence()}, greeting_seconds=7) as way:
        verdict = await _begin(way)
    assert verdict.reply.startswith("the greeting took over 7 seconds")
    assert 6.9 <= trio.current_time() <= 7.1


@pytest.mark.parametrize("phase", ["CONNECT", "EHLO", "RCPT"])
async def test_what_is_taken_back_in_a_session_without_a_task_is_over_at_once(
    road: OpenRoad, phase: str, autojump_clock: MockClock
) -> None:
    async with road({phase: [Silence(), ACCEPT]}, sessions=1) as way:
        answers = list[object]()
        request = make_request(("b@example.org",), content=b"Subject: x\r\n\r\nx\r\n")
        take_back = way.transport.begin_delivery(request, answers.append)  # type: ignore[attr-defined]
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert take_back()
        assert (await _begin(way)).disposition is ACCEPTED  # by another connection, for which there is room again
        assert trio.current_time() < 1
    assert answers == []
    assert "DATA" not in way.commands(0) or phase == "RCPT"


async def test_a_silent_server_is_waited_for_as_long_as_each_reply_may_take(
    road: OpenRoad, autojump_clock: MockClock
) -> None:
    """The session has rested before, so that its clock is set for less than the reply may take."""
    async with road({".": [ACCEPT, Silence()]}, idle_seconds=15, dot_seconds=100) as way:
        await way.send()
        await trio.sleep(10)
        began = trio.current_time()
        assert (await way.send())[0].disposition is IN_DOUBT
        assert 99 <= trio.current_time() - began <= 103  # two seconds for last words


async def test_a_deadline_that_comes_nearer_is_kept(road: OpenRoad, autojump_clock: MockClock) -> None:
    """The session rests, so that its clock is set for when that ends."""
    async with road({"RCPT": [ACCEPT, Silence()]}, command_seconds=7, dot_seconds=500, idle_seconds=100) as way:
        await way.send()
        await trio.sleep(10)  # the clock has rung for what the first reply might have taken
        began = trio.current_time()
        assert (await way.send())[0].disposition is DEFERRED
        assert 6.9 <= trio.current_time() - began <= 10


async def test_a_reply_that_comes_after_the_clock_has_rung_is_heard(road: OpenRoad, autojump_clock: MockClock) -> None:
    async with road({".": [ACCEPT, Delay(60, ACCEPT)]}, idle_seconds=15) as way:
        await way.send()
        await trio.sleep(10)
        assert (await way.send())[0].disposition is ACCEPTED
        assert len(way.peer.connections) == 1


async def test_a_resting_session_that_the_ear_let_go_of_is_heard_again(road: OpenRoad) -> None:
    """As it does where the session's task is at something else, such as a large content."""
    async with road() as way:
        await way.send()
        (session,) = next(iter(way.transport._sites._sites.values()))._sessions  # type: ignore[attr-defined]
        session._talk.be_unheard()
        await way.send()
        assert session._talk._heard is not None


@pytest.mark.parametrize("replies", [{}, {"MAIL": [ACCEPT, Cut(), ACCEPT]}, {".": ["554 5.7.1 No", ACCEPT]}])
async def test_without_an_ear_sessions_wait_for_themselves(
    road: OpenRoad, replies: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selectors, "DefaultSelector", selectors.SelectSelector)
    async with road(dict(replies)) as way:
        got = [(await way.send())[0].disposition for _ in range(4)]
        assert got.count(ACCEPTED) >= 3


async def test_a_deadline_that_passes_while_its_answer_is_taken_is_not_that_of_the_next(
    road: OpenRoad, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    """As when both fall in one instant: the content that follows the answer would be in doubt before anybody has answered it."""
    receive, instants = Wire.receive, 0

    async def receive_in_that_instant(wire: Wire) -> bytes:
        nonlocal instants
        data = await receive(wire)
        if b"354" in data:
            (session,) = next(iter(way.transport._sites._sites.values()))._sessions  # type: ignore[attr-defined]
            session._talk.limit._scope.cancel()
            instants += 1
        return data

    monkeypatch.setattr(selectors, "DefaultSelector", selectors.SelectSelector)
    monkeypatch.setattr(Wire, "receive", receive_in_that_instant)
    async with road({".": Delay(5.0, ACCEPT)}) as way:
        assert (await way.send())[0].disposition is ACCEPTED
    assert instants == 1


async def test_where_no_descriptor_is_left_for_an_ear_sessions_wait_for_themselves(
    road: OpenRoad, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_left() -> selectors.BaseSelector:
        raise OSError(24, "too many open files")

    monkeypatch.setattr(selectors, "DefaultSelector", none_left)
    async with road() as way:
        assert [(await way.send())[0].disposition for _ in range(3)] == [ACCEPTED] * 3
        assert len(way.peer.connections) == 1


async def test_a_mistake_in_the_ears_turn_is_the_sessions_own(road: OpenRoad, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(conversation: Conversation, answer: object) -> None:
        raise RuntimeError("a mistake")

    async with road() as way:
        with monkeypatch.context() as patch:
            patch.setattr(Conversation, "take", broken)
            assert (await way.send())[0].disposition is DEFERRED
        assert (await way.send())[0].disposition is ACCEPTED


# --- The ear alone ---


async def test_others_run_between_so_many_reads() -> None:
    turns: list[str] = []

    def read(listener: _Listener) -> bool:
        turns.append("read")
        return _read(listener)

    async def other() -> None:
        while turns.count("read") < 100:
            turns.append("other")
            await trio.lowlevel.checkpoint()

    with _listeners(100, read) as listeners:
        async with trio.open_nursery() as nursery:
            ear = Ear(nursery)
            for each in listeners:
                assert ear.attend(each.ours, each)
                each.theirs.send(b"x")
            await other()
            nursery.cancel_scope.cancel()
    longest = max(len(run) for run in "".join(turn[0] for turn in turns).split("o"))
    assert longest <= 2 * ear_module._AT_ONCE  # trio runs what is ready in any order: one may be last, and then first


async def test_who_asks_for_a_moment_goes_on_when_others_have_run() -> None:
    with _listeners(1, lambda listener: not _read(listener)) as (listener,):
        async with trio.open_nursery() as nursery:
            ear = Ear(nursery)
            assert ear.attend(listener.ours, listener)
            listener.theirs.send(b"x")
            with trio.fail_after(10):
                while not listener.heard:
                    await trio.lowlevel.checkpoint()
                assert listener.went_on == 0
                while not listener.went_on:
                    await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
    assert listener.went_on == 1


async def test_who_is_forgotten_is_not_called() -> None:
    with _listeners(2) as (first, second):
        async with trio.open_nursery() as nursery:
            ear = Ear(nursery)
            for each in (first, second):
                assert ear.attend(each.ours, each)
                each.theirs.send(b"x")
            ear.forget(first.ours)
            with trio.fail_after(10):
                while not second.heard:
                    await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
    assert first.heard == 0


async def test_an_ear_that_is_closed_hears_nobody_and_leaves_no_descriptor() -> None:
    with _listeners(2) as (first, second):
        async with trio.open_nursery() as nursery:
            ear = Ear(nursery)
            assert ear.attend(first.ours, first)
            selector = ear._selector
            nursery.cancel_scope.cancel()
        assert selector is not None
        assert selector.get_map() is None
        assert not ear.attend(second.ours, second)
        ear.forget(first.ours)
