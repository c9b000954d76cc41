"""What is fuzzed: functions of any bytes, each with its oracle.  A target returns, or raises for a mistake that it found.

The one error that a reader of a stranger's bytes may raise is caught here; whatever else comes out of it is the mistake.  Where
bytes come in pieces, any way to cut them must come to the same.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from unicodedata import category

from postroad.appengine import mail
from postroad.callbacks import Bounce
from postroad.callbacks.reading import read_notice
from postroad.compose import canonicalise
from postroad.dsn import read_report
from postroad.encoded import UNSAFE_TEXT
from postroad.errors import SubmissionError
from postroad_appengine.form import write_form
from postroad_http.events import SOURCES, Forged, Keys, Malformed, Posted
from postroad_http.letter import Unfit as UnfitForFields
from postroad_http.letter import read_letter
from postroad_smtp import emit, encoding
from postroad_smtp.features import read_features
from postroad_smtp.handshake import Handshake, Ready, Say, Terms
from postroad_smtp.login import Login, Source
from postroad_smtp.mechanism import Derivation, Unfit
from postroad_smtp.protocol import Awaited, Protocol
from postroad_smtp.reply import MAX_LINE, MAX_LINES, MAX_REPLY, Reply, ReplyError, ReplyParser
from postroad_smtp.sasl import KNOWN, make
from postroad_smtp.tls import Level
from postroad_smtp.trouble import Trouble

__all__ = ["TARGETS"]


def pieces(data: bytes) -> tuple[bytes, list[bytes]]:
    """The first eight octets say where the rest is cut."""
    sizes, rest = [1 + octet % 64 for octet in data[:8]] or [1], data[8:]
    cut: list[bytes] = []
    start = 0
    while start < len(rest):
        size = sizes[len(cut) % len(sizes)]
        cut.append(rest[start : start + size])
        start += size
    return rest, cut


# --- Replies ---


def read_replies(stream: Sequence[bytes]) -> tuple[list[Reply], str]:
    """Replies, and the error that ended them."""
    parser, replies = ReplyParser(), list[Reply]()
    try:
        for piece in stream:
            parser.feed(piece)
            while (reply := parser.next_reply()) is not None:
                replies.append(reply)
    except ReplyError as error:
        return replies, str(error)
    return replies, ""


def is_harmless(text: str) -> bool:
    """Whether a text is one line without controls; letters that Unicode does not have yet may stand in it."""
    return len(text.splitlines()) == 1 and not {"Cc", "Cs", "Zl", "Zp"}.intersection(map(category, text))


def reply(data: bytes) -> None:
    whole, cut = pieces(data)
    got = read_replies([whole])
    assert got == read_replies(cut)
    for one in got[0]:
        assert 200 <= one.code <= 599
        assert 0 < len(one.lines) <= MAX_LINES
        assert sum(map(len, one.lines)) <= MAX_REPLY
        assert all(len(line) <= MAX_LINE and b"\n" not in line for line in one.lines)
        assert is_harmless(one.said)
        assert not one.enhanced or int(one.enhanced[0]) == one.kind


def features(data: bytes) -> None:
    for one in read_replies([data])[0]:
        offered = read_features(one)
        assert offered.size is None or offered.size > 0
        assert all(name == name.upper() and name.split() == [name] for name in offered.mechanisms)


# --- The beginning of a connection ---

_PASSWORD = "POSTROAD_FUZZ_PASSWORD"
os.environ[_PASSWORD] = "secret"
_REPEATABLE = ("PLAIN", "LOGIN", "CRAM-MD5")  # SCRAM says something else each time
_ENOUGH = 50  # steps: a server that asks for ever is stopped by the deadline


def _handshake(stream: Sequence[bytes]) -> Iterator[object]:
    """What is done on these words of a server, and how it ends."""
    login = Source("user", "password_env", _PASSWORD)
    terms = Terms("client.example", Level.OPPORTUNISTIC, login, login_without_tls=True, mechanisms=_REPEATABLE)
    handshake, protocol, left = Handshake(terms), Protocol[None](), list(stream)
    protocol.expect(Awaited.GREETING, None)
    try:
        for _ in range(_ENOUGH):
            while (answer := protocol.next_answer()) is None:
                if not left:
                    return
                protocol.receive(left.pop(0))
            deed = handshake.take(answer)
            yield deed
            if isinstance(deed, Ready):
                return
            said = deed if isinstance(deed, Say) else handshake.secured()
            assert isinstance(said, Say)
            assert said.line.endswith(b"\r\n")
            assert said.line.count(b"\n") == said.line.count(b"\r") == 1
            protocol.expect(said.awaited, None)
    except (Trouble, ReplyError) as error:
        yield str(error)


def handshake(data: bytes) -> None:
    whole, cut = pieces(data)
    assert list(_handshake([whole])) == list(_handshake(cut))


def challenge(data: bytes) -> None:
    """Every mechanism, challenged by these lines one after the other."""
    for name in KNOWN:
        mechanism = make(name, Login("user", "secret", is_token=name == "XOAUTH2"))
        with contextlib.suppress(Unfit):
            for line in data.split(b"\n")[:4]:
                answer = mechanism.answer(line)
                if isinstance(answer, Derivation):
                    answer = answer.then(bytes(32))
                assert isinstance(answer, bytes)


# --- Content ---


def content(data: bytes) -> None:
    """What the door takes, the wire takes; and what is canonical and of 7 bits stays as it is."""
    try:
        canonical = canonicalise(data, message_id="id@example.com", date=0)
    except SubmissionError:
        return
    encoding.encode_content(canonical.content, eight_bit=canonical.eight_bit)
    if canonical.content.isascii():
        assert canonicalise(canonical.content, message_id="other@example.com", date=1) == canonical


def encoder(data: bytes) -> None:
    whole, cut = pieces(data)
    assert _encoded([whole]) == _encoded(cut)
    wire = _encoded([whole])
    if isinstance(wire, bytes):
        assert wire == encoding.encode_content(whole, eight_bit=True)
        assert wire.count(b"\r\n.\r\n") + wire.startswith(b".\r\n") == 1
        assert wire.replace(b"\r\n", b"").translate(None, b"\r\n\0") == wire.replace(b"\r\n", b"")


def _encoded(stream: Sequence[bytes]) -> bytes | None:
    made = encoding.ContentEncoder(sum(map(len, stream)), eight_bit=True)
    try:
        return b"".join([*(made.feed(piece) for piece in stream), made.finish()])
    except emit.Unsafe:
        return None


# --- Strangers' mail ---

_CALLS, _CALLS_AN_OCTET = 40_000, 60  # what a reader may ask of functions; the worst honest reader needs a third
_SECONDS = 2.0  # what no count shows: one call that takes the square of its argument.  A tenth is usual


@contextlib.contextmanager
def bounded(data: bytes) -> Iterator[None]:
    """Within it, work grows with the input and not faster: calls are counted, and the processor's time has an end."""
    calls = 0

    def count(frame: object, event: str, argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    before, begun = sys.getprofile(), time.process_time()
    sys.setprofile(count)
    try:
        yield
    finally:
        sys.setprofile(before)
    assert calls <= _CALLS + _CALLS_AN_OCTET * len(data), f"{calls} calls for {len(data)} octets"
    assert time.process_time() - begun <= _SECONDS


def returned(data: bytes) -> None:
    with bounded(data):
        report = read_report(data)
    assert report is None or all(len(one.address) < 1000 for one in report.recipients)


def notice(data: bytes) -> None:
    """What the application is told of a bounce, and the form in which it is told."""
    with bounded(data):
        found = read_notice(data)
        told = Bounce(
            id="a", key="a-1", original=found.original, notification=found.notification, raw=found.raw, report=data
        )
        kind, form = write_form(told)
    assert all(not UNSAFE_TEXT.search(text) for name, text in told.fields().items() if not name.endswith("-text"))
    assert form.count(kind.partition("boundary=")[2].encode()) == 14, "thirteen fields and an end"
    form.decode("utf-8")


def inbound(data: bytes) -> None:
    """Mail that came in, as an application reads it: whatever it is, there is a message."""
    with bounded(data):
        message = mail.InboundEmailMessage(data)
        payloads: list[Any] = [payload for _, payload in message.bodies()]
        payloads += [attachment.payload for attachment in _attachments(message)]
        for payload in payloads:
            with contextlib.suppress(mail.PayloadEncodingError, mail.UnknownCharsetError, mail.UnknownEncodingError):
                payload.decode()


def _attachments(message: Any) -> list[Any]:
    found = getattr(message, "attachments", [])
    return [found] if isinstance(found, mail.Attachment) else list(found)


def letter(data: bytes) -> None:
    with bounded(data), contextlib.suppress(UnfitForFields):
        read = read_letter(data)
        assert all(value.isascii() for _, value in read.headers)


# --- What providers tell later ---

_KEYS = Keys(
    "secret", now=1_790_000_000.0, url="https://example.com/", topics=("arn:aws:sns:eu-west-1:123456789012:t",)
)
_PROOFS = (  # of no use: a header of every provider, so that its body is looked at
    *(("svix-id", "x"), ("svix-timestamp", "1790000000"), ("svix-signature", "v1,AAAA"), ("signature", "00")),
    *(("x-mandrill-signature", "AAAA"), ("authorization", "Basic AAAA")),
    ("x-twilio-email-event-webhook-signature", "AAAA"),
    ("x-twilio-email-event-webhook-timestamp", "1790000000"),
)


def told(data: bytes) -> None:
    """The first octet names the provider.  Nobody is believed, and what would be read names its recipients in few letters."""
    if not data:
        return
    source = SOURCES[sorted(SOURCES)[data[0] % len(SOURCES)]]
    posted = Posted(_PROOFS, data[1:])
    for ask in (source.check_before, source.certificate_url):
        with contextlib.suppress(Forged):
            ask(posted, _KEYS)
    with contextlib.suppress(Forged):
        source.check(posted, _KEYS)
        raise AssertionError("believed")
    with contextlib.suppress(Malformed):
        for notice in source.read(posted).notices:
            assert all(len(part) <= 1000 for part in (notice.id, notice.recipient, notice.key, notice.said))
            assert notice.id
            assert is_harmless(notice.id)
            assert is_harmless(notice.recipient)


_ALL = (reply, features, handshake, challenge, content, encoder, returned, notice, inbound, letter, told)
TARGETS: dict[str, Callable[[bytes], None]] = {target.__name__: target for target in _ALL}
