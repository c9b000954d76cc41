"""A whole engine whose SMTP transport delivers to a scripted server: what the public API takes, seen from the wire."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import trio

from postroad import DsnOptions, Engine, Outcome, Submission, hookimpl
from postroad.testing.engine import open_test_engine, test_config
from postroad.testing.smtp_peer import SmtpPeer
from postroad.transport import Capabilities, DeliveryRequest, Transport
from postroad.verdict import Verdict
from postroad_smtp import smtp_transport

_ONE_MESSAGE = re.compile("EHLO MAIL RCPT (DATA [.]|BDAT( BDAT)*)( QUIT)?")


_NO_REPORT = DsnOptions(notify=("never",))  # a report of a failure would be one more message


class _Keeper:
    """The SMTP transport, with what the spool gave it."""

    def __init__(self, transport: Transport, kept: list[bytes]) -> None:
        self._transport = transport
        self._kept = kept

    @property
    def capabilities(self) -> Capabilities:
        return self._transport.capabilities

    async def deliver(self, request: DeliveryRequest) -> Sequence[Verdict]:
        self._kept.append(await request.content.read())
        return await self._transport.deliver(request)


class _Plugin:
    def __init__(self, kept: list[bytes]) -> None:
        self._kept = kept

    @hookimpl
    def postroad_register_transports(self, register: Any) -> None:
        register("kept-smtp", self._open)

    @asynccontextmanager
    async def _open(self, table: Mapping[str, Any]) -> AsyncGenerator[Transport]:
        async with smtp_transport(table) as transport:
            yield _Keeper(transport, self._kept)


class EngineRoad:
    """An engine and its peer.  kept: the canonical content of each attempt."""

    def __init__(self, engine: Engine, peer: SmtpPeer, kept: list[bytes]) -> None:
        self.engine = engine
        self.peer = peer
        self.kept = kept

    async def submit(self, content: Any, **more: Any) -> Outcome:
        more = {"sender": "a@example.com", "recipients": ["b@example.org"], "dsn": _NO_REPORT, **more}
        receipt = await self.engine.submit(Submission(content=content, **more))
        return await receipt.settled()

    async def send_mail(self, **fields: Any) -> Outcome:
        fields = {"sender": "a@example.com", "to": "b@example.org", "subject": "Hello", "body": "Hi\n", **fields}
        receipt = await self.engine.send_mail(**fields)
        return await receipt.settled()

    def check_one_message(self) -> bytes:
        """Nothing but one message as the spool has it came, by nothing but the commands that it takes; its content."""
        assert self.peer.faults == []
        (received,) = self.peer.transactions
        assert [received.content] == self.kept
        (connection,) = self.peer.connections
        assert _ONE_MESSAGE.fullmatch(" ".join(command.partition(" ")[0] for command in connection.commands))
        return received.content


@asynccontextmanager
async def open_road_of_engine(
    peer: SmtpPeer | None = None, *, table: Mapping[str, Any] | None = None, **sections: Any
) -> AsyncGenerator[EngineRoad]:
    """table: further settings of the transport.  sections: of the configuration."""
    peer, kept = peer or SmtpPeer(), list[bytes]()
    with trio.fail_after(60):
        async with peer.listening() as (host, port):
            settings = {"plugin": "kept-smtp", "smarthost": f"{host}:{port}", "helo": "client.example", **(table or {})}
            config = test_config(transports={"out": settings}, routes=[{"transport": "out"}], **sections)
            async with open_test_engine(config, plugins={"kept": _Plugin(kept)}) as engine:
                yield EngineRoad(engine, peer, kept)
