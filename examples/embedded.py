"""A trio application that carries the engine inside itself: it greets whoever signs up, and does not wait for the mail.

    python examples/embedded.py postroad.toml albert@example.org maria@example.org

The signing-up is durable when `send_mail` returns; what became of each letter is told by the engine's events.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import trio

import postroad
from postroad.events import RecipientDelivered, RecipientFailed


async def sign_up(engine: postroad.Engine, address: str) -> str | None:
    """What a request handler does: the user's mistake is told to the user, everything else is the engine's business."""
    try:
        receipt = await engine.send_mail(
            sender="Example.com Support <support@example.com>",
            to=address,
            subject="Your account has been approved",
            body="Welcome!\n",
            idempotency_key=f"welcome:{address}",  # a form that is sent twice greets once
        )
    except postroad.SubmissionError as error:
        print(f"{address}: {error.problem}")
        return None
    except postroad.QueueFull:
        print(f"{address}: please try again later")
        return None
    return receipt.id


async def watch(engine: postroad.Engine, *, task_status: trio.TaskStatus[None]) -> None:
    """Tell what becomes of every message, from now on until the engine closes."""
    async with engine.events() as events:
        task_status.started()
        async for event in events:
            match event:
                case RecipientDelivered():
                    print(f"{event.recipient}: delivered ({event.reply})")
                case RecipientFailed():
                    print(f"{event.recipient}: failed ({event.reply}); the sender gets a report")
                case _:
                    pass


async def main(config: str, addresses: Sequence[str]) -> None:
    async with trio.open_nursery() as nursery:  # around the engine: events end when it has closed
        async with postroad.open_engine(config) as engine:
            await nursery.start(watch, engine)
            ids = [await sign_up(engine, address) for address in addresses]
            with trio.move_on_after(10):  # this program ends; a server would simply go on
                for id in filter(None, ids):
                    await (await engine.receipt(id)).settled()
        print("stopped; what is not delivered yet waits in the spool for the next start")


if __name__ == "__main__":
    trio.run(main, sys.argv[1], sys.argv[2:])
