"""Nothing leaves that the message did not mean: whatever is given to the public API, seen from a strict server.

Either a SubmissionError names the field, or the server, which notes every bare CR or LF, NUL, dot that is not doubled, line over
998 octets, octet over 127 that it did not offer to take and command out of order, got one message: what the spool has.
"""

from __future__ import annotations

import re
from email.message import EmailMessage
from email.policy import SMTP

import pytest
from engine_road import EngineRoad, open_road_of_engine
from hypothesis import given, settings
from hypothesis import strategies as st
from smtp_road import OpenRoad

from postroad import Outcome, SubmissionError
from postroad.testing import MemoryContent
from postroad.testing.smtp_peer import Behaviour, SmtpPeer

SEVEN_BIT = ("PIPELINING", "SIZE", "ENHANCEDSTATUSCODES")
HEADER = b"From: a@example.com\r\nDate: Thu, 26 Nov 2026 00:00:00 +0000\r\nMessage-ID: <x@example.com>\r\n"

SMUGGLING = [
    b"\n.\n", b"\n.\r", b"\r.\n", b"\r.\r", b"\n.\r\n", b"\r.\r\n", b"\r\n.\r\r\n", b"\r\r\n.\r\r\n", b"\r\n\0.\r\n",
]  # fmt: skip
EVIL = b"MAIL FROM:<evil@example.com>\r\nRCPT TO:<victim@example.org>\r\nDATA\r\nSubject: forged\r\n\r\nx\r\n.\r\n"


def seven_bit_peer() -> SmtpPeer:
    return SmtpPeer(Behaviour(extensions=SEVEN_BIT))


def canonical(content: bytes) -> bytes:
    """By the rule on the page: LF ends a line, a CR that ends none is a space."""
    lines = content.replace(b"\r\n", b"\n").replace(b"\r", b" ").split(b"\n")
    return b"\r\n".join(lines) + (b"" if content.endswith(b"\n") else b"\r\n")


def _check_field(error: SubmissionError, *fields: str) -> None:
    assert error.field in fields


def _check_nothing_was_said(road: EngineRoad) -> None:
    assert road.peer.connections == []


# --- Smuggling (the nine sequences of those who found it) ---


@pytest.mark.parametrize("tail", [EVIL, b""], ids=["in the middle", "at the end"])
@pytest.mark.parametrize("sequence", SMUGGLING)
async def test_a_smuggling_sequence_in_bytes_is_one_message_or_none(sequence: bytes, tail: bytes) -> None:
    content = HEADER + b"\r\nHello" + sequence + tail
    async with open_road_of_engine() as road:
        if b"\0" in sequence:
            with pytest.raises(SubmissionError, match=r"^content: .*NUL"):
                await road.submit(content)
            assert road.peer.connections == []
            return
        await road.submit(content)
        assert road.check_one_message() == canonical(content)


@pytest.mark.parametrize("tail", [EVIL, b""], ids=["in the middle", "at the end"])
@pytest.mark.parametrize("sequence", SMUGGLING)
async def test_a_smuggling_sequence_in_a_text_is_one_message(sequence: bytes, tail: bytes) -> None:
    text = (b"Hello" + sequence + tail).decode()
    async with open_road_of_engine() as road:
        await road.send_mail(body=text)
        road.check_one_message()


@pytest.mark.parametrize("sequence", SMUGGLING)
async def test_a_smuggling_sequence_in_a_message_object_is_one_message_or_none(sequence: bytes) -> None:
    message = EmailMessage()
    message["From"] = "a@example.com"
    message.set_content("x")
    message.set_payload((b"Hello" + sequence + EVIL).decode())
    async with open_road_of_engine() as road:
        if b"\0" in sequence:
            with pytest.raises(SubmissionError) as caught:
                await road.submit(message)
            _check_field(caught.value, "content")
            return
        await road.submit(message)
        assert b"MAIL FROM:<evil@example.com>" in road.check_one_message()


_PIECE = 65_536  # of a streamed content: the contract's limit
_LARGE = 300_000  # over what is held in memory whole


