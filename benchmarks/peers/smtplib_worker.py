"""A worker that sends with smtplib from a number of threads."""

from __future__ import annotations

import json
import os
import smtplib
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from processes import take_orders
from workload import RECIPIENT, SENDER, Template, own_cpu_seconds, percentiles


class Numbers:
    """Numbers for many threads, so many of them."""

    def __init__(self, first: int, count: int) -> None:
        self._numbers = iter(range(first, first + count))
        self._lock = threading.Lock()

    def __iter__(self) -> Iterator[int]:
        return self

    def __next__(self) -> int:
        with self._lock:
            return next(self._numbers)


class Senders:
    def __init__(self, port: int, octets: int, threads: int) -> None:
        self._template = Template(octets, f"smtplib.{os.getpid()}")
        self._sessions = [smtplib.SMTP("127.0.0.1", port) for _ in range(threads)]
        self._pool = ThreadPoolExecutor(threads)
        self._next = 1

    def send(self, order: dict[str, Any]) -> dict[str, Any]:
        numbers = Numbers(self._next, order["count"])
        self._next += order["count"]
        before, began = own_cpu_seconds(), time.monotonic()
        runs = [self._pool.submit(self._run, session, numbers) for session in self._sessions]
        seconds = [one for run in runs for one in run.result()]
        return {"began": began, "cpu_seconds": own_cpu_seconds() - before, "durable": percentiles(seconds)}

    def _run(self, session: smtplib.SMTP, numbers: Numbers) -> list[float]:
        seconds: list[float] = []
        for number in numbers:
            content = self._template.message(number)
            asked = time.perf_counter()
            session.sendmail(SENDER, [RECIPIENT], content)
            seconds.append(time.perf_counter() - asked)
        return seconds


if __name__ == "__main__":
    settings: dict[str, Any] = json.loads(sys.argv[1])
    take_orders(Senders(**settings).send)
