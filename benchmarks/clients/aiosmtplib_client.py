"""aiosmtplib under asyncio: a task a connection, `sendmail` of ready octets.  Runs where aiosmtplib is installed."""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
import time
from collections.abc import Iterator
from typing import Any

import aiosmtplib

from processes import say
from workload import RECIPIENT, SENDER, Template, own_cpu_seconds, set_aside


class Client:
    def __init__(self, settings: dict[str, Any]) -> None:
        self._settings = settings
        self._template = Template(settings["octets"], settings["tag"], is_sent_at_once=False)
        self._kept: list[aiosmtplib.SMTP] = []
        self._sent = 0

    async def prepare(self) -> None:
        if self._settings["kept"]:
            self._kept = [await self._connect() for _ in range(self._settings["sessions"])]

    async def _connect(self) -> aiosmtplib.SMTP:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        tls = self._settings["tls"]
        client = aiosmtplib.SMTP(
            hostname="127.0.0.1",
            port=self._settings["port"],
            local_hostname="client.example",
            start_tls=tls,
            tls_context=context if tls else None,
        )
        await client.connect()
        return client

    async def send(self, count: int) -> dict[str, Any]:
        first, self._sent = self._sent, self._sent + count
        contents = iter([self._template.message(number) for number in range(first, self._sent)])
        set_aside()
        before, began = own_cpu_seconds(), time.monotonic()
        await asyncio.gather(*(self._carry(session, contents) for session in range(self._settings["sessions"])))
        return {"began": began, "cpu_seconds": own_cpu_seconds() - before}

    async def _carry(self, session: int, contents: Iterator[bytes]) -> None:
        for content in contents:
            client = self._kept[session] if self._kept else await self._connect()
            await client.sendmail(SENDER, [RECIPIENT], content)
            if not self._kept:
                await client.quit()


async def main(settings: dict[str, Any]) -> None:
    client = Client(settings)
    await client.prepare()
    say({"ready": True})
    while line := await asyncio.to_thread(sys.stdin.readline):
        say(await client.send(json.loads(line)["count"]))


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
