"""The scripted servers themselves: a test-kit that misses faults would prove nothing."""

from __future__ import annotations

import re

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from postroad.testing.dns_peer import DnsPeer, Lie
from postroad.testing.smtp_dialogue import Dialogue
from postroad.testing.smtp_peer import Behaviour, Cut, Delay, Drip, Raw, Reset, Silence, SmtpPeer
from postroad.testing.smtp_rules import read_offers, said

_ENDS_A_GROUP = re.compile(rb"(?m)(?<=^DATA\r\n)|(?<=^EHLO c\r\n)")


async def _talk(peer: SmtpPeer, said: bytes, *, at_once: bool = False) -> bytes:
    """Say something, in groups as RFC 2920 wants them or `at_once`, then listen to the end."""
    async with trio.open_nursery() as nursery:
        stream = peer.connect(nursery)
        for group in [said] if at_once else _ENDS_A_GROUP.split(said):
            await stream.send_all(group)
            await trio.testing.wait_all_tasks_blocked()
        heard = b""
        with trio.move_on_after(30):
            while piece := bytes(await stream.receive_some()):
                heard += piece
        await stream.aclose()
        nursery.cancel_scope.cancel()
    return heard


ENVELOPE = b"EHLO c\r\nMAIL FROM:<a@b.c>\r\nRCPT TO:<d@e.f>\r\nDATA\r\n"


async def test_keeps_a_transaction_byte_for_byte(autojump_clock: MockClock) -> None:
    peer = SmtpPeer()
    await _talk(peer, ENVELOPE + b"..x\r\n\r\ny\r\n.\r\nQUIT\r\n")
    (received,) = peer.transactions
    assert (received.sender, received.recipients) == ("a@b.c", ("d@e.f",))
    assert received.content == b".x\r\n\r\ny\r\n"
    assert received.raw == b"..x\r\n\r\ny\r\n.\r\n"
    assert peer.faults == []


@pytest.mark.parametrize(
    ("said", "fault"),
    [
        (b"EHLO c\nQUIT\r\n", "bare CR, LF or NUL"),
        (b"EHLO c\0\r\nQUIT\r\n", "bare CR, LF or NUL"),
        (b"MAIL FROM:<a@b.c>\r\nQUIT\r\n", "out of order"),
        (b"EHLO c\r\nMAIL FROM:<a@b.c>\r\nMAIL FROM:<a@b.c>\r\nQUIT\r\n", "out of order"),
        (b"EHLO c\r\nSTARTTLS\r\nQUIT\r\n", "out of order"),
        (b"EHLO c\r\nAUTH PLAIN x\r\nQUIT\r\n", "out of order"),
        (b"WHO IS THERE\r\nQUIT\r\n", "unknown command"),
        (b"QUIT\r\nNOOP\r\n", "behind QUIT"),
        (b"x" * 20_000, "without end"),
        (ENVELOPE + b"bare\n.\r\n\r\n.\r\nQUIT\r\n", "bare CR, LF or NUL"),
        (ENVELOPE + b"bare\r.\r\nx\r\n.\r\nQUIT\r\n", "bare CR, LF or NUL"),
        (ENVELOPE + b"nul\0\r\n.\r\nQUIT\r\n", "bare CR, LF or NUL"),
        (ENVELOPE + b"x" * 999 + b"\r\n.\r\nQUIT\r\n", "a line of 999"),
        (ENVELOPE + b".unstuffed\r\n.\r\nQUIT\r\n", "not doubled"),
    ],
)
async def test_notes_what_a_client_does_wrong(said: bytes, fault: str, autojump_clock: MockClock) -> None:
    peer = SmtpPeer()
    await _talk(peer, said)
    assert any(fault in noted for noted in peer.faults), peer.faults


OFFERED = {
    "nothing": (),
    "pipelining": ("PIPELINING",),
    "small": ("PIPELINING", "SIZE 20"),
    "all": ("PIPELINING", "SIZE", "8BITMIME", "SMTPUTF8", "DSN", "BINARYMIME"),
}
HELLO = b"EHLO c\r\n"
TO = b"RCPT TO:<d@e.f>\r\n"


def _mail(parameters: str = "") -> bytes:
    return f"MAIL FROM:<a@b.c>{parameters}\r\n".encode()


def _message(parameters: str, content: bytes) -> bytes:
    return HELLO + _mail(parameters) + TO + b"DATA\r\n" + content + b".\r\nQUIT\r\n"


