"""Makes the order of trio's tasks, and the module `random`, follow from a seed: for runs that shall be the same twice.

trio shuffles the tasks that may run.  Its switch for tests is private (Hypothesis uses it, too): where a version of trio lacks
it, this says so instead of giving traces that differ.
"""

from __future__ import annotations

import random
from collections.abc import Generator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import trio

__all__ = ["deterministic"]

_SWITCH, _SOURCE = "_ALLOW_DETERMINISTIC_SCHEDULING", "_r"


@contextmanager
def deterministic(seed: int) -> Generator[None]:
    """For the length of the block, begun before or inside `trio.run`.  Raises RuntimeError where trio lacks the switch."""
    run: Any = import_module("trio._core._run")
    source = getattr(run, _SOURCE, None)
    if not isinstance(source, random.Random) or not hasattr(run, _SWITCH):
        raise RuntimeError(
            f"trio {trio.__version__} has no switch for deterministic scheduling in its place; use trio 0.31 to 0.35, "
            "or seed=None for a simulation whose trace may differ from run to run"
        )
    before = getattr(run, _SWITCH), source.getstate(), random.getstate()
    setattr(run, _SWITCH, True)
    source.seed(f"tasks {seed}")
    random.seed(f"random {seed}")
    try:
        yield
    finally:
        setattr(run, _SWITCH, before[0])
        source.setstate(before[1])
        random.setstate(before[2])
