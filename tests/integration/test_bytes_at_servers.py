"""What real servers store is what the message meant, byte for byte."""

from __future__ import annotations

import pytest
from boxes import Boxes
from letters import as_sent, letter, new_mark
from real_opensmtpd import RealOpenSmtpd
from real_postfix import RealPostfix
from roads import open_road

from postroad.verdict import Disposition

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


@pytest.fixture(params=["postfix", "opensmtpd"])
def server(request: pytest.FixtureRequest) -> RealPostfix | RealOpenSmtpd:
    found: RealPostfix | RealOpenSmtpd = request.getfixturevalue(request.param)
    return found


@pytest.mark.parametrize("pipelining", ["auto", "off"])
@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
async def test_a_message_arrives_byte_for_byte(
    server: RealPostfix | RealOpenSmtpd, body: bytes, pipelining: str
) -> None:
    mark = new_mark()
    content = letter(mark, body)
    async with open_road(server, pipelining=pipelining) as road:
        verdict = await road.send_one(mark, content=content)
    assert verdict.disposition is Disposition.ACCEPTED, verdict
    await _assert_stored(server.boxes, mark, content)


async def _assert_stored(boxes: Boxes, mark: str, content: bytes) -> None:
    (stored,) = await boxes.wait_stored("known", mark)
    assert as_sent(stored) == content
