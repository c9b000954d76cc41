"""How errors end the command: one line on standard error, and an exit code that scripts and service managers understand."""

from __future__ import annotations

import sys
from typing import IO, Any

import click

from ..errors import (
    ConfigError,
    EngineClosed,
    EngineCrashed,
    IdempotencyConflict,
    PluginError,
    PostroadError,
    QueueFull,
    SpoolDamaged,
    SpoolForeign,
    SpoolTooNew,
    StoreError,
    SubmissionError,
    SubmissionTooLarge,
)

__all__ = [
    "CONFIG",
    "DATA",
    "NO_INPUT",
    "SOFTWARE",
    "TEMPFAIL",
    "USAGE",
    "USER",
    "Told",
    "exit_code_of",
    "receive_exit_code_of",
    "serve_exit_code_of",
]

USER = 1
USAGE = 64  # EX_USAGE: for a mail server, which knows no 2
DATA = (
    65  # EX_DATAERR: `serve` cannot work on what is there, however often it is started; `receive` cannot take the mail
)
NO_INPUT = 66  # EX_NOINPUT
SOFTWARE = 70  # EX_SOFTWARE of sysexits.h
TEMPFAIL = 75  # EX_TEMPFAIL: the same command may succeed later
CONFIG = 78  # EX_CONFIG


def exit_code_of(error: PostroadError) -> int:
    match error:
        case ConfigError() | PluginError() | SpoolForeign() | SpoolTooNew():
            return CONFIG
        case QueueFull() | StoreError() | EngineClosed():
            return TEMPFAIL
        case EngineCrashed():
            return SOFTWARE
        case _:
            return USER


def serve_exit_code_of(error: PostroadError) -> int:
    """A service manager shall not start it again on a damaged spool; who hands over mail may come again later."""
    from ..strangers import leaves  # late: it brings trio, and most commands do without

    reasons = [error, *leaves(error.__cause__)] if error.__cause__ else [error]
    return DATA if any(isinstance(reason, SpoolDamaged) for reason in reasons) else exit_code_of(error)


def receive_exit_code_of(error: PostroadError) -> int:
    """A mail server returns mail to its author at every code but 75: only what is wrong with that mail may end so."""
    match error:
        case SubmissionTooLarge() | IdempotencyConflict():
            return DATA
        case SubmissionError():
            return USAGE
        case _:
            return TEMPFAIL


class Told(click.ClickException):
    """An error of the engine, as the command line tells it."""

    def __init__(self, error: PostroadError, exit_code: int | None = None) -> None:
        super().__init__(str(error))
        self._exit_code = exit_code_of(error) if exit_code is None else exit_code

    @property
    def exit_code(self) -> int:  # type: ignore[override]  # click has a class variable, read through the instance
        return self._exit_code

    def show(self, file: IO[Any] | None = None) -> None:
        click.echo(f"postroad: {self.message}", file=file or sys.stderr)
