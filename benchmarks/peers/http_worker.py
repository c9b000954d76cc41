"""A worker that posts messages with the standard library's http.client from a number of threads, as to Mailgun's API."""

from __future__ import annotations

import http.client
import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from load import Load
from processes import take_orders
from workload import Template, own_cpu_seconds, percentiles

from .smtplib_worker import Numbers

_BOUNDARY = "a-line-that-no-message-of-the-benchmark-has"
_HEADERS = {"Content-Type": f"multipart/form-data; boundary={_BOUNDARY}", "Authorization": "Basic a2V5"}


class Posters:
    def __init__(self, port: int, load: dict[str, Any], threads: int) -> None:
        self._load = Load.read(load)
        self._template = Template(self._load.octets, f"http.{os.getpid()}")
        self._connections = [http.client.HTTPConnection("127.0.0.1", port, timeout=60) for _ in range(threads)]
        self._pool = ThreadPoolExecutor(threads)
        self._next = 1

    def send(self, order: dict[str, Any]) -> dict[str, Any]:
        numbers = Numbers(self._next, order["count"])
        self._next += order["count"]
        before, began = own_cpu_seconds(), time.monotonic()
        runs = [self._pool.submit(self._run, connection, numbers) for connection in self._connections]
        seconds = [one for run in runs for one in run.result()]
        return {"began": began, "cpu_seconds": own_cpu_seconds() - before, "durable": percentiles(seconds)}

    def _run(self, connection: http.client.HTTPConnection, numbers: Numbers) -> list[float]:
        seconds: list[float] = []
        for number in numbers:
            form = form_of(self._load.recipients_of(number), self._template.message(number))
            asked = time.perf_counter()
            connection.request("POST", "/v3/bench.example/messages.mime", form, _HEADERS)
            answer = connection.getresponse()
            answer.read()
            if answer.status != 200:
                raise RuntimeError(f"the sink answered {answer.status}")
            seconds.append(time.perf_counter() - asked)
        return seconds


def form_of(recipients: tuple[str, ...], content: bytes) -> bytes:
    """The recipients and the message as it is."""
    part = f"--{_BOUNDARY}\r\nContent-Disposition: form-data; name="
    to = "".join(f'{part}"to"\r\n\r\n{recipient}\r\n' for recipient in recipients)
    return f'{to}{part}"message"; filename="message"\r\n\r\n'.encode() + content + f"--{_BOUNDARY}--\r\n".encode()


if __name__ == "__main__":
    take_orders(Posters(**json.loads(sys.argv[1])).send)
