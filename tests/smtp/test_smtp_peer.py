"""The scripted servers themselves: a test-kit that misses faults would prove nothing."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from postroad.testing.dns_peer import DnsPeer, Lie
from postroad.testing.smtp_dialogue import Dialogue
from postroad.testing.smtp_peer import Behaviour, Cut, Delay, Drip, Raw, Reset, SmtpPeer


async def _talk(peer: SmtpPeer, said: bytes) -> bytes:
    """Say everything at once, then listen to the end."""
    async with trio.open_nursery() as nursery:
        stream = peer.connect(nursery)
        await stream.send_all(said)
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
    assert await _talk(good, b"EHLO me\r\nQUIT\r\n") == b"220 hi\r\n250-hi\r\n250 SIZE 5\r\n221 bye\r\n"
    assert await _talk(bad, b"EHLO me\r\nNOOP\r\n") == b"220 hi\r\n250-hi\r\n250 SIZE 5\r\n"
    assert good.faults == []
    assert bad.faults == ["expected 'QUIT', got 'NOOP'"]


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
