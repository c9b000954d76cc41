"""Postroad as an application of several processes has it: in each an engine, a spool, and a part of the submitters."""

from __future__ import annotations

from typing import Any

from . import Place
from .postroad import Postroad

__all__ = ["PostroadEngines"]


class PostroadEngines(Postroad):
    """Together they have as many submitters, and attempts at once, as the one engine that they are compared with."""

    _module = "peers.postroad_engines_worker"

    def __init__(self, *, engines: int, submitters: int, window: int) -> None:
        super().__init__(
            submitters=submitters // engines,
            window=window // engines,
            with_log=True,
            name=f"postroad, {engines} engines",
        )
        self._engines = engines
        self.settings = f"{engines} processes with an engine and a spool each; of each: {self.settings}"

    def _told(self, place: Place) -> dict[str, Any]:
        return {**super()._told(place), "engines": self._engines}
