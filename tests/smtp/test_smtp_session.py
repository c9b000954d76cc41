"""Sessions and their pool: kept, shared, put back, cancelled, drained."""

from __future__ import annotations

import gc
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing
from smtp_road import CONTENT, OpenRoad, Road
from trio.testing import MockClock

from postroad.errors import StoreError
from postroad.testing import MemoryContent, make_request
from postroad.testing.smtp_peer import ACCEPT, Behaviour, Cut, Delay, Raw, Reset, Silence, SmtpPeer
from postroad.verdict import Disposition, Scope, Verdict
from postroad_smtp.handover import Handover

ACCEPTED, DEFERRED, REFUSED = Disposition.ACCEPTED, Disposition.DEFERRED, Disposition.REFUSED
IN_DOUBT, POSTPONED = Disposition.IN_DOUBT, Disposition.POSTPONED


async def _send_many(way: Road, count: int) -> dict[int, Verdict]:
    """So many messages at once, to r0, r1, ... in this order."""
    got: dict[int, Verdict] = {}

    async def send(number: int) -> None:
        (got[number],) = await way.send(f"r{number}@example.org")

    async with trio.open_nursery() as nursery:
        for number in range(count):
            nursery.start_soon(send, number)
            await trio.lowlevel.checkpoint()  # trio starts tasks of one batch in random order
    return got


def _dispositions(got: dict[int, Verdict]) -> Sequence[Disposition]:
    return [got[number].disposition for number in sorted(got)]


async def test_a_connection_is_kept_for_the_next_message(road: OpenRoad) -> None:
    async with road() as way:
        for _ in range(3):
            await way.send()
        assert way.commands() == ["EHLO", *["MAIL", "RCPT", "DATA", "."] * 3]


async def test_the_next_envelope_goes_out_with_the_content_before_it(road: OpenRoad) -> None:
    async with road(sessions=1) as way:
        assert _dispositions(await _send_many(way, 5)) == [ACCEPTED] * 5
        reads = way.peer.connections[0].reads
        assert len(reads) == 1 + 1 + 5  # EHLO, the first envelope, then one write for each message
        assert reads[2].index(b"\r\n.\r\nMAIL FROM:") > 0
        assert [each.recipients for each in way.peer.transactions] == [(f"r{n}@example.org",) for n in range(5)]
        assert way.committed == 5


async def test_a_resting_connection_holds_no_message(road: OpenRoad) -> None:
    async with road(sessions=1) as way:
        for _ in range(2):  # the one that it was opened for, and the last one
            content = MemoryContent(b"Subject: x\r\n\r\nx\r\n")
            held = weakref.ref(content)
            await way.send(content=content)
            await trio.testing.wait_all_tasks_blocked()
            del content
            gc.collect()
            assert held() is None
        assert len(way.peer.connections) == 1


async def test_without_pipelining_nothing_is_said_before_the_last_answer(road: OpenRoad) -> None:
    peer = SmtpPeer(Behaviour(extensions=("SIZE",)))
    async with road(peer=peer, sessions=1) as way:
        assert _dispositions(await _send_many(way, 3)) == [ACCEPTED] * 3
        lines = [read for read in peer.connections[0].reads if not read.endswith(b"\r\n.\r\n")]
        assert all(read.count(b"\r\n") == 1 for read in lines)


async def test_a_refused_message_does_not_touch_its_follower(road: OpenRoad) -> None:
    async with road({".": ["554 5.7.1 Spam", "451 4.3.0 Later", ACCEPT]}, sessions=1) as way:
        assert _dispositions(await _send_many(way, 4)) == [REFUSED, DEFERRED, ACCEPTED, ACCEPTED]


async def test_a_refused_follower_does_not_end_the_chain(road: OpenRoad) -> None:
    async with road(
        {"RCPT r1@example.org": "550 5.1.1 No", "DATA": [ACCEPT, "554 5.5.1 None", ACCEPT]}, sessions=1
    ) as way:
        assert _dispositions(await _send_many(way, 4)) == [ACCEPTED, REFUSED, ACCEPTED, ACCEPTED]
        assert len(way.peer.connections) == 1


