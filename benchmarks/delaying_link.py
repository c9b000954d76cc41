"""A worker that is a link with a delay: what comes goes on so many seconds later, both ways, as fast as it came."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from processes import say


class _End(asyncio.Protocol):
    """One end of a connection.  other: where to, once that is connected."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._loop = asyncio.get_running_loop()
        self.ready: asyncio.Future[asyncio.Transport] = self._loop.create_future()
        self.other: asyncio.Future[asyncio.Transport] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.ready.set_result(transport)

    def data_received(self, data: bytes) -> None:
        self._loop.call_later(self._seconds, self._pass_on, data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._loop.call_later(self._seconds, self._pass_on, b"")

    def _pass_on(self, data: bytes) -> None:
        if self.other is None or not self.other.done():  # the other end is not connected yet
            self._loop.call_later(0.001, self._pass_on, data)
        elif data:
            self.other.result().write(data)
        else:
            self.other.result().close()


class _Near(_End):
    """The client's end: it connects the other one."""

    def __init__(self, seconds: float, port: int) -> None:
        super().__init__(seconds)
        self._port = port

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._connecting = self._loop.create_task(self._connect())

    async def _connect(self) -> None:
        _, far = await self._loop.create_connection(lambda: _End(self._seconds), "127.0.0.1", self._port)
        self.other, far.other = far.ready, self.ready


async def serve(settings: dict[str, Any]) -> None:
    """port: where the link leads.  seconds: the delay of each direction."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Near(settings["seconds"], settings["port"]), "127.0.0.1", 0)
    say({"ready": True, "port": server.sockets[0].getsockname()[1]})
    await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(serve(json.loads(sys.argv[1])))
