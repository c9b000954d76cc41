"""The octets of a protocol buffer: fields of texts, octets, flags and inner messages, by number.

Knows no message by name, and must never read further than what it is given.  Read and written by `record`.
Source: the Protocol Buffers encoding (varints, wire types 0, 1, 2 and 5).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

__all__ = ["decoded", "encoded"]

VARINT, EIGHT_OCTETS, COUNTED, FOUR_OCTETS = 0, 1, 2, 5
VARINT_OCTETS_MAX = 10  # 64 bits, seven in each


def encoded(fields: Iterable[tuple[int, Any]]) -> bytes:
    """Fields in the order given; a list is a repeated field."""
    octets = bytearray()
    for number, value in fields:
        values: Any = value
        if not isinstance(value, list):
            values = [value]
        for one in values:
            if isinstance(one, bool):
                octets += _varint(number << 3 | VARINT) + _varint(int(one))
            else:
                content = _content(one)
                octets += _varint(number << 3 | COUNTED) + _varint(len(content)) + content
    return bytes(octets)


def _content(value: Any) -> bytes:
    if isinstance(value, str):
        return value.encode("utf-8")
    return value if isinstance(value, bytes) else value.SerializePartialToString()


def _varint(value: int) -> bytes:
    octets = bytearray()
    while value > 0x7F:
        octets.append(value & 0x7F | 0x80)
        value >>= 7
    octets.append(value)
    return bytes(octets)


def decoded(octets: bytes) -> Iterator[tuple[int, Any]]:
    """The fields in their order: bytes for what is counted, an int for a varint.  ValueError for damaged octets."""
    place = 0
    while place < len(octets):
        tag, place = _read_varint(octets, place)
        if tag & 7 == VARINT:
            value, place = _read_varint(octets, place)
            yield tag >> 3, value
            continue
        length, place = _length(tag & 7, octets, place)
        if place + length > len(octets):
            raise ValueError("Error parsing message: a field ends early")
        if tag & 7 == COUNTED:
            yield tag >> 3, bytes(octets[place : place + length])
        place += length


def _length(kind: int, octets: bytes, place: int) -> tuple[int, int]:
    if kind == COUNTED:
        return _read_varint(octets, place)
    if kind not in (EIGHT_OCTETS, FOUR_OCTETS):
        raise ValueError(f"Error parsing message: wire type {kind}")
    return (8 if kind == EIGHT_OCTETS else 4), place


def _read_varint(octets: bytes, place: int) -> tuple[int, int]:
    value = 0
    for count in range(VARINT_OCTETS_MAX):
        if place + count >= len(octets):
            break
        octet = octets[place + count]
        value |= (octet & 0x7F) << (7 * count)
        if octet < 0x80:
            return value, place + count + 1
    raise ValueError("Error parsing message: a number does not end")
