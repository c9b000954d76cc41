"""What the benchmarks' command lines have in common: nonsense is refused by name, before anything is measured."""

from __future__ import annotations

import argparse
import errno
import math
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from places import cache_folder, why_not_writable
from processes import BENCHMARKS
from tree import guarded

__all__ = [
    "add_octets",
    "add_places",
    "add_submission",
    "at_least",
    "changed",
    "folder_path",
    "make_parser",
    "names",
    "positive",
    "run_script",
]

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
_LEAST_OCTETS = 400  # the header of a message takes nearly as many


class _Formatter(argparse.ArgumentDefaultsHelpFormatter):
    """Tells defaults, where there are any to tell."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help if action.default in (None, False, "") else super()._get_help_string(action)


def make_parser(about: str | None) -> argparse.ArgumentParser:
    """about: a module's docstring, whose first line describes the program."""
    return argparse.ArgumentParser(
        description=(about or "").partition("\n")[0], formatter_class=_Formatter, allow_abbrev=False
    )


def add_places(parser: argparse.ArgumentParser, *, has_cache: str = "packages, environments and spools") -> None:
    """--out, and --cache where it holds something."""
    if has_cache:
        parser.add_argument("--cache", type=folder_path, default=str(cache_folder()), help=has_cache)
    parser.add_argument("--out", type=folder_path, default=str(BENCHMARKS / "out"), help="folder for the results")


def add_octets(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--octets", type=at_least(_LEAST_OCTETS), default=10_240, help="size of a message")


def add_submission(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--submitters", type=at_least(1), default=50, help="tasks that submit, each awaiting its own submit"
    )
    parser.add_argument("--window", type=at_least(1), default=40, help="attempts at once: [windows] start and max")


def at_least(least: int) -> Callable[[str], int]:
    """For `add_argument(type=...)`."""

    def number(text: str) -> int:
        value = int(text)
        if value < least:
            raise argparse.ArgumentTypeError(f"must be at least {least}")
        return value

    return number


def positive(text: str) -> float:
    value = float(text)
    if not (value > 0 and math.isfinite(value)):
        raise argparse.ArgumentTypeError("must be more than 0")
    return value


def folder_path(text: str) -> Path:
    """A folder to write into, which is made; a default is given as a string, so that it is tried, too."""
    path = Path(text)
    if reason := why_not_writable(path):
        raise argparse.ArgumentTypeError(reason)
    return path


def names(what: str, known: Iterable[str]) -> Callable[[str], list[str]]:
    """Some of the known ones, separated by commas."""
    listed = list(known)

    def chosen(text: str) -> list[str]:
        given = [name.strip() for name in text.split(",")]
        if unknown := [name for name in given if name not in listed]:
            raise argparse.ArgumentTypeError(
                f"unknown {what} {', '.join(map(repr, unknown))}; known: {', '.join(listed)}"
            )
        return given

    return chosen


def changed(parser: argparse.ArgumentParser, given: argparse.Namespace, *, apart_from: Sequence[str]) -> list[str]:
    """The options whose values are not their defaults, as they are written.  apart_from: those that change no figure."""
    told = {name: value for name, value in vars(given).items() if name not in apart_from}
    return [_written(name, value) for name, value in told.items() if _text(value) != _text(parser.get_default(name))]


def _written(name: str, value: object) -> str:
    option = f"--{name.replace('_', '-')}"
    return option if value is True else f"{option} {_text(value)}"


def _text(value: object) -> str:
    """Before and after it was read."""
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def run_script(main: Callable[[], int]) -> int:
    """A script's main function, guarded; interrupted, or without room on the disk, it says so in a line."""

    def in_a_line() -> int:
        try:
            return main()
        except KeyboardInterrupt:
            print("interrupted; every process was ended", file=sys.stderr)
            return 130
        except OSError as error:
            if error.errno not in _NO_ROOM:
                raise
            print(f"error: {error}", file=sys.stderr)
            return 1

    return guarded(in_a_line)
