"""The standard library's reader within bounds: it reads what the library reads, and what is too much costs next to nothing."""

from __future__ import annotations

import email
import time
import zlib
from collections.abc import Callable
from email.message import Message
from email.parser import BytesParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.appengine import mail
from postroad.bounded_mail import DEPTH_MAX, PARAMETERS_MAX, WORK_MAX, BeyondBounds, BoundedMessage
from postroad.compose import canonicalise
from postroad.errors import SubmissionError
from postroad_http.letter import Unfit, read_letter

HEAD = b"From: a@example.com\r\nSubject: Hello\r\n"


def read(octets: bytes) -> BoundedMessage:
    return BytesParser(BoundedMessage).parsebytes(octets)


def tree(message: Message) -> Any:
    """A message as plain values."""
    inner: Any = message.get_payload()
    return message.items(), [tree(part) for part in inner] if message.is_multipart() else inner


def nested(depth: int, kind: bytes = b"multipart/mixed") -> bytes:
    levels = [b"Content-Type: %b; boundary=b%d\r\n\r\n--b%d\r\n" % (kind, n, n) for n in range(depth)]
    return HEAD + b"".join(levels) + b"\r\nbody\r\n"


PIECES = st.sampled_from(
    [
        b"Content-Type: multipart/mixed; boundary=x\r\n",
        b"Content-Type: message/rfc822\r\n",
        b"Content-Type: message/delivery-status\r\n",
        b"Content-Disposition: attachment; filename*0*=a; filename*1=b\r\n",
        b"--x\r\n",
        b"--x--\r\n",
        b"\r\n",
        b"text\r\n",
        b" folded\n",
    ]
)


@given(st.lists(PIECES, max_size=40).map(b"".join) | st.binary(max_size=300))
def test_within_bounds_it_reads_what_the_library_reads(octets: bytes) -> None:
    assert tree(read(octets)) == tree(email.message_from_bytes(octets))


TOO_MUCH = {
    "parameters": HEAD + b"Content-Type: text/plain" + b"; a=b" * 100_000 + b"\r\n\r\nbody",
    "semicolons": HEAD + b"Content-Type: text/plain" + b";" * 500_000 + b"\r\n\r\nbody",
    "file names": HEAD + b"Content-Disposition: attachment" + b'; filename*1="a' * 60_000 + b"\r\n\r\nbody",
    "depth": nested(2000),
    "messages in messages": HEAD + b"Content-Type: message/rfc822\r\n\r\n" * 5000,
    "parts": HEAD + b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--b\r\n\r\n" * 130_000,
    "fields": b"Subject: x\r\n" * 80_000 + b"\r\nbody",
    "one long field": HEAD + b"X: " + b"x" * 30_000_000 + b"\r\n\r\nbody",
    "lines": HEAD + b"\r\n" + b"\n" * 20_000_000,
    "parameters of a part": nested(1) + b"--b0\r\nContent-Type: text/plain" + b";" * 500_000 + b"\r\n\r\nbody",
}


@pytest.mark.parametrize("octets", TOO_MUCH.values(), ids=TOO_MUCH)
def test_a_message_that_came_in_is_read_at_once_and_never_fails(octets: bytes) -> None:
    begun = time.process_time()
    message = mail.InboundEmailMessage(octets)
    assert time.process_time() - begun < 2  # a tenth of it is usual; the library takes 4 to 14 s, or recurses too far
    assert message.subject
    assert list(message.bodies())


def test_what_is_too_much_leaves_the_body_undivided_and_the_header_read() -> None:
    message = mail.InboundEmailMessage(nested(DEPTH_MAX + 1))
    assert (message.sender, message.subject) == ("a@example.com", "Hello")
    ((kind, body),) = message.bodies()
    assert (kind, body.payload) == ("multipart/mixed", nested(DEPTH_MAX + 1).partition(b"\r\n\r\n")[2])
    ((kind, body),) = mail.InboundEmailMessage(nested(DEPTH_MAX)).bodies()
    assert (kind, body.decode().rstrip()) == ("text/plain", b"body")


