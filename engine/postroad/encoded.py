"""Text that is not ASCII inside header fields: encoded words (RFC 2047) and parameters (RFC 2231).

A word never splits a character and is at most 75 characters long.  Pure; used by `fields.py`, `mime.py` and `address.py`.
What is decoded here is only text: the caller checks it for control characters (CVE-2024-6923 came in that way).
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator, Sequence

from .charsets import decode_octets

__all__ = ["UNSAFE_TEXT", "decode_phrase", "decode_text", "encode_words", "is_plain", "write_parameter"]

# Control characters but the tab, whatever some software takes for a line end, and lone surrogates.
UNSAFE_TEXT = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")

WORD_CHARS = 75  # RFC 2047 section 2
_FRAME_CHARS = len("=?utf-8?q??=")
_PHRASE_SAFE = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!*+-/"  # RFC 2047 section 5 (3)
_Q = [chr(octet) if octet in _PHRASE_SAFE else "_" if octet == 0x20 else f"={octet:02X}" for octet in range(256)]
_WORD = re.compile(r"=\?([!-)+,\-./0-9:;<>@A-Z\[\]^_`a-z{|}~]+)(?:\*[A-Za-z0-9-]*)?\?([bBqQ])\?([!->@-~]*)\?=")
_WORD_GAP = re.compile(r"(\?=)[ \t]+(?==\?)")


def is_plain(text: str) -> bool:
    """Whether text can stand in a field as it is: no reader would decode it, and no white space at its ends gets lost."""
    return text.isascii() and "=?" not in text and text.strip(" \t") == text


def encode_words(text: str, first_chars: int = WORD_CHARS) -> list[str]:
    """Text as encoded words, in the shorter of B and Q; the first word takes at most `first_chars` (25 to 75)."""
    octets = text.encode("utf-8")
    safe = len(octets) - len(octets.translate(None, _PHRASE_SAFE + b" "))
    if 3 * len(octets) - 2 * safe <= (len(octets) + 2) // 3 * 4:
        return [f"=?utf-8?q?{piece}?=" for piece in _q_pieces(text, first_chars - _FRAME_CHARS)]
    return [f"=?utf-8?b?{piece}?=" for piece in _b_pieces(octets, first_chars - _FRAME_CHARS)]


def _q_pieces(text: str, room: int) -> Iterator[str]:
    piece: list[str] = []
    for char in text:
        code = _Q[ord(char)] if char < "\x80" else "".join([_Q[octet] for octet in char.encode("utf-8")])
        if len(code) > room:
            yield "".join(piece)
            piece, room = [], WORD_CHARS - _FRAME_CHARS
        piece.append(code)
        room -= len(code)
    yield "".join(piece)


def _b_pieces(octets: bytes, room: int) -> Iterator[str]:
    start = 0
    while start < len(octets):
        end = min(start + room // 4 * 3, len(octets))
        while end < len(octets) and octets[end] & 0xC0 == 0x80:
            end -= 1
        yield binascii.b2a_base64(octets[start:end], newline=False).decode("ascii")
        start, room = end, WORD_CHARS - _FRAME_CHARS


def decode_word(token: str) -> str | None:
    """What one encoded word means, or None if it is not one that can be read."""
    word = _WORD.fullmatch(token)
    if word is None:
        return None
    charset, encoding, text = word.groups()
    try:
        if encoding in "bB":
            return decode_octets(binascii.a2b_base64(text + "=" * (-len(text) % 4)), charset)
        return decode_octets(binascii.a2b_qp(text, header=True), charset)
    except (LookupError, ValueError):
        return None


def decode_phrase(words: Sequence[tuple[str, bool]]) -> str:
    """Join words of a phrase; those marked True may be encoded words, and white space between two of these is dropped."""
    result: list[str] = []
    after_word = False  # the last piece was an encoded word, or white space behind one
    for text, may_be_encoded in words:
        decoded = decode_word(text) if may_be_encoded else None
        if may_be_encoded and text == " ":
            result.append(text)
            continue
        if decoded is not None and after_word and result and result[-1] == " ":
            result.pop()
        result.append(text if decoded is None else decoded)
        after_word = decoded is not None
    return "".join(result)


def decode_text(text: str) -> str:
    """Text of an unstructured field with its encoded words decoded; what cannot be read stays as it is."""
    return _WORD.sub(lambda word: _or_same(decode_word(word[0]), word[0]), _WORD_GAP.sub(r"\1", text))


def _or_same(decoded: str | None, written: str) -> str:
    return written if decoded is None else decoded


_SECTION_CHARS = 60  # of a long parameter: with its name the line stays below 78
_TOKEN = frozenset(
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!#$&+-.^_`{|}~"
)  # RFC 2231's attribute-char
_PERCENT = [chr(octet) if chr(octet) in _TOKEN else f"%{octet:02X}" for octet in range(256)]


def write_parameter(name: str, value: str) -> list[str]:
    """A MIME parameter, such as `filename="a.pdf"`; non-ASCII and long values take RFC 2231's form and several sections."""
    if is_plain(value) and len(value) <= _SECTION_CHARS:
        quoted = value.replace("\\", "\\\\").replace('"', '\\"')
        return [f'{name}="{quoted}"']
    sections = [""]
    for char in value:
        code = "".join([_PERCENT[octet] for octet in char.encode("utf-8")])
        if len(sections[-1]) + len(code) > _SECTION_CHARS:
            sections.append("")
        sections[-1] += code
    if len(sections) == 1:
        return [f"{name}*=utf-8''{sections[0]}"]
    first = f"{name}*0*=utf-8''{sections[0]}"
    return [first, *(f"{name}*{number}*={section}" for number, section in enumerate(sections[1:], 1))]