@pytest.mark.parametrize("end", [Cut(), Reset(), "421 4.3.2 Bye"], ids=str)
async def test_a_follower_whose_connection_is_lost_goes_to_another_at_once(road: OpenRoad, end: object) -> None:
    async with road({".": [end, ACCEPT]}, sessions=1, messages_per_session=2) as way:
        got = await _send_many(way, 2)
        assert got[0].disposition is (DEFERRED if isinstance(end, str) else IN_DOUBT)
        assert got[1].disposition is ACCEPTED
        assert len(way.peer.connections) == 2
        assert [each.recipients for each in way.peer.transactions] == [("r1@example.org",)]


async def test_a_follower_that_loses_two_connections_is_deferred(road: OpenRoad) -> None:
    async with road({"MAIL": [ACCEPT, Cut(), Cut(), ACCEPT]}, sessions=1) as way:
        got = await _send_many(way, 2)
        assert got[0].disposition is ACCEPTED
        assert (got[1].disposition, got[1].status) == (DEFERRED, "4.4.2")
        assert len(way.peer.connections) == 2


@pytest.mark.parametrize("end", [Cut(), Reset(), "421 4.4.2 Idle for too long"], ids=str)
async def test_a_kept_connection_that_died_costs_only_a_new_one(road: OpenRoad, end: object) -> None:
    async with road({"MAIL": [ACCEPT, end, ACCEPT]}) as way:
        await way.send()
        assert (await way.send())[0].disposition is ACCEPTED
        assert len(way.peer.connections) == 2


async def test_a_server_that_hangs_up_between_messages_is_noticed_before_the_next(road: OpenRoad) -> None:
    peer = SmtpPeer(dialogue=_ONE_MESSAGE + "S: 421 4.4.2 Timeout\n!cut")
    async with road(peer=peer) as way:
        assert (await way.send())[0].disposition is ACCEPTED
        await trio.testing.wait_all_tasks_blocked()
        assert (await way.send())[0].disposition is ACCEPTED
        assert len(peer.connections) == 2
        assert peer.faults == []


_ONE_MESSAGE = """
S: 220 peer.example ESMTP
C: EHLO client.example
S: 250 peer.example
C: MAIL FROM:<a@example.com>
S: 250 Ok
C: RCPT TO:<b@example.org>
S: 250 Ok
C: DATA
S: 354 Go on
!content
S: 250 Ok
"""


async def test_replies_behind_the_last_one_end_the_connection(road: OpenRoad, autojump_clock: MockClock) -> None:
    peer = SmtpPeer(dialogue=_ONE_MESSAGE + "S: 250 and another\n!silence")
    async with road(peer=peer) as way:
        await way.send()
        await way.send()
        assert len(peer.connections) == 2


async def test_a_connection_is_closed_when_it_has_carried_enough(road: OpenRoad) -> None:
    async with road(messages_per_session=2, sessions=1) as way:
        assert _dispositions(await _send_many(way, 5)) == [ACCEPTED] * 5
        counts = [each.commands.count(".") for each in way.peer.connections]
        assert counts == [2, 2, 1]
        assert way.commands()[-1] == "QUIT"


async def test_quit_goes_with_the_last_content_of_a_connection(road: OpenRoad) -> None:
    async with road(messages_per_session=1, sessions=1) as way:
        assert _dispositions(await _send_many(way, 3)) == [ACCEPTED] * 3
        assert [len(each.reads) for each in way.peer.connections] == [3, 3, 3]  # EHLO, envelope, content and QUIT
        assert [each.commands[-2:] for each in way.peer.connections] == [[".", "QUIT"]] * 3


async def test_quit_waits_for_the_last_answer_where_the_server_does_not_pipeline(road: OpenRoad) -> None:
    async with road(messages_per_session=1, pipelining="off") as way:
        await way.send()
        await way.peer.wait_command("QUIT")
        assert len(way.peer.connections[0].reads) == 1 + 3 + 1 + 1  # EHLO, envelope, content, QUIT


async def test_an_answer_to_quit_is_no_acceptance(road: OpenRoad) -> None:
    """A server that gives one answer too few to the end of the content, and then says goodbye."""
    async with road({".": "221 2.0.0 Bye"}, messages_per_session=1) as way:
        (verdict,) = await way.send()
        assert verdict.disposition is IN_DOUBT


_ENDS = {
    "451 4.3.0 Later": DEFERRED,
    "554 5.7.1 Spam": REFUSED,
    "421 4.3.2 Bye": DEFERRED,
    Raw(b"250 2.0.0 Ok\r\n", then_cut=True): ACCEPTED,
    Raw(b"250 2.0.0 O", then_cut=True): IN_DOUBT,
    Cut(): IN_DOUBT,
    Reset(): IN_DOUBT,
}


