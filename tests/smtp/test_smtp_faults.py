"""Phase by fault: what every kind of misbehaviour does to a message, and that it does no harm to the next one.

Rows 19-36 of the fault table (docs/smtp.md).  In one process on loopback, under a clock that jumps.
"""

from __future__ import annotations

from typing import Any

import pytest
import trio
from smtp_road import OpenRoad
from trio.testing import MockClock

from postroad.testing.smtp_peer import ACCEPT, Behaviour, Connection, Cut, Drip, Raw, Reaction, Reset, Silence, SmtpPeer
from postroad.verdict import Disposition, Scope

LOST, SILENT, CLOSING, GARBAGE = "lost", "silent", "closing", "garbage"
FAULTS: dict[str, tuple[str, Any]] = {
    "FIN": (LOST, Cut()),
    "RST": (LOST, Reset()),
    "half a reply, then FIN": (LOST, Raw(b"250-go\r\n25", then_cut=True)),
    "silence": (SILENT, Silence()),
    "a byte every 20 seconds": (SILENT, Drip("250 " + "x" * 200, 20.0)),
    "421": (CLOSING, "421 4.3.2 Shutting down"),
    "no digits": (GARBAGE, Raw(b"hello there\r\n")),
    "a code of no class": (GARBAGE, Raw(b"666 the beast\r\n")),
    "wrong class": (GARBAGE, Raw(b"354 what now\r\n")),
    "endless lines": (GARBAGE, Raw(b"250-x\r\n" * 5000)),
    "an endless line": (GARBAGE, Raw(b"250 " + b"x" * 300_000)),
}
STATUS = {LOST: "4.4.2", SILENT: "4.4.2", CLOSING: "4.3.2", GARBAGE: "4.5.0"}
BEFORE_MAIL = ["CONNECT", "EHLO"]
ENVELOPE = ["MAIL", "RCPT", "DATA"]


def _fault(phase: str, name: str) -> tuple[str, Any]:
    kind, reaction = FAULTS[name]
    if phase == "DATA" and name == "wrong class":
        return kind, Raw(b"250 what now\r\n")
    return kind, reaction


@pytest.mark.parametrize("pipelining", ["auto", "off"])
@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.parametrize("phase", BEFORE_MAIL + ENVELOPE)
async def test_trouble_before_the_dot_defers_and_the_next_message_arrives(
    road: OpenRoad, phase: str, name: str, pipelining: str, autojump_clock: MockClock
) -> None:
    kind, reaction = _fault(phase, name)
    replies = {phase: [reaction, ACCEPT]}
    if phase == "EHLO":
        replies["HELO"] = [reaction, ACCEPT]  # which is tried where the server hung up
    async with road(replies, pipelining=pipelining, is_strict=False) as way:
        (verdict,) = await way.send()
        assert verdict.disposition is Disposition.DEFERRED
        assert verdict.scope is Scope.SITE
        assert verdict.status == STATUS[kind]
        assert verdict.reply.isprintable()
        assert len(verdict.reply) <= 700
        assert way.committed == 0
        assert way.peer.transactions == []
        (verdict,) = await way.send()
        assert verdict.disposition is Disposition.ACCEPTED
        assert len(way.peer.transactions) == 1


@pytest.mark.parametrize("name", FAULTS)
async def test_trouble_after_the_dot_leaves_the_message_in_doubt(
    road: OpenRoad, name: str, autojump_clock: MockClock
) -> None:
    kind, reaction = _fault(".", name)
    async with road({".": [reaction, ACCEPT]}) as way:
        (verdict,) = await way.send()
        assert way.committed == 1
        if kind == CLOSING:  # an answer is an answer
            assert (verdict.disposition, verdict.scope) == (Disposition.DEFERRED, Scope.SITE)
        else:
            assert verdict.disposition is Disposition.IN_DOUBT
        (verdict,) = await way.send()
        assert verdict.disposition is Disposition.ACCEPTED


