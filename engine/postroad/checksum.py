"""Whether a content is still what was accepted: its size and its CRC-32, which both stand in its Message.

A disk or a careless hand may change octets where no length and no page tells: such a content must never be delivered.  The sum
is made at the door (`compose`, and bounce for reports) and compared before anybody is given the content again.  CRC-32 finds
what chance does; it is no proof against somebody who means harm and may write the spool.
"""

from __future__ import annotations

from pathlib import Path
from zlib import crc32

from .message import Message

__all__ = ["content_flaw", "file_flaw"]

_PIECE = 1 << 20


def content_flaw(message: Message, content: bytes) -> str:
    """What is wrong with the content of a message, "" for nothing."""
    return _flaw(message, len(content), 0 if message.checksum is None else crc32(content))


def file_flaw(message: Message, path: Path) -> str:
    """As `content_flaw`, of a content in a file, read in pieces.  Raises OSError where it is there and cannot be read."""
    octets = checksum = 0
    try:
        with open(path, "rb") as file:
            while piece := file.read(_PIECE):
                octets += len(piece)
                checksum = crc32(piece, checksum)
    except FileNotFoundError:
        return "its file is gone"
    return _flaw(message, octets, checksum)


def _flaw(message: Message, octets: int, checksum: int) -> str:
    if octets != message.size:
        return f"it has {octets} octets instead of {message.size}"
    if message.checksum is not None and checksum != message.checksum:
        return "it is not what was accepted: its checksum differs"
    return ""
