"""Postfix's smtp-sink: a server whose faults are its flags.  It needs no privileges, and no configuration."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from boxes import give_away
from real_server import RealServer, listens

from servers.postfix import Programs

_BACKLOG = "10"


class RealSink(RealServer):
    """flags: as in its manual.  What it accepts is kept, message by message."""

    def __init__(self, folder: Path, programs: Programs, *flags: str, port: int = 0) -> None:
        super().__init__(folder, port)
        self._programs = programs
        self._flags = flags
        self._messages = folder / "messages"
        self._messages.mkdir(exist_ok=True)
        give_away(self._messages)

    def argv(self) -> Sequence[str | Path]:
        user = ["-u", "nobody"] if os.geteuid() == 0 else []  # it insists, as root
        kept = ["-d", f"{self._messages}/"]
        return [self._programs.sbin / "smtp-sink", *user, *kept, *self._flags, self.place, _BACKLOG]

    def environment(self) -> Mapping[str, str]:
        return self._programs.environment()

    def is_up(self) -> bool:
        """Its greeting may be what it fails at."""
        return listens(self.port)

    def messages(self, mark: str = "") -> list[bytes]:
        """What it took: its own account of the envelope, then the message."""
        every = [path.read_bytes() for path in sorted(self._messages.iterdir())]
        return [each for each in every if mark.encode() in each]
