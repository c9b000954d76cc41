"""Logging: hostile text made harmless, secrets kept out, and the command line's own configuration of structlog.

Importing this configures nothing and does not even import structlog (60 ms): the embedding application decides how
lines are written, `configure_logging` is for the command line, whose JSON lines do without it (`log_lines.py`).  Every
text of a peer passes `printable` where it enters (verdicts, reports, log lines); no content and no secret is ever given
to a logger, and the processors here are the net below that rule.  Everybody logs through `get_logger`.
"""

from __future__ import annotations

import re
import sys
import time
import traceback
from collections.abc import Callable, Collection, Mapping, MutableMapping
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, TextIO, TypeAlias, cast
from weakref import WeakSet

from .log_lines import LEVELS, Lines, when_structlog_comes

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

    from .log_sink import LogSink

__all__ = [
    "CUT",
    "REDACTED",
    "configure_logging",
    "forget_loggers",
    "get_logger",
    "make_printable",
    "printable",
    "redact_secrets",
]

EventDict: TypeAlias = MutableMapping[str, Any]
Level: TypeAlias = Literal["debug", "info", "warning", "error", "critical"]

CUT = " [cut]"  # ends what was too long
_VALUE_LIMIT = 2048  # characters of one value in a log line: four times the longest SMTP reply line
_DEPTH = 4  # of mappings and lists inside a log line

# C0, DEL, C1 (with U+0085); the Arabic letter mark, zero-width and bidi controls, line and paragraph separators,
# invisible format characters, lone surrogates, tags.
_UNPRINTABLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)
_BROKEN_ESCAPE = re.compile(r"\\(?:x[0-9a-f]?|u(?:\{[0-9a-f]*)?)?\Z")


def printable(text: str | bytes, limit: int = 512) -> str:
    r"""Make a peer's text safe for logs, reports and terminals: one line, no controls, at most `limit` characters.

    Controls become `\x1b` or `\u{202e}`, octets that are no UTF-8 `\xff`; what is too long ends in " [cut]".  Applied to
    its own result it changes nothing.
    """
    if isinstance(text, bytes):
        text = text[: 4 * limit + 4].decode("utf-8", "backslashreplace")
    if len(text) <= limit and text.isprintable():
        return text
    safe = _UNPRINTABLE.sub(_escape, text[: limit + 1])
    return safe if len(safe) <= limit else _cut(safe, limit)


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{{{code:x}}}"


def _cut(text: str, limit: int) -> str:
    if limit <= len(CUT):
        return text[:limit]
    return _BROKEN_ESCAPE.sub("", text[: limit - len(CUT)]) + CUT


# --- Processors: an application that configures structlog itself may put them into its own chain ---

REDACTED = "[redacted]"
_SECRET_KEY = re.compile(
    r"(?:^|[_\-.])(?:password|passwd|passphrase|secret|token|authorization|credentials?|(?:api|access|private)[_-]?key"
    r"|cookie|content|body|raw)\Z",
    re.IGNORECASE,
)
_plain_keys: set[str] = set()  # known to name no secret; keys are the program's own words: few, but see _MAX_KEYS
_MAX_KEYS = 1000
_FLAT = frozenset({str, int, float, bool, type(None)})


def redact_secrets(_logger: Any, _method: str, event: EventDict) -> EventDict:
    """Processor: blot out the values of keys such as password, authorization, token, content, body; at any depth."""
    if event.keys() <= _plain_keys and _FLAT.issuperset(map(type, event.values())):
        return event  # as nearly all lines
    for key, value in event.items():
        if _names_secret(key):
            event[key] = REDACTED
        elif type(value) not in _FLAT:
            event[key] = _redacted(value, _DEPTH)
    return event


def _names_secret(key: str) -> bool:
    if key in _plain_keys:
        return False
    if _SECRET_KEY.search(key):
        return True
    if len(_plain_keys) >= _MAX_KEYS:
        _plain_keys.clear()
    _plain_keys.add(key)
    return False


def _redacted(value: object, depth: int) -> object:
    if depth == 0:
        return "[...]" if isinstance(value, (Mapping, list, tuple)) else value
    if isinstance(value, Mapping):
        items = cast("Mapping[object, object]", value).items()
        return {k: REDACTED if _names_secret(str(k)) else _redacted(v, depth - 1) for k, v in items}
    if isinstance(value, (list, tuple)):
        return [_redacted(item, depth - 1) for item in cast("list[object]", value)]
    return value


