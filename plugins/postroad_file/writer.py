"""Writes the files; every function here blocks, and runs in the transport's worker thread.

Two steps: `prepare` writes and syncs temporary files, `publish` renames them and syncs each folder once.  Between them
the transport says `committing()`.  An OSError is kept with its file and becomes that recipient's verdict.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

from .boxes import Place

__all__ = ["Letter", "Parcel", "discard", "prepare", "publish", "start_body", "write_all"]

_OPEN_AT_ONCE = 32  # files written before the first is synced
_SYNCS_AT_ONCE = 8  # syncs that wait together share a commit of the journal: 0.1-1 ms each instead of 3-4 on ext4
_COPY_BYTES = 1_048_576
_CREATE = os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(slots=True, eq=False)
class Letter:
    """One recipient's file.  look_for_earlier: it may have been written before, and moved since by a mail reader."""

    place: Place
    head: bytes
    look_for_earlier: bool
    is_there: bool = False
    error: OSError | None = None


@dataclass(slots=True, eq=False)
class Parcel:
    """One delivery: letters of the same body, in memory or in a file of its own."""

    letters: Sequence[Letter]
    body: bytes = b""
    body_file: str | None = None


# --- First step ---


def prepare(parcels: Sequence[Parcel]) -> None:
    """Write and sync the temporary file of every letter."""
    work = ((parcel, letter) for parcel in parcels for letter in parcel.letters)
    while some := list(islice(work, _OPEN_AT_ONCE)):
        _sync_and_close([opened for parcel, letter in some if (opened := _write(parcel, letter))])


def _write(parcel: Parcel, letter: Letter) -> tuple[Letter, int] | None:
    try:
        letter.is_there = letter.look_for_earlier and _was_seen(letter.place)
        return None if letter.is_there else (letter, _write_letter(parcel, letter))
    except OSError as error:
        letter.error = error
        return None


def _was_seen(place: Place) -> bool:
    if place.seen is None:
        return False
    folder, name = place.seen
    try:
        with os.scandir(folder) as entries:
            return any(entry.name.partition(":")[0] == name for entry in entries)
    except FileNotFoundError:
        return False


def _write_letter(parcel: Parcel, letter: Letter) -> int:
    descriptor = _create(letter.place)
    try:
        write_all(descriptor, letter.head + parcel.body)
        if parcel.body_file:
            _copy(parcel.body_file, descriptor)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _create(place: Place) -> int:
    try:
        return os.open(place.temporary, _CREATE, 0o600)
    except FileNotFoundError:
        for folder in _folders_of(place):
            _make_folder(folder)
        return os.open(place.temporary, _CREATE, 0o600)


def _folders_of(place: Place) -> list[str]:
    paths = [os.path.dirname(place.temporary), os.path.dirname(place.final)]
    return list(dict.fromkeys(paths + ([place.seen[0]] if place.seen else [])))


def _make_folder(path: str) -> None:
    """Make a folder and what is missing above it, each synced into its parent; mail is for its owner alone."""
    parent = os.path.dirname(path) or "."
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        return
    except FileNotFoundError:
        _make_folder(parent)
        with contextlib.suppress(FileExistsError):
            os.mkdir(path, 0o700)
    _sync_folder(parent)


def write_all(descriptor: int, data: bytes) -> None:
    """Write all of it: one write() may take less."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _copy(path: str, descriptor: int) -> None:
    with open(path, "rb", buffering=0) as source:
        while piece := source.read(_COPY_BYTES):
            write_all(descriptor, piece)


def _sync_and_close(opened: Sequence[tuple[Letter, int]]) -> None:
    try:
        if len(opened) > 1:
            with ThreadPoolExecutor(min(_SYNCS_AT_ONCE, len(opened))) as pool:
                list(pool.map(_sync, opened))
        elif opened:
            _sync(opened[0])
    finally:
        for _, descriptor in opened:
            os.close(descriptor)


def _sync(opened: tuple[Letter, int]) -> None:
    letter, descriptor = opened
    try:
        os.fsync(descriptor)
    except OSError as error:
        letter.error = error


# --- Second step ---


def publish(parcels: Sequence[Parcel]) -> None:
    """Give every prepared letter its final name, durably."""
    letters = list(_ready(parcels))
    for letter in letters:
        _rename(letter)
    for folder in {os.path.dirname(letter.place.final) for letter in letters}:
        _sync_for(folder, letters)
    discard(parcels)


def _ready(parcels: Sequence[Parcel]) -> Iterator[Letter]:
    return (letter for parcel in parcels for letter in parcel.letters if not letter.error and not letter.is_there)


def _rename(letter: Letter) -> None:
    try:
        os.rename(letter.place.temporary, letter.place.final)
        letter.is_there = True
    except OSError as error:
        letter.error = error


def _sync_for(folder: str, letters: Iterable[Letter]) -> None:
    try:
        _sync_folder(folder)
    except OSError as error:
        for letter in letters:
            if os.path.dirname(letter.place.final) == folder:
                letter.error = error


def _sync_folder(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# --- Around them ---


def start_body(path: str) -> int:
    """Open the file in which a large content is gathered."""
    return _create(Place(path, path, None))


def discard(parcels: Sequence[Parcel]) -> None:
    """Remove what is not needed any more: bodies, and temporary files without a final name."""
    for parcel in parcels:
        paths = [letter.place.temporary for letter in parcel.letters if letter.error or not letter.is_there]
        for path in [*paths, parcel.body_file]:
            if path:
                with contextlib.suppress(OSError):
                    os.unlink(path)
