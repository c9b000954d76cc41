"""What a connection leaves behind: put back, doubted, settled; never forgotten, never blamed for another one's trouble."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing
from smtp_road import OpenRoad, Road
from trio.testing import MockClock

import postroad_smtp.conversation
from postroad.testing import MemoryContent
from postroad.testing.smtp_peer import ACCEPT, Behaviour, Connection, Cut, Delay, Reaction, Silence, SmtpPeer
from postroad.verdict import Disposition, Verdict

ACCEPTED, DEFERRED, REFUSED = Disposition.ACCEPTED, Disposition.DEFERRED, Disposition.REFUSED
IN_DOUBT, POSTPONED = Disposition.IN_DOUBT, Disposition.POSTPONED
EXTENSIONS = ("PIPELINING", "8BITMIME", "ENHANCEDSTATUSCODES")
LARGE = b"Subject: large\r\n\r\n" + b"0123456789abcdef\r\n" * 20_000


class _ByConnection(Behaviour):
    """Answers on each connection by replies of its own; the last ones stay."""

    def __init__(self, *each: dict[str, Reaction | Sequence[Reaction]], extensions: Sequence[str] = EXTENSIONS) -> None:
        super().__init__(extensions=extensions)
        self._each = [Behaviour(replies, extensions=extensions) for replies in each]

    def react(self, verb: str, argument: str, connection: Connection) -> Reaction:
        return self._each[min(connection.number, len(self._each) - 1)].react(verb, argument, connection)


class _Outcomes:
    """Messages under way, and what became of them, by their recipient."""

    def __init__(self, way: Road, nursery: trio.Nursery) -> None:
        self._way = way
        self._nursery = nursery
        self.verdicts: dict[str, Verdict] = {}
        self.at: dict[str, float] = {}

    async def begin(self, *recipients: str, cancel_after: float = 1e6, **more: object) -> None:
        """Begin to send, and wait until all that can happen at once has happened."""
        self._nursery.start_soon(self._send, recipients, cancel_after, more)
        await trio.testing.wait_all_tasks_blocked()

    async def begin_together(self, *each: tuple[str, float]) -> None:
        """Recipients and after how long their messages are cancelled: the second comes before the first one's first answer."""
        for recipient, cancel_after in each:
            self._nursery.start_soon(self._send, (recipient,), cancel_after, {})
            await trio.lowlevel.checkpoint()  # trio starts tasks of one batch in random order
        await trio.testing.wait_all_tasks_blocked()

    async def _send(self, recipients: Sequence[str], cancel_after: float, more: dict[str, object]) -> None:
        with trio.move_on_after(cancel_after):
            verdicts = await self._way.send(*recipients, **more)
            self.verdicts.update(zip(recipients, verdicts, strict=True))
            self.at.update(dict.fromkeys(recipients, trio.current_time()))

    def dispositions(self) -> dict[str, Disposition]:
        return {recipient: verdict.disposition for recipient, verdict in sorted(self.verdicts.items())}


# --- A server that is confused by what it offers itself ---


@pytest.mark.parametrize("code", [500, 502, 503])
@pytest.mark.parametrize("verb", ["MAIL", "RCPT"])
async def test_what_was_put_back_once_is_not_bounced_by_a_confused_server(
    road: OpenRoad, verb: str, code: int, autojump_clock: MockClock
) -> None:
    """r1 loses its connection as a follower; the next server chokes on pipelining; without it the message goes."""
    no = f"{code} 5.5.1 What?"
    peer = SmtpPeer(_ByConnection({".": Cut()}, {verb: no}, {}))
    async with road(peer=peer, sessions=1, is_strict=False) as way, trio.open_nursery() as nursery:
        got = _Outcomes(way, nursery)
        await got.begin("r0@example.org")
        await got.begin("r1@example.org")
    assert got.dispositions() == {"r0@example.org": IN_DOUBT, "r1@example.org": ACCEPTED}


