"""A Postroad transport that posts mail to a chat's webhook: `plugin = "chat"`.

Registers a factory and imports the rest when one is made: loading a plugin should be quick.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from postroad.hookspecs import hookimpl

if TYPE_CHECKING:
    from postroad.transport import Transport, TransportFactory

__all__ = ["open_chat", "postroad_register_transports"]


@hookimpl
def postroad_register_transports(register: Callable[[str, TransportFactory], None]) -> None:
    register("chat", open_chat)


@asynccontextmanager
async def open_chat(settings: Mapping[str, Any]) -> AsyncGenerator[Transport]:
    """A transport for the keys of a `[transports.NAME]` table.  Raises ConfigError for those it cannot use."""
    import httpx2
    from postroad.config import read_settings

    from .transport import ChatSettings, ChatTransport, headers_of

    known = read_settings(settings, ChatSettings)
    async with httpx2.AsyncClient(headers=headers_of(known), timeout=known.timeout_seconds) as client:
        yield ChatTransport(known, client)
