"""A worker of an application that has several of them: each carries an engine of its own, on the first spool that is free.

    python examples/workers.py postroad.toml 2          as often as there are spools; each line of its input is an address

A worker that is started again takes the spool that its predecessor left, and what waits there goes on.
"""

from __future__ import annotations

import sys
from contextlib import AsyncExitStack

import msgspec
import trio

import postroad
from postroad.config import Config
from postroad.log import configure_logging


def with_spool(config: Config, number: int) -> Config:
    """The same configuration on the spool of that number."""
    spool = msgspec.structs.replace(config.spool, url=f"sqlite:spool-{number}.db")
    return msgspec.structs.replace(config, spool=spool)


async def open_free_spool(stack: AsyncExitStack, config: Config, spools: int) -> tuple[int, postroad.Engine]:
    """An engine that closes with the stack.  To find out that a spool is taken lasts a second."""
    for number in range(spools):
        try:
            engine = await stack.enter_async_context(postroad.open_engine(with_spool(config, number)))
        except postroad.SpoolInUse:
            continue
        return number, engine
    raise SystemExit(f"all {spools} spools are in use: there are more workers than spools")


async def main(path: str, spools: int) -> None:
    config = postroad.load_config(path)
    async with AsyncExitStack() as stack:
        number, engine = await open_free_spool(stack, config, spools)
        print(f"ready on spool {number}", flush=True)
        async for line in trio.wrap_file(sys.stdin):  # stands for the requests that this worker answers
            address = line.strip()
            receipt = await engine.send_mail(
                sender="support@example.com", to=address, subject="Hello", body="Hello.\n", idempotency_key=address
            )
            print(f"{address}: {receipt.id} on spool {number}", flush=True)


if __name__ == "__main__":
    configure_logging("warning")
    trio.run(main, sys.argv[1], int(sys.argv[2]))