@pytest.mark.parametrize("code", [500, 502, 503])
async def test_a_server_whose_second_host_is_confused_too_defers(road: OpenRoad, code: int) -> None:
    """Only what is said without the feature in question is believed."""
    no = f"{code} 5.5.1 What?"
    peer = SmtpPeer(_ByConnection({"BDAT": no, ".": no}, {"MAIL": no}, {}, extensions=(*EXTENSIONS, "CHUNKING")))
    async with road(peer=peer, chunking="on", is_strict=False) as way:
        assert (await way.send())[0].disposition is DEFERRED
        assert (await way.send())[0].disposition is ACCEPTED


@pytest.mark.parametrize("code", [500, 502, 503])
@pytest.mark.parametrize("verb", ["MAIL", "RCPT", "DATA"])
async def test_a_kept_connection_that_no_longer_knows_a_command_costs_only_a_new_one(
    road: OpenRoad, verb: str, code: int
) -> None:
    replies = {verb: [ACCEPT, f"{code} 5.5.1 What?", ACCEPT]}
    async with road(peer=SmtpPeer(Behaviour(replies, extensions=())), is_strict=False) as way:
        for _ in range(2):
            assert (await way.send())[0].disposition is ACCEPTED
        assert len(way.peer.connections) == 2


@pytest.mark.parametrize("verb", ["MAIL", "RCPT", "DATA"])
async def test_on_a_new_connection_without_extensions_such_a_reply_is_believed(road: OpenRoad, verb: str) -> None:
    async with road(peer=SmtpPeer(Behaviour({verb: "503 5.5.1 No"}, extensions=())), is_strict=False) as way:
        assert (await way.send())[0].disposition is REFUSED
        assert len(way.peer.connections) == 1


@pytest.mark.parametrize("code", [500, 502, 503])
async def test_an_lmtp_server_that_does_not_know_the_bdat_it_offers_defers_and_gets_the_message_by_data_next(
    road: OpenRoad, code: int
) -> None:
    no = f"{code} 5.5.1 What?"
    peer = SmtpPeer(_ByConnection({"BDAT": no, ".": no}, {}, extensions=(*EXTENSIONS, "CHUNKING")), lmtp=True)
    async with road(peer=peer, protocol="lmtp", chunking="on", is_strict=False) as way:
        for expected in (DEFERRED, ACCEPTED):
            verdicts = await way.send("b@example.org", "c@example.org")
            assert [verdict.disposition for verdict in verdicts] == [expected] * 2
        assert [name for each in peer.transactions for name in each.recipients] == ["b@example.org", "c@example.org"]


async def test_what_an_lmtp_server_accepts_beside_such_a_reply_is_not_sent_again(road: OpenRoad) -> None:
    replies: dict[str, Reaction | Sequence[Reaction]] = {".": ["503 5.5.1 Not this one", ACCEPT]}
    peer = SmtpPeer(Behaviour(replies, extensions=(*EXTENSIONS, "CHUNKING")), lmtp=True)
    async with road(peer=peer, protocol="lmtp", chunking="on") as way:
        verdicts = await way.send("b@example.org", "c@example.org")
        assert [verdict.disposition for verdict in verdicts] == [DEFERRED, ACCEPTED]
        assert [each.recipients for each in peer.transactions] == [("c@example.org",)]


async def test_a_refused_chunk_in_lmtp_is_everybodys_answer(road: OpenRoad, autojump_clock: MockClock) -> None:
    """A server that refused a chunk answers the last one once: no other reply may pass for a recipient's."""
    behaviour = Behaviour({"BDAT": Delay(1.0, "452 4.3.1 Disk full")}, extensions=(*EXTENSIONS, "CHUNKING"))
    peer = SmtpPeer(behaviour, lmtp=True)
    async with road(peer=peer, protocol="lmtp", sessions=1) as way, trio.open_nursery() as nursery:
        got = _Outcomes(way, nursery)
        await got.begin("b@example.org", "c@example.org", "d@example.org", content=LARGE * 4)
        await got.begin("f@example.org")
    assert got.dispositions() == dict.fromkeys((f"{name}@example.org" for name in "bcd"), DEFERRED) | {
        "f@example.org": ACCEPTED
    }
    assert got.verdicts["b@example.org"].reply == "452 4.3.1 Disk full"
    assert [each.recipients for each in peer.transactions] == [("f@example.org",)]
    assert got.at["d@example.org"] < 10