@pytest.mark.parametrize(("end", "disposition"), _ENDS.items(), ids=str)
async def test_quit_behind_a_content_changes_nothing_about_its_answer(
    road: OpenRoad, end: object, disposition: Disposition
) -> None:
    async with road({".": [end, ACCEPT]}, messages_per_session=1, sessions=1) as way:
        assert _dispositions(await _send_many(way, 2)) == [disposition, ACCEPTED]
        assert len(way.peer.connections) == 2


@pytest.mark.parametrize("goodbye", [Reset(), Cut(), "500 5.5.2 What?", "421 4.3.2 Bye", Raw(b"bye\r\n")], ids=str)
async def test_what_comes_for_a_quit_changes_nothing_about_the_content_before_it(
    road: OpenRoad, goodbye: object
) -> None:
    async with road({"QUIT": goodbye}, messages_per_session=1, sessions=1) as way:
        assert _dispositions(await _send_many(way, 3)) == [ACCEPTED] * 3
        assert [len(each.recipients) for each in way.peer.transactions] == [1] * 3


async def test_recipients_that_a_transaction_had_no_room_for_do_not_follow_quit(road: OpenRoad) -> None:
    async with road({"RCPT": [ACCEPT, "452 4.5.3 Too many", ACCEPT]}, messages_per_session=1) as way:
        verdicts = await way.send("a@example.org", "b@example.org")
        assert [verdict.disposition for verdict in verdicts] == [ACCEPTED] * 2
        assert [each.commands[-2:] for each in way.peer.connections] == [[".", "QUIT"]] * 2


async def test_a_connection_counts_until_quit_is_answered(road: OpenRoad, autojump_clock: MockClock) -> None:
    """For the server it is still one of ours, although its content was accepted long ago."""
    async with road({"QUIT": Delay(1.0, ACCEPT)}, messages_per_session=1, sessions=1) as way:
        for number in range(3):
            assert (await way.send())[0].disposition is ACCEPTED
            assert number <= trio.current_time() < number + 0.1


async def test_an_idle_connection_is_closed_with_quit(road: OpenRoad, autojump_clock: MockClock) -> None:
    async with road(idle_seconds=15) as way:
        await way.send()
        await way.peer.wait_command("QUIT")
        assert 14.8 <= trio.current_time() <= 16
        await way.send()
        assert len(way.peer.connections) == 2


async def test_an_old_connection_takes_no_more(road: OpenRoad, autojump_clock: MockClock) -> None:
    async with road(idle_seconds=100, session_seconds=60) as way:
        await way.send()
        await trio.sleep(61)
        await way.send()
        await way.peer.wait_command("QUIT")
        await way.send()
        assert len(way.peer.connections) == 2


async def test_connections_are_opened_up_to_the_limit(road: OpenRoad, autojump_clock: MockClock) -> None:
    async with road({".": Delay(1.0, ACCEPT)}, sessions=3) as way:
        assert _dispositions(await _send_many(way, 12)) == [ACCEPTED] * 12
        assert len(way.peer.connections) == 3


async def test_a_server_with_enough_connections_is_not_asked_for_more(road: OpenRoad) -> None:
    async with road({"CONNECT": [ACCEPT, "421 4.7.0 Too many connections"]}, sessions=5) as way:
        await way.send()  # one session is open now
        assert _dispositions(await _send_many(way, 8)) == [ACCEPTED] * 8
        await way.send()
        assert len(way.peer.connections) <= 6


async def test_a_dead_site_is_dialled_once_for_all_that_waits(road: OpenRoad, autojump_clock: MockClock) -> None:
    async with road({"CONNECT": Delay(5.0, Cut())}, sessions=1) as way:
        got = await _send_many(way, 10)
        assert _dispositions(got) == [DEFERRED] * 10
        assert len(way.peer.connections) == 1


@pytest.mark.parametrize("code", ["500 5.5.1 Pipelining not supported", "503 5.5.1 Bad sequence"])
async def test_a_server_that_pipelining_confuses_is_spoken_to_line_by_line(road: OpenRoad, code: str) -> None:
    async with road({"RCPT": [code, ACCEPT]}, is_strict=False) as way:
        assert (await way.send())[0].disposition is ACCEPTED
        assert (await way.send())[0].disposition is ACCEPTED
        assert len(way.peer.connections) == 2
        assert all(read.count(b"\r\n") == 1 or b"Subject" in read for read in way.peer.connections[1].reads)


