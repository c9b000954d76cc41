"""A worker that makes HTTP calls, 20 at once: by our transport, or by bare httpx2 with the same bodies.  It counts its CPU."""

from __future__ import annotations

import gc
import json
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

import httpx2
import msgspec
import trio

from postroad.testing import make_request
from postroad.verdict import Disposition
from postroad_http import http_transport
from postroad_http.provider import Parcel
from postroad_http.providers import PROVIDERS
from processes import take_orders
from workload import RECIPIENT, SENDER, Template, own_cpu_seconds, set_aside

_CALLS_AT_ONCE = 20
_KEYS = {"ses": {"region": "eu-west-1", "access_key_id": "AKIAEXAMPLE"}, "postmark": {"batch": 1}}

One: TypeAlias = Callable[[int], Awaitable[None]]


def main() -> None:
    settings = json.loads(sys.argv[1])
    take_orders(lambda order: trio.run(_measured, settings, order["count"]))


async def _measured(settings: Mapping[str, Any], count: int) -> Mapping[str, Any]:
    template = Template(settings["octets"], "http")
    contents = [template.message(number) for number in range(count)]
    way = _ours if settings["way"] == "postroad" else _bare
    return await way(settings, contents)


def _table(settings: Mapping[str, Any]) -> dict[str, Any]:
    provider = settings["provider"]
    return {"provider": provider, "api_key": "key-0123456789", "base_url": settings["url"], **_KEYS[provider]}


async def _ours(settings: Mapping[str, Any], contents: list[bytes]) -> Mapping[str, Any]:
    requests = [make_request((RECIPIENT,), content=content, sender=SENDER) for content in contents]
    async with http_transport(_table(settings)) as transport:

        async def one(number: int) -> None:
            (verdict,) = await transport.deliver(requests[number])
            assert verdict.disposition is Disposition.ACCEPTED, verdict.reply

        return await _timed(one, len(contents))


async def _bare(settings: Mapping[str, Any], contents: list[bytes]) -> Mapping[str, Any]:
    """What an application does that has its bodies ready: httpx2's `post`, and a look at the status."""
    provider = PROVIDERS[settings["provider"]]
    table = msgspec.convert(_table(settings), provider.settings)
    calls = [
        provider.write(
            Parcel("01k0", (RECIPIENT,), (0,), each, (), settings["url"], "key-0123456789", 1.79e9, "key"), table
        )
        for each in contents
    ]
    limits = httpx2.Limits(max_connections=_CALLS_AT_ONCE, max_keepalive_connections=_CALLS_AT_ONCE)
    async with httpx2.AsyncClient(limits=limits, trust_env=False, timeout=60.0) as client:

        async def one(number: int) -> None:
            call = calls[number]
            reply = await client.post(call.url, content=call.body, headers=list(call.headers))
            assert reply.status_code == 200

        return await _timed(one, len(contents))


async def _timed(one: One, count: int) -> Mapping[str, Any]:
    """CPU of this process: of the calls alone, after a tenth of them has opened the connections."""
    warm = count // 10
    await _all(one, range(warm))
    set_aside()
    cpu, begun = own_cpu_seconds(), time.monotonic()
    await _all(one, range(warm, count))
    cpu, seconds = own_cpu_seconds() - cpu, time.monotonic() - begun
    gc.unfreeze()
    return {"cpu_us": 1e6 * cpu / (count - warm), "us": 1e6 * seconds / (count - warm)}


async def _all(one: One, numbers: range) -> None:
    left = iter(numbers)

    async def some() -> None:
        for number in left:
            await one(number)

    async with trio.open_nursery() as nursery:
        for _ in range(_CALLS_AT_ONCE):
            nursery.start_soon(some)


if __name__ == "__main__":
    main()
