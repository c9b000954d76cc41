"""Replies of every kind, and what becomes of each recipient.  What a server does wrong stands in tests/faults, as one table."""

from __future__ import annotations

import socket

import pytest
import trio
from smtp_road import OpenRoad
from trio.testing import MockClock

from postroad.testing.smtp_peer import ACCEPT, Behaviour, Connection, Cut, Delay, Raw, Reaction, Reset, SmtpPeer
from postroad.verdict import Disposition, Scope
from postroad_smtp.plain import PlainStream
from postroad_smtp.talk import Talk
from postroad_smtp.trouble import Kind, Trouble
from postroad_smtp.wire import Wire

BEFORE_MAIL = ["CONNECT", "EHLO"]


@pytest.mark.parametrize(
    ("phase", "reply", "disposition", "scope"),
    [
        ("CONNECT", "450 4.7.0 Later", Disposition.DEFERRED, Scope.SITE),
        ("CONNECT", "554 5.7.1 Go away", Disposition.DEFERRED, Scope.SITE),
        ("CONNECT", "521 No mail here", Disposition.DEFERRED, Scope.SITE),
        ("EHLO", "451 4.3.0 Later", Disposition.DEFERRED, Scope.SITE),
        ("MAIL", "450 4.7.1 Too many messages", Disposition.DEFERRED, Scope.SITE),
        ("MAIL", "451 4.3.2 Not now", Disposition.DEFERRED, Scope.SITE),
        ("MAIL", "451 4.1.8 Your domain has no DNS", Disposition.DEFERRED, Scope.MESSAGE),
        ("MAIL", "452 4.3.1 No room for so much", Disposition.DEFERRED, Scope.MESSAGE),
        ("MAIL", "450 Later", Disposition.DEFERRED, Scope.MESSAGE),
        ("MAIL", "550 5.7.1 Not from you", Disposition.REFUSED, Scope.MESSAGE),
        ("MAIL", "530 5.7.0 Must issue a STARTTLS command first", Disposition.DEFERRED, Scope.TRANSPORT),
        ("RCPT", "450 4.2.0 Greylisted", Disposition.DEFERRED, Scope.RECIPIENT),
        ("RCPT", "550 5.1.1 No such user", Disposition.REFUSED, Scope.RECIPIENT),
        ("DATA", "451 4.3.0 Later", Disposition.DEFERRED, Scope.MESSAGE),
        ("DATA", "554 5.7.1 Refused", Disposition.REFUSED, Scope.MESSAGE),
        (".", "451 4.7.1 Greylisted, try again in 5 minutes", Disposition.DEFERRED, Scope.MESSAGE),
        (".", "554 5.7.1 Spam", Disposition.REFUSED, Scope.MESSAGE),
        (".", "598 5.9.9 Unheard of", Disposition.REFUSED, Scope.MESSAGE),
    ],
)
@pytest.mark.parametrize("pipelining", ["auto", "off"])
async def test_a_reply_decides_by_its_first_digit_and_the_session_goes_on(
    road: OpenRoad, phase: str, reply: str, disposition: Disposition, scope: Scope, pipelining: str
) -> None:
    async with road({phase: [reply, ACCEPT]}, pipelining=pipelining) as way:
        (verdict,) = await way.send()
        assert (verdict.disposition, verdict.scope, verdict.reply) == (disposition, scope, reply)
        assert verdict.remote.startswith("127.0.0.1 [127.0.0.1]:")
        assert verdict.site == verdict.remote.replace("127.0.0.1 [127.0.0.1]", "127.0.0.1")
        assert (await way.send())[0].disposition is Disposition.ACCEPTED
        assert len(way.peer.connections) == (2 if phase in BEFORE_MAIL else 1)


async def test_the_hint_of_a_deferral_is_passed_on(road: OpenRoad) -> None:
    async with road({".": "451 4.7.1 Greylisted, try again in 5 minutes"}) as way:
        assert (await way.send())[0].retry_after_seconds == 300.0


async def test_where_tls_is_wanted_nobody_is_greeted_with_helo(road: OpenRoad) -> None:
    async with road({"EHLO": Cut()}, tls="required") as way:
        assert (await way.send())[0].disposition is Disposition.DEFERRED
        assert [each.commands for each in way.peer.connections] == [["EHLO client.example"]]


