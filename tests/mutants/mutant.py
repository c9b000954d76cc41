"""A mutant: one way to break a promise on purpose, and the tests that must turn red for it.

It is a replacement of text that stands exactly once in its file, so that the list cannot rot unseen.  Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["Mutant", "Rotten"]


class Rotten(Exception):
    """The text of a mutant does not stand exactly once in its file any more: the list has to follow the code."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """breaks: what the changed code does wrong.  promise: of DESIGN's six ("P1" to "P6") and of the invariants I1 to I9.

    file: from the top of the checkout.  tests: pytest node ids from `tests/` on; each must turn red, or some case of it.
    """

    name: str
    promise: str
    breaks: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]

    @property
    def module(self) -> str:
        """The dotted name under which the file is imported: engine/ and plugins/ are no packages."""
        parts = Path(self.file).with_suffix("").parts[1:]
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    def applied(self, text: str) -> str:
        """The file's text with the promise broken.  Raises Rotten."""
        count = text.count(self.old)
        if count != 1:
            raise Rotten(f"{self.name}: {self.old!r} stands {count} times in {self.file}, not once")
        return text.replace(self.old, self.new)
