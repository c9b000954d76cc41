"""EncodedPayload and Attachment: decoding, comparing, unpacking."""

from __future__ import annotations

import bz2
import zlib
from email.message import Message
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.appengine import mail, payloads
from postroad.appengine.payloads import Attachment, EncodedPayload

ZOE = "Zoë"


@pytest.mark.parametrize(
    ("payload", "content"),
    [
        (EncodedPayload(b"plain"), b"plain"),
        (EncodedPayload(b"Zo\xc3\xab", "utf-8"), ZOE),
        (EncodedPayload(b"Zo=C3=AB", "UTF-8", "Quoted-Printable"), ZOE),
        (EncodedPayload(b"Wm/Dqw==\n", "utf-8", "BASE64"), ZOE),
        (EncodedPayload(b"Wm/Dqw==\n", None, "base64"), "Zoë".encode()),
        (EncodedPayload(zlib.compress(b"Zo\xeb"), "latin-1", "zip"), ZOE),
        (EncodedPayload(b"as it is", "7bit"), b"as it is"),
        (EncodedPayload(b"Zo\xeb", "latin-1", "8BIT"), ZOE),
        (EncodedPayload(b"Zo\xeb", "latin-1", "binary"), ZOE),
        (EncodedPayload(b"Zo\xeb", "latin-1", " 8bit "), ZOE),
        (EncodedPayload(b"", "", ""), b""),
    ],
)
def test_decoding(payload: EncodedPayload, content: str | bytes) -> None:
    assert payload.decode() == content


@pytest.mark.parametrize(
    ("payload", "error", "text"),
    [
        (EncodedPayload(b"a", None, "strange"), mail.UnknownEncodingError, "Unknown decoding strange."),
        (EncodedPayload(b"a", "strange"), mail.UnknownCharsetError, "Unknown charset strange."),
        (EncodedPayload(b"a", "8bit"), mail.UnknownCharsetError, "Unknown charset 8bit."),
        (EncodedPayload(b"a", None, "base64"), mail.PayloadEncodingError, "Could not decode payload: "),
        (EncodedPayload(b"a", None, "a\0b"), mail.PayloadEncodingError, "Could not decode payload: "),
        (EncodedPayload(b"\x80", "ascii"), mail.PayloadEncodingError, "Could read characters: "),
        (EncodedPayload(b"a", "base64"), mail.PayloadEncodingError, "Could read characters: "),
    ],
)
def test_what_cannot_be_decoded_is_said_in_the_contracts_words(
    payload: EncodedPayload, error: type[Exception], text: str
) -> None:
    with pytest.raises(mail.PayloadEncodingError) as raised:
        payload.decode()
    assert type(raised.value) is error
    said = str(raised.value)
    assert said == text if text.endswith(".") else said.startswith(text)


@pytest.mark.parametrize(("pack", "encoding"), [(zlib.compress, "zip"), (bz2.compress, "bz2")])
def test_what_unpacks_to_too_much_is_refused(pack: Any, encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(payloads, "DECODED_OCTETS_MAX", 1000)
    assert EncodedPayload(pack(bytes(1000)), None, encoding).decode() == bytes(1000)
    with pytest.raises(mail.PayloadEncodingError, match="more than 1000 octets"):
        EncodedPayload(pack(bytes(1001)), None, encoding).decode()


@pytest.mark.parametrize("payload", ["text", None, 3, bytearray(b"a")])
def test_a_payload_that_is_no_octets_is_refused_in_words(payload: Any) -> None:
    with pytest.raises(TypeError, match=f"payload should be bytes, not {type(payload).__name__}"):
        EncodedPayload(payload)


def test_payloads_are_equal_by_all_three() -> None:
    payload = EncodedPayload(b"a", "utf-8", "base64")
    assert payload == EncodedPayload(b"a", "utf-8", "base64")
    assert hash(payload) == hash(EncodedPayload(b"a", "utf-8", "base64"))
    for other in (
        EncodedPayload(b"b", "utf-8", "base64"),
        EncodedPayload(b"a", "ascii", "base64"),
        EncodedPayload(b"a"),
    ):
        assert payload != other
    assert payload != b"a"
    assert payload.__eq__(b"a") is NotImplemented


def test_how_a_payload_is_shown() -> None:
    number = hash(b"a")
    assert repr(EncodedPayload(b"a")) == f"<EncodedPayload payload=#{number}>"
    assert repr(EncodedPayload(b"a", "b", "c")) == f"<EncodedPayload payload=#{number} charset=b encoding=c>"
    payload = EncodedPayload(b"Zo\xeb", "latin-1")
    assert str(payload) == str(payload.to_mime_message())


@given(st.binary(max_size=40), st.sampled_from([None, "zip", "7bit", "x-strange"]))
def test_octets_in_a_mime_message_stay_as_they_are(octets: bytes, encoding: str | None) -> None:
    message = Message()
    message["Content-Transfer-Encoding"] = "x-other"
    EncodedPayload(octets, None, encoding).copy_to(message)
    assert message.get_content_charset() is None
    assert message.get_all("content-transfer-encoding") == [encoding or "x-other"]
    assert message.get_payload(decode=True) == octets


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_a_text_in_a_mime_message_is_encoded_for_the_transfer(text: str) -> None:
    message = EncodedPayload(text.encode("utf-8"), "utf-8").to_mime_message()
    assert (message.get_content_charset(), message["content-transfer-encoding"]) == ("utf-8", "base64")
    assert message.get_payload(decode=True) == text.encode("utf-8")


def test_an_attachment_is_a_pair() -> None:
    attachment = Attachment("a.txt", "text", content_id="<id>")
    name, payload = attachment
    assert (name, payload) == ("a.txt", "text") == (attachment[0], attachment[1])
    assert len(attachment) == 2
    assert "a.txt" in attachment
    assert "text" in attachment
    assert "<id>" not in attachment
    assert attachment.content_id == "<id>"
    with pytest.raises(IndexError):
        attachment[2]


def test_what_an_attachment_is_equal_to() -> None:
    plain, with_id = Attachment("a", "b"), Attachment("a", "b", content_id="c")
    assert plain == ("a", "b") == plain
    assert plain == Attachment("a", "b")
    assert plain == ("a", "b", None)
    assert with_id == ("a", "b", "c")
    assert with_id == Attachment("a", "b", content_id="c")
    assert with_id != ("a", "b")
    assert with_id != plain
    assert plain != ("a",)
    assert plain not in (["a", "b"], "ab", 1, None, ("a", "b", "c"))
    assert plain.__eq__(["a", "b"]) is NotImplemented
    assert hash(plain) == hash(("a", "b"))
    assert hash(with_id) == hash(("a", "b", "c"))


def test_a_content_id_is_a_keyword() -> None:
    make: Any = Attachment
    with pytest.raises(TypeError) as raised:
        make("a", "b", "c")
    assert str(raised.value) == "__init__() takes at most 3 positional arguments (4 given)"
    with pytest.raises(TypeError) as raised:
        make("a")
    assert str(raised.value) == "Attachment.__init__() missing 1 required positional argument: 'payload'"
