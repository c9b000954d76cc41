"""SASLprep (RFC 4013): user names and passwords in one form, so that both ends compute from the same octets.  Pure.

By the tables of Unicode 3.2 in the standard library, as the RFC wants; what they prohibit raises ValueError.
"""

from __future__ import annotations

import stringprep
from unicodedata import ucd_3_2_0

__all__ = ["saslprep"]

_PROHIBITED = (  # RFC 4013 section 2.3
    stringprep.in_table_c12,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
)


def saslprep(text: str, *, is_query: bool = False) -> str:
    """The prepared text.  is_query: code points that Unicode 3.2 does not know are allowed (RFC 3454 section 7).

    Raises ValueError, which never shows the text, where it has prohibited characters or nothing is left.
    """
    if text.isascii() and text.isprintable() and text:
        return text
    mapped = "".join(_map(char) for char in text)
    prepared = ucd_3_2_0.normalize("NFKC", mapped)
    if not prepared:
        raise ValueError("nothing is left of it by RFC 4013")
    if any(is_in_table(char) for is_in_table in _PROHIBITED for char in prepared):
        raise ValueError("it has a character that RFC 4013 prohibits")
    if not is_query and any(stringprep.in_table_a1(char) for char in prepared):
        raise ValueError("it has a character that RFC 4013 does not know")
    _check_direction(prepared)
    return prepared


def _map(char: str) -> str:
    if stringprep.in_table_c12(char):
        return " "
    return "" if stringprep.in_table_b1(char) else char


def _check_direction(text: str) -> None:
    """RFC 3454 section 6: right-to-left text is that from end to end."""
    if not any(stringprep.in_table_d1(char) for char in text):
        return
    if any(stringprep.in_table_d2(char) for char in text):
        raise ValueError("it mixes the directions of writing")
    if not (stringprep.in_table_d1(text[0]) and stringprep.in_table_d1(text[-1])):
        raise ValueError("it is written from right to left, and does not begin and end so")
