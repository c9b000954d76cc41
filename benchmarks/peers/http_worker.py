"""A worker that posts messages from a number of threads, as to Mailgun's API: with http.client, requests or httpx2."""

from __future__ import annotations

import http.client
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from load import Load
from processes import take_orders
from workload import Template, own_cpu_seconds, percentiles

from .smtplib_worker import Numbers

_BOUNDARY = "a-line-that-no-message-of-the-benchmark-has"
_HEADERS = {"Content-Type": f"multipart/form-data; boundary={_BOUNDARY}", "Authorization": "Basic a2V5"}
_PATH = "/v3/bench.example/messages.mime"
_SECONDS = 60

Post = Callable[[Sequence[str], bytes], int]  # recipients and content; the status of the answer


def posts_of(client: str, port: int, threads: int) -> list[Post]:
    """One for each thread."""
    url = f"http://127.0.0.1:{port}{_PATH}"
    if client == "requests":
        return [_by_requests(url) for _ in range(threads)]
    if client == "httpx2":
        return [_by_httpx2(url, threads)] * threads
    return [_by_http_client(port) for _ in range(threads)]


def _by_http_client(port: int) -> Post:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_SECONDS)

    def post(recipients: Sequence[str], content: bytes) -> int:
        connection.request("POST", _PATH, form_of(recipients, content), _HEADERS)
        answer = connection.getresponse()
        answer.read()
        return answer.status

    return post


def _by_requests(url: str) -> Post:
    import requests

    session = requests.Session()
    session.auth = ("api", "key")

    def post(recipients: Sequence[str], content: bytes) -> int:
        form, files = {"to": list(recipients)}, {"message": ("message", content)}
        return session.post(url, data=form, files=files, timeout=_SECONDS).status_code

    return post


def _by_httpx2(url: str, threads: int) -> Post:
    import httpx2

    limits = httpx2.Limits(max_connections=threads, max_keepalive_connections=threads)
    client = httpx2.Client(auth=("api", "key"), timeout=_SECONDS, limits=limits)

    def post(recipients: Sequence[str], content: bytes) -> int:
        return client.post(url, data={"to": list(recipients)}, files={"message": ("message", content)}).status_code

    return post


class Posters:
    def __init__(self, port: int, load: dict[str, Any], threads: int, client: str) -> None:
        self._load = Load.read(load)
        self._template = Template(self._load.octets, f"http.{os.getpid()}")
        self._posts = posts_of(client, port, threads)
        self._pool = ThreadPoolExecutor(threads)
        self._next = 1

    def send(self, order: dict[str, Any]) -> dict[str, Any]:
        numbers = Numbers(self._next, order["count"])
        self._next += order["count"]
        before, began = own_cpu_seconds(), time.monotonic()
        runs = [self._pool.submit(self._run, post, numbers) for post in self._posts]
        seconds = [one for run in runs for one in run.result()]
        return {"began": began, "cpu_seconds": own_cpu_seconds() - before, "durable": percentiles(seconds)}

    def _run(self, post: Post, numbers: Numbers) -> list[float]:
        seconds: list[float] = []
        for number in numbers:
            recipients, content = self._load.recipients_of(number), self._template.message(number)
            asked = time.perf_counter()
            status = post(recipients, content)
            if status != 200:
                raise RuntimeError(f"the sink answered {status}")
            seconds.append(time.perf_counter() - asked)
        return seconds


def form_of(recipients: Sequence[str], content: bytes) -> bytes:
    """The recipients and the message as it is."""
    part = f"--{_BOUNDARY}\r\nContent-Disposition: form-data; name="
    to = "".join(f'{part}"to"\r\n\r\n{recipient}\r\n' for recipient in recipients)
    return f'{to}{part}"message"; filename="message"\r\n\r\n'.encode() + content + f"--{_BOUNDARY}--\r\n".encode()


if __name__ == "__main__":
    take_orders(Posters(**json.loads(sys.argv[1])).send)