BREACHES = [
    # what was offered, what the client says, what is noted
    ("nothing", HELLO + b"MAIL FROM:<\xc3\xa4@b.c>\r\n", "octets over 127 without SMTPUTF8"),
    ("all", HELLO + b"MAIL FROM:<\xe4@b.c>\r\n", "no UTF-8"),
    ("all", HELLO + b"MAIL FROM:<a@b\x1b.c>\r\n", "control character"),
    ("all", "EHLO c\u00e4\r\n".encode(), "octets over 127"),
    ("all", b"EHLO c d\r\n", "no host name"),
    ("all", b"EHLO <c>\r\n", "no host name"),
    ("all", b"EHLO\r\n", "no host name"),
    ("all", HELLO + b"RSET now\r\n", "an argument where none belongs"),
    ("all", HELLO + b"MAIL FROM:a@b.c\r\n", "no path"),
    ("all", HELLO + b"MAIL FROM: <a@b.c>\r\n", "no path"),
    ("all", HELLO + b"MAIL FROM:<a@b.c>SIZE=3\r\n", "no path"),
    ("all", HELLO + b"MAIL FROM:<a@b.c>  SIZE=3\r\n", "no path"),
    ("all", HELLO + b"MAIL FROM:<a@b.c> RCPT TO:<x@y>\r\n", "no parameter"),
    ("all", HELLO + _mail(" SIZE=-1"), "no parameter"),
    ("all", HELLO + _mail(" SIZE=1 SIZE=2"), "a parameter twice"),
    ("all", HELLO + _mail(" BODY=9BIT"), "no parameter"),
    ("all", HELLO + _mail(" ENVID=a=b"), "no parameter"),
    ("all", HELLO + _mail() + b"RCPT TO:<d@e.f> NOTIFY=NEVER,SUCCESS\r\n", "no parameter"),
    ("all", HELLO + _mail() + b"RCPT TO:<d@e.f> SIZE=3\r\n", "no parameter"),
    ("pipelining", HELLO + _mail(" SIZE=3"), "not offered"),
    ("pipelining", HELLO + _mail(" BODY=8BITMIME"), "not offered"),
    ("pipelining", HELLO + _mail(" SMTPUTF8"), "not offered"),
    ("pipelining", HELLO + _mail(" RET=HDRS"), "not offered"),
    ("pipelining", HELLO + _mail() + b"RCPT TO:<d@e.f> ORCPT=rfc822;d@e.f\r\n", "not offered"),
    ("small", HELLO + _mail(" SIZE=21"), "over the limit"),
    ("small", _message(" SIZE=4", b"a:\r\n"), ""),
    ("small", _message(" SIZE=3", b"a:\r\n"), "SIZE=3 for a content of 4"),
    ("small", _message(" SIZE=5", b"a:\r\n"), "SIZE=5 for a content of 4"),
    ("all", _message(" BODY=7BIT", b"a:\r\n\r\n\xe4\r\n"), "a body with octets over 127"),
    ("all", _message(" BODY=8BITMIME", b"a: \xc3\xa4\r\n\r\n\xe4\r\n"), "a header with octets over 127"),
    ("all", _message(" SMTPUTF8", b"a: \xc3\xa4\r\n\r\n\xe4\r\n"), "a body with octets over 127"),
    ("all", _message(" SMTPUTF8 BODY=8BITMIME", b"a: \xc3\xa4\r\n\r\n\xe4\r\n"), ""),
    ("nothing", HELLO + b"MAIL FROM:<" + b"a" * 497 + b"@b>\r\n", "a command of 513 octets"),
    ("all", HELLO + b"MAIL FROM:<" + b"a" * 253 + b"@b>\r\n", "a path of 257 octets"),
    ("all", HELLO + b"MAIL FROM:<" + b"a" * 252 + b"@b>\r\n", ""),
    ("all", b"EHLO " + b"a" * 506 + b"\r\n", "a command of 513 octets"),
    ("all", HELLO + b'MAIL FROM:<"a> \\" b"@c> SIZE=3\r\n', ""),
    ("nothing", HELLO + _mail() + TO, "behind MAIL before its reply"),
    ("pipelining", HELLO + _mail() + TO, ""),
    ("nothing", HELLO + b"RCPT TO:<d@e.f>\r\n", "out of order"),
    ("nothing", HELLO + b"DATA\r\n", "out of order"),
]


@pytest.mark.parametrize(("offered", "line", "fault"), BREACHES)
async def test_notes_what_was_not_offered_or_is_out_of_form(
    offered: str, line: bytes, fault: str, autojump_clock: MockClock
) -> None:
    peer = SmtpPeer(Behaviour(extensions=OFFERED[offered]))
    await _talk(peer, line)
    assert any(fault in noted for noted in peer.faults) if fault else peer.faults == [], peer.faults


