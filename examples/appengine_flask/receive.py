"""Takes one incoming mail, for the application to read at /_ah/mail/ADDRESS; ends once the application has taken it.

    python receive.py postroad.toml inbox@example.com <mail.eml

It is an engine of its own, so that `postroad serve` must not run on the same spool.  Beside `postroad serve`,
`postroad receive ADDRESS <mail.eml` does the same, as a mail server's pipe, too (docs/callbacks.md).
"""

from __future__ import annotations

import sys

import trio

import postroad


async def main(config: str, address: str) -> None:
    raw = sys.stdin.buffer.read()
    async with postroad.open_engine(config) as engine:
        receipt = await engine.receive(sender="", recipients=[address], raw=raw)
        print(f"{receipt.id} is on disk")
        await receipt.settled()
    print("the application has it")


if __name__ == "__main__":
    trio.run(main, *sys.argv[1:])
