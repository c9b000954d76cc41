"""A disk that forgets: real files in a folder, and beside them what would be left of them if the power went now.

What is written stays pending until its file is synced, what happens to a name until its folder is synced.  When the power goes,
each pending change survives or not by a draw, whatever became of the ones before it; writes are torn at sectors of 512 octets.
After a sync that failed, what was pending is gone for good, and can still be read: that is what Linux does.
It knows no SQLite and patches nothing; `power_vfs.py` tells it what happens.
"""

from __future__ import annotations

import errno
import os
import random
import shutil
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Any

__all__ = ["Disk", "PowerCut", "parent_of"]

SECTOR = 512
_SURVIVING = (0.0, 0.5, 0.9)  # share of the pending changes; one of them for each cut
_TORN = (0.0, 0.2)  # share of them that survives in part


class PowerCut(OSError):
    """The power went, or is off."""


@dataclass(slots=True)
class File:
    """lasting: what is on the disk for sure.  pending: (offset, octets), or (size, None) for a truncation.

    seen: what a file that is written behind our back held when last looked at; None for one whose writes are all told.
    """

    is_folder: bool = False
    lasting: bytes = b""
    pending: list[tuple[int, bytes | None]] = field(default_factory=list)
    seen: bytes | None = None


@dataclass(frozen=True, slots=True)
class NameChange:
    """In one folder, a name goes, another one comes, or both at once (a rename)."""

    folder: str
    goes: str | None
    comes: str | None
    file: File | None

    def apply(self, names: dict[str, File]) -> None:
        if self.goes is not None:
            names.pop(self.goes, None)
        if self.comes is not None and self.file is not None:
            names[self.comes] = self.file


def parent_of(name: str) -> str:
    parent = str(PurePosixPath(name).parent)
    return "" if parent == "." else parent