@pytest.mark.parametrize(
    ("line", "verb"),
    [
        (HELLO + _mail(), "EHLO"),
        (ENVELOPE + b"x\r\n", "DATA"),
        (HELLO + b"NOOP\r\nNOOP\r\n", "NOOP"),
    ],
)
async def test_what_must_end_a_group_ends_it_even_where_pipelining_is_offered(
    line: bytes, verb: str, autojump_clock: MockClock
) -> None:
    peer = SmtpPeer()
    await _talk(peer, line, at_once=True)
    assert f"something behind {verb} before its reply" in peer.faults


async def test_an_envelope_behind_a_content_needs_pipelining(autojump_clock: MockClock) -> None:
    for extensions, faults in [(("PIPELINING",), []), ((), ["something behind . before its reply"])]:
        peer = SmtpPeer(Behaviour(extensions=extensions))
        async with trio.open_nursery() as nursery:
            stream = peer.connect(nursery)
            for group in (HELLO, _mail(), TO, b"DATA\r\n", b"x\r\n.\r\n" + _mail()):
                await stream.send_all(group)
                await trio.testing.wait_all_tasks_blocked()
            await stream.aclose()
        assert peer.faults == faults


async def test_what_was_offered_is_what_was_really_said(autojump_clock: MockClock) -> None:
    peer = SmtpPeer(Behaviour({"EHLO": "250-peer\n250 SIZE 20"}))
    await _talk(peer, HELLO + _mail(" SIZE=3 BODY=8BITMIME"))
    assert peer.faults == ["a parameter of an extension that was not offered: 'BODY=8BITMIME'"]


@pytest.mark.parametrize(
    "reaction",
    ["250-x\n250 size 20", Drip("250-x\n250 size 20", 1), Delay(1, "250-x\n250 size 20"), Raw(b"250-x\r\n250 size 20")],
)
def test_offers_are_read_from_whatever_says_them(reaction: object) -> None:
    assert read_offers(said(reaction, "")) == {"SIZE": "20"}  # type: ignore[arg-type]
    assert said(Silence(), "usual") == ""


async def test_says_what_the_script_says_once_each_and_then_the_last(autojump_clock: MockClock) -> None:
    peer = SmtpPeer(Behaviour({"NOOP": ["450 one", "550 two"]}))
    heard = await _talk(peer, b"EHLO c\r\nNOOP\r\nNOOP\r\nNOOP\r\nQUIT\r\n")
    assert heard.splitlines()[-4:-1] == [b"450 one", b"550 two", b"550 two"]


@pytest.mark.parametrize(
    ("reaction", "heard", "seconds"),
    [
        (Cut(), b"", 0),
        (Reset(), b"", 0),
        (Raw(b"\xff", then_cut=True), b"\xff", 0),
        (Delay(5.0, "450 later"), b"450 later\r\n221 2.0.0 Bye\r\n", 5),
        (Drip("450 x", 2.0), b"450 x\r\n221 2.0.0 Bye\r\n", 14),
        ("421 bye", b"421 bye\r\n", 0),
    ],
    ids=str,
)
async def test_misbehaves_as_told(reaction: object, heard: bytes, seconds: float, autojump_clock: MockClock) -> None:
    peer = SmtpPeer(Behaviour({"NOOP": reaction}))  # type: ignore[dict-item]
    assert (await _talk(peer, b"NOOP\r\nQUIT\r\n")).removeprefix(b"220 peer.example ESMTP\r\n") == heard
    assert trio.current_time() == pytest.approx(seconds, abs=0.5)


async def test_a_dialogue_holds_the_client_to_its_text(autojump_clock: MockClock) -> None:
    text = "# greeting\nS: 220 hi\nC: EHLO *\nS: 250-hi\nS: 250 SIZE 5\n!delay 3\nC: QUIT\nS: 221 bye\n!close"
    good, bad = SmtpPeer(dialogue=text), SmtpPeer(dialogue=text)
    assert await _talk(good, b"EHLO c\r\nQUIT\r\n") == b"220 hi\r\n250-hi\r\n250 SIZE 5\r\n221 bye\r\n"
    assert await _talk(bad, b"EHLO c\r\nNOOP\r\n") == b"220 hi\r\n250-hi\r\n250 SIZE 5\r\n"
    assert good.faults == []
    assert bad.faults == ["expected 'QUIT', got 'NOOP'"]


