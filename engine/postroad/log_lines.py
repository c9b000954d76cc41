"""JSON lines for processes of ours (the command line, a benchmark) in which nobody imports structlog: that takes 60 ms and 7 MB.

Whoever imports it after all, as a plug-in may, finds it configured to the same lines, and from then on they pass through it.
Used by `log.py` only.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, TypeAlias

__all__ = ["LEVELS", "Lines", "when_structlog_comes"]

Step: TypeAlias = Callable[[Any, str, Any], Any]

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40, "exception": 40, "critical": 50}


class Lines:
    """What a line becomes.  steps: as structlog's processors; the last one gives the text, which `write` takes with its end."""

    def __init__(self, least: str, steps: Sequence[Step], write: Callable[[str], object]) -> None:
        self._least = LEVELS[least]
        self._steps = tuple(steps)
        self._write = write

    def method(self, name: str, bound: dict[str, Any]) -> Callable[..., None]:
        """What a logger with these values does where it is called by that name."""
        return _drop if LEVELS[name] < self._least else _Method(name, bound, self._steps, self._write)


def _drop(_event: str, **_values: Any) -> None:
    """Below the level."""


class _Method:
    """One level of one logger."""

    __slots__ = ("_bound", "_level", "_shows_error", "_steps", "_write")

    def __init__(self, name: str, bound: dict[str, Any], steps: Sequence[Step], write: Callable[[str], object]) -> None:
        self._shows_error = name == "exception"
        self._level = "error" if self._shows_error else name
        self._bound = bound
        self._steps = steps
        self._write = write

    def __call__(self, event: str, **values: Any) -> None:
        if self._shows_error:
            values.setdefault("exc_info", True)
        line: Any = {**self._bound, **values, "event": event}
        for step in self._steps:
            line = step(None, self._level, line)
        self._write(line + "\n")


def when_structlog_comes(configure: Callable[[], None]) -> None:
    """Call a function as soon as structlog has been imported, by whomever; in place of one that was given before."""
    sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, _Watch)]
    sys.meta_path.insert(0, _Watch(configure))


class _Watch:
    """A finder that finds nothing by itself."""

    def __init__(self, configure: Callable[[], None]) -> None:
        self._configure = configure

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name != "structlog":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            _call_after(spec.loader, self._configure)
        return spec


def _call_after(loader: Any, configure: Callable[[], None]) -> None:
    """The loader belongs to this one import."""
    execute = loader.exec_module

    def execute_and_configure(module: ModuleType) -> None:
        execute(module)
        configure()

    loader.exec_module = execute_and_configure
