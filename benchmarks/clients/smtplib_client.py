"""The standard library's smtplib: a thread a connection, `sendmail` of ready octets.

usual: as most applications do it: an EmailMessage is made for each message, and `send_message` in `with SMTP(...)`, a connection
each.
"""

from __future__ import annotations

import json
import smtplib
import ssl
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from email.message import EmailMessage
from typing import Any

from peers.smtplib_worker import Numbers
from processes import take_orders
from workload import RECIPIENT, SENDER, Template, own_cpu_seconds, set_aside


class Client:
    def __init__(self, settings: dict[str, Any]) -> None:
        self._settings = settings
        self._template = Template(settings["octets"], settings["tag"])
        self._pool = ThreadPoolExecutor(settings["sessions"])
        self._kept = [self._connect() for _ in range(settings["sessions"])] if settings["kept"] else []
        self._sent = 0

    def _connect(self) -> smtplib.SMTP:
        client = smtplib.SMTP("127.0.0.1", self._settings["port"], local_hostname="client.example")
        if self._settings["tls"]:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            client.starttls(context=context)
        return client

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
            self._carry_as_usual(numbers, contents)
        for number in numbers:
            client = self._kept[session] if self._kept else self._connect()
            client.sendmail(SENDER, [RECIPIENT], contents[number])
            if not self._kept:
                client.quit()

    def _carry_as_usual(self, numbers: Iterator[int], contents: Sequence[bytes]) -> None:
        for number in numbers:
            head, _, body = contents[number].partition(b"\r\n\r\n")
            message = EmailMessage()
            for line in head.decode("ascii").split("\r\n"):
                name, _, value = line.partition(": ")
                if name in ("From", "To", "Subject", "Message-ID"):
                    message[name] = value
            message.set_content(body.decode("ascii"))
            with smtplib.SMTP("127.0.0.1", self._settings["port"]) as client:
                client.send_message(message)


if __name__ == "__main__":
    take_orders(Client(json.loads(sys.argv[1])).send)