def test_a_field_that_is_too_much_is_passed_over() -> None:
    octets = HEAD + b"Content-Type: text/html" + b"; a=b" * (PARAMETERS_MAX + 1) + b"\r\nTo: b@example.com\r\n\r\nbody"
    message = mail.InboundEmailMessage(octets)
    assert (message.to, message.body.decode()) == ("b@example.com", b"body")


@pytest.mark.parametrize(
    "octets",
    [
        HEAD + b"Content-Type: text/html" + b"; a=b" * (PARAMETERS_MAX + 1) + b"\r\n\r\n",
        nested(DEPTH_MAX + 1),
        b"X: y\r\n" * (WORK_MAX + 1),
    ],
)
def test_bounds_count_work_and_not_time(octets: bytes) -> None:
    with pytest.raises(BeyondBounds):
        read(octets)


WORDS = {
    "many": b"=?utf-8?q?a?= " * 60_000,
    "without an end": b"=?a?q?" * 170_000,
    "of domain names": b"=?punycode?b?" + b"YWFhYWFhYWFhLXp6eno5enp6ejl6enp6OXp6eno5" * 2500 + b"?=",
}


@pytest.mark.parametrize("words", WORDS.values(), ids=WORDS)
def test_encoded_words_of_a_message_that_came_in_take_no_time(words: bytes) -> None:
    begun = time.process_time()
    mail.InboundEmailMessage(b"From: a@example.com\r\nSubject: " + words + b"\r\n\r\nbody")
    assert time.process_time() - begun < 1


STUMBLES = [
    b"x*0*=; x*=",
    b"filename*0*=; filename*=",
    b"filename*=idna''abc",
    b"filename*=undefined''abc",
    b"filename*=\"a\0b''abc\"",
    b"name*0*=; name*=",
    b"charset*0*=; charset*=",
    b'charset="a\0b"',
    b"boundary*0*=; boundary*=",
]


@pytest.mark.parametrize("parameters", STUMBLES)
@pytest.mark.parametrize("field", [b"Content-Type: text/plain; ", b"Content-Disposition: attachment; "])
def test_parameters_that_the_library_cannot_read_harm_nothing(field: bytes, parameters: bytes) -> None:
    message = mail.InboundEmailMessage(HEAD + field + parameters + b"\r\n\r\nbody")
    assert message.subject == "Hello"


READERS: dict[str, tuple[Callable[[bytes], object], type[Exception]]] = {
    "a provider's request": (read_letter, Unfit),
    "the door": (lambda octets: canonicalise(octets, message_id="a@example.com", date=0), SubmissionError),
}


@pytest.mark.parametrize("name", ["depth", "parameters of a part", "parts"])
@pytest.mark.parametrize(("reader", "error"), READERS.values(), ids=READERS)
def test_who_must_not_leave_anything_out_refuses_it_at_once(
    reader: Callable[[bytes], object], error: type[Exception], name: str
) -> None:
    begun = time.process_time()
    with pytest.raises(error):
        reader(TOO_MUCH[name] + b"\r\n\xff\r\n")
    assert time.process_time() - begun < 2


@pytest.mark.parametrize("name", ["punycode", "idna"])
def test_codecs_of_domain_names_take_no_more_than_one(name: str) -> None:
    assert mail.EncodedPayload(b"bcher-kva", "punycode").decode() == "bücher"
    for payload in (mail.EncodedPayload(b"a" * 256, name), mail.EncodedPayload(b"a" * 256, None, name)):
        with pytest.raises(mail.PayloadEncodingError, match="255"):
            payload.decode()


def test_a_charset_that_unpacks_is_bounded_like_an_encoding() -> None:
    packed = zlib.compress(bytes(65 << 20))
    with pytest.raises(mail.PayloadEncodingError, match="unpacks to more"):
        mail.EncodedPayload(packed, "zlib").decode()
