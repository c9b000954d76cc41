"""What real servers store is what the message meant, byte for byte."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from letters import as_sent, letter, new_mark
from middlebox import open_middlebox
from real_dovecot import RealDovecot
from real_opensmtpd import RealOpenSmtpd
from real_postfix import RealPostfix
from roads import open_road

from postroad.verdict import Disposition
from postroad_smtp.transport import STREAM_FROM

BODIES = {
    "dots": b".\r\n..\r\n.x\r\n...\r\nx.\r\n.\r\n\r\n.\r\n",
    "8-bit": "Grüße\r\n".encode() + bytes(range(128, 256)) + b"\r\n",
    "longest line": b"x" * 998 + b"\r\n." + b"y" * 997 + b"\r\n",
    "nothing": b"",
    "empty lines": b"\r\n" * 5,
    "spaces": b" \r\n\t\r\nx \r\n -- \r\n",
    "like commands": b"QUIT\r\nRSET\r\nMAIL FROM:<>\r\nFrom x\r\n",
    "streamed": b".0123456789 abcdef\r\n" * 40_000,
}


@dataclass(frozen=True)
class Way:
    """server: the name of its fixture.  settings: of the transport."""

    server: str
    settings: Mapping[str, Any]

    def __str__(self) -> str:
        return "-".join([self.server, *(f"{name}={value}" for name, value in self.settings.items())])


def _way(server: str, *marks: pytest.MarkDecorator, **settings: Any) -> Any:
    way = Way(server, settings)
    return pytest.param(way, marks=marks, id=str(way))


WAYS = [
    _way("postfix"),
    _way("postfix", pipelining="off"),
    _way("postfix", chunking="on"),
    _way("postfix", chunking="on", pipelining="off"),
    _way("opensmtpd"),
    _way("dovecot", protocol="lmtp"),
    _way("dovecot", protocol="lmtp", chunking="on"),
]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
async def test_a_message_arrives_byte_for_byte(way: Way, body: bytes, request: pytest.FixtureRequest) -> None:
    server: RealPostfix | RealOpenSmtpd | RealDovecot = request.getfixturevalue(way.server)
    mark = new_mark()
    content = letter(mark, body)
    async with open_middlebox(server) as box:
        async with open_road(box.place, **way.settings) as road:
            verdict = await road.send_one(mark, content=content)
        assert verdict.disposition is Disposition.ACCEPTED, verdict
        is_chunked = any(b"BDAT " in piece for piece in box.said(0))
    assert is_chunked == (
        way.server != "opensmtpd" and (way.settings.get("chunking") == "on" or len(content) > STREAM_FROM)
    )
    (stored,) = await server.boxes.wait_stored("known", mark)
    assert as_sent(stored) == content