async def test_a_dialogue_keeps_what_it_heard_and_how_far_it_came(autojump_clock: MockClock) -> None:
    text = (
        "S: 220 hi\nC: EHLO c\nS: 250-hi\nS: 250 CHUNKING\nC: BDAT 3\n!chunk\nS: 250 ok\nC: DATA\nS: 354 go\n!content"
    )
    peer = SmtpPeer(dialogue=text)
    await _talk(peer, b"EHLO c\r\nBDAT 3\r\n\r\n.DATA\r\n..x\r\n.\r\n", at_once=True)
    (connection,) = peer.connections
    assert connection.commands == ["EHLO c", "BDAT 3", "DATA"]
    assert connection.contents == [b"\r\n.", b".x\r\n"]
    assert connection.steps == 10
    assert peer.faults == [f"something behind {verb} before its reply" for verb in ("EHLO", "DATA")]


async def test_each_connection_has_its_dialogue_and_the_last_one_stays(autojump_clock: MockClock) -> None:
    peer = SmtpPeer(dialogue=["S: 220 one", "S: 220 two\n!close"])
    assert [await _talk(peer, b"") for _ in range(3)] == [b"220 one\r\n", b"220 two\r\n", b"220 two\r\n"]


async def test_lines_go_in_one_piece_as_far_as_the_client_allows(autojump_clock: MockClock) -> None:
    text = "S: 220 hi\nC: NOOP\nS: 250 a\nC: NOOP\nS: 250-b\nS: 250 c\nC: QUIT"
    peer = SmtpPeer(dialogue=text)
    async with trio.open_nursery() as nursery:
        stream = peer.connect(nursery)
        heard = [bytes(await stream.receive_some())]
        await stream.send_all(b"NOOP\r\nNOOP\r\n")
        heard.append(bytes(await stream.receive_some()))
        await stream.aclose()
    assert heard == [b"220 hi\r\n", b"250 a\r\n250-b\r\n250 c\r\n"]


@pytest.mark.parametrize(
    ("offer", "said", "fault"),
    [
        ("250 PIPELINING", b"MAIL FROM:<a@b> SIZE=3\r\n", "not offered"),
        ("250 SIZE", b"MAIL FROM:<a@b> SIZE=3\r\nDATA\r\n", "behind MAIL before its reply"),
        ("250 SIZE", b"MAIL FROM:<a@b> SIZE=3\r\n" + b"x" * 4 + b"\r\n.\r\n", "SIZE=3 for a content of 6"),
    ],
)
async def test_a_dialogue_holds_the_client_to_what_it_offers(
    offer: str, said: bytes, fault: str, autojump_clock: MockClock
) -> None:
    peer = SmtpPeer(dialogue=f"C: EHLO *\nS: 250-hi\nS: {offer}\nC: *\n!content\n!close")
    await _talk(peer, b"EHLO c\r\n" + said)
    assert any(fault in noted for noted in peer.faults), peer.faults


@pytest.mark.parametrize("line", ["X: what", "!dance", "hello"])
def test_a_line_that_is_no_step_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match="no step"):
        Dialogue(line)


async def test_waits_for_what_is_to_arrive() -> None:
    peer = SmtpPeer()
    async with trio.open_nursery() as nursery:
        stream = peer.connect(nursery)
        nursery.start_soon(stream.send_all, ENVELOPE + b"x\r\n.\r\nQUIT\r\n")
        with trio.fail_after(5):
            await peer.wait_command("DATA")
            await peer.wait_received(1)
            nursery.cancel_scope.cancel()
    assert len(peer.transactions) == 1


async def test_the_dns_server_answers_from_its_zone_and_counts() -> None:
    import dns.asyncquery
    import dns.message
    import dns.rcode

    peer = DnsPeer({"a.example": {"A": ["192.0.2.1"], "MX": Lie.SERVFAIL}, "b.example": {"CNAME": ["a.example."]}})
    async with peer.listening() as place:
        port = int(place.rpartition(":")[2])

        async def ask(name: str, kind: str) -> dns.message.Message:
            return await dns.asyncquery.udp(dns.message.make_query(name, kind), "127.0.0.1", port=port, timeout=5)

        assert [str(rrset) for rrset in (await ask("b.example", "A")).answer] == [
            "b.example. 300 IN CNAME a.example.",
            "a.example. 300 IN A 192.0.2.1",
        ]
        assert (await ask("a.example", "MX")).rcode() is dns.rcode.SERVFAIL
        assert (await ask("a.example", "TXT")).rcode() is dns.rcode.NOERROR
        assert (await ask("c.example", "A")).rcode() is dns.rcode.NXDOMAIN
    assert peer.asked == [("b.example", "A"), ("a.example", "MX"), ("a.example", "TXT"), ("c.example", "A")]
