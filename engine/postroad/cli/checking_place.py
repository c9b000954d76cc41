"""Whether an engine could work in the place of its spool: the folder, the files that are there, the socket's name.

For `postroad check`; it only looks, and makes nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ConfigError
from ..gate_frames import address_of
from ..spool import SpoolPlace

if TYPE_CHECKING:
    from ..config import Config

__all__ = ["place_of", "place_problems"]

_SQLITE_FILES = ("-wal", "-shm")


def place_of(config: Config) -> SpoolPlace | None:
    """The place of a spool, None where its URL makes no sense."""
    try:
        return SpoolPlace.parse(config.spool.url, config.resolved(""))
    except ConfigError:
        return None


def place_problems(config: Config) -> Iterator[tuple[str, str]]:
    """Pairs of the file at fault and the problem; "" for the setting `[spool] url` itself."""
    place = place_of(config)
    if place is None or place.path is None:
        return
    problem = _folder_problem(place.path.parent)
    if problem:
        yield "", problem
        return
    yield from _file_problems(place)
    if config.spool.socket and place.path.parent.is_dir() and place.socket_path is not None:
        yield from _socket_problems(place.socket_path)


def _folder_problem(folder: Path) -> str:
    """The folder, or the nearest one above it in which it would be made."""
    there = next(each for each in (folder, *folder.parents) if os.path.lexists(each))
    if not there.is_dir():
        return f"{there} is no folder; name another path"
    if os.access(there, os.W_OK | os.X_OK):
        return ""
    what = "cannot be written" if there == folder else f"cannot be made: {there} cannot be written"
    return f"the folder {folder} {what} by this user"


def _file_problems(place: SpoolPlace) -> Iterator[tuple[str, str]]:
    assert place.path is not None
    beside = [place.path.with_name(place.path.name + ending) for ending in _SQLITE_FILES]
    files = [place.path, *beside, place.lock_path, place.marks_path, place.reached_path, place.reserve_path]
    for path in files:
        if path is not None and os.path.lexists(path):
            if not path.is_file():
                yield str(path), "is no file; move it away"
            elif not os.access(path, os.R_OK | os.W_OK):
                yield str(path), "cannot be read and written by this user"
    contents = place.content_folder
    if contents is not None and os.path.lexists(contents) and (problem := _folder_problem(contents)):
        yield str(contents), problem


def _socket_problems(path: Path) -> Iterator[tuple[str, str]]:
    try:
        with address_of(path):
            pass
    except ConfigError as error:
        yield "", error.problem
    if os.path.lexists(path) and not path.is_socket():
        yield str(path), "is no socket, though it has the name of the engine's; move it away"
