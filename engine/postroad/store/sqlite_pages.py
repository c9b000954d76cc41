"""The pages of a spool's file as its last commit left them, read without SQLite, so that damage stands in nobody's way.

Nothing is ever written.  Formats: sqlite.org/fileformat2.html (the file in sections 1.2 and 1.3, the log in 4) and
sqlite.org/walformat.html section 2.1 (the index of the log).
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path

__all__ = ["PAGE_BYTES", "Pages"]

PAGE_BYTES = 4096  # sqlite_open makes no others
_LOG_HEADER, _FRAME_HEADER = 32, 24
_FRAME_BYTES = _FRAME_HEADER + PAGE_BYTES
_BIG_ENDIAN = 0x377F0683  # the log's magic number; the other one has its last bit unset
_INDEX_BYTES, _INDEX_VERSION = 48, 3_007_000


class Pages:
    """Reads pages by number.

    torn: numbers of pages that are not what they were.  trouble: why not all commits are known to be there, "" where they are:
    then any page may be older than it was.
    """

    def __init__(self, path: Path) -> None:
        self.torn: set[int] = set()
        self.trouble = ""
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._frames: dict[int, int] = {}  # page to its offset in the log
        self._log = _opened(path.with_name(path.name + "-wal"))
        self.count = os.fstat(self._file).st_size // PAGE_BYTES
        known = self._read_log() if self._log is not None else 0
        self._compare_index(path.with_name(path.name + "-shm"), known)
        self.count = max(self.count, *self._frames, 0) if self._frames else self.count

    def close(self) -> None:
        for descriptor in (self._file, self._log):
            if descriptor is not None:
                os.close(descriptor)

    def page(self, number: int) -> bytes | None:
        """A page, None where it is torn or lies behind the end."""
        if number in self.torn or number < 1:
            return None
        offset = self._frames.get(number)
        if offset is not None and self._log is not None:
            return _read(self._log, PAGE_BYTES, offset)
        return _read(self._file, PAGE_BYTES, (number - 1) * PAGE_BYTES)

    # --- The log ---

    def _read_log(self) -> int:
        """Note where the last commits' pages lie; return how many frames they have.

        Each frame's checksum begins with the one before: behind a damaged frame the next one is checked by what that says.
        """
        assert self._log is not None
        header = _read(self._log, _LOG_HEADER, 0)
        if header is None:
            return 0
        magic, _, _, _, salt, seed = struct.unpack(">4I8s8s", header)
        order = ">" if magic == _BIG_ENDIAN else "<"
        if (magic | 1) != _BIG_ENDIAN or _checksum(header[:24], bytes(8), order) != seed:
            self.trouble = "the header of the log is damaged"
            first = _read(self._log, _FRAME_HEADER, _LOG_HEADER)
            salt, order = (first or bytes(16))[8:16], "<"
        written: dict[int, int] = {}
        bad: list[int] = []  # page numbers of damaged frames, as far as they can be known
        seen = known = 0
        for index, (head, page) in enumerate(self._log_frames(), 1):
            number, size, its_salt, checksum = struct.unpack(">2I8s8s", head)
            is_good = its_salt == salt and _checksum(page, _checksum(head[:8], seed, order), order) == checksum
            seed = checksum
            if not is_good:
                bad.append(number)
                seen = max(seen, index if its_salt == salt else 0)
                continue
            seen = index
            written[number] = _LOG_HEADER + (index - 1) * _FRAME_BYTES + _FRAME_HEADER
            if size:
                known = index
                self._frames |= written
                self._miss(bad)
                self.torn -= written.keys()
                written, bad = {}, []
        if seen > known and bad:
            self._miss(bad)
        return known

    def _miss(self, numbers: list[int]) -> None:
        if numbers:
            self.torn.update(numbers)
            self.trouble = self.trouble or "the log is damaged"

    def _log_frames(self) -> Iterator[tuple[bytes, bytes]]:
        assert self._log is not None
        offset = _LOG_HEADER
        while (frame := _read(self._log, _FRAME_BYTES, offset)) is not None:
            yield frame[:_FRAME_HEADER], frame[_FRAME_HEADER:]
            offset += _FRAME_BYTES

    def _compare_index(self, path: Path, known: int) -> None:
        """What lies beside the log while a process has it, and after it died, says how long the log was."""
        descriptor = _opened(path)
        if descriptor is None:
            return
        try:
            index = _read(descriptor, 2 * _INDEX_BYTES + 4, 0)
        finally:
            os.close(descriptor)
        if index is None or index[:_INDEX_BYTES] != index[_INDEX_BYTES : 2 * _INDEX_BYTES]:
            return
        version, frames = struct.unpack_from("=I12xI", index)
        (folded,) = struct.unpack_from("=I", index, 2 * _INDEX_BYTES)
        if version == _INDEX_VERSION and frames > max(known, folded):
            self.trouble = self.trouble or f"the log has lost its end: {known} of {frames} pages are there"


def _opened(path: Path) -> int | None:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None


def _read(descriptor: int, octets: int, offset: int) -> bytes | None:
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
    for index in range(0, len(words), 2):
        first = (first + words[index] + second) & 0xFFFFFFFF
        second = (second + words[index + 1] + first) & 0xFFFFFFFF
    return struct.pack(">2I", first, second)