async def test_a_server_that_says_503_whatever_one_does_is_believed(road: OpenRoad) -> None:
    async with road({"MAIL": "503 5.5.1 No"}, is_strict=False) as way:
        assert (await way.send())[0].disposition is REFUSED
        assert len(way.peer.connections) == 2


# --- Large content ---

LARGE = b"Subject: large\r\n\r\n" + b".a line that begins with a dot\r\n" * 40_000


@pytest.mark.parametrize("piece_bytes", [65_536, 65_535, 997])
async def test_large_content_is_streamed_and_arrives_as_it_was(road: OpenRoad, piece_bytes: int) -> None:
    async with road() as way:
        content = MemoryContent(LARGE, piece_bytes=piece_bytes)
        assert (await way.send(content=content))[0].disposition is ACCEPTED
        assert way.peer.transactions[0].content == LARGE
        assert content.opened == 0
        assert way.committed == 1
        assert (await way.send())[0].disposition is ACCEPTED
        assert len(way.peer.connections) == 1


async def test_a_refusal_in_the_middle_of_the_content_is_a_refusal(road: OpenRoad, autojump_clock: MockClock) -> None:
    dialogue = _ONE_MESSAGE.replace("!content\nS: 250 Ok", "S: 552 5.3.4 Too much\n!silence")
    async with road(peer=SmtpPeer(dialogue=dialogue)) as way:
        (verdict,) = await way.send(content=LARGE)
        assert (verdict.disposition, verdict.reply) == (REFUSED, "552 5.3.4 Too much")
        assert way.committed == 0


async def test_an_acceptance_before_the_end_of_the_content_is_not_believed(road: OpenRoad) -> None:
    dialogue = _ONE_MESSAGE.replace("!content\nS: 250 Ok", "S: 250 2.0.0 Fine\n!silence")
    async with road(peer=SmtpPeer(dialogue=dialogue)) as way:
        (verdict,) = await way.send(content=LARGE)
        assert verdict.disposition is DEFERRED


async def test_unsafe_content_is_refused_before_anything_is_said(road: OpenRoad) -> None:
    async with road() as way:
        (verdict,) = await way.send(content=b"Subject: x\r\n\r\nbare\n.\r\n")
        assert (verdict.disposition, verdict.status, verdict.scope) == (REFUSED, "5.6.0", Scope.MESSAGE)
        assert way.peer.connections == []


async def test_unsafe_content_that_is_streamed_never_gets_its_dot(road: OpenRoad) -> None:
    async with road() as way:
        (verdict,) = await way.send(content=LARGE + b"bare\n.\r\n")
        assert (verdict.disposition, verdict.status) == (REFUSED, "5.6.0")
        assert (way.committed, way.peer.transactions) == (0, [])


# --- What the server cannot take ---


@pytest.mark.parametrize(
    ("missing", "request_of", "status"),
    [
        ("8BITMIME", {"content": b"Subject: x\r\n\r\n\xc3\xa4\r\n"}, "5.6.3"),
        ("SMTPUTF8", {"content": "Subject: \u00e4\r\n\r\nx\r\n".encode()}, "5.6.9"),
        ("SMTPUTF8", {"sender": "\u00e4@example.com"}, "5.6.7"),
    ],
)
async def test_what_needs_an_extension_is_refused_without_it(
    road: OpenRoad, missing: str, request_of: dict[str, object], status: str
) -> None:
    offered = [each for each in ("PIPELINING", "8BITMIME", "SMTPUTF8") if each != missing]
    async with road(peer=SmtpPeer(Behaviour(extensions=offered))) as way:
        (verdict,) = await way.send(**request_of)
        assert (verdict.disposition, verdict.status) == (REFUSED, status)
        assert way.commands() == ["EHLO"]


async def test_only_the_recipient_that_needs_smtputf8_is_refused(road: OpenRoad) -> None:
    async with road(peer=SmtpPeer(Behaviour(extensions=()))) as way:
        plain, utf8 = await way.send("b@example.org", "\u00e4@example.org")
        assert plain.disposition is ACCEPTED
        assert (utf8.disposition, utf8.status) == (REFUSED, "5.6.7")


