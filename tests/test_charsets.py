"""What octets from outside may name as their charset: what Python knows of charsets, and nothing else that it calls a codec."""

from __future__ import annotations

import codecs
import encodings
import pkgutil
import time
from encodings.aliases import aliases

import pytest

from postroad.charsets import CHARSETS, decode_octets

# Of Windows alone, for one machine's programs, or no charset: what a name in mail must not reach.
NONE_OF_MAIL = {
    "charmap",
    "idna",
    "mbcs",
    "oem",
    "palmos",
    "punycode",
    "raw_unicode_escape",
    "undefined",
    "unicode_escape",
}
OCTETS = 262_144


def codecs_of_python() -> set[str]:
    """Those that make text of octets, as `bytes.decode` takes them."""
    found = {module.name for module in pkgutil.iter_modules(encodings.__path__)} - {"aliases", "mbcs", "oem"}
    return {name for name in found if codecs.lookup(name)._is_text_encoding}


def test_every_charset_of_python_is_known_and_nothing_else() -> None:
    assert codecs_of_python() - NONE_OF_MAIL == CHARSETS


@pytest.mark.parametrize(
    "written", ["UTF-8", "utf8", "ISO-8859-15", "iso_8859-1:1987", "Windows-1252", "ANSI_X3.4-1968"]
)
def test_a_name_is_read_as_python_reads_it(written: str) -> None:
    assert decode_octets(b"a", written) == b"a".decode(written)


def test_every_alias_means_what_it_means_to_python() -> None:
    for alias, codec in aliases.items():
        if codec in CHARSETS and alias == alias.lower():  # one in capitals is found by no Python
            assert decode_octets(b"abcd", alias, "replace") == b"abcd".decode(alias, "replace"), alias


@pytest.mark.parametrize(
    "name", [*sorted(NONE_OF_MAIL), "zlib", "bz2", "hex", "rot13", "uu", "", "a\0b", "\udcff", "x" * 999]
)
def test_what_is_no_charset_is_unknown(name: str) -> None:
    with pytest.raises(LookupError):
        decode_octets(b"a", name)


def test_names_that_nobody_knows_are_not_remembered_by_python() -> None:
    before = len(encodings._cache)  # type: ignore[attr-defined]
    for number in range(1000):
        with pytest.raises(LookupError):
            decode_octets(b"a", f"x-unknown-{number}")
    assert len(encodings._cache) == before  # type: ignore[attr-defined]


@pytest.mark.parametrize("codec", sorted(CHARSETS))
@pytest.mark.parametrize("octets", [b"\xff", b"+AAA", b"~{a", b"\x1b$B", b"\x81", b"\x00\xd8"], ids=repr)
def test_many_octets_take_no_time_in_any_charset(codec: str, octets: bytes) -> None:
    begun = time.process_time()
    decode_octets((octets * OCTETS)[:OCTETS], codec, "replace")
    assert time.process_time() - begun < 0.2  # a twentieth of it is usual, punycode would take one second
