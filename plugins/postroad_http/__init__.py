"""The HTTP transport: `plugin = "http"`, for mail through the API of a provider such as Amazon SES or SendGrid.

    [transports.outbound]
    plugin = "http"
    provider = "ses"
    region = "eu-west-1"
    access_key_id = "AKIA..."
    api_key_env = "AWS_SECRET_ACCESS_KEY"

Registers a factory and imports the rest, httpx2 too, when one is made.  docs/http.md tells how it works and fails.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from postroad.hookspecs import hookimpl

if TYPE_CHECKING:
    from postroad.transport import Transport, TransportFactory

__all__ = ["http_transport", "postroad_register_transports"]


@hookimpl
def postroad_register_transports(register: Callable[[str, TransportFactory], None]) -> None:
    register("http", http_transport)


@asynccontextmanager
async def http_transport(table: Mapping[str, Any]) -> AsyncGenerator[Transport]:
    """A transport for the keys of a `[transports.NAME]` table.  Raises ConfigError, also where httpx2 is not installed."""
    from postroad.errors import ConfigError

    try:
        from .opening import open_transport
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "httpx2":
            raise
        raise ConfigError("plugin", 'needs httpx2, which is not installed: pip install "postroad[http]"') from None
    async with open_transport(table) as transport:
        yield transport