def make_printable(_logger: Any, _method: str, event: EventDict) -> EventDict:
    """Processor: escape and cut every text value, so that no log line can be forged; a traceback keeps its lines."""
    if _is_plain(event.values()):
        return event
    for key, value in event.items():
        if type(value) is not str:
            event[key] = value if type(value) in _FLAT else _printable_value(value, _DEPTH)
        elif key == "exception":
            event[key] = "\n".join(printable(line, _VALUE_LIMIT) for line in value.split("\n"))
        elif len(value) > _VALUE_LIMIT or not value.isprintable():
            event[key] = printable(value, _VALUE_LIMIT)
    return event


def _is_plain(values: Collection[object]) -> bool:
    """Whether nothing needs to be done about a line, as about nearly all: one look at all texts together."""
    together = "".join([value for value in values if type(value) is str])
    return len(together) <= _VALUE_LIMIT and together.isprintable() and _FLAT.issuperset(map(type, values))


def _printable_value(value: Any, depth: int) -> object:
    if type(value) in _FLAT and type(value) is not str:
        return value
    if isinstance(value, Mapping) and depth:
        items = cast("Mapping[object, object]", value).items()
        return {printable(str(k)): _printable_value(v, depth - 1) for k, v in items}
    if isinstance(value, (list, tuple)) and depth:
        return [_printable_value(item, depth - 1) for item in cast("list[object]", value)]
    if isinstance(value, str | bytes):
        return printable(value, _VALUE_LIMIT)
    return printable(str(cast("object", value)), _VALUE_LIMIT)


# --- Loggers ---


class _LateLogger:
    """A structlog logger that is made at its first line, so that modules can name one without importing structlog.

    Where the configuration allows caching, each method is kept at its first use: a filtered-out line is then one call.
    """

    def __init__(self, bound: dict[str, Any]) -> None:
        self._bound = bound
        _late_loggers.add(self)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if _lines is not None and name in LEVELS and "structlog" not in sys.modules:
            method = _lines.method(name, self._bound)
            setattr(self, name, method)
            return method
        import structlog

        if not structlog.is_configured():
            return _harmless(name, getattr(_unconfigured().bind(**self._bound), name))
        logger = structlog.get_logger(**self._bound)
        if not structlog.get_config()["cache_logger_on_first_use"]:
            return _harmless(name, getattr(logger, name))
        method = _harmless(name, getattr(logger.bind(), name))
        setattr(self, name, method)
        return method

    def forget(self) -> None:
        """Drop the kept methods, because structlog was configured anew."""
        bound = self._bound
        self.__dict__.clear()
        self._bound = bound


def _harmless(name: str, method: Any) -> Any:
    """A sink or a processor of the application's that fails costs the line: mail goes on."""
    if name not in LEVELS:
        return method

    def log(*words: Any, **values: Any) -> Any:
        try:
            return method(*words, **values)
        except Exception as error:
            _complain(error)

    return log


def _complain(error: Exception) -> None:
    """On standard error, the 1st, 2nd, 4th, 8th ... time."""
    global _failed_lines
    _failed_lines += 1
    if _failed_lines & (_failed_lines - 1) == 0:
        with suppress(OSError, ValueError, AttributeError):
            sys.stderr.write(f"postroad: {_failed_lines} log lines could not be written: {error!r}\n")


_failed_lines = 0
_lines: Lines | None = None  # where `configure_logging` chose JSON, until somebody imports structlog
_late_loggers: WeakSet[_LateLogger] = WeakSet()


@cache
def _unconfigured() -> FilteringBoundLogger:
    """What writes while the application has not configured structlog: to standard output, as structlog does by itself.

    structlog's own default shows the local variables of tracebacks (content, tokens) where `rich` is installed.
    """
    import structlog

    logger = structlog.wrap_logger(
        structlog.PrintLogger(),
        processors=[_readable_maker(colors=sys.stdout.isatty())],
        wrapper_class=structlog.make_filtering_bound_logger("info"),
    )
    return cast("FilteringBoundLogger", logger)


def get_logger(**bound: Any) -> FilteringBoundLogger:
    """A structlog logger with these values bound; it costs nothing until its first line."""
    return cast("FilteringBoundLogger", _LateLogger(bound))


