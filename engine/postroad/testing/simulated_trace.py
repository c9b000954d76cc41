"""What happened in a simulation, line by line with its virtual time: log lines, events, what was said to servers and the DNS.

Everything in a line follows from the seed: no address of an object, no moment of the real clock.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Any

import msgspec
import trio

from ..events import Event
from ..log import forget_loggers

__all__ = ["Trace", "captured_log"]

_IDENTITY = re.compile(r" at 0x[0-9a-f]+")
_OF_THE_REAL_CLOCK = frozenset({"hook_slow", "transport_slow"})  # it depends on how busy the machine is


class Trace:
    """lines: so far.  begun: trio's time at the beginning.  log: the log lines as mappings, without those of the real clock."""

    def __init__(self) -> None:
        self.begun = trio.current_time()
        self._ended: float | None = None
        self.lines: list[str] = []
        self.log: list[Mapping[str, Any]] = []
        self.events: list[Event] = []

    @property
    def elapsed(self) -> float:
        """Virtual seconds since the beginning; until the end, once that has come."""
        return (trio.current_time() if self._ended is None else self._ended) - self.begun

    def end(self) -> None:
        """Time passes no more."""
        self._ended = trio.current_time()

    def note(self, kind: str, text: str) -> None:
        self.lines.append(f"{_span(self.elapsed)} {kind:<5} {text}")

    def note_log(self, line: Mapping[str, Any]) -> None:
        if line["event"] not in _OF_THE_REAL_CLOCK:
            self.log.append(line)
            self.note("log", f"{line['event']} {_pairs({key: line[key] for key in line if key != 'event'})}")

    def note_event(self, event: Event) -> None:
        self.events.append(event)
        told = {name: value for name, value in msgspec.structs.asdict(event).items() if name != "at" and value != ""}
        self.note("event", f"{type(event).__name__} {_pairs(told)}")


def _span(seconds: float) -> str:
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(int(minutes), 60)
    return f"{hours // 24}d {hours % 24:02}:{minutes:02}:{rest:06.3f}"


def _pairs(values: Mapping[str, Any]) -> str:
    return " ".join(f"{name}={_IDENTITY.sub('', _said(value))}" for name, value in values.items())


def _said(value: object) -> str:
    return value if isinstance(value, str) and value and " " not in value else repr(value)


@contextmanager
def captured_log(take: Callable[[Mapping[str, Any]], None], *, of_threads: bool = False) -> Generator[None]:
    """Give every line that is logged by structlog, of whatever level, to a function instead of whom it was configured for.

    of_threads: also lines of other threads, which are dropped else.
    """
    import structlog

    def capture(_logger: object, method: str, line: Any) -> Any:
        if of_threads or trio.lowlevel.in_trio_run():  # not what a thread of the application's has to say
            take({"event": line.pop("event"), "level": method, **line})
        raise structlog.DropEvent

    was_configured, before = structlog.is_configured(), structlog.get_config()
    structlog.configure(
        processors=[capture],
        wrapper_class=structlog.make_filtering_bound_logger(0),
        logger_factory=structlog.ReturnLoggerFactory(),
        cache_logger_on_first_use=False,
    )
    forget_loggers()
    try:
        yield
    finally:
        structlog.configure(**before)
        if not was_configured:
            structlog.reset_defaults()
        forget_loggers()
