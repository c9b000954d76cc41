"""Opens a transport: reads its table, makes its clients, and ends what is under way when the engine leaves."""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import httpx2
import trio

from postroad.config import read_settings
from postroad.errors import ConfigError
from postroad.transport import Transport

from .clients import Clients
from .exchange import Exchange
from .providers import PROVIDERS
from .settings import HttpTable
from .transport import HttpTransport

__all__ = ["open_transport"]

_IDLE_SECONDS = 5.0  # a kept connection: below what servers wait for, so that none closes while a request sets out


@asynccontextmanager
async def open_transport(table: Mapping[str, Any]) -> AsyncGenerator[Transport]:
    """Raises ConfigError."""
    name = str(table.get("provider", ""))
    if name not in PROVIDERS:
        raise ConfigError("provider", f"must be one of {', '.join(sorted(PROVIDERS))}")
    provider = PROVIDERS[name]
    settings = read_settings(table, provider.settings)
    assert isinstance(settings, HttpTable)
    transport_of = HttpTransport(provider, settings)
    failure: Exception | None = None
    clients = Clients(_maker(settings), settings.connections, _IDLE_SECONDS)
    try:
        async with trio.open_nursery() as nursery:
            try:
                yield transport_of.over(Exchange(clients, nursery, settings.timeout_seconds), nursery)
            except Exception as error:  # raised again below, where no exception group is made of it
                failure = error
            nursery.cancel_scope.cancel()
    finally:
        with trio.CancelScope(shield=True):
            await clients.close()
    if failure is not None:
        raise failure


def _maker(settings: HttpTable) -> Callable[[], httpx2.AsyncClient]:
    """Proxies, certificates and passwords that the environment or a .netrc names are nobody's business here."""
    limits = httpx2.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=_IDLE_SECONDS)
    return partial(
        httpx2.AsyncClient,
        limits=limits,
        timeout=settings.timeout_seconds,
        trust_env=False,
        follow_redirects=False,
        verify=_tls(settings),
    )


def _tls(settings: HttpTable) -> ssl.SSLContext:
    """The system's authorities, or those of a file.  Without any where `base_url` says that there is no TLS: it costs 40 ms."""
    if settings.base_url.startswith("http://"):
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        return ssl.create_default_context(cafile=settings.ca_file or None)
    except OSError as error:  # ssl.SSLError is one
        raise ConfigError("ca_file", f"cannot be read: {error.strerror or error}") from None
