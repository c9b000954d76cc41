"""BDAT, LMTP, DSN parameters and the limits of RFC 9422, against the strict scripted server."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import trio
from smtp_road import CONTENT, OpenRoad, Road
from trio.testing import MockClock

from postroad.errors import ConfigError, StoreError
from postroad.message import DsnOptions, Message
from postroad.store.contract import LeasedRecipient
from postroad.testing import MemoryContent
from postroad.testing.smtp_peer import ACCEPT, Behaviour, Cut, Raw, Reaction, Reset, Silence, SmtpPeer
from postroad.verdict import Disposition, Scope
from postroad_smtp import smtp_transport

ACCEPTED, DEFERRED, REFUSED = Disposition.ACCEPTED, Disposition.DEFERRED, Disposition.REFUSED
IN_DOUBT, POSTPONED = Disposition.IN_DOUBT, Disposition.POSTPONED
EXTENSIONS = ("PIPELINING", "SIZE", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES")
CHUNKING = (*EXTENSIONS, "CHUNKING")
LARGE = b"Subject: Large\r\n\r\n" + b".0123456789abcdef\r\n" * 160_000  # 3 MB: three chunks
CHUNKS = ["BDAT 1048576", "BDAT 1048576", f"BDAT {len(LARGE) - 2 * 1048576} LAST"]


def _peer(
    replies: dict[str, Reaction | Sequence[Reaction]] | None = None,
    *extensions: str,
    lmtp: bool = False,
) -> SmtpPeer:
    return SmtpPeer(Behaviour(replies, extensions=extensions or CHUNKING), lmtp=lmtp)


def _said(way: Road, verb: str, connection: int = 0) -> list[str]:
    return [command for command in way.peer.connections[connection].commands if command.startswith(verb)]


# --- BDAT ---


@pytest.mark.parametrize("pipelining", ["auto", "off"])
async def test_large_content_goes_in_chunks_as_it_is(road: OpenRoad, pipelining: str) -> None:
    async with road(peer=_peer(), pipelining=pipelining) as way:
        for _ in range(2):
            assert (await way.send(content=LARGE))[0].disposition is ACCEPTED
        assert [each.content for each in way.peer.transactions] == [LARGE] * 2
        assert _said(way, "BDAT") == CHUNKS * 2
        assert _said(way, "DATA") == []
        assert way.committed == 2


@pytest.mark.parametrize("pipelining", ["auto", "off"])
@pytest.mark.parametrize(
    ("chunking", "expected"), [("auto", ["DATA"]), ("off", ["DATA"]), ("on", [f"BDAT {len(CONTENT)} LAST"])]
)
async def test_small_content_goes_in_a_chunk_only_where_that_is_wanted(
    road: OpenRoad, chunking: str, expected: list[str], pipelining: str
) -> None:
    async with road(peer=_peer(), chunking=chunking, pipelining=pipelining) as way:
        assert (await way.send())[0].disposition is ACCEPTED
        assert [one for one in way.peer.connections[0].commands if one.startswith(("DATA", "BDAT"))] == expected
        assert way.peer.transactions[0].content == CONTENT


@pytest.mark.parametrize("extensions", [EXTENSIONS, ("SIZE",)])
async def test_nothing_goes_in_chunks_where_that_is_not_offered(road: OpenRoad, extensions: tuple[str, ...]) -> None:
    async with road(peer=_peer(None, *extensions), chunking="on") as way:
        assert (await way.send(content=LARGE))[0].disposition is ACCEPTED
        assert _said(way, "BDAT") == []


async def test_quit_follows_the_last_chunk_without_a_reset(road: OpenRoad) -> None:
    async with road(peer=_peer(), chunking="on", messages_per_session=1) as way:
        assert (await way.send())[0].disposition is ACCEPTED
        await way.peer.wait_command("QUIT")
    reads = way.peer.connections[0].reads
    assert len(reads) == 1 + 1 + 1  # EHLO, envelope, content and QUIT
    assert reads[2].endswith(CONTENT + b"QUIT\r\n")


async def test_the_next_envelope_follows_a_chunk_behind_a_reset(road: OpenRoad) -> None:
    async with road(peer=_peer(), chunking="on", sessions=1) as way, trio.open_nursery() as nursery:
        for number in range(4):
            nursery.start_soon(way.send, f"r{number}@example.org")
    reads = way.peer.connections[0].reads
    assert len(reads) == 1 + 1 + 4 + 1  # EHLO, the first envelope, one write for each message, QUIT
    assert b"RSET\r\nMAIL FROM:" in reads[2]
    assert len(way.peer.transactions) == 4


@pytest.mark.parametrize("pipelining", ["auto", "off"])
@pytest.mark.parametrize(("reply", "disposition"), [("452 4.3.1 Disk full", DEFERRED), ("552 5.3.4 Too big", REFUSED)])
async def test_a_chunk_that_is_refused_ends_the_content_and_the_session_goes_on(
    road: OpenRoad, reply: str, disposition: Disposition, pipelining: str
) -> None:
    async with road(peer=_peer({"BDAT": [reply, ACCEPT]}), pipelining=pipelining) as way:
        (verdict,) = await way.send(content=LARGE)
        assert (verdict.disposition, verdict.reply, verdict.scope) == (disposition, reply, Scope.MESSAGE)
        assert (await way.send())[0].disposition is ACCEPTED
        assert len(way.peer.transactions) == 1
        if pipelining == "off":  # otherwise it depends on when the reply comes
            assert _said(way, "BDAT") == CHUNKS[:1]
            assert (way.committed, len(way.peer.connections)) == (1, 1)


@pytest.mark.parametrize("reply", ["451 4.3.0 Later", "554 5.7.1 Spam"])
async def test_a_last_chunk_that_is_refused_is_followed_by_a_reset(road: OpenRoad, reply: str) -> None:
    async with road(peer=_peer({".": [reply, ACCEPT]}), chunking="on") as way:
        assert (await way.send())[0].disposition is (DEFERRED if reply.startswith("4") else REFUSED)
        assert (await way.send())[0].disposition is ACCEPTED
        assert way.commands() == ["EHLO", "MAIL", "RCPT", "BDAT", "RSET", "MAIL", "RCPT", "BDAT"]


async def test_no_chunk_is_sent_where_nobody_was_accepted(road: OpenRoad) -> None:
    async with road(peer=_peer({"RCPT": ["550 5.1.1 No", ACCEPT]}), chunking="on") as way:
        assert (await way.send())[0].disposition is REFUSED
        assert _said(way, "BDAT") == []
        assert (await way.send())[0].disposition is ACCEPTED


@pytest.mark.parametrize("end", [Cut(), Reset(), Silence(), Raw(b"huh\r\n")], ids=str)
async def test_a_last_chunk_without_an_answer_is_in_doubt(
    road: OpenRoad, end: Reaction, autojump_clock: MockClock
) -> None:
    async with road(peer=_peer({".": [end, ACCEPT]}), chunking="on") as way:
        assert (await way.send())[0].disposition is IN_DOUBT
        assert way.committed == 1


@pytest.mark.parametrize("end", [Cut(), Reset(), "421 4.3.2 Bye"], ids=str)
async def test_a_connection_lost_between_chunks_defers(road: OpenRoad, end: Reaction) -> None:
    async with road(peer=_peer({"BDAT": [ACCEPT, end]}), pipelining="off") as way:
        (verdict,) = await way.send(content=LARGE)
        assert (verdict.disposition, verdict.scope) == (DEFERRED, Scope.SITE)
        assert way.committed == 0


@pytest.mark.parametrize("content", [CONTENT, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("code", [500, 502, 503])
async def test_a_server_that_does_not_know_what_it_offered_gets_the_message_by_data(
    road: OpenRoad, code: int, content: bytes
) -> None:
    no = f"{code} 5.5.1 What?"
    async with road(
        peer=_peer({"BDAT": no, ".": [no, ACCEPT] if content is CONTENT else ACCEPT}), chunking="on"
    ) as way:
        for _ in range(2):
            assert (await way.send(content=content))[0].disposition is ACCEPTED
        assert len(way.peer.transactions) == 2
        assert _said(way, "BDAT", 1) == []  # it is remembered
        assert len(way.peer.connections) == 2


class _Lying(MemoryContent):
    """Says another size than it has."""

    def __init__(self, data: bytes, more: int) -> None:
        super().__init__(data)
        self._more = more

    @property
    def size(self) -> int:
        return super().size + self._more


@pytest.mark.parametrize("chunking", ["off", "on"])
@pytest.mark.parametrize(
    ("data", "more"), [(LARGE, -1), (LARGE, 1), (LARGE, -1_500_000), (LARGE, 1_500_000), (CONTENT, -1), (CONTENT, 1)]
)
async def test_content_of_another_size_than_it_says_is_never_completed(
    road: OpenRoad, data: bytes, more: int, chunking: str
) -> None:
    """A damaged spool: the caller's error, which defers; nothing is proven against the message."""
    peer = _peer({".": ACCEPT}, *(one for one in CHUNKING if one != "SIZE"))
    async with road(peer=peer, is_strict=False, chunking=chunking) as way:
        with pytest.raises(StoreError, match="octets"):
            await way.send(content=_Lying(data, more))
        assert way.peer.transactions == []
        assert way.committed == 0
        assert (await way.send())[0].disposition is ACCEPTED


