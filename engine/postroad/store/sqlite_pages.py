"""The pages of a spool's file as its last commit left them, read without SQLite, so that damage stands in nobody's way.

Nothing is ever written.  Format: sqlite.org/fileformat2.html sections 1.2 and 1.3.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from .sqlite_log import PAGE_BYTES, Index, Log, opened, read

__all__ = ["Pages"]


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
        self._log = opened(path.with_name(path.name + "-wal"))
        self.count = os.fstat(self._file).st_size // PAGE_BYTES
        log = None if self._log is None else Log(self._log)
        index = Index(path)
        known = self._read_log(log, index.folded_of(log)) if log is not None and not log.is_empty else 0
        self._compare_index(index, known)
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
            return read(self._log, PAGE_BYTES, offset)
        return read(self._file, PAGE_BYTES, (number - 1) * PAGE_BYTES)

    # --- The log ---

    def _read_log(self, log: Log, folded: int) -> int:
        """Note where the last commits' pages lie; return how many frames they have.

        Where one of the first `folded` frames is lost, the main file has what stood before it, or newer.
        """
        if not log.is_sound:
            self.trouble = "the header of the log is damaged"
        written: dict[int, int] = {}
        bad: list[int] = []  # page numbers of damaged frames, as far as they can be known
        seen = known = 0
        for frame in log.frames():
            seen = frame.index if frame.is_ours or frame.is_good else seen
            if not frame.is_good and frame.index <= folded:
                written = {}
                self._frames.clear()
                continue
            if not frame.is_good:
                bad.append(frame.page)
                continue
            written[frame.page] = frame.offset
            if frame.ends_commit:
                known = frame.index
                self._frames |= written
                self._miss(bad)
                self.torn -= written.keys()
                written, bad = {}, []
        if seen > known:
            self._miss([page for page in bad if page])  # of page 0 are frames of the room behind the log, never written
        if known < folded:
            self._frames.clear()
        return 0 if folded == sys.maxsize else known

    def _miss(self, numbers: list[int]) -> None:
        if numbers:
            self.torn.update(numbers)
            self.trouble = self.trouble or "the log is damaged"

    def _compare_index(self, index: Index, known: int) -> None:
        if index.frames > max(known, index.folded):
            self.trouble = self.trouble or f"the log has lost its end: {known} of {index.frames} pages are there"
