"""The SMTP transport: `plugin = "smtp"`.  To a smarthost, or to the recipients' own servers by their MX records.

Registers a factory and imports the rest when one is made: dnspython and TLS cost half a second that only mail by SMTP should pay.
docs/smtp.md tells how it works.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from postroad.hookspecs import hookimpl

if TYPE_CHECKING:
    from postroad.transport import Transport, TransportFactory

__all__ = ["postroad_register_transports", "smtp_transport"]


@hookimpl
def postroad_register_transports(register: Callable[[str, TransportFactory], None]) -> None:
    register("smtp", smtp_transport)


@asynccontextmanager
async def smtp_transport(table: Mapping[str, Any]) -> AsyncGenerator[Transport]:
    """A transport for the keys of a `[transports.NAME]` table.  Raises ConfigError.

    Leaving the context closes kept sessions, and waits `doubt_seconds` (20) where a final dot is out and its reply is not in.
    """
    import trio

    from postroad.config import read_settings

    from .settings import SmtpSettings
    from .transport import SmtpTransport

    read = read_settings(table, SmtpSettings)
    failure: Exception | None = None
    async with trio.open_nursery() as nursery:
        try:
            transport = SmtpTransport(read, nursery)
            try:
                yield transport
            finally:
                transport.close()
        except Exception as error:  # sessions never raise: what comes here is the caller's, and no group of one
            failure = error
    if failure is not None:
        raise failure