class Disk:
    """Names are paths relative to `root`, "" is root itself.

    steps: changes and syncs so far.  cut_at: the step at which the power goes, None for never.  trace: a sum over all steps.
    trouble: asked before each step, with what ("write", "sync", ...) and the name; an error that it returns is raised.
    is_deaf_to: files and folders whose sync is said to be done, and is not.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.steps = 0
        self.cut_at: int | None = None
        self.is_off = False
        self.trace = 0
        self.trouble: Callable[[str, str], OSError | None] = lambda action, name: None
        self.is_deaf_to: Callable[[str], bool] = lambda name: False
        self._names: dict[str, File] = {}
        self._lasting: dict[str, File] = {}
        self._changes: list[NameChange] = []
        self._begun: list[Any] | None = None  # what the step in which the power went had added last
        root.mkdir(parents=True)

    def name_of(self, path: str | os.PathLike[str]) -> str | None:
        """None for what lies elsewhere."""
        absolute = os.path.abspath(os.fspath(path))
        if absolute == str(self.root):
            return ""
        inside = absolute.startswith(f"{self.root}/")
        return absolute[len(str(self.root)) + 1 :] if inside else None

    def has(self, name: str) -> bool:
        return name in self._names

    # --- what happens to names ---

    def create(self, name: str, *, is_folder: bool = False) -> None:
        self._change("create", NameChange(parent_of(name), None, name, File(is_folder)))

    def remove(self, name: str) -> None:
        self._change("remove", NameChange(parent_of(name), name, None, None))

    def rename(self, name: str, to: str) -> None:
        self._look(name)
        self._change("rename", NameChange(parent_of(name), name, to, self._names[name]))

    def _change(self, action: str, change: NameChange) -> None:
        name = change.goes or change.comes or ""
        self._refuse(action, name)
        self._changes.append(change)
        self._step(action, name, self._changes)
        change.apply(self._names)

    def sync_folder(self, folder: str) -> None:
        if not self._may_sync(folder):
            return
        for change in self._changes:
            if change.folder == folder:
                change.apply(self._lasting)
        self._changes = [change for change in self._changes if change.folder != folder]

    # --- what happens to files ---

    def is_told(self, name: str) -> None:
        """From now on every write of this file is told."""
        self._names[name].seen = None

    def is_untold(self, name: str) -> None:
        """This file is written behind our back: look at it when it matters."""
        file = self._names[name]
        if file.seen is None:
            file.seen = self._real(name)

    def write(self, name: str, offset: int, octets: bytes) -> None:
        self._refuse("write", name)
        pending = self._names[name].pending
        pending.append((offset, octets))
        self._step("write", f"{name} {offset} {len(octets)}", pending)

    def truncate(self, name: str, size: int) -> None:
        self._refuse("truncate", name)
        pending = self._names[name].pending
        pending.append((size, None))
        self._step("truncate", f"{name} {size}", pending)

    def sync(self, name: str) -> None:
        self._look(name)
        file = self._names[name]
        try:
            if self._may_sync(name):
                file.lasting = _applied(file.lasting, file.pending)
                file.pending = []
        except PowerCut:
            raise
        except OSError:
            file.pending = []
            raise

    def _may_sync(self, name: str) -> bool:
        self._refuse("sync", name)
        self._step("sync", name)
        return not self.is_deaf_to(name)

    def _refuse(self, action: str, name: str) -> None:
        error = self.trouble(action, name)
        if error is not None:
            raise error

    def _step(self, action: str, what: str, begun: list[Any] | None = None) -> None:
        """begun: ends with what this step has just added."""
        if self.is_off:
            if begun:
                begun.pop()  # no power, no change
            raise PowerCut(errno.EIO, "the power is off")
        self.steps += 1
        self.trace = zlib.crc32(f"{action} {what}\n".encode(), self.trace)
        self.is_off = self.steps == self.cut_at
        if self.is_off:
            self._begun = begun
            raise PowerCut(errno.EIO, "the power is off")

    def _real(self, name: str) -> bytes:
        return (self.root / name).read_bytes()

    def _look(self, name: str) -> None:
        """Note what was written behind our back."""
        file = self._names[name]
        if file.seen is None:
            return
        now = self._real(name)
        if now != file.seen:
            file.pending += [(0, None)] * (len(now) < len(file.seen)) + [(0, now)]
            file.seen = now

    # --- afterwards ---

    def after_cut(self, draw: random.Random, root: Path) -> Disk:
        """The disk, at another place, as it is found when the power is back."""
        self._look_at_all()
        surviving, torn = draw.choice(_SURVIVING), draw.choice(_TORN)
        names = dict(self._lasting)
        for change in self._changes:
            if draw.random() < surviving:
                change.apply(names)
        disk = Disk(root)
        for name in sorted(names):
            if parent_of(name) in ("", *disk._names):  # what lies in a lost folder is lost
                disk._put(name, _left_of(names[name], draw, surviving, torn))
        disk._lasting = dict(disk._names)
        return disk

    def after_kill(self, root: Path) -> Disk:
        """The disk, at another place, when only the process ended: all can be read, and what was pending still is."""
        if self._begun:
            self._begun.pop()  # a call of the system is not done by halves when its process ends
        self._look_at_all()
        disk = Disk(root)
        for name in sorted(self._names):
            file = self._names[name]
            disk._put(name, file, octets=b"" if file.is_folder else self._real(name))
        disk._lasting, disk._changes = self._lasting, self._changes
        return disk

    def _look_at_all(self) -> None:
        for name, file in self._names.items():
            if not file.is_folder and (self.root / name).exists():
                self._look(name)

    def _put(self, name: str, file: File, octets: bytes | None = None) -> None:
        self._names[name] = file
        path = self.root / name
        if file.is_folder:
            path.mkdir(mode=0o700)
        else:
            path.write_bytes(file.lasting if octets is None else octets)
            file.seen = None

    def discard(self) -> None:
        """Delete the real files."""
        shutil.rmtree(self.root)


def _applied(octets: bytes, changes: list[tuple[int, bytes | None]]) -> bytes:
    image = bytearray(octets)
    for place, written in changes:
        if written is None:
            del image[place:]
        else:
            _lay(image, place, written, b"\0")
    return bytes(image)


def _lay(image: bytearray, offset: int, octets: bytes, filler: bytes) -> None:
    """Write into the image; what nobody wrote between its end and the offset is filled."""
    if len(image) < offset:
        image += (filler * (offset - len(image)))[: offset - len(image)]
    image[offset : offset + len(octets)] = octets


def _left_of(file: File, draw: random.Random, surviving: float, torn: float) -> File:
    image = bytearray(file.lasting)
    filler = draw.choice((b"\0", draw.randbytes(SECTOR)))  # the blocks of a hole may hold what lay there before
    for place, written in file.pending:
        fate = draw.random()
        if written is None:
            if fate < surviving:
                del image[place:]
        elif fate < surviving:
            _lay(image, place, written, filler)
        elif fate < surviving + torn:
            for start, part in _sectors(place, written):
                if draw.random() < 0.5:
                    _lay(image, start, part, filler)
    return replace(file, lasting=bytes(image), pending=[], seen=None)


def _sectors(offset: int, octets: bytes) -> list[tuple[int, bytes]]:
    """The parts of a write, cut where sectors begin."""
    first = SECTOR - offset % SECTOR
    cuts = [0, *range(first, len(octets), SECTOR), len(octets)]
    return [(offset + start, octets[start:end]) for start, end in pairwise(cuts)]