def configure_logging(
    level: Level = "info",
    *,
    json: bool | Literal["auto"] = "auto",
    stream: TextIO | None = None,
) -> None:
    """Configure structlog for a process of ours (the command line, a benchmark); a library never calls this.

    json: JSON lines, or readable ones; "auto" is readable on a terminal.  stream: standard error by default.
    Loggers from `get_logger` follow a second call; structlog's own remember the configuration of their first line.
    JSON lines alone do not import structlog; who does finds it configured.
    """
    global _lines
    from .log_sink import LogSink

    target = sys.stderr if stream is None else stream
    as_json = not target.isatty() if json == "auto" else json
    sink = LogSink(target, _json_note if as_json else _note)
    maker = _json_maker() if as_json else _readable_maker(colors=target.isatty())
    if "structlog" in sys.modules:
        _configure_structlog(level, maker, sink)
    else:
        _lines = Lines(level, maker, sink.msg, _complain)
        when_structlog_comes(lambda: _configure_structlog(level, maker, sink))
    forget_loggers()


def _configure_structlog(level: Level, maker: _LineMaker, sink: LogSink) -> None:
    import structlog

    structlog.configure(
        processors=[maker],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *_names: sink,
        cache_logger_on_first_use=True,
    )
    forget_loggers()


def forget_loggers() -> None:
    """structlog was configured anew: loggers from `get_logger` look at that from their next line on."""
    for logger in _late_loggers:
        logger.forget()


def _json_note(lines: int) -> str:
    return f'{{"event":"log_lines_dropped","lines":{lines},"level":"error"}}'


def _note(lines: int) -> str:
    return f"log_lines_dropped lines={lines}"


class _LineMaker:
    """The whole chain as one processor, since two lines of each message pass it: level, moment and traceback.

    write: makes text or octets of the values, and keeps secrets and what could forge a line out of them.
    """

    def __init__(self, write: Callable[[EventDict], str | bytes]) -> None:
        self._write = write
        self._kept = (-1, "")  # replaced as a whole: threads log, too

    def __call__(self, _logger: Any, method: str, event: EventDict) -> str | bytes:
        event["level"] = _LEVEL_OF.get(method, method)
        event["timestamp"] = self._moment()
        if "exc_info" in event:
            _add_traceback(event)
        return self._write(event)

    def _moment(self) -> str:
        """As structlog's TimeStamper(fmt="iso", utc=True), at a third of its cost: all but the fraction is kept for a second."""
        now = time.time_ns() // 1000
        second = now // 1_000_000
        kept, text = self._kept
        if kept != second:
            text = time.strftime("%Y-%m-%dT%H:%M:%S.", time.gmtime(second))
            self._kept = (second, text)
        return f"{text}{now % 1_000_000:06d}Z"


_LEVEL_OF = {"warn": "warning", "exception": "error"}  # methods that are not called as their level, as structlog has it


def _add_traceback(event: EventDict) -> None:
    """Show what `exc_info` stands for, as structlog's format_exc_info does."""
    given: Any = event.pop("exc_info")
    if isinstance(given, BaseException):
        error: BaseException | None = given
    elif isinstance(given, tuple):
        error = cast("tuple[Any, BaseException | None, Any]", given)[1]
    else:
        error = sys.exc_info()[1] if given else None
    if error is not None:
        event["exception"] = "".join(traceback.format_exception(error)).removesuffix("\n")


def _json_maker() -> _LineMaker:
    import msgspec

    encode = msgspec.json.Encoder().encode

    def write(event: EventDict) -> bytes:
        """Of nearly all lines the octets themselves tell that nothing needs to be done: looking at them costs a tenth of
        looking at each character of the values."""
        if event.keys() <= _plain_keys and _FLAT.issuperset(map(type, event.values())):
            try:
                line = encode(event)
            except UnicodeEncodeError:  # a lone surrogate
                return encode(_made_safe(event))
            # JSON escapes controls, with a backslash, all but DEL; so this is printable ASCII
            if len(line) <= _VALUE_LIMIT and line.isascii() and b"\\" not in line and b"\x7f" not in line:
                return line
        return encode(_made_safe(event))

    return _LineMaker(write)


def _made_safe(event: EventDict) -> EventDict:
    return make_printable(None, "", redact_secrets(None, "", event))


def _readable_maker(*, colors: bool) -> _LineMaker:
    import structlog

    # Plain tracebacks: the others show local variables, and with them contents and passwords.
    renderer = structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=structlog.dev.plain_traceback)
    return _LineMaker(lambda event: renderer(None, "", _made_safe(event)))
