"""The standard library's smtplib: a thread a connection, `sendmail` of ready octets.

usual: as most applications do it: an EmailMessage is made for each message, and `send_message` in `with SMTP(...)`, a connection
each.
"""

from __future__ import annotations

import json
import smtplib
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from peers.smtplib_worker import Numbers, connect, send_as_usual
from processes import take_orders
from workload import RECIPIENT, SENDER, Template, own_cpu_seconds, set_aside


class Client:
    def __init__(self, settings: dict[str, Any]) -> None:
        self._settings = settings
        self._template = Template(settings["octets"], settings["tag"], is_sent_at_once=False)
        self._pool = ThreadPoolExecutor(settings["sessions"])
        self._kept = [self._connect() for _ in range(settings["sessions"])] if settings["kept"] else []
        self._sent = 0

    def _connect(self) -> smtplib.SMTP:
        return connect(self._settings["port"], tls=self._settings["tls"])

    def send(self, order: dict[str, Any]) -> dict[str, Any]:
        first, self._sent = self._sent, self._sent + order["count"]
        contents = [self._template.message(number) for number in range(first, self._sent)]
        numbers = Numbers(0, len(contents))
        set_aside()
        before, began = own_cpu_seconds(), time.monotonic()
        for run in [
            self._pool.submit(self._carry, one, numbers, contents) for one in range(self._settings["sessions"])
        ]:
            run.result()
        return {"began": began, "cpu_seconds": own_cpu_seconds() - before}

    def _carry(self, session: int, numbers: Iterator[int], contents: Sequence[bytes]) -> None:
        if self._settings.get("usual"):
            for number in numbers:
                send_as_usual(self._settings["port"], contents[number])
        for number in numbers:
            client = self._kept[session] if self._kept else self._connect()
            client.sendmail(SENDER, [RECIPIENT], contents[number])
            if not self._kept:
                client.quit()


if __name__ == "__main__":
    take_orders(Client(json.loads(sys.argv[1])).send)
