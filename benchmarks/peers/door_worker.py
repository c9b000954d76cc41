"""A worker that is an application's process: it hands mail over to the engine of another one, a message at a time."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from load import Load
from postroad import Submission, load_config
from postroad.handover import Handover
from postroad.spool import SpoolPlace
from processes import take_orders
from workload import SENDER, Template

from .postroad_settings import configure


class Door:
    def __init__(self, settings: dict[str, Any]) -> None:
        self._load = Load.read(settings["load"])
        config = load_config(configure(settings, self._load))
        self._handover = Handover(SpoolPlace.parse(config.spool.url, Path(settings["folder"])), config)
        self._template = Template(self._load.octets, f"door{settings['door']}.{Path(settings['folder']).name}")
        self._next = 0

    def send(self, order: dict[str, Any]) -> dict[str, Any]:
        seconds: list[float] = []
        first, self._next = self._next, self._next + order["count"]
        began = time.monotonic()
        for number in range(first, self._next):
            content = self._template.message(number)
            asked = time.perf_counter()
            self._handover.send(Submission(sender=SENDER, recipients=self._load.recipients_of(number), content=content))
            seconds.append(time.perf_counter() - asked)
        return {"began": began, "seconds": seconds}


if __name__ == "__main__":
    take_orders(Door(json.loads(sys.argv[1])).send)
