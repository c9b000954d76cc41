"""A worker that sends with smtplib from a number of threads."""

from __future__ import annotations

import json
import os
import smtplib
import ssl
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from email.message import EmailMessage
from typing import Any

from load import Load
from processes import take_orders
from workload import SENDER, Template, burn, own_cpu_seconds, percentiles

_KEPT = ("From", "To", "Subject", "Message-ID", "X-Submitted")  # the other fields EmailMessage makes itself


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
    """usual: an EmailMessage, and a connection, for each message."""

    def __init__(self, port: int, load: dict[str, Any], threads: int, usual: bool) -> None:
        self._port = port
        self._load = Load.read(load)
        self._usual = usual
        self._template = Template(self._load.octets, f"smtplib.{os.getpid()}")
        keeps = self._load.kept and not usual
        self._sessions = [connect(port, tls=self._load.tls) if keeps else None for _ in range(threads)]
        self._pool = ThreadPoolExecutor(threads)
        self._next = 1

    def send(self, order: dict[str, Any]) -> dict[str, Any]:
        numbers = Numbers(self._next, order["count"])
        self._next += order["count"]
        before, began = own_cpu_seconds(), time.monotonic()
        runs = [self._pool.submit(self._run, session, numbers) for session in self._sessions]
        seconds = [one for run in runs for one in run.result()]
        return {"began": began, "cpu_seconds": own_cpu_seconds() - before, "durable": percentiles(seconds)}

    def _run(self, session: smtplib.SMTP | None, numbers: Numbers) -> list[float]:
        seconds: list[float] = []
        for number in numbers:
            content = self._template.message(number)
            asked = time.perf_counter()
            if self._load.burn_us:
                burn(self._load.burn_us)
            self._carry(session, number, content)
            seconds.append(time.perf_counter() - asked)
        return seconds

    def _carry(self, session: smtplib.SMTP | None, number: int, content: bytes) -> None:
        if self._usual:
            send_as_usual(self._port, content)
            return
        connection = session or connect(self._port, tls=self._load.tls)
        connection.sendmail(SENDER, list(self._load.recipients_of(number)), content)
        if session is None:
            connection.quit()


def connect(port: int, *, tls: bool) -> smtplib.SMTP:
    """Any certificate will do."""
    connection = smtplib.SMTP("127.0.0.1", port, local_hostname="client.example")
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        connection.starttls(context=context)
    return connection


def send_as_usual(port: int, content: bytes) -> None:
    """What applications do: an EmailMessage is made, the host's name is looked up, and a connection opened, for each message."""
    head, _, body = content.partition(b"\r\n\r\n")
    message = EmailMessage()
    for line in head.decode("ascii").split("\r\n"):
        name, _, value = line.partition(": ")
        if name in _KEPT:
            message[name] = value
    message.set_content(body.decode("ascii"))
    with smtplib.SMTP("127.0.0.1", port) as connection:
        connection.send_message(message)


if __name__ == "__main__":
    settings: dict[str, Any] = json.loads(sys.argv[1])
    take_orders(Senders(**settings).send)
