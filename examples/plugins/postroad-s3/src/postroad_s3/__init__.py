"""A Postroad transport that keeps mail in S3-compatible storage: `plugin = "s3"`.

Registers a factory and imports the rest when one is made: loading a plugin should be quick.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from postroad.hookspecs import hookimpl

if TYPE_CHECKING:
    from postroad.transport import Transport, TransportFactory

__all__ = ["open_s3", "postroad_register_transports"]


@hookimpl
def postroad_register_transports(register: Callable[[str, TransportFactory], None]) -> None:
    register("s3", open_s3)


@asynccontextmanager
async def open_s3(settings: Mapping[str, Any]) -> AsyncGenerator[Transport]:
    """A transport for the keys of a `[transports.NAME]` table.  Raises ConfigError for those it cannot use."""
    import httpx2
    from postroad.config import read_settings
    from postroad.secret import read_secret

    from .transport import S3Settings, S3Transport

    known = read_settings(settings, S3Settings)
    secret = read_secret("secret_key_file", known.secret_key_file)
    async with httpx2.AsyncClient(timeout=known.timeout_seconds) as client:
        yield S3Transport(known, secret, client)