# --- LMTP ---


@pytest.mark.parametrize("chunking", ["off", "on"])
@pytest.mark.parametrize("pipelining", ["auto", "off"])
async def test_lmtp_has_an_outcome_for_each_recipient_after_the_content(
    road: OpenRoad, pipelining: str, chunking: str
) -> None:
    replies: dict[str, Reaction | Sequence[Reaction]] = {
        "RCPT b@example.org": "550 5.1.1 Unknown",
        ". c@example.org": "452 4.2.2 Full",
        ". d@example.org": "554 5.7.1 Spam",
    }
    settings = {"protocol": "lmtp", "pipelining": pipelining, "chunking": chunking}
    async with road(peer=_peer(replies, lmtp=True), **settings) as way:
        for _ in range(2):
            verdicts = await way.send(*(f"{name}@example.org" for name in "abcde"))
            assert [verdict.disposition for verdict in verdicts] == [ACCEPTED, REFUSED, DEFERRED, REFUSED, ACCEPTED]
            assert {verdict.scope for verdict in verdicts} == {Scope.RECIPIENT}
        accepted = [each.recipients for each in way.peer.transactions]
        assert accepted == [("a@example.org",), ("e@example.org",)] * 2
        assert way.commands()[0] == "LHLO"
        assert len(way.peer.connections) == 1


