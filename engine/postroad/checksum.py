"""Whether a content is still what was accepted: its size and its CRC-32, which both stand in its Message.

A disk or a careless hand may change octets where no length and no page tells: such a content must never be delivered.  The sum
is made at the door (`compose`, and bounce for reports) and compared before anybody is given the content again.  CRC-32 finds
what chance does; it is no proof against somebody who means harm and may write the spool.
"""

from __future__ import annotations

from io import FileIO
from pathlib import Path
from zlib import crc32

from .message import Message

__all__ = ["FILE_GONE", "content_flaw", "file_flaw", "open_file_flaw"]

_PIECE = 262_144  # fits into a processor's cache between reading and summing
FILE_GONE = "its file is gone"


def content_flaw(message: Message, content: bytes) -> str:
    """What is wrong with the content of a message, "" for nothing."""
    return _flaw(message, len(content), 0 if message.checksum is None else crc32(content))


def file_flaw(message: Message, path: Path) -> str:
    """As `content_flaw`, of a content in a file, read in pieces.  Raises OSError where it is there and cannot be read."""
    try:
        with FileIO(path) as file:
            return open_file_flaw(message, file)
    except FileNotFoundError:
        return FILE_GONE


def open_file_flaw(message: Message, file: FileIO) -> str:
    """As `file_flaw`, of a file that is open, from where it is read to its end."""
    octets = checksum = 0
    buffer = memoryview(bytearray(min(_PIECE, max(message.size, 1))))
    while found := file.readinto(buffer):
        octets += found
        checksum = crc32(buffer[:found], checksum)
    return _flaw(message, octets, checksum)


def _flaw(message: Message, octets: int, checksum: int) -> str:
    if octets != message.size:
        return f"it has {octets} octets instead of {message.size}"
    if message.checksum is not None and checksum != message.checksum:
        return "it is not what was accepted: its checksum differs"
    return ""
