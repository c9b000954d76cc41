"""How errors end the command: one line on standard error, and an exit code that scripts and service managers understand."""

from __future__ import annotations

import sys
from typing import IO, Any

import click

from ..errors import (
    ConfigError,
    EngineClosed,
    EngineCrashed,
    PluginError,
    PostroadError,
    QueueFull,
    SpoolTooNew,
    StoreError,
)

__all__ = ["CONFIG", "SOFTWARE", "TEMPFAIL", "USER", "Told", "exit_code_of"]

USER = 1
SOFTWARE = 70  # EX_SOFTWARE of sysexits.h
TEMPFAIL = 75  # EX_TEMPFAIL: the same command may succeed later
CONFIG = 78  # EX_CONFIG


def exit_code_of(error: PostroadError) -> int:
    match error:
        case ConfigError() | PluginError() | SpoolTooNew():
            return CONFIG
        case QueueFull() | StoreError() | EngineClosed():
            return TEMPFAIL
        case EngineCrashed():
            return SOFTWARE
        case _:
            return USER


class Told(click.ClickException):
    """An error of the engine, as the command line tells it."""

    def __init__(self, error: PostroadError) -> None:
        super().__init__(str(error))
        self._error = error

    @property
    def exit_code(self) -> int:  # type: ignore[override]  # click has a class variable, read through the instance
        return exit_code_of(self._error)

    def show(self, file: IO[Any] | None = None) -> None:
        click.echo(f"postroad: {self.message}", file=file or sys.stderr)
