"""The write-ahead log of a spool and its index, read without SQLite, which takes the first damaged frame for the log's end.

Nothing is ever written.  Formats: sqlite.org/fileformat2.html section 4 and sqlite.org/walformat.html section 2.1.
"""

from __future__ import annotations

import os
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["PAGE_BYTES", "Frame", "Index", "Log", "lost_commits", "opened", "read"]

PAGE_BYTES = 4096  # of every spool: larger ones write more log for each small change
_HEADER, _FRAME_HEADER = 32, 24
_FRAME_BYTES = _FRAME_HEADER + PAGE_BYTES
_BIG_ENDIAN = 0x377F0683  # the log's magic number; the other one has its last bit unset
_INDEX_BYTES, _INDEX_VERSION = 48, 3_007_000
_WORDS = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Frame:
    """index: from 1 on.  page: its number.  offset: of the page in the log.  ends_commit: it is the last one of a commit.

    is_ours: of the log's present run, not left from an earlier one.  is_good: it is what was written, if the one before is.
    """

    index: int
    page: int
    offset: int
    ends_commit: bool
    is_ours: bool
    is_good: bool


class Log:
    """An open log.  salt: what all frames of its present run carry.  is_sound: whether its header is as it was written."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        header = read(descriptor, _HEADER, 0)
        self.is_empty = header is None
        magic, _, _, _, self.salt, self._seed = struct.unpack(">4I8s8s", header or bytes(_HEADER))
        self._order = ">" if magic == _BIG_ENDIAN else "<"
        self.is_sound = (magic | 1) == _BIG_ENDIAN and header is not None
        self.is_sound = self.is_sound and _checksum((header or b"")[:24], bytes(8), self._order) == self._seed
        if not self.is_sound and not self.is_empty:
            first = read(descriptor, _FRAME_HEADER, _HEADER)
            self.salt, self._order = (first or bytes(16))[8:16], "<"

    def frames(self) -> Iterator[Frame]:
        """Each frame's checksum begins with the one before: behind a damaged frame the next one is checked by what that says."""
        seed, offset, index = self._seed, _HEADER, 1
        while (head := read(self._descriptor, _FRAME_HEADER, offset)) is not None:
            page, size, salt, checksum = struct.unpack(">2I8s8s", head)
            is_ours = salt == self.salt
            octets = read(self._descriptor, PAGE_BYTES, offset + _FRAME_HEADER)
            if octets is None:
                return
            is_good = is_ours and _checksum(octets, _checksum(head[:8], seed, self._order), self._order) == checksum
            yield Frame(index, page, offset + _FRAME_HEADER, size > 0, is_ours, is_good)
            seed, offset, index = checksum, offset + _FRAME_BYTES, index + 1


class Index:
    """What lies beside the log while a process has it, and after it died, says how long the log was.

    frames: how many it knew, 0 where there is none.  folded: how many of them are in the main file.  salt: of which run.
    """

    def __init__(self, path: Path) -> None:
        self.frames = self.folded = 0
        self.salt = b""
        descriptor = opened(path.with_name(path.name + "-shm"))
        if descriptor is None:
            return
        try:
            index = read(descriptor, 2 * _INDEX_BYTES + 4, 0)
        finally:
            os.close(descriptor)
        if index is not None and index[:_INDEX_BYTES] == index[_INDEX_BYTES : 2 * _INDEX_BYTES]:
            version, frames, salt = struct.unpack_from("=I12xI12x8s", index)
            if version == _INDEX_VERSION:
                self.frames, self.salt = frames, salt
                (self.folded,) = struct.unpack_from("=I", index, 2 * _INDEX_BYTES)

    def folded_of(self, log: Log) -> int:
        """How many frames of this log the main file has, or newer ones of their pages."""
        if self.follows(log):
            return sys.maxsize
        return self.folded if self.salt == log.salt else 0

    def follows(self, log: Log) -> bool:
        """Whether it is of the run after this log's: the first word of the salt counts runs (section 4.1 of the file format).

        A run begins in the index, when all of the one before is in the main file, and in the log with its first frame.
        """
        count = int.from_bytes(log.salt[:4], "big") + 1 & _WORDS
        return not log.is_empty and self.salt[:4] == count.to_bytes(4, "big")


def lost_commits(path: Path) -> str:
    """Why commits that were durable are not in the log of the spool at `path` any more; "" where none is known to be missing.

    What a power failure may leave is no damage: of the one commit that was not synced any frame may be missing.  So behind the
    first bad frame only a run of good ones with two commits counts, or an index that knew of more frames.  A log of 64 MB takes a
    second.
    """
    descriptor = opened(path.with_name(path.name + "-wal"))
    if descriptor is None:
        return ""
    try:
        log = Log(descriptor)
        known, behind = _counted(log) if not log.is_empty else (0, 0)
    finally:
        os.close(descriptor)
    index = Index(path)
    is_over = index.follows(log)  # then all of it was synced once
    if behind > (0 if is_over else 1):
        return f"its log is damaged behind page {known}, and more commits follow there"
    known = 0 if is_over else known
    if (is_over or index.salt == log.salt) and index.frames > known:  # folded in: the frames before the end would win
        return f"its log has lost its end: {known} of {index.frames} pages are there"
    return ""


def _counted(log: Log) -> tuple[int, int]:
    """Frames up to the last commit that SQLite will find, and the most commits in one run of good frames behind it."""
    known = most = commits = 0
    is_intact = log.is_sound
    for frame in log.frames():
        is_intact = is_intact and frame.is_good
        if is_intact:
            known = frame.index if frame.ends_commit else known
            continue
        commits = commits + frame.ends_commit if frame.is_good else 0
        most = max(most, commits)
    return known, most


def opened(path: Path) -> int | None:
    """A descriptor for reading, None where there is no such file."""
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None


def read(descriptor: int, octets: int, offset: int) -> bytes | None:
    """All of them, or None: behind the end, or what the disk cannot read."""
    try:
        found = os.pread(descriptor, octets, offset)
    except OSError:
        return None
    return found if len(found) == octets else None


def _checksum(octets: bytes, seed: bytes, order: str) -> bytes:
    """Section 4.2 of the file format: two sums over pairs of words, kept in big-endian order."""
    first, second = struct.unpack(">2I", seed)
    words = struct.unpack(f"{order}{len(octets) // 4}I", octets)
    for one, other in zip(words[::2], words[1::2], strict=True):
        first = (first + one + second) & _WORDS
        second = (second + other + first) & _WORDS
    return struct.pack(">2I", first, second)