async def test_a_rest_behind_a_confused_end_goes_again_with_the_others(road: OpenRoad) -> None:
    replies: dict[str, Reaction | Sequence[Reaction]] = {
        "RCPT": [ACCEPT, "452 4.5.3 Too many", ACCEPT],
        ".": "503 5.5.1 What?",
    }
    peer = SmtpPeer(_ByConnection(replies, {}, extensions=(*EXTENSIONS, "CHUNKING")))
    async with road(peer=peer, chunking="on", is_strict=False) as way:
        verdicts = await way.send("b@example.org", "c@example.org")
        assert [verdict.disposition for verdict in verdicts] == [ACCEPTED, ACCEPTED]
        assert [each.recipients for each in peer.transactions] == [("b@example.org", "c@example.org")]


class _BadRecipients(Behaviour):
    """Knows no recipient with "bad" in its name, and says so by 503."""

    def react(self, verb: str, argument: str, connection: Connection) -> Reaction:
        if verb == "RCPT" and "bad" in argument:
            return "503 5.1.1 nobody"
        return Delay(1.0, ACCEPT) if verb == "." else super().react(verb, argument, connection)


@pytest.mark.parametrize("sessions", [1, 3])
async def test_on_a_busy_site_too_what_was_put_back_gets_a_new_connection(
    road: OpenRoad, sessions: int, autojump_clock: MockClock
) -> None:
    peer = SmtpPeer(_BadRecipients())
    async with road(peer=peer, sessions=sessions, is_strict=False) as way, trio.open_nursery() as nursery:
        got = _Outcomes(way, nursery)
        for number in range(12):
            await got.begin("bad@example.org" if number == 5 else f"r{number}@example.org")
    assert got.verdicts.pop("bad@example.org").disposition is REFUSED
    assert set(got.dispositions().values()) == {ACCEPTED}


# --- Messages of several transactions ---


async def test_an_acceptance_is_kept_when_the_content_cannot_be_read_again(road: OpenRoad) -> None:
    class Once(MemoryContent):
        def chunks(self):  # type: ignore[no-untyped-def]
            if way.peer.transactions:
                raise OSError("the disk is gone")
            return super().chunks()

    async with road({"RCPT": [ACCEPT, "452 4.5.3 Too many", ACCEPT]}) as way:
        first, second = await way.send("b@example.org", "c@example.org", content=Once(LARGE))
        assert (first.disposition, second.disposition, second.status) == (ACCEPTED, DEFERRED, "4.3.0")


@pytest.mark.parametrize("pipelining", ["auto", "off"])
async def test_the_rest_of_a_cancelled_message_is_not_begun(
    road: OpenRoad, pipelining: str, autojump_clock: MockClock
) -> None:
    """Its verdicts come as soon as what was handed over is answered."""
    replies = {"RCPT": [ACCEPT, "452 4.5.3 Too many", Delay(200.0, ACCEPT)], ".": Delay(12.0, ACCEPT)}
    async with road(replies, pipelining=pipelining) as way, trio.open_nursery() as nursery:
        got = _Outcomes(way, nursery)
        await got.begin("b@example.org", "c@example.org", cancel_after=2.0)
    assert got.dispositions() == {"b@example.org": ACCEPTED, "c@example.org": POSTPONED}
    assert got.at["c@example.org"] < 14


async def test_what_was_accepted_is_told_although_the_rest_is_cancelled_while_it_waits(
    road: OpenRoad, autojump_clock: MockClock
) -> None:
    """The rest waits for another connection, which has not greeted yet."""
    first = {"RCPT": [ACCEPT, "452 4.5.3 Too many"]}
    peer = SmtpPeer(_ByConnection(first, {"CONNECT": Delay(200.0, ACCEPT)}))
    async with road(peer=peer, messages_per_session=1) as way, trio.open_nursery() as nursery:
        got = _Outcomes(way, nursery)
        await got.begin("b@example.org", "c@example.org", cancel_after=2.0)
    assert got.dispositions() == {"b@example.org": ACCEPTED, "c@example.org": POSTPONED}
    assert got.at["b@example.org"] < 3


# --- Cancelled behind the final dot ---