@pytest.mark.parametrize("pipelining", ["auto", "off"])
async def test_each_recipient_has_its_own_outcome(road: OpenRoad, pipelining: str) -> None:
    replies = {"RCPT c@example.org": "450 4.2.1 Busy", "RCPT d@example.org": "550 5.1.1 Unknown"}
    async with road(replies, pipelining=pipelining) as way:
        verdicts = await way.send("c@example.org", "b@example.org", "d@example.org", "e@example.org")
        deferred, accepted, refused = Disposition.DEFERRED, Disposition.ACCEPTED, Disposition.REFUSED
        assert [verdict.disposition for verdict in verdicts] == [deferred, accepted, refused, accepted]
        assert [verdict.status for verdict in verdicts] == ["4.2.1", "2.0.0", "5.1.1", "2.0.0"]
        assert way.peer.transactions[0].recipients == ("b@example.org", "e@example.org")


class _TwoAtOnce(Behaviour):
    """Takes two recipients in a transaction."""

    def __init__(self, reply: str) -> None:
        super().__init__()
        self._reply, self._taken = reply, 0

    def react(self, verb: str, argument: str, connection: Connection) -> Reaction:
        self._taken = self._taken + 1 if verb == "RCPT" else 0
        return self._reply if self._taken > 2 else ACCEPT


@pytest.mark.parametrize("pipelining", ["auto", "off"])
@pytest.mark.parametrize("reply", ["452 4.5.3 Too many", "452 Too many", "552 5.5.3 Too many", "552 Too many"])
async def test_recipients_too_many_for_one_transaction_go_in_further_ones(
    road: OpenRoad, reply: str, pipelining: str
) -> None:
    async with road(peer=SmtpPeer(_TwoAtOnce(reply)), pipelining=pipelining) as way:
        verdicts = await way.send(*(f"r{number}@example.org" for number in range(5)))
        assert [verdict.disposition for verdict in verdicts] == [Disposition.ACCEPTED] * 5
        assert [each.recipients for each in way.peer.transactions] == [
            ("r0@example.org", "r1@example.org"),
            ("r2@example.org", "r3@example.org"),
            ("r4@example.org",),
        ]
        assert way.committed == 3
        assert len(way.peer.connections) == 1


@pytest.mark.parametrize("reply", ["452 4.5.3 Too many", "552 5.5.3 Too many", "552 Too many"])
async def test_a_recipient_that_is_too_many_even_alone_is_deferred(road: OpenRoad, reply: str) -> None:
    async with road({"RCPT c@example.org": reply}) as way:
        first, second = await way.send("b@example.org", "c@example.org")
        assert first.disposition is Disposition.ACCEPTED
        assert (second.disposition, second.status) == (Disposition.DEFERRED, "4.5.3")
        assert len(way.peer.transactions) == 1


@pytest.mark.parametrize("reply", ["452 4.3.1 Disk full", "452 4.2.2 Mailbox full"])
async def test_452_for_a_mailbox_or_a_disk_is_no_want_of_room(road: OpenRoad, reply: str) -> None:
    async with road({"RCPT c@example.org": reply}) as way:
        _, second = await way.send("b@example.org", "c@example.org")
        assert (second.disposition, second.reply) == (Disposition.DEFERRED, reply)
        assert way.commands().count("MAIL") == 1


@pytest.mark.parametrize("pipelining", ["auto", "off"])
@pytest.mark.parametrize("end", [Cut(), "421 4.3.2 Bye", Reset()], ids=str)
async def test_a_connection_lost_between_two_transactions_of_a_message_leaves_each_recipient_its_own_outcome(
    road: OpenRoad, end: object, pipelining: str, autojump_clock: MockClock
) -> None:
    replies = {"RCPT": [ACCEPT, "452 4.5.3 Too many", ACCEPT], ".": [end, ACCEPT]}
    async with road(replies, pipelining=pipelining) as way:
        first, second = await way.send("b@example.org", "c@example.org")
        assert first.disposition is (Disposition.DEFERRED if isinstance(end, str) else Disposition.IN_DOUBT)
        if pipelining == "auto":  # the second one's envelope was out: that is put back once
            assert second.disposition is Disposition.ACCEPTED
            assert [each.recipients for each in way.peer.transactions] == [("c@example.org",)]
        else:
            assert second.disposition is Disposition.DEFERRED
            assert way.peer.transactions == []
        assert trio.current_time() < 10


