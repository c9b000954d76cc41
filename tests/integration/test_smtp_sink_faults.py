"""Every flag of Postfix's smtp-sink that makes a difference to a client: what becomes of the message, and that the next one,
to a healthy server at the same place, arrives.

Its flags are explained in its manual, smtp-sink(1).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from letters import letter, new_mark
from roads import open_road
from sink_places import StartSink, send_to_healthy

from postroad.verdict import Disposition, Scope, Verdict

ACCEPTED, DEFERRED = Disposition.ACCEPTED, Disposition.DEFERRED
REFUSED, IN_DOUBT = Disposition.REFUSED, Disposition.IN_DOUBT
RECIPIENT, MESSAGE, SITE, TRANSPORT = Scope.RECIPIENT, Scope.MESSAGE, Scope.SITE, Scope.TRANSPORT
SHORT = 0.2  # seconds, where the sink says nothing for LONG
LONG = "30"
HUGE = b"0123456789abcdef\r\n" * 1_000_000  # more than the system's buffers between here and there
SMALL, LARGE, EIGHT_BIT = b"Hello\r\n", b"0123456789abcdef\r\n" * 30_000, "Grüße\r\n".encode()
LOGIN = {"username": "app", "password_env": "POSTROAD_TEST_PASSWORD", "login_without_tls": True}


@dataclass(frozen=True)
class Row:
    """flags of the sink, and the verdict that they lead to."""

    flags: str
    disposition: Disposition
    status: str = ""
    scope: Scope | None = None
    body: bytes = SMALL
    settings: dict[str, Any] = field(default_factory=dict)
    note: str = ""

    def __str__(self) -> str:
        return f"{self.flags or 'none'} {self.note}".strip().replace(" ", "_")


def _slow(command: str, setting: str, disposition: Disposition = DEFERRED, *, flags: str = "") -> Row:
    return Row(f"{flags} -W {command}:{LONG}", disposition, "4.4.2", SITE, settings={setting: SHORT})


ROWS = [
    # It closes the connection without a reply.
    Row("-q CONNECT", DEFERRED, "4.4.2", SITE),
    Row("-q EHLO", ACCEPTED, note="by HELO on a new connection"),
    Row("-q EHLO -q HELO", DEFERRED, "4.4.2", SITE),
    Row("-e -q HELO", DEFERRED, "4.4.2", SITE),
    Row("-q MAIL", DEFERRED, "4.4.2", SITE),
    Row("-q RCPT", DEFERRED, "4.4.2", SITE),
    Row("-q DATA", DEFERRED, "4.4.2", SITE),
    Row("-q .", IN_DOUBT, "4.4.2", SITE),
    Row("-q . -p", IN_DOUBT, "4.4.2", SITE),
    Row("-q QUIT", ACCEPTED),
    # 421, and it closes the connection.
    Row("-Q CONNECT", DEFERRED, "4.0.0", SITE),
    Row("-Q EHLO", DEFERRED, "4.0.0", SITE),
    Row("-Q MAIL", DEFERRED, "4.0.0", SITE),
    Row("-Q RCPT", DEFERRED, "4.0.0", SITE),
    Row("-Q DATA", DEFERRED, "4.0.0", SITE),
    Row("-Q .", DEFERRED, "4.0.0", SITE),
    Row("-Q QUIT", ACCEPTED),
    # 450.
    Row("-r CONNECT", DEFERRED, "4.3.0", SITE),
    Row("-r EHLO", DEFERRED, "4.3.0", SITE),
    Row("-r MAIL", DEFERRED, "4.3.0", MESSAGE),
    Row("-r RCPT", DEFERRED, "4.3.0", RECIPIENT),
    Row("-r DATA", DEFERRED, "4.3.0", MESSAGE),
    Row("-r .", DEFERRED, "4.3.0", MESSAGE),
    Row("-r QUIT", ACCEPTED),
    Row("-E -r RCPT", DEFERRED, "4.3.0", RECIPIENT),
    # 500.
    Row("-f CONNECT", DEFERRED, "4.3.0", SITE),
    Row("-f EHLO", ACCEPTED, note="HELO"),
    Row("-f EHLO,HELO", DEFERRED, "4.3.0", SITE),
    Row("-f MAIL", REFUSED, "5.3.0", MESSAGE),
    Row("-f RCPT", REFUSED, "5.3.0", RECIPIENT),
    Row("-f DATA", REFUSED, "5.3.0", MESSAGE),
    Row("-f .", REFUSED, "5.3.0", MESSAGE),
    Row("-f QUIT", ACCEPTED),
    Row("-f RCPT -B 552", REFUSED, "5.0.0", RECIPIENT, note="size"),
    Row("-f MAIL -B 530", DEFERRED, "4.0.0", TRANSPORT, note="a login is wanted"),
    Row("-r . -b 451", DEFERRED, "4.0.0", MESSAGE),
    # It refuses in mid-content, and reads no more.
    Row("-A 0", REFUSED, scope=MESSAGE),
    Row("-A 0", REFUSED, scope=MESSAGE, body=LARGE, note="large"),
    # It takes its time.
    _slow("CONNECT", "greeting_seconds"),
    _slow("EHLO", "command_seconds"),
    _slow("MAIL", "command_seconds", flags="-p"),
    _slow("MAIL", "command_seconds"),  # pipelined, its answers come in another order: it counts as confused
    _slow("RCPT", "command_seconds", flags="-p"),
    _slow("DATA", "data_seconds", flags="-p"),  # pipelined, it keeps its other replies to itself, too
    _slow("DATA", "command_seconds"),
    _slow(".", "dot_seconds", IN_DOUBT),
    Row("-W QUIT:" + LONG, ACCEPTED),
    Row("-p -w " + LONG, DEFERRED, "4.4.2", SITE, settings={"data_seconds": SHORT}),
    Row("-w 1", ACCEPTED, note="in time"),
    Row("-H " + LONG, IN_DOUBT, "4.4.2", SITE, settings={"dot_seconds": SHORT}),
    Row(f"-H {LONG} -T 512", DEFERRED, "4.4.2", SITE, body=HUGE, settings={"block_seconds": SHORT}, note="huge"),
    Row("-H 1 -T 4096", ACCEPTED, body=LARGE, note="large, in time"),
    Row("-T 512", ACCEPTED),
    Row("-T 4096", ACCEPTED, body=LARGE, note="large"),
    # It offers less.
    Row("", ACCEPTED),
    Row("", ACCEPTED, body=EIGHT_BIT, note="8-bit"),
    Row("", ACCEPTED, settings=LOGIN, note="login"),
    Row("-8", ACCEPTED),
    Row("-8", REFUSED, "5.6.3", MESSAGE, body=EIGHT_BIT, note="8-bit"),
    Row("-a", ACCEPTED),
    Row("-a", DEFERRED, "4.7.0", TRANSPORT, settings=LOGIN, note="login"),
    Row("-e", ACCEPTED),
    Row("-e", REFUSED, "5.6.3", MESSAGE, body=EIGHT_BIT, note="8-bit"),
    Row("-E", ACCEPTED),
    Row("-N", ACCEPTED),
    Row("-p", ACCEPTED),
    Row("-p", ACCEPTED, body=LARGE, note="large"),
    Row("-P", ACCEPTED),
    Row("-C -F", ACCEPTED),
    Row("-L", DEFERRED, scope=SITE, note="LMTP is not SMTP"),
]
LMTP = {"protocol": "lmtp"}
ROWS_OF_LMTP = [
    Row("-L", ACCEPTED, settings=LMTP),
    Row("-L -p", ACCEPTED, body=LARGE, settings=LMTP, note="large"),
    Row("-L -q LHLO", DEFERRED, "4.4.2", SITE, settings=LMTP),
    Row("-L -f LHLO", DEFERRED, scope=SITE, settings=LMTP),
    Row("-L -q .", IN_DOUBT, "4.4.2", SITE, settings=LMTP),
    Row("-L -Q .", DEFERRED, scope=SITE, settings=LMTP),
    Row("-L -r .", DEFERRED, "4.3.0", settings=LMTP),
    Row("-L -f .", REFUSED, "5.3.0", settings=LMTP),
    Row("-L -f RCPT", REFUSED, "5.3.0", RECIPIENT, settings=LMTP),
    Row("", DEFERRED, scope=SITE, settings=LMTP, note="SMTP is not LMTP"),
]


@pytest.mark.parametrize("row", ROWS + ROWS_OF_LMTP, ids=str)
async def test_a_fault_leads_to_its_verdict_and_does_no_harm_to_the_next_message(
    row: Row, start_sink: StartSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POSTROAD_TEST_PASSWORD", "secret")
    sink, mark = start_sink(*row.flags.split()), new_mark()
    async with open_road(sink, **row.settings) as road:
        verdict = await road.send_one(mark, content=letter(mark, row.body))
        _check(verdict, row)
        if row.disposition is ACCEPTED:
            assert len(sink.messages(mark)) == 1
        await send_to_healthy(start_sink, road, *(["-L"] if row.settings == LMTP else []))


def _check(verdict: Verdict, row: Row) -> None:
    assert verdict.disposition is row.disposition, verdict
    assert row.status in ("", verdict.status), verdict
    assert row.scope in (None, verdict.scope), verdict