async def test_in_lmtp_the_next_envelope_waits_for_the_last_answer(road: OpenRoad) -> None:
    """Else a reply too few would make an acceptance of what is said to the next envelope."""
    async with road(peer=_peer(lmtp=True), protocol="lmtp", sessions=1) as way, trio.open_nursery() as nursery:
        for number in range(4):
            nursery.start_soon(way.send, f"a{number}@example.org", f"b{number}@example.org")
    assert len(way.peer.transactions) == 8
    assert len(way.peer.connections[0].reads) == 1 + 2 * 4 + 1  # EHLO, envelope and content of each, QUIT


async def test_in_lmtp_quit_waits_for_the_last_answer(road: OpenRoad) -> None:
    async with road(peer=_peer(lmtp=True), protocol="lmtp", messages_per_session=1) as way:
        await way.send("a@example.org", "b@example.org")
        await way.peer.wait_command("QUIT")
    assert len(way.peer.connections[0].reads) == 1 + 2 + 1  # LHLO, envelope, content, QUIT


@pytest.mark.parametrize("end", [Cut(), Reset(), "421 4.3.2 Bye"], ids=str)
async def test_an_lmtp_connection_lost_between_two_replies_leaves_the_rest_in_doubt(
    road: OpenRoad, end: Reaction
) -> None:
    async with road(peer=_peer({". b@example.org": end}, lmtp=True), protocol="lmtp") as way:
        verdicts = await way.send("a@example.org", "b@example.org", "c@example.org")
        second = DEFERRED if isinstance(end, str) else IN_DOUBT
        assert [verdict.disposition for verdict in verdicts] == [ACCEPTED, second, IN_DOUBT]


