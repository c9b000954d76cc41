"""Tells an application by HTTP, as App Engine did: `plugin = "appengine"`.  POST /_ah/bounce and /_ah/mail/ADDRESS.

Registers a factory and imports the rest when one is made: h11 is in the extra `http`.  docs/callbacks.md tells how it works.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from postroad.errors import PluginError
from postroad.hookspecs import hookimpl

if TYPE_CHECKING:
    from postroad.transport import Transport, TransportFactory

__all__ = ["appengine_transport", "postroad_register_transports"]


@hookimpl
def postroad_register_transports(register: Callable[[str, TransportFactory], None]) -> None:
    register("appengine", appengine_transport)


@asynccontextmanager
async def appengine_transport(table: Mapping[str, Any]) -> AsyncGenerator[Transport]:
    """A transport for the keys of a `[transports.NAME]` table.  Raises ConfigError, or PluginError without h11."""
    import trio

    from postroad.config import read_settings

    from .settings import AppEngineSettings

    await trio.lowlevel.checkpoint()
    settings = read_settings(table, AppEngineSettings)
    try:
        from .transport import AppEngineTransport
    except ModuleNotFoundError as error:
        if error.name != "h11":
            raise
        raise PluginError('h11 is missing; install it: pip install "postroad[http]"') from None
    failure: Exception | None = None
    async with trio.open_nursery() as nursery:
        try:
            yield AppEngineTransport(settings, nursery)
        except Exception as error:  # raised again below, where no exception group is made of it
            failure = error
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure
