"""Which charsets octets from outside may name, and their text.  Pure.

Mail names its charset itself, and Python knows more under that word than charsets: `punycode` takes the square of its length
(20 s for 1 MB), `zlib` unpacks, `undefined` always fails, and every unknown name costs a search for a module and is remembered
for ever.  So only what stands here is looked up.  RFC 2978.
"""

from __future__ import annotations

from encodings import normalize_encoding
from encodings.aliases import aliases
from functools import lru_cache

__all__ = ["CHARSETS", "decode_octets"]

_NAME_CHARS = 40  # RFC 2978 section 2.3
# fmt: off
CHARSETS = frozenset({  # by Python's names of codecs
    "ascii", "latin_1", "hp_roman8", "tis_620",
    "utf_7", "utf_8", "utf_8_sig", "utf_16", "utf_16_be", "utf_16_le", "utf_32", "utf_32_be", "utf_32_le",
    "big5", "big5hkscs", "gb2312", "gbk", "gb18030", "hz", "euc_jp", "euc_jis_2004", "euc_jisx0213", "euc_kr", "johab",
    "shift_jis", "shift_jis_2004", "shift_jisx0213", "koi8_r", "koi8_t", "koi8_u", "kz1048", "ptcp154",
    "iso2022_jp", "iso2022_jp_1", "iso2022_jp_2", "iso2022_jp_2004", "iso2022_jp_3", "iso2022_jp_ext", "iso2022_kr",
    "mac_arabic", "mac_croatian", "mac_cyrillic", "mac_farsi", "mac_greek", "mac_iceland", "mac_latin2", "mac_roman",
    "mac_romanian", "mac_turkish",
    *(f"iso8859_{number}" for number in (*range(1, 12), *range(13, 17))),
    *(f"cp{number}" for number in (
        "037", 273, 424, 437, 500, 720, 737, 775, 850, 852, *range(855, 859), *range(860, 867), 869, 874, 875,
        932, 949, 950, 1006, 1026, 1125, 1140, *range(1250, 1259),
    )),
})
# fmt: on


def decode_octets(octets: bytes, charset: str, errors: str = "strict") -> str:
    """The text.  errors: as of `bytes.decode`.  Raises LookupError for what is no charset, UnicodeError for what is not in it."""
    return octets.decode(_codec(charset[: _NAME_CHARS + 1]), errors)


@lru_cache(maxsize=256)
def _codec(charset: str) -> str:
    name = normalize_encoding(charset.lower())
    codec = aliases.get(name) or aliases.get(name.replace(".", "_")) or name
    if codec not in CHARSETS:
        raise LookupError(f"unknown charset {charset!r}")
    return codec
