"""A process that is going to be killed: it submits as fast as it may, and writes down what was acknowledged.

usage: engine_under_fire.py CONFIG LEDGER submit|finish
`submit` goes on until it is killed; `finish` ends by itself once the queue is empty.  The ledger gets one line per
acknowledged message, written by one write(2) after `submit` returned.
"""

from __future__ import annotations

import os
import sys

import trio

import postroad
from postroad.log import configure_logging

SUBMITTERS = 8
LARGE_LINES = 300  # with 1,000 octets each, more than [spool] content_file_bytes: a file of its own


def content(number: int, *, is_large: bool) -> bytes:
    body = (b"x" * 998 + b"\r\n") * LARGE_LINES if is_large else b"x" * 70 + b"\r\n"
    head = (
        f"From: sender@example.com\r\nTo: many@example.org\r\nSubject: number {number}\r\n"
        f"X-Body-Octets: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def submit_for_ever(engine: postroad.Engine, ledger: int, number: int) -> None:
    round_trips = 0
    while True:
        round_trips += 1
        recipients = [f"ok{number}-{n}@example.org" for n in range(50 if round_trips % 10 == 0 else 1)]
        recipients += [f"no{number}@example.org"] if (round_trips + number) % 7 == 0 else []
        recipients += [f"later{number}@example.org"] if (round_trips + number) % 5 == 0 else []
        whole = content(number, is_large=number == 0 and round_trips % 4 == 1)
        receipt = await engine.submit(
            postroad.Submission(sender="sender@example.com", recipients=recipients, content=whole)
        )
        os.write(ledger, f"{receipt.id} {','.join(recipients)}\n".encode())
        await trio.sleep(0.002)


async def main(config: str, ledger_path: str, mode: str) -> None:
    ledger = os.open(ledger_path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    async with postroad.open_engine(config) as engine:
        if mode == "submit":
            async with trio.open_nursery() as nursery:
                for number in range(SUBMITTERS):
                    nursery.start_soon(submit_for_ever, engine, ledger, number)
        while (await engine.status()).messages:  # noqa: ASYNC110  # nothing tells when a queue is empty
            await trio.sleep(0.05)


if __name__ == "__main__":
    with open(sys.argv[2] + ".log", "a", encoding="utf-8") as log:
        configure_logging("info", json=True, stream=log)
        trio.run(main, *sys.argv[1:4])
