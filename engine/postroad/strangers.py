"""Code that is not ours: plugins may raise anything, answer what cannot be shown, and harm only what they were asked about.

Wherever a plugin is called, `as_exceptions` turns what is no Exception (asyncio.CancelledError, for one, or trio's own Cancelled
kept beyond its scope) into one, so that `except Exception` means whatever a plugin raised; `words_for` finds words for it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import trio

from .log import printable

__all__ = ["ForeignError", "as_exceptions", "is_same", "is_theirs", "leaves", "words_for"]


class ForeignError(Exception):
    """A plugin raised what is no Exception; that is its cause."""


def leaves(error: BaseException) -> list[BaseException]:
    """The exceptions that are no groups."""
    inside: Sequence[BaseException] | None = getattr(error, "exceptions", None)
    if inside is None:
        return [error]
    return [leaf for part in inside for leaf in leaves(part)]


def is_same(error: BaseException, other: BaseException | None) -> bool:
    """Whether two exceptions are one, as it was or in the group of some nursery that it came through."""
    return other is not None and {id(leaf) for leaf in leaves(error)} == {id(leaf) for leaf in leaves(other)}


def is_theirs(error: BaseException) -> bool:
    """Whether an exception is the trouble of whoever raised it: neither ends it the program, nor a task that is cancelled."""
    return not any(map(_ends_more, leaves(error)))


def _ends_more(leaf: BaseException) -> bool:
    if isinstance(leaf, trio.Cancelled):
        return trio.current_effective_deadline() == -math.inf
    return isinstance(leaf, KeyboardInterrupt | SystemExit)


class as_exceptions:  # noqa: N801  # used as a function; a generator would cost ten times as much on the way of each attempt
    """For the length of a call to a plugin: what it raises is an Exception, but for what ends the program or the task."""

    __slots__ = ()

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if error is None or isinstance(error, Exception) or not is_theirs(error):
            return
        raise ForeignError(words_for(error)) from error


def words_for(thing: object, show: Callable[[Any], str] = repr) -> str:
    """What it is, in at most 200 printable characters; where it cannot say so itself, by the name of its class."""
    try:
        with as_exceptions():
            return printable(show(thing), 200)
    except Exception:
        return f"a {type(thing).__qualname__} that cannot be shown"
