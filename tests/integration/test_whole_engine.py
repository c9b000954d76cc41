"""A whole engine, its spool on disk, and a real server behind it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import trio
from boxes import Boxes
from letters import as_sent, letter, new_mark, transactions
from real_opensmtpd import RealOpenSmtpd
from real_postfix import RealPostfix
from real_server import RealServer
from roads import KNOWN

import postroad

SENDER = "sender@example.org"
LINE = b"0123456789abcdef\r\n"


def config(folder: Path, server: RealServer) -> dict[str, Any]:
    """Retries follow quickly, so that a test need not wait."""
    return {
        "folder": str(folder),
        "spool": {"url": "sqlite:p.db"},
        "senders": {"authorized": ["*"]},
        "routes": [{"transport": "outbound"}],
        "transports": {
            "outbound": {"plugin": "smtp", "smarthost": server.place, "helo": "client.example", "tls": "none"}
        },
        "retry": {"first_seconds": 0.1, "max_seconds": 0.3},
        "windows": {"hold_seconds": 0.1, "hold_max_seconds": 0.3},
        "reports": {"hostname": "engine.example"},
    }


async def test_mail_arrives_and_a_refusal_is_reported_to_the_sender(
    mortal: RealPostfix | RealOpenSmtpd, tmp_path: Path
) -> None:
    mark = new_mark()
    submission = postroad.Submission(
        sender=SENDER, recipients=[KNOWN, "nobody-here@example.org"], content=letter(mark, b".\r\n..\r\n")
    )
    with trio.fail_after(30):
        async with postroad.open_engine(config(tmp_path, mortal)) as engine:
            outcome = await (await engine.submit(submission)).settled()
            (report,) = await mortal.boxes.wait_stored("sender", mark)
    assert outcome.recipients[KNOWN].attempts == 1
    assert not outcome.is_delivered
    assert b"Action: failed" in report
    assert b"Final-Recipient: rfc822; nobody-here@example.org" in report
    (stored,) = await mortal.boxes.wait_stored("known", mark)
    assert as_sent(stored) == letter(mark, b".\r\n..\r\n")


def submission(mark: str, lines: int) -> postroad.Submission:
    return postroad.Submission(sender=SENDER, recipients=[KNOWN], content=letter(mark, LINE * lines))


async def wait_tried_in_vain(receipts: Sequence[postroad.Receipt]) -> None:
    """Until one of them was tried, and has to be tried again."""
    while True:
        for receipt in receipts:
            recipient = (await receipt.outcome()).recipients[KNOWN]
            if recipient.attempts and not recipient.is_settled:
                return
        await trio.sleep(0.01)


async def wait_whole(boxes: Boxes, mark: str, content: bytes) -> list[bytes]:
    """All copies, once one is whole: a server that dies may leave its mailbox program with a part, and deliver again."""
    stored = await boxes.wait_stored("known", mark)
    while content not in map(as_sent, stored):
        stored = await boxes.wait_stored("known", mark, len(stored) + 1)
    return stored


async def test_a_server_that_dies_under_the_load_and_comes_back_has_everything(
    mortal: RealPostfix | RealOpenSmtpd, tmp_path: Path
) -> None:
    marks = [new_mark() for _ in range(60)]
    every = [submission(mark, 20_000 if number % 10 == 0 else 500) for number, mark in enumerate(marks)]
    with trio.fail_after(60):
        async with postroad.open_engine(config(tmp_path, mortal)) as engine:
            receipts = list(await engine.submit_many(every[:40]))
            await receipts[1].settled()
            mortal.kill()
            receipts += [await engine.submit(each) for each in every[40:]]
            await wait_tried_in_vain(receipts)
            mortal.start()
            outcomes = [await receipt.settled() for receipt in receipts]
            assert all(outcome.is_delivered for outcome in outcomes)
        for mark, sent, outcome in zip(marks, every, outcomes, strict=True):
            stored = await wait_whole(mortal.boxes, mark, sent.content)
            assert all(sent.content.startswith(as_sent(each).removesuffix(b"\r\n")) for each in stored)
            assert 1 <= len(transactions(stored)) <= outcome.recipients[KNOWN].attempts, "each is an attempt of its own"
