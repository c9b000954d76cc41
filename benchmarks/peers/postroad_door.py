"""Postroad with submitters in other processes, which hand their mail in at the engine's socket (`postroad.handover`)."""

from __future__ import annotations

from typing import Any

from . import Place
from .postroad import Postroad

__all__ = ["PostroadDoor"]


class PostroadDoor(Postroad):
    """The engine and its doors are children of one process, so that its tree is all of the system."""

    _module = "peers.postroad_door_worker"

    def __init__(self, *, processes: int, window: int) -> None:
        super().__init__(submitters=0, window=window, with_log=True)
        self._processes = processes
        self.settings = f"{processes} processes of one submitter each, synchronous; " + self.settings.partition("; ")[2]

    def _told(self, place: Place) -> dict[str, Any]:
        return {**super()._told(place), "processes": self._processes}
