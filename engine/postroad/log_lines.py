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

# As a processor of structlog: gets a logger, which it needs not, the name of the method and the values.
Maker: TypeAlias = Callable[[Any, str, dict[str, Any]], str | bytes]

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40, "exception": 40, "critical": 50}


class Lines:
    """What a line becomes.  make: the line of these values, without its end; write: takes it; complain: of what cost a line."""

    def __init__(
        self,
        least: str,
        make: Maker,
        write: Callable[[str | bytes], object],
        complain: Callable[[Exception], None],
    ) -> None:
        self._least = LEVELS[least]
        self._make = make
        self._write = write
        self._complain = complain

    def method(self, name: str, bound: dict[str, Any]) -> Callable[..., None]:
        """What a logger with these values does where it is called by that name."""
        if LEVELS[name] < self._least:
            return _drop
        return _Method(name, bound, self._make, self._write, self._complain)


def _drop(_event: str, **_values: Any) -> None:
    """Below the level."""


class _Method:
    """One level of one logger.  A line that cannot be made or written is lost: mail goes on."""

    __slots__ = ("_bound", "_complain", "_make", "_name", "_write")

    def __init__(
        self,
        name: str,
        bound: dict[str, Any],
        make: Maker,
        write: Callable[[str | bytes], object],
        complain: Callable[[Exception], None],
    ) -> None:
        self._name = name
        self._bound = bound
        self._make = make
        self._write = write
        self._complain = complain

    def __call__(self, event: str, **values: Any) -> None:
        if self._name == "exception":
            values.setdefault("exc_info", True)
        try:
            self._write(self._make(None, self._name, {**self._bound, **values, "event": event}))
        except Exception as error:
            self._complain(error)


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
        sys.meta_path.remove(self)  # while the others are asked
        try:
            spec = importlib.util.find_spec(name)
        finally:
            sys.meta_path.insert(0, self)  # who asks for the spec need not import it
        if spec is not None and spec.loader is not None:
            _call_after(spec.loader, self._come)
        return spec

    def _come(self) -> None:
        sys.meta_path.remove(self)
        self._configure()


def _call_after(loader: Any, configure: Callable[[], None]) -> None:
    """The loader belongs to this one import."""
    execute = loader.exec_module

    def execute_and_configure(module: ModuleType) -> None:
        execute(module)
        configure()

    loader.exec_module = execute_and_configure
