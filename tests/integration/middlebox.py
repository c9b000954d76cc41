"""A relay between the transport and a real server: it records what passes, and may announce an extension that the server lacks.

Load balancers and filters in front of servers do the latter in earnest.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio
from real_server import RealServer

_SECONDS = 20.0


class Middlebox:
    """connections: for each, what the client wrote, piece by piece, and what it was answered, in the order of passing.

    An empty piece is the end of what one side says.
    """

    def __init__(self, server: RealServer, announce: bytes) -> None:
        self._port = server.port
        self._announce = announce
        self.connections: list[list[tuple[str, bytes]]] = []
        self.place = ""

    def said(self, connection: int) -> list[bytes]:
        """What a client wrote, in pieces."""
        return [data for who, data in self.connections[connection] if who == "client" and data]

    async def wait_server_closed(self, connection: int) -> None:
        with trio.fail_after(_SECONDS):
            while ("server", b"") not in self.connections[connection]:  # noqa: ASYNC110 - a server's doing
                await trio.sleep(0.01)

    async def serve(self, client: trio.SocketStream) -> None:
        record: list[tuple[str, bytes]] = []
        self.connections.append(record)
        async with (
            client,
            await trio.open_tcp_stream("127.0.0.1", self._port) as server,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(self._pass_on, "client", client, server, record)
            await self._pass_on("server", server, client, record)
            nursery.cancel_scope.cancel()

    async def _pass_on(
        self, who: str, source: trio.SocketStream, target: trio.SocketStream, record: list[tuple[str, bytes]]
    ) -> None:
        try:
            async for data in source:
                piece = bytes(data)
                record.append((who, piece))
                await target.send_all(self._changed(piece) if who == "server" else piece)
            record.append((who, b""))
            await target.send_eof()
        except trio.BrokenResourceError:
            return

    def _changed(self, data: bytes) -> bytes:
        """The reply to EHLO is the only one of several lines here."""
        if not self._announce or not data.startswith(b"250-"):
            return data
        first, end, rest = data.partition(b"\r\n")
        return first + end + b"250-" + self._announce + end + rest


@asynccontextmanager
async def open_middlebox(server: RealServer, *, announce: bytes = b"") -> AsyncIterator[Middlebox]:
    """On a free port, until the context ends."""
    box = Middlebox(server, announce)
    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        box.place = f"127.0.0.1:{listener.socket.getsockname()[1]}"
        nursery.start_soon(trio.serve_listeners, box.serve, [listener])
        yield box
        nursery.cancel_scope.cancel()