@pytest.mark.parametrize("second", ["before", "after"])
async def test_a_cancelled_message_takes_no_other_along(road: OpenRoad, second: str, autojump_clock: MockClock) -> None:
    """r1, under way when r0 is cancelled behind its final dot, or come after that, is spared r0's 20 seconds."""
    peer = SmtpPeer(_ByConnection({".": [Delay(15.0, ACCEPT), Delay(15.0, ACCEPT)]}, {".": Delay(30.0, ACCEPT)}))
    async with road(peer=peer, sessions=1) as way, trio.open_nursery() as nursery:
        got = _Outcomes(way, nursery)
        await got.begin("r0@example.org", cancel_after=4.0)
        await trio.sleep(1 if second == "before" else 6)
        await got.begin("r1@example.org")
    assert got.dispositions() == {"r0@example.org": ACCEPTED, "r1@example.org": ACCEPTED}
    assert [each.recipients for each in peer.transactions] == [("r0@example.org",), ("r1@example.org",)]


async def test_a_follower_of_a_cancelled_message_that_is_never_answered_is_put_back(
    road: OpenRoad, autojump_clock: MockClock
) -> None:
    peer = SmtpPeer(_ByConnection({".": Silence()}, {}))
    async with road(peer=peer, sessions=1) as way, trio.open_nursery() as nursery:
        got = _Outcomes(way, nursery)
        await got.begin_together(("r0@example.org", 4.0), ("r1@example.org", 1e6))
    assert got.dispositions() == {"r0@example.org": IN_DOUBT, "r1@example.org": ACCEPTED}
    assert got.at["r1@example.org"] < 27


async def test_a_request_that_waits_for_a_crowded_site_is_taken_out_of_the_queue_when_it_is_cancelled(
    road: OpenRoad, autojump_clock: MockClock
) -> None:
    peer = SmtpPeer(_ByConnection({".": Delay(50.0, ACCEPT)}, {"CONNECT": "421 4.7.0 Too many"}, {}))
    async with road(peer=peer, sessions=2) as way, trio.open_nursery() as nursery:
        got = _Outcomes(way, nursery)
        await got.begin("r0@example.org")
        await got.begin("r1@example.org", cancel_after=10.0)
        await trio.sleep(22)
        await got.begin("r1@example.org")
    assert [each.recipients for each in peer.transactions] == [("r0@example.org",), ("r1@example.org",)]


# --- Nothing is forgotten ---


