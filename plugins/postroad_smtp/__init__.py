"""The SMTP transport: `plugin = "smtp"`.  To a smarthost, or to the recipients' own servers by their MX records.

Registers a factory and imports the rest when one is made, and dnspython when one asks the DNS: mail that goes other ways should
not pay for it.
docs/smtp.md tells how it works.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from postroad.hookspecs import hookimpl

if TYPE_CHECKING:
    import random

    from dns.nameserver import Nameserver

    from postroad.transport import Transport, TransportFactory

    from .answers import Resolver
    from .dial import Dial

__all__ = ["postroad_register_transports", "smtp_transport"]


@hookimpl
def postroad_register_transports(register: Callable[[str, TransportFactory], None]) -> None:
    register("smtp", smtp_transport)


@asynccontextmanager
async def smtp_transport(
    table: Mapping[str, Any],
    *,
    dial: Dial | None = None,
    nameservers: Sequence[Nameserver] = (),
    rng: random.Random | None = None,
) -> AsyncGenerator[Transport]:
    """A transport for the keys of a `[transports.NAME]` table.  Raises ConfigError.

    dial, nameservers, rng: ports, for simulations: how connections are made, who is asked for every name, what is drawn by lot.

    Leaving the context closes kept sessions, and waits `doubt_seconds` (20) where a final dot is out and its reply is not in.
    """
    import trio

    from postroad.config import read_settings

    from .settings import SmtpSettings
    from .transport import SmtpTransport

    read = read_settings(table, SmtpSettings)
    resolver = _resolver(nameservers, read.dns_seconds) if nameservers else None
    failure: Exception | None = None
    async with trio.open_nursery() as nursery:
        try:
            transport = SmtpTransport(read, nursery, dial=dial, resolver=resolver, rng=rng)
            try:
                yield transport
            finally:
                transport.close()
        except Exception as error:  # sessions never raise: what comes here is the caller's, and no group of one
            failure = error
    if failure is not None:
        raise failure


def _resolver(nameservers: Sequence[Nameserver], seconds: float) -> Resolver:
    from .lookup import Dns

    return Dns(nameservers, seconds)
