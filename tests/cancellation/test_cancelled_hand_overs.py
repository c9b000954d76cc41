"""Other processes that go away in the middle of a hand-over: what the gate was given whole may be stored, less is not."""

from __future__ import annotations

from pathlib import Path

import trio
from cuts import points, undisturbed
from scene import SQLITE, Scene

from postroad.gate_frames import PREAMBLE, address_of
from postroad.gate_protocol import Written, encode_request
from postroad.message import new_message_id
from postroad.spool import SpoolPlace


def hand_over(scene: Scene, body: str, lines: int) -> bytes:
    """All octets that a client sends for one submission."""
    submission = scene.submitting(body, ("b@example.org",), lines=lines)
    call = Written(
        id=new_message_id(1.0), sender=submission.sender, recipients=submission.recipients, content=submission.content
    )
    return PREAMBLE + encode_request(1, call)


async def say(path: Path, octets: bytes) -> None:
    """Connect, send, and go away without a word."""
    with trio.socket.socket(trio.socket.AF_UNIX, trio.socket.SOCK_STREAM) as line, address_of(path) as address:
        await line.connect(address)
        await trio.SocketStream(line).send_all(octets)


async def test_a_client_that_goes_away_at_any_octet_harms_nothing(tmp_path: Path) -> None:
    async with undisturbed():
        scene, path = Scene(SQLITE, tmp_path), SpoolPlace.parse("sqlite:p.db", tmp_path).socket_path
        whole = 0
        async with scene.engine() as engine:
            for lines, most in ((0, 1000), (10, 30)):
                count = len(hand_over(scene, "any", lines)) + 1
                numbers = {*points(count, most), count - 1}
                for number in numbers:
                    octets = hand_over(scene, f"{lines}, {number}", lines)
                    await say(path, octets[:number])
                    whole += number == len(octets)
                print(f"hand-over of {count - 1} octets: {len(numbers)} points")
            receipt = await engine.submit(scene.submitting("behind", ("behind@example.org",)))
            scene.acknowledged("behind", receipt.id)
            assert (await receipt.settled()).is_delivered
        await scene.drain()
        assert scene.broken_promises() == []
        assert len(scene.stored()) <= whole + 2