async def test_a_mistake_before_the_envelope_is_said_leaves_no_call_waiting(
    road: OpenRoad, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    def broken(*args: object, **more: object) -> None:
        raise RuntimeError("a mistake")

    async with road() as way:
        await way.send()
        with monkeypatch.context() as patch, trio.fail_after(60):
            patch.setattr(postroad_smtp.conversation, "Transaction", broken)
            (verdict,) = await way.send()
        assert (verdict.disposition, verdict.status) == (DEFERRED, "4.3.0")
        assert (await way.send())[0].disposition is ACCEPTED


async def test_a_mistake_with_a_follower_leaves_no_call_waiting(
    road: OpenRoad, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    made = postroad_smtp.conversation.Transaction

    def broken(*args: object, is_follower: bool = False, **more: object) -> object:
        if is_follower:
            raise RuntimeError("a mistake")
        return made(*args, is_follower=is_follower, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(postroad_smtp.conversation, "Transaction", broken)
    async with road(sessions=1) as way, trio.open_nursery() as nursery:
        got = _Outcomes(way, nursery)
        with trio.fail_after(60):
            await got.begin_together(("r0@example.org", 1e6), ("r1@example.org", 1e6))
    assert got.dispositions() == {"r0@example.org": DEFERRED, "r1@example.org": DEFERRED}


async def test_closing_in_the_moment_of_an_assignment_waits_for_nothing(
    road: OpenRoad, autojump_clock: MockClock
) -> None:
    peer = SmtpPeer(Behaviour({"MAIL": [ACCEPT, Silence()]}, extensions=EXTENSIONS))
    got: list[Verdict] = []

    async def send(way: Road) -> None:
        got.extend(await way.send())

    async with trio.open_nursery() as nursery, road(peer=peer) as way:
        await way.send()
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(send, way)
        for _ in range(100):  # until the resting connection has it, and has not yet run
            if any(site._resting == [] for site in way.transport._sites._sites.values()):  # type: ignore[attr-defined]
                break
            await trio.lowlevel.checkpoint()
        way.transport.close()  # type: ignore[attr-defined]
    assert [verdict.disposition for verdict in got] == [POSTPONED]
    assert trio.current_time() < 3


async def test_a_lone_dot_that_is_not_answered_holds_no_verdict_back(road: OpenRoad, autojump_clock: MockClock) -> None:
    replies = {"RCPT": "550 5.1.1 No", "DATA": "354 Go on", ".": Silence()}
    async with road(replies, is_strict=False) as way:
        (verdict,) = await way.send()
        assert verdict.disposition is REFUSED
        assert trio.current_time() < 5


# --- Time ---


class _SlowContent(MemoryContent):
    """Takes so many seconds for a piece."""

    def __init__(self, data: bytes, seconds: float) -> None:
        super().__init__(data)
        self._seconds = seconds

    @asynccontextmanager
    async def chunks(self) -> AsyncGenerator[AsyncIterator[bytes], None]:
        async with super().chunks() as pieces:
            yield _Slowly(pieces, self._seconds)


class _Slowly:
    def __init__(self, pieces: AsyncIterator[bytes], seconds: float) -> None:
        self._pieces = pieces
        self._seconds = seconds

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        await trio.sleep(self._seconds)
        return await anext(self._pieces)


async def test_content_that_is_read_slowly_is_not_taken_for_a_silent_server(
    road: OpenRoad, autojump_clock: MockClock
) -> None:
    async with road() as way:
        verdicts = await way.send(content=_SlowContent(LARGE, 100.0))  # six pieces: 600 s
        assert verdicts[0].disposition is ACCEPTED


async def test_content_that_is_opened_slowly_is_our_own_trouble_too(road: OpenRoad, autojump_clock: MockClock) -> None:
    class Closed(MemoryContent):
        @asynccontextmanager
        async def chunks(self) -> AsyncGenerator[AsyncIterator[bytes], None]:
            await trio.sleep(10_000)
            async with super().chunks() as pieces:
                yield pieces

    async with road() as way:
        (verdict,) = await way.send(content=Closed(LARGE))
        assert (verdict.disposition, verdict.status) == (POSTPONED, "4.3.2")


async def test_content_that_is_not_read_in_time_is_our_own_trouble(road: OpenRoad, autojump_clock: MockClock) -> None:
    async with road() as way:
        (verdict,) = await way.send(content=_SlowContent(LARGE, 10_000.0))
        assert (verdict.disposition, verdict.status) == (POSTPONED, "4.3.2")
        assert "content" in verdict.reply


@pytest.mark.parametrize("pipelining", ["auto", "off"])
async def test_an_envelope_has_a_time_in_all(road: OpenRoad, pipelining: str, autojump_clock: MockClock) -> None:
    """However many recipients there are: each reply within its time would make 29,000 seconds of a hundred."""
    async with road({"RCPT": Delay(290.0, ACCEPT)}, pipelining=pipelining) as way:
        verdicts = await way.send(*(f"r{number}@example.org" for number in range(100)), deadline=1e6)
        assert {verdict.disposition for verdict in verdicts} == {DEFERRED}
        assert trio.current_time() < 1000


async def test_a_site_that_was_crowded_gets_its_connections_back_by_itself(
    road: OpenRoad, autojump_clock: MockClock
) -> None:
    """While the one connection it took is busy for long, nothing else would look at the queue."""
    peer = SmtpPeer(_ByConnection({".": Delay(500.0, ACCEPT)}, {"CONNECT": "421 4.7.0 Too many"}, {}))
    async with road(peer=peer, sessions=2) as way, trio.open_nursery() as nursery:
        got = _Outcomes(way, nursery)
        await got.begin("r0@example.org")
        await got.begin("r1@example.org")
    assert got.dispositions() == {"r0@example.org": ACCEPTED, "r1@example.org": ACCEPTED}
    assert got.at["r1@example.org"] < 70
