"""One SMTP server of the demo, in a process of its own: aiosmtpd on loopback, told by its standard input how to answer.

    python -m postroad.cli.demo.server JOURNAL

It binds a port, prints it, and does not listen yet: connections are refused.  Each line it reads is what it answers to RCPT
from then on ("250 2.1.5 Ok", "451 4.7.1 Try later"); with the first it begins to listen.  Each is confirmed by a line.  What
it answers and takes is written to the journal, one JSON object a line.  It ends with its standard input.
"""

from __future__ import annotations

import asyncio
import base64
import json
import socket
import sys
from pathlib import Path
from typing import Any, TextIO

from aiosmtpd.smtp import SMTP, Envelope, Session

__all__: list[str] = []


class _Handler:
    """Answers RCPT as it was told, and writes down what it sees."""

    def __init__(self, journal: TextIO) -> None:
        self.answer = "250 2.1.5 Ok"
        self._journal = journal

    async def handle_RCPT(  # noqa: N802  # aiosmtpd's name
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        self._note(event="rcpt", recipient=address, answer=self.answer)
        if self.answer.startswith("2"):
            envelope.rcpt_tos.append(address)
        return self.answer

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802  # aiosmtpd's name
        content = envelope.content if isinstance(envelope.content, bytes) else b""
        self._note(
            event="taken",
            sender=envelope.mail_from,
            recipients=envelope.rcpt_tos,
            content=base64.b64encode(content).decode("ascii"),
        )
        return "250 2.0.0 Ok, taken"

    def _note(self, **what: Any) -> None:
        self._journal.write(json.dumps(what) + "\n")
        self._journal.flush()


async def _serve(journal: TextIO) -> None:
    handler = _Handler(journal)
    bound = socket.socket()
    bound.bind(("127.0.0.1", 0))
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: SMTP(handler, hostname="demo.test", ident="demo", loop=loop), sock=bound, start_serving=False
    )
    _say(str(bound.getsockname()[1]))
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        handler.answer = line.strip()
        await server.start_serving()
        _say("ok")
    server.close()


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    with Path(sys.argv[1]).open("a", encoding="utf-8") as journal_file:
        asyncio.run(_serve(journal_file))