def _straddling(sequence: bytes, offset: int) -> bytes:
    """A large content in which the end of a piece cuts the sequence after so many octets."""
    fill = HEADER + b"\r\n"
    fill += (b"x" * 70 + b"\r\n") * ((_PIECE - len(fill)) // 72 - 1)
    fill += b"y" * (_PIECE - len(fill) - offset)
    return fill + sequence + EVIL + (b"z" * 70 + b"\r\n") * ((_LARGE - _PIECE) // 72)


CUTS = [(sequence, offset) for sequence in SMUGGLING for offset in range(1, len(sequence))]
CUTS_OF_DOTS = [(b"\r\n.\r\n", offset) for offset in range(6)] + [(b"\r\n..\r\n.", offset) for offset in range(8)]


@pytest.mark.parametrize(("sequence", "offset"), CUTS)
async def test_a_sequence_that_a_piece_of_a_stream_cuts_never_gets_its_dot(
    road: OpenRoad, sequence: bytes, offset: int
) -> None:
    """The transport's own last line of defence, had the door let it through."""
    async with road(is_strict=False) as way:
        (verdict,) = await way.send(content=MemoryContent(_straddling(sequence, offset), piece_bytes=_PIECE))
        assert (verdict.disposition.value, verdict.status) == ("refused", "5.6.0")
        assert way.peer.transactions == []
        assert way.committed == 0
        assert "." not in way.commands()


@pytest.mark.parametrize(("sequence", "offset"), CUTS[::3] + CUTS_OF_DOTS)
async def test_through_the_engine_a_large_content_is_one_message_wherever_a_piece_ends(
    sequence: bytes, offset: int
) -> None:
    content = _straddling(sequence, offset)
    async with open_road_of_engine() as road:
        if b"\0" in sequence:
            with pytest.raises(SubmissionError, match=r"^content: .*NUL"):
                await road.submit(content)
            return
        await road.submit(content)
        assert road.check_one_message() == canonical(content)


# --- Whatever an application may give ---

_NASTY = st.sampled_from(
    [*SMUGGLING, b".", b"..", b"\r\n.", b"\r", b"\n", b"\0", b"\xe4", "ü".encode(), b"x" * 1200, EVIL]
)
_BODY = st.lists(st.one_of(_NASTY, st.binary(max_size=30)), max_size=12).map(b"".join)
_FIELDS = st.lists(
    st.sampled_from([
        b"Subject: x\r\n", b"Subject: \xc3\xa4\r\n", b"Bcc: hidden@example.org\r\n", b"X-Long: " + b"y" * 2000 + b"\r\n",
        b"Content-Type: text/html; charset=utf-8\r\n", b"Content-Type: multipart/mixed; boundary=b\r\n", b"X\r\n", b" fold\r\n",
        b"Content-Transfer-Encoding: 8bit\r\n", b"Content-Transfer-Encoding: base64\r\n", b"To: \xc3\xa4@example.org\r\n",
        b"DKIM-Signature: v=1; h=from; b=x\r\n", b"X-Bare: a\rb\nc\r\n",
    ]),
    max_size=4,
).map(b"".join)  # fmt: skip


async def _accepted(road: EngineRoad, content: bytes | EmailMessage) -> Outcome | None:
    try:
        return await road.submit(content)
    except SubmissionError as error:
        _check_field(error, "content")
        _check_nothing_was_said(road)
        return None


@settings(max_examples=120, deadline=None)
@given(st.one_of(st.just(HEADER), st.binary(max_size=60)), _FIELDS, _BODY)
async def test_any_bytes_are_one_message_or_a_refusal(start: bytes, fields: bytes, body: bytes) -> None:
    async with open_road_of_engine() as road:
        if await _accepted(road, start + fields + b"\r\n" + body) is not None:
            received = road.check_one_message()
            assert b"hidden@example.org" not in received.partition(b"\r\n\r\n")[0]


@settings(max_examples=120, deadline=None)
@given(_FIELDS, _BODY)
async def test_a_server_of_seven_bits_gets_seven_bits_or_nothing(fields: bytes, body: bytes) -> None:
    content = HEADER + fields + b"\r\n" + body
    async with open_road_of_engine(seven_bit_peer()) as road:
        outcome = await _accepted(road, content)
        if outcome is None:
            return
        if outcome.is_delivered:
            assert road.check_one_message().isascii()
            return
        (fate,) = outcome.recipients.values()
        assert fate.status in ("5.6.3", "5.6.9")
        assert (road.peer.transactions, road.peer.faults) == ([], [])
        is_odd = b"multipart" in fields or b" fold" in fields  # no parts, or an encoding that nobody knows
        is_utf8 = not canonical(content).partition(b"\r\n\r\n")[0].isascii()
        assert b"DKIM-Signature" in fields or is_odd or is_utf8


@settings(max_examples=100, deadline=None)
@given(
    subject=st.text(max_size=40),
    name=st.text(max_size=20),
    body=st.one_of(st.text(max_size=80), _BODY.map(lambda body: body.decode("latin-1"))),
    html=st.one_of(st.none(), st.text(max_size=40)),
    attachment=_BODY,
)
async def test_any_fields_are_one_message_or_a_refusal(
    subject: str, name: str, body: str, html: str | None, attachment: bytes
) -> None:
    async with open_road_of_engine(seven_bit_peer()) as road:
        try:
            await road.send_mail(
                subject=subject, body=body, html=html, headers={"X-Any": name}, attachments=[("a.bin", attachment)]
            )
        except SubmissionError as error:
            _check_field(error, "subject", "body", "html", "headers[X-Any]")
            return
        assert road.check_one_message().isascii()


@settings(max_examples=80, deadline=None)
@given(subject=st.text(max_size=40), body=st.text(max_size=80), is_smtp=st.booleans())
async def test_any_message_object_is_one_message_or_a_refusal(subject: str, body: str, is_smtp: bool) -> None:
    message = EmailMessage(policy=SMTP) if is_smtp else EmailMessage()
    message["From"] = "a@example.com"
    try:
        message["Subject"] = subject
        message.set_content(body)
    except ValueError:  # the standard library's own refusal
        return
    async with open_road_of_engine(seven_bit_peer()) as road:
        if await _accepted(road, message) is not None:
            assert road.check_one_message().isascii()


# --- One by one ---


@pytest.mark.parametrize(
    "body",
    [
        b"a\rb\r\n",
        b"a\nb\n",
        b".\r\n",
        b"..\r\n.\r\n...\r\n",
        b".",
        b"",
        b"\r\n.\r\n.\r\n",
        b"a\r\n.",
        b"\r",
        b"x" * 998 + b"\r\n" + b"." * 998,
    ],
    ids=lambda body: repr(body[:20]),
)
async def test_line_ends_are_made_one_kind_and_dots_arrive(body: bytes) -> None:
    async with open_road_of_engine(seven_bit_peer()) as road:
        await road.submit(HEADER + b"\r\n" + body)
        assert road.check_one_message() == canonical(HEADER + b"\r\n" + body)


async def test_nul_is_refused_in_text_and_arrives_in_an_attachment() -> None:
    async with open_road_of_engine(seven_bit_peer()) as road:
        with pytest.raises(SubmissionError, match=r"^content: .*NUL"):
            await road.submit(HEADER + b"\r\nx\0\r\n")
        await road.send_mail(attachments=[("a.bin", b"\0\r\n.\r\n")])
        road.check_one_message()


async def test_a_line_of_2_mb_arrives_in_short_ones() -> None:
    async with open_road_of_engine(seven_bit_peer()) as road:
        await road.submit(HEADER + b"\r\n" + b"x" * 2_000_000)
        body = road.check_one_message().partition(b"\r\n\r\n")[2]
        assert body.replace(b"=\r\n", b"").rstrip() == b"x" * 2_000_000


async def test_a_header_token_of_3000_octets_is_encoded_or_refused() -> None:
    async with open_road_of_engine(seven_bit_peer()) as road:
        with pytest.raises(SubmissionError, match=r"^content: References"):
            await road.submit(HEADER + b"References: <" + b"x" * 3000 + b"@y>\r\n\r\nx\r\n")
        await road.submit(HEADER + b"X-Token: " + b"x" * 3000 + b"\r\n\r\nx\r\n")
        assert max(map(len, road.check_one_message().split(b"\r\n"))) <= 998


async def test_our_own_eight_bit_content_is_converted_for_everybody() -> None:
    async with open_road_of_engine(seven_bit_peer()) as road:
        await road.submit(HEADER + b"Subject: b\xc3\xbccher\r\n\r\nb\xc3\xbccher\r\n")
        assert b"b=C3=BCcher" in road.check_one_message()


SIGNED = b"DKIM-Signature: v=1; d=example.com; h=from:subject; bh=x=;\r\n b=y\r\n" + HEADER


@pytest.mark.parametrize(
    "content",
    [
        SIGNED + b"Subject:  odd   spaces \r\n\ttab\r\n\r\n.\r\n..\r\n trailing \r\n\r\n\r\n",
        SIGNED + b"\r\nb\xc3\xbccher \xff\r\n.\r\n",
        SIGNED + b"Subject: b\xc3\xbccher\r\n\r\nb\xc3\xbccher\r\n",
        HEADER + b'Content-Type: multipart/signed; boundary="b"\r\n\r\n--b\r\n\r\n\xe4\r\n.\r\n--b--\r\n',
        SIGNED + b"\r\n" + b".a line\r\n" * 40_000,
    ],
    ids=["seven bits", "eight bits", "a header of UTF-8", "S/MIME", "a stream"],
)
async def test_what_was_signed_arrives_octet_for_octet_or_not_at_all(content: bytes) -> None:
    async with open_road_of_engine() as road:
        await road.submit(content)
        assert road.check_one_message() == content
    async with open_road_of_engine(seven_bit_peer()) as road:
        outcome = await road.submit(content)
        if content.isascii():
            assert road.check_one_message() == content
            return
        (fate,) = outcome.recipients.values()
        header_is_ascii = content.partition(b"\r\n\r\n")[0].isascii()
        assert fate.status == ("5.6.3" if header_is_ascii else "5.6.9")
        assert (road.peer.transactions, road.peer.faults) == ([], [])


@pytest.mark.parametrize(
    "bad", [b"a\nb\r\n", b"a\rb\r\n", b"\0\r\n", b"x" * 999 + b"\r\n"], ids=lambda bad: repr(bad[:9])
)
async def test_what_was_signed_and_cannot_be_sent_is_refused_at_the_door(bad: bytes) -> None:
    async with open_road_of_engine() as road:
        with pytest.raises(SubmissionError, match=r"^content: it is signed and"):
            await road.submit(SIGNED + b"\r\n" + bad)
        assert road.peer.connections == []


@pytest.mark.parametrize(
    ("more", "status"),
    [
        ({"sender": "ä@example.com"}, "5.6.7"),
        ({"recipients": ["ä@example.org"]}, "5.6.7"),
        ({"content": SIGNED + b"Subject: \xc3\xa4\r\n\r\nx\r\n"}, "5.6.9"),
        ({"content": SIGNED + b"\r\n\xc3\xa4\r\n"}, "5.6.3"),
    ],
    ids=["sender", "recipient", "header", "body"],
)
async def test_what_the_server_cannot_carry_has_its_own_status(more: dict[str, object], status: str) -> None:
    given = {"content": HEADER + b"\r\nx\r\n", **more}
    async with open_road_of_engine(seven_bit_peer()) as road:
        outcome = await road.submit(**given)
        assert [fate.status for fate in outcome.recipients.values()] == [status]
        assert (road.peer.transactions, road.peer.faults) == ([], [])
    async with open_road_of_engine() as road:
        assert (await road.submit(**given)).is_delivered
        road.check_one_message()
        mail = road.peer.transactions[0].mail
        assert re.search("SMTPUTF8", mail) or status == "5.6.3"