async def test_parameters_are_said_only_where_they_are_needed(road: OpenRoad) -> None:
    async with road() as way:
        await way.send()
        await way.send(content=b"Subject: x\r\n\r\n\xc3\xa4\r\n")
        await way.send("\u00e4@example.org")
        mails = [each.mail.partition(" SIZE=")[2].partition(" ")[2] for each in way.peer.transactions]
        assert mails == ["", "BODY=8BITMIME", "SMTPUTF8"]


async def test_what_is_larger_than_the_server_takes_is_refused_unsent(road: OpenRoad) -> None:
    async with road(peer=SmtpPeer(Behaviour(extensions=("SIZE 20",)))) as way:
        (verdict,) = await way.send()
        assert (verdict.disposition, verdict.status, verdict.scope) == (REFUSED, "5.3.4", Scope.MESSAGE)
        assert way.commands() == ["EHLO"]


async def test_an_address_that_is_none_is_refused_alone(road: OpenRoad) -> None:
    async with road() as way:
        good, bad = await way.send("b@example.org", "b>\r\nRCPT TO:<c@example.org")
        assert good.disposition is ACCEPTED
        assert (bad.disposition, bad.status) == (REFUSED, "5.1.3")


# --- Cancelling and closing ---


@pytest.mark.parametrize("phase", ["CONNECT", "EHLO", "MAIL", "RCPT", "DATA"])
async def test_cancelled_before_the_dot_nothing_is_delivered(
    road: OpenRoad, phase: str, autojump_clock: MockClock
) -> None:
    async with road({phase: [Silence(), ACCEPT]}) as way:
        with trio.move_on_after(5) as scope:
            await way.send()
        assert scope.cancelled_caught
        assert trio.current_time() < 6
        assert way.committed == 0
        assert (await way.send())[0].disposition is ACCEPTED
        assert len(way.peer.transactions) == 1


async def test_cancelled_after_the_dot_the_reply_is_waited_for(road: OpenRoad, autojump_clock: MockClock) -> None:
    async with road({".": Delay(12.0, ACCEPT)}) as way:
        with trio.move_on_after(2) as scope:
            (verdict,) = await way.send()
            assert verdict.disposition is ACCEPTED
        assert 11.9 < trio.current_time() < 13
        assert not scope.cancelled_caught


async def test_cancelled_after_the_dot_the_wait_ends_after_20_seconds(
    road: OpenRoad, autojump_clock: MockClock
) -> None:
    async with road({".": Silence()}) as way:
        with trio.move_on_after(2):
            (verdict,) = await way.send()
            assert verdict.disposition is IN_DOUBT
        assert 21.5 < trio.current_time() < 26


async def test_a_cancelled_follower_leaves_the_message_before_it_alone(
    road: OpenRoad, autojump_clock: MockClock
) -> None:
    async with road({".": Delay(5.0, ACCEPT)}, sessions=1) as way, trio.open_nursery() as nursery:
        got: list[Verdict] = []

        async def first() -> None:
            got.extend(await way.send("r0@example.org"))

        nursery.start_soon(first)
        await trio.testing.wait_all_tasks_blocked()
        with trio.CancelScope() as scope:
            nursery.start_soon(way.peer.wait_command, ".")
            scope.deadline = trio.current_time() + 2
            await way.send("r1@example.org")
        await way.peer.wait_received(1)
        await trio.sleep(6)
        assert [verdict.disposition for verdict in got] == [ACCEPTED]
        assert [each.recipients for each in way.peer.transactions] == [("r0@example.org",)]


async def test_cancelled_while_waiting_for_a_session_it_is_never_sent(
    road: OpenRoad, autojump_clock: MockClock
) -> None:
    async with road({"RCPT": Delay(5.0, ACCEPT)}, sessions=1) as way, trio.open_nursery() as nursery:
        nursery.start_soon(way.send, "r0@example.org")
        await trio.testing.wait_all_tasks_blocked()
        with trio.move_on_after(1):
            await way.send("r1@example.org")
        await trio.sleep(30)
        assert [each.recipients for each in way.peer.transactions] == [("r0@example.org",)]