@pytest.mark.parametrize(
    ("phase", "reply", "disposition", "scope"),
    [
        ("CONNECT", "450 4.7.0 Later", Disposition.DEFERRED, Scope.SITE),
        ("CONNECT", "554 5.7.1 Go away", Disposition.DEFERRED, Scope.SITE),
        ("CONNECT", "521 No mail here", Disposition.DEFERRED, Scope.SITE),
        ("EHLO", "451 4.3.0 Later", Disposition.DEFERRED, Scope.SITE),
        ("MAIL", "451 4.7.1 Later", Disposition.DEFERRED, Scope.MESSAGE),
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


async def test_a_server_that_only_knows_helo_is_spoken_to_plainly(road: OpenRoad) -> None:
    async with road({"EHLO": "502 5.5.1 Never heard of"}) as way:
        assert (await way.send())[0].disposition is Disposition.ACCEPTED
        assert way.commands()[:3] == ["EHLO", "HELO", "MAIL"]
        assert way.peer.transactions[0].mail == "MAIL FROM:<a@example.com>"


@pytest.mark.parametrize("end", [Cut(), Reset()], ids=str)
async def test_a_server_that_hangs_up_at_ehlo_is_greeted_with_helo_on_a_new_connection(
    road: OpenRoad, end: object
) -> None:
    async with road({"EHLO": end}, messages_per_session=1) as way:
        for _ in range(2):
            assert (await way.send())[0].disposition is Disposition.ACCEPTED
        assert [way.commands(number)[0] for number in range(3)] == ["EHLO", "HELO", "HELO"]  # remembered


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


@pytest.mark.parametrize("end", [Cut(), "421 4.3.2 Bye", Reset()], ids=str)
async def test_a_connection_lost_between_two_transactions_of_a_message_leaves_each_recipient_its_own_outcome(
    road: OpenRoad, end: object
) -> None:
    replies = {"RCPT": [ACCEPT, "452 4.5.3 Too many", ACCEPT], ".": [end, ACCEPT]}
    async with road(replies) as way:
        first, second = await way.send("b@example.org", "c@example.org")
        expected = Disposition.DEFERRED if isinstance(end, str) else Disposition.IN_DOUBT
        assert (first.disposition, second.disposition) == (expected, Disposition.ACCEPTED)
        assert [each.recipients for each in way.peer.transactions] == [("c@example.org",)]


@pytest.mark.parametrize("reply", ["552 5.2.2 Mailbox full", "552 5.3.4 Too big"])
async def test_552_for_a_mailbox_is_final(road: OpenRoad, reply: str) -> None:
    async with road({"RCPT c@example.org": reply}) as way:
        _, second = await way.send("b@example.org", "c@example.org")
        assert second.disposition is Disposition.REFUSED


async def test_552_for_the_first_recipient_is_final(road: OpenRoad) -> None:
    async with road({"RCPT c@example.org": "552 No"}) as way:
        first, _ = await way.send("c@example.org", "b@example.org")
        assert first.disposition is Disposition.REFUSED


async def test_a_354_without_an_accepted_recipient_gets_a_lone_dot(road: OpenRoad) -> None:
    async with road({"RCPT": ["550 5.1.1 No", ACCEPT], "DATA": ["354 Go on then", ACCEPT]}) as way:
        (verdict,) = await way.send()
        assert verdict.disposition is Disposition.REFUSED
        assert way.committed == 0
        assert way.peer.transactions == []
        assert way.commands() == ["EHLO", "MAIL", "RCPT", "DATA", "."]
        assert (await way.send())[0].disposition is Disposition.ACCEPTED
        assert len(way.peer.connections) == 1


async def test_a_refused_envelope_is_reset_before_the_next_one(road: OpenRoad) -> None:
    async with road({"DATA": ["451 4.3.0 Later", ACCEPT]}) as way:
        await way.send()
        await way.send()
        assert way.commands() == ["EHLO", "MAIL", "RCPT", "DATA", "RSET", "MAIL", "RCPT", "DATA", "."]


async def test_a_mismatched_enhanced_code_is_not_believed(road: OpenRoad) -> None:
    async with road({".": "250 5.1.1 Fine"}) as way:
        (verdict,) = await way.send()
        assert (verdict.disposition, verdict.status) == (Disposition.ACCEPTED, "2.0.0")


async def test_hostile_text_is_made_printable(road: OpenRoad) -> None:
    async with road({".": Raw("550 a\x1b[2J\u2028\0<script>\r\n".encode())}) as way:
        (verdict,) = await way.send()
        assert verdict.disposition is Disposition.REFUSED
        assert verdict.reply == r"550 a\x1b[2J\u{2028}\x00<script>"


async def test_an_unanswered_quit_changes_nothing(road: OpenRoad, autojump_clock: MockClock) -> None:
    async with road({"QUIT": Silence()}) as way:
        assert (await way.send())[0].disposition is Disposition.ACCEPTED
    assert trio.current_time() < 10


async def test_nobody_at_the_address_defers(road: OpenRoad) -> None:
    async with road(smarthost="127.0.0.1:1") as way:
        (verdict,) = await way.send()
        assert (verdict.disposition, verdict.scope, verdict.status) == (Disposition.DEFERRED, Scope.SITE, "4.4.1")
        assert verdict.remote == "127.0.0.1 [127.0.0.1]:1"


async def test_the_silent_server_is_left_at_the_limit_of_each_phase(road: OpenRoad, autojump_clock: MockClock) -> None:
    limits = {"CONNECT": 300, "EHLO": 300, "MAIL": 300, "RCPT": 300, "DATA": 120, ".": 600}
    for phase, seconds in limits.items():
        async with road({phase: Silence()}) as way:
            started = trio.current_time()
            await way.send()
            taken = trio.current_time() - started
            assert seconds * 0.98 <= taken <= seconds + 5, phase
