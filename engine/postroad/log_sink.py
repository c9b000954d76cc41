"""Where the command's log lines go: a full disk or a reader that is stuck costs lines, never mail.

A line that cannot be written is dropped and counted; the next one that can be says how many went.  Nothing is queued, so that a
kill takes no line that was logged before it.  Used by `log.configure_logging`; an application's own sinks are its own.
"""

from __future__ import annotations

import os
import select
import stat
import threading
from collections.abc import Callable
from typing import TextIO
from weakref import WeakSet

__all__ = ["LogSink"]

_PATIENCE_MS = 50  # for a reader that is slow for a moment; the engine's thread waits meanwhile
_ATOMIC = 4096  # octets that a pipe takes without blocking once it is ready (PIPE_BUF of Linux)


_sinks: WeakSet[LogSink] = WeakSet()


def _renew_locks() -> None:
    """A fork's child has no thread that would end the line which another one was writing."""
    for sink in _sinks:
        sink.renew_lock()


os.register_at_fork(after_in_child=_renew_locks)


class LogSink:
    """A stream's descriptor, if it has one, as the logger that structlog's bound loggers give their lines to.

    note: makes the line that tells of dropped ones.  Lines have no end yet here.  dropped: lines that nobody was told of yet.
    Any thread may write.
    """

    def __init__(self, stream: TextIO, note: Callable[[int], str]) -> None:
        self.dropped = 0
        self._stream = stream
        self._note = note
        self.renew_lock()
        self._is_stuck = False  # then nobody waits for it
        self._is_torn = False  # a line was left without its end
        self._descriptor = _descriptor_of(stream)
        self._is_file = self._descriptor is not None and _is_file(self._descriptor)
        _sinks.add(self)

    def renew_lock(self) -> None:
        """Whoever held it is gone."""
        self._lock = threading.Lock()

    def msg(self, line: str | bytes) -> None:
        """Write a line, or count it."""
        octets = line.encode(errors="backslashreplace") if isinstance(line, str) else line
        with self._lock:
            if self.dropped or self._is_torn:
                octets = self._told_first() + octets
            if self._put(octets + b"\n"):
                self.dropped, self._is_torn = 0, False
            else:
                self.dropped += 1

    debug = info = warning = error = critical = msg

    def _told_first(self) -> bytes:
        before = ("\n" if self._is_torn else "") + (self._note(self.dropped) + "\n" if self.dropped else "")
        return before.encode()

    def _put(self, octets: bytes) -> bool:
        """A file takes what there is room for at once; whatever has a reader is asked before each write."""
        try:
            if self._descriptor is None:
                self._stream.write(octets.decode())
                self._stream.flush()
                return True
            if not self._is_file:
                return self._put_in_turn(self._descriptor, octets)
            self._is_torn = os.write(self._descriptor, octets) < len(octets)
            return not self._is_torn
        except (OSError, ValueError):  # no room, nobody reads; closed
            return False

    def _put_in_turn(self, descriptor: int, octets: bytes) -> bool:
        waiting = select.poll()
        waiting.register(descriptor, select.POLLOUT)
        at = 0
        while at < len(octets):
            self._is_stuck = not waiting.poll(0 if self._is_stuck else _PATIENCE_MS)
            if self._is_stuck:
                return False
            at += os.write(descriptor, octets[at : at + _ATOMIC])
            self._is_torn = at < len(octets)
        return True


def _is_file(descriptor: int) -> bool:
    try:
        return stat.S_ISREG(os.fstat(descriptor).st_mode)
    except OSError:  # closed behind the stream's back
        return False


def _descriptor_of(stream: TextIO) -> int | None:
    try:
        stream.flush()
        return stream.fileno()
    except (OSError, ValueError, AttributeError):
        return None