async def test_a_server_of_the_other_protocol_defers(road: OpenRoad) -> None:
    for lmtp in (True, False):
        async with road(peer=_peer(lmtp=lmtp), protocol="smtp" if lmtp else "lmtp", is_strict=False) as way:
            (verdict,) = await way.send()
            assert (verdict.disposition, verdict.scope) == (DEFERRED, Scope.SITE)


async def test_an_lmtp_server_that_waits_for_content_of_nobody_is_left(road: OpenRoad) -> None:
    peer = _peer({"RCPT": ["550 5.1.1 No", ACCEPT], "DATA": ["354 Go on then", ACCEPT]}, lmtp=True)
    async with road(peer=peer, protocol="lmtp") as way:
        assert (await way.send())[0].disposition is REFUSED
        assert (await way.send())[0].disposition is ACCEPTED
        assert len(way.peer.connections) == 2


@pytest.mark.parametrize(
    ("settings", "key"),
    [({}, "protocol"), ({"smarthost": "mail.example"}, "smarthost"), ({"smarthost": "a:25"}, "smarthost")],
)
async def test_lmtp_is_for_a_mail_store_and_never_for_port_25(settings: dict[str, str], key: str) -> None:
    with pytest.raises(ConfigError, match=key):
        async with smtp_transport({"protocol": "lmtp", **settings}):
            pass


# --- DSN ---

OPTIONS = DsnOptions(notify=("failure", "delay"), ret="headers", envid="a+b=c d")
ORCPT = "rfc822;old+2Bbox@example.org"


def _message(dsn: DsnOptions, sender: str = "a@example.com") -> Message:
    return Message(id="01k0000000aaaaaaaaaa", sender=sender, accepted_at=0.0, size=len(CONTENT), dsn=dsn)


async def test_what_was_asked_for_by_rfc_3461_is_passed_on(road: OpenRoad) -> None:
    async with road(peer=_peer(None, *EXTENSIONS, "DSN")) as way:
        own = LeasedRecipient(1, "c@example.org", notify=("never",), orcpt=ORCPT)
        await way.send(LeasedRecipient(0, "b@example.org"), own, message=_message(OPTIONS))
        assert _said(way, "MAIL") == [f"MAIL FROM:<a@example.com> SIZE={len(CONTENT)} RET=HDRS ENVID=a+2Bb+3Dc+20d"]
        assert _said(way, "RCPT") == [
            "RCPT TO:<b@example.org> NOTIFY=FAILURE,DELAY",
            f"RCPT TO:<c@example.org> NOTIFY=NEVER ORCPT={ORCPT}",
        ]


@pytest.mark.parametrize("offer", ["DSN", "X"])
async def test_nothing_of_it_is_invented_or_sent_where_it_is_not_offered(road: OpenRoad, offer: str) -> None:
    async with road(peer=_peer(None, "PIPELINING", offer)) as way:
        await way.send(message=_message(OPTIONS if offer == "X" else DsnOptions()))
        assert way.peer.connections[0].commands[1:3] == ["MAIL FROM:<a@example.com>", "RCPT TO:<b@example.org>"]


async def test_mail_of_the_null_sender_asks_for_no_report(road: OpenRoad) -> None:
    async with road(peer=_peer(None, "PIPELINING", "DSN")) as way:
        await way.send(message=_message(DsnOptions(notify=("failure",), ret="full"), sender=""))
        await way.send(message=_message(DsnOptions(notify=("never",)), sender=""))
        assert _said(way, "MAIL") == ["MAIL FROM:<>"] * 2
        assert _said(way, "RCPT") == ["RCPT TO:<b@example.org>", "RCPT TO:<b@example.org> NOTIFY=NEVER"]


