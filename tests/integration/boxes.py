"""What real servers stored in Maildirs, and a message without the header fields that a server puts before it."""

from __future__ import annotations

import os
from pathlib import Path

import trio

NOBODY = 65534  # as every Debian numbers it
_SECONDS = 20.0
_POLL_SECONDS = 0.01


class Boxes:
    """A folder of Maildirs, one a user; the account nobody delivers into it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(mode=0o755)
        give_away(folder)

    def stored(self, user: str, mark: str = "") -> list[bytes]:
        """What lies in a user's box now and has a mark in it."""
        box = self.folder / user / "new"
        every = [path.read_bytes() for path in sorted(box.iterdir())] if box.is_dir() else []
        return [each for each in every if mark.encode() in each]

    async def wait_stored(self, user: str, mark: str = "", count: int = 1) -> list[bytes]:
        """The same, once there are so many of them.  Raises trio.TooSlowError."""
        with trio.fail_after(_SECONDS):
            while len(stored := self.stored(user, mark)) < count:  # noqa: ASYNC110 - another process makes it true
                await trio.sleep(_POLL_SECONDS)
        return stored


def give_away(folder: Path) -> None:
    """To nobody, where that is possible; servers that are not started by root work as whoever starts them."""
    if os.geteuid() == 0:
        os.chown(folder, NOBODY, NOBODY)
