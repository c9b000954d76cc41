"""Written forms of addresses and ids in reports: xtext (RFC 3461 section 4) and \\x{HEX} (RFC 6533 section 3)."""

from __future__ import annotations

import re

__all__ = ["decode_utf8_address", "decode_xtext", "encode_utf8_address", "escape_non_ascii"]

_XTEXT = re.compile(r"\+([0-9A-F]{2})")
_NOT_QCHAR = re.compile(r"[^!-*,-<>-\[\]-~]")  # QCHAR: printable ASCII but space, "\", "+" and "="
_NOT_ASCII = re.compile(r"[^\x00-\x7f]")
_EMBEDDED = re.compile(r"\\x\{([0-9A-Fa-f]{2,6})\}")


def decode_xtext(text: str) -> str:
    """ "b+2Bx" as "b+x"; what is no xtext stays as it is."""
    return _XTEXT.sub(lambda match: chr(int(match[1], 16)), text)


def encode_utf8_address(address: str) -> str:
    """The 7-bit form of an address for a field of type `utf-8`."""
    return _NOT_QCHAR.sub(_embed, address)


def escape_non_ascii(text: str) -> str:
    """A peer's words in 7 bits: other characters in the same form."""
    return _NOT_ASCII.sub(_embed, text)


def decode_utf8_address(text: str) -> str:
    """The address behind its 7-bit form; an impossible code point stays as it is written."""
    return _EMBEDDED.sub(_unembed, text)


def _embed(match: re.Match[str]) -> str:
    return f"\\x{{{ord(match[0]):02X}}}"


def _unembed(match: re.Match[str]) -> str:
    code = int(match[1], 16)
    return chr(code) if code <= 0x10FFFF and not 0xD800 <= code <= 0xDFFF else match[0]