@pytest.mark.parametrize(
    "orcpt", ["rfc822", "rfc822;a b", "rfc822;a+b", "rfc822;", "rfc822;a\r\nDATA", "rfc822;\u00e4"]
)
async def test_an_orcpt_that_is_none_refuses_that_recipient_alone(road: OpenRoad, orcpt: str) -> None:
    async with road(peer=_peer(None, "PIPELINING", "DSN")) as way:
        bad = LeasedRecipient(0, "b@example.org", orcpt=orcpt)
        first, second = await way.send(bad, LeasedRecipient(1, "c@example.org"))
        assert (first.disposition, first.status, second.disposition) == (REFUSED, "5.1.3", ACCEPTED)


# --- LIMITS ---


@pytest.mark.parametrize("pipelining", ["auto", "off"])
async def test_a_transaction_has_no_more_recipients_than_the_server_allows(road: OpenRoad, pipelining: str) -> None:
    async with road(peer=_peer(None, *EXTENSIONS, "LIMITS RCPTMAX=2"), pipelining=pipelining) as way:
        verdicts = await way.send(*(f"r{number}@example.org" for number in range(5)))
        assert [verdict.disposition for verdict in verdicts] == [ACCEPTED] * 5
        assert [len(each.recipients) for each in way.peer.transactions] == [2, 2, 1]
        assert len(way.peer.connections) == 1


async def test_a_transaction_has_no_more_domains_than_the_server_allows(road: OpenRoad) -> None:
    async with road(peer=_peer(None, *EXTENSIONS, "LIMITS RCPTDOMAINMAX=1")) as way:
        await way.send("a@one.example", "b@two.example", "c@ONE.example", "d@two.example")
        assert [each.recipients for each in way.peer.transactions] == [
            ("a@one.example", "c@ONE.example"),
            ("b@two.example", "d@two.example"),
        ]


@pytest.mark.parametrize("pipelining", ["auto", "off"])
async def test_a_connection_has_no_more_mails_than_the_server_allows(road: OpenRoad, pipelining: str) -> None:
    peer = _peer({"MAIL": ["451 4.7.1 Later", ACCEPT]}, *EXTENSIONS, "LIMITS MAILMAX=2")
    async with road(peer=peer, sessions=1, pipelining=pipelining) as way:
        for _ in range(4):
            await way.send()
        assert [len(_said(way, "MAIL", number)) for number in range(2)] == [2, 2]  # the refused one counts


async def test_a_message_of_more_transactions_than_a_connection_may_have_goes_over_several(road: OpenRoad) -> None:
    async with road(peer=_peer(None, *EXTENSIONS, "LIMITS MAILMAX=2 RCPTMAX=1"), sessions=1) as way:
        verdicts = await way.send(*(f"r{number}@example.org" for number in range(5)))
        assert [verdict.disposition for verdict in verdicts] == [ACCEPTED] * 5
        assert [each.connection for each in way.peer.transactions] == [0, 0, 1, 1, 2]


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ("RCPTMAX=0", 1),
        ("RCPTMAX=x", 1),
        ("RCPTMAX=-1", 1),
        ("RCPTMAX=1234567", 1),
        ("RCPTMAX", 1),
        ("rcptmax=1", 2),
        ("FUTURE=9 RCPTMAX=1", 2),
        ("=9 RCPTMAX=1", 1),  # malformed: the list counts for nothing
    ],
)
async def test_a_limit_that_is_none_is_ignored(road: OpenRoad, limits: str, expected: int) -> None:
    async with road(peer=_peer(None, "PIPELINING", f"LIMITS {limits}")) as way:
        await way.send("a@example.org", "b@example.org")
        assert len(way.peer.transactions) == expected


async def test_a_cancelled_message_keeps_what_a_first_transaction_accepted(road: OpenRoad) -> None:
    """Its verdicts are known: a cancelled attempt must not throw an acceptance away."""
    peer = _peer({"MAIL": [ACCEPT, Silence()]}, "SIZE", "LIMITS RCPTMAX=1")
    got: list[Disposition] = []
    async with road(peer=peer) as way, trio.open_nursery() as nursery:

        async def send() -> None:
            got.extend(verdict.disposition for verdict in await way.send("a@example.org", "b@example.org"))

        nursery.start_soon(send)
        await peer.wait_command("MAIL", 2)
        nursery.cancel_scope.cancel()
    assert got == [ACCEPTED, POSTPONED]