async def test_a_transport_that_closes_between_two_transactions_of_a_message_keeps_what_is_known(
    road: OpenRoad, autojump_clock: MockClock
) -> None:
    got: list[Disposition] = []
    replies = {"RCPT": [ACCEPT, "452 4.5.3 Too many", ACCEPT], ".": [Delay(5, ACCEPT), ACCEPT]}
    async with trio.open_nursery() as nursery, road(replies, pipelining="off") as way:

        async def send() -> None:
            got.extend(verdict.disposition for verdict in await way.send("b@example.org", "c@example.org"))

        nursery.start_soon(send)
        await way.peer.wait_command(".")
    assert got == [Disposition.ACCEPTED, Disposition.POSTPONED]


async def test_a_refused_envelope_is_reset_before_the_next_one(road: OpenRoad) -> None:
    async with road({"DATA": ["451 4.3.0 Later", ACCEPT]}) as way:
        await way.send()
        await way.send()
        assert way.commands() == ["EHLO", "MAIL", "RCPT", "DATA", "RSET", "MAIL", "RCPT", "DATA", "."]


async def test_nobody_at_the_address_defers(road: OpenRoad) -> None:
    async with road(smarthost="127.0.0.1:1") as way:
        (verdict,) = await way.send()
        assert (verdict.disposition, verdict.scope, verdict.status) == (Disposition.DEFERRED, Scope.SITE, "4.4.1")
        assert verdict.remote == "127.0.0.1 [127.0.0.1]:1"


async def test_a_connection_that_ends_with_the_354_leaves_no_more_doubt_than_need_be(road: OpenRoad) -> None:
    """Whether its end is seen before the content is written is a race; what is told fits what was done."""
    async with road({"DATA": [Raw(b"354 Go on\r\n", then_cut=True), ACCEPT]}) as way:
        (verdict,) = await way.send()
        assert verdict.disposition is (Disposition.IN_DOUBT if way.committed else Disposition.DEFERRED)
        assert way.peer.transactions == []


@pytest.mark.parametrize("end", [Cut(), Raw(b"nonsense\r\n")])
async def test_what_was_written_whole_is_said_to_be_handed_over(road: OpenRoad, end: Reaction) -> None:
    async with road({".": [end, ACCEPT]}) as way:
        (verdict,) = await way.send()
    assert (verdict.disposition, verdict.handed_over) == (Disposition.IN_DOUBT, True)


async def test_what_was_lost_while_its_end_was_written_is_not_said_to_be_handed_over(
    road: OpenRoad, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = Talk.send_nowait

    def lose_the_end(talk: Talk, data: bytes) -> bytes | memoryview:
        if data.endswith(b"\r\n.\r\n"):
            raise Trouble(Kind.LOST, "the connection was lost while sending", "4.4.2")
        return write(talk, data)

    async with road() as way:
        monkeypatch.setattr(Talk, "send_nowait", lose_the_end)
        (verdict,) = await way.send()
        assert way.committed
        assert way.peer.transactions == []
    assert (verdict.disposition, verdict.handed_over) == (Disposition.IN_DOUBT, False)


async def test_the_end_of_a_connection_is_seen_before_anything_is_read() -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    wire = Wire(PlainStream(ours))
    assert not wire.has_plain_news()
    theirs.close()
    assert wire.has_plain_news()
    await wire.close_forcefully()


async def test_a_server_that_has_not_forgotten_the_message_before_gets_the_next_one_on_a_new_connection(
    road: OpenRoad,
) -> None:
    peer = SmtpPeer(Behaviour({"MAIL": [ACCEPT, "503 5.5.1 nested MAIL command", ACCEPT]}, extensions=("SIZE",)))
    async with road(peer=peer) as way:
        for _ in range(2):
            assert (await way.send())[0].disposition is Disposition.ACCEPTED
        assert len(peer.connections) == 2
