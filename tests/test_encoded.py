"""Encoded words and parameters, with the standard library as the reader."""

from __future__ import annotations

from email.header import decode_header
from email.message import Message
from email.utils import collapse_rfc2231_value

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from postroad.encoded import decode_text, decode_word, encode_words, write_parameter

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)


@settings(deadline=None)
@given(texts, st.integers(25, 75))
def test_words_are_short_and_hold_whole_characters(text: str, first: int) -> None:
    words = encode_words(text, first)
    assert all(len(word) <= 75 for word in words)
    if text:
        assert len(words[0]) <= first
    assert "".join(decode_word(word) or "" for word in words) == text
    for word in words:
        octets, charset = decode_header(word)[0]
        if isinstance(octets, bytes) and charset:
            octets.decode(charset)


@settings(deadline=None)
@given(texts)
def test_words_in_a_row_are_read_as_one_text(text: str) -> None:
    assert decode_text("\t ".join(encode_words(text))) == text


def test_the_shorter_encoding_is_taken() -> None:
    assert encode_words("Müller is here today") == ["=?utf-8?q?M=C3=BCller_is_here_today?="]
    assert encode_words("Καλημέρα") == ["=?utf-8?b?zprOsc67zrfOvM6tz4HOsQ==?="]


@pytest.mark.parametrize(
    "word", ["=?utf-8?q?=FF?=", "=?no-such?q?x?=", "=?utf-8?b?A?=", "=?utf-8?x?A?=", "=?utf-8?q?a b?=", "plain"]
)
def test_what_cannot_be_decoded_stays(word: str) -> None:
    assert decode_word(word) is None
    assert decode_text(f"a {word} b") == f"a {word} b"


def test_a_word_may_name_its_language() -> None:
    assert decode_word("=?iso-8859-1*de?Q?Gr=FC=DFe?=") == "Grüße"


@settings(deadline=None)
@given(st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=300))
@example("<>")
@example('"quoted"')
def test_parameters_are_read_back(value: str) -> None:
    chunks = write_parameter("filename", value)
    assert all(len(chunk) <= 160 and chunk.isascii() for chunk in chunks)
    message = Message()
    message["Content-Disposition"] = "attachment; " + ";\r\n ".join(chunks)
    # not get_filename: it takes quotation marks and angle brackets off a second time, and reads "<>" as nothing
    read = message.get_param("filename", header="Content-Disposition")
    if value.strip() == value:
        assert (collapse_rfc2231_value(read) if isinstance(read, tuple) else read) == value


def test_a_plain_parameter_is_only_quoted() -> None:
    assert write_parameter("filename", 'a "b".pdf') == ['filename="a \\"b\\".pdf"']