async def _close_under_way(
    nursery: trio.Nursery, road: OpenRoad, replies: dict[str, object], until: str, got: list[Verdict]
) -> None:
    """Close a transport over two messages, when the server has heard a command."""

    async def send(way: Road, name: str) -> None:
        got.extend(await way.send(name))

    async with road(replies, sessions=1) as way:
        nursery.start_soon(send, way, "r0@example.org")
        nursery.start_soon(send, way, "r1@example.org")
        await way.peer.wait_command(until)


async def test_a_transport_that_closes_postpones_what_has_no_dot(autojump_clock: MockClock, road: OpenRoad) -> None:
    got: list[Verdict] = []

    async with trio.open_nursery() as nursery:
        await _close_under_way(nursery, road, {"RCPT": Silence()}, "RCPT", got)
    assert [verdict.disposition for verdict in got] == [POSTPONED, POSTPONED]


async def test_a_transport_that_closes_waits_for_the_reply_to_a_dot(autojump_clock: MockClock, road: OpenRoad) -> None:
    got: list[Verdict] = []

    async with trio.open_nursery() as nursery:
        await _close_under_way(nursery, road, {".": Delay(5.0, ACCEPT)}, ".", got)
    assert sorted(verdict.disposition.value for verdict in got) == ["accepted", "postponed"]
    assert trio.current_time() < 8


async def test_content_that_cannot_be_read_is_the_callers_error(road: OpenRoad) -> None:
    class Broken(MemoryContent):
        def chunks(self):  # type: ignore[no-untyped-def]
            raise OSError("the disk is gone")

    async with road() as way:
        with pytest.raises(OSError, match="the disk is gone"):
            await way.send(content=Broken(LARGE))
        assert (await way.send())[0].disposition is ACCEPTED


@pytest.mark.parametrize("content", [CONTENT, LARGE])
async def test_a_content_that_is_not_whole_any_more_is_not_delivered(road: OpenRoad, content: bytes) -> None:
    class CutShort(MemoryContent):
        @property
        def size(self) -> int:
            return len(content)

    async with road() as way:
        with pytest.raises(StoreError, match="damaged"):
            await way.send(content=CutShort(content[:-10]))
        assert way.peer.transactions == []


async def test_no_task_and_no_connection_is_left(road: OpenRoad) -> None:
    before = trio.lowlevel.current_statistics().tasks_living
    async with road() as way:
        await _send_many(way, 20)
    assert trio.lowlevel.current_statistics().tasks_living == before


async def test_it_works_over_streams_in_memory_too(autojump_clock: MockClock) -> None:
    from postroad_smtp.settings import SmtpSettings
    from postroad_smtp.transport import SmtpTransport

    peer = SmtpPeer(Behaviour({".": ["451 4.3.0 Later", ACCEPT]}))
    async with trio.open_nursery() as nursery:

        async def dial(address: str, port: int) -> trio.abc.Stream:
            await trio.lowlevel.checkpoint()
            return peer.connect(nursery)

        transport = SmtpTransport(SmtpSettings(smarthost="192.0.2.1"), nursery, dial=dial)
        first = await transport.deliver(make_request())
        second = await transport.deliver(make_request())
        transport.close()
    assert (first[0].disposition, second[0].disposition) == (DEFERRED, ACCEPTED)
    assert len(peer.connections) == 1


class _TakenBackAtItsEnd(MemoryContent):
    """Its call is cancelled when the last piece is out, and before its task has waited for anything again."""

    take_back: Callable[[], bool]
    was_taken_back = False

    @asynccontextmanager
    async def chunks(self) -> AsyncGenerator[AsyncIterator[bytes]]:
        async with super().chunks() as pieces:
            yield pieces
        self.was_taken_back = self.take_back()


async def test_a_content_that_is_taken_back_never_gets_its_dot(road: OpenRoad) -> None:
    async with road() as way:
        content = _TakenBackAtItsEnd(LARGE)
        settled = list[object]()
        request = make_request(content=content, commit=way._commit)
        handover = Handover(request, way.transport._route, None, done=settled.append)  # type: ignore[attr-defined]
        content.take_back = lambda: way.transport._take_back(handover)  # type: ignore[attr-defined]
        way.transport._sites.submit(handover)  # type: ignore[attr-defined]
        with trio.fail_after(10):
            while way.transport._sites._sites:  # type: ignore[attr-defined]
                await trio.lowlevel.checkpoint()
        assert content.was_taken_back
        assert (way.committed, way.peer.transactions, settled) == (0, [], [])
