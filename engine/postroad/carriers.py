"""Opens the transports of an engine, each by its plugin's factory, and ends them again.

A factory is not our code: what it raises is a PluginError that names the transport, it cannot swallow what ended the engine,
and an end that hangs or fails keeps nothing else from its end.  Asked by `opening.py` only.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager

import trio

from .config import Config
from .errors import ConfigError, PluginError
from .log import get_logger
from .plugins import Plugins
from .strangers import as_exceptions, is_same, is_theirs, leaves, words_for
from .transport import Transport, TransportFactory, TransportSettings

__all__ = ["Body", "open_transports"]

_RECIPIENTS_PER_CALL = 100  # transport.Capabilities; every SMTP server takes as many
_END_SECONDS = 30.0  # to say goodbye to its peers: SMTP's QUIT takes 5 s at most

_log = get_logger()


class Body:
    """Remembers by which exception a block was left."""

    error: BaseException | None = None

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self.error = error


async def open_transports(stack: AsyncExitStack, plugins: Plugins, config: Config) -> dict[str, Transport]:
    """All transports of the configuration, by name.  Raises ConfigError or PluginError."""
    transports: dict[str, Transport] = {}
    for name, table in config.transports.items():
        kind = str(table["plugin"])
        settings = TransportSettings(
            {key: value for key, value in table.items() if key != "plugin"}, base=config.resolved("")
        )
        transport = await stack.enter_async_context(_opened(name, kind, plugins.transports[kind], settings))
        if not _has_room(transport):
            raise PluginError(
                f"transport {name!r} (plugin {kind!r}) must have capabilities, with recipients_per_call from 1 to 100, "
                "and message_bytes a number or None"
            )
        transports[name] = transport
    return transports


@asynccontextmanager
async def _opened(
    name: str, kind: str, factory: TransportFactory, settings: TransportSettings
) -> AsyncGenerator[Transport]:
    body, end, is_open = Body(), trio.CancelScope(), False
    with end:
        try:
            async with factory(settings) as transport:
                is_open = True
                with body:
                    try:
                        yield transport
                    finally:
                        end.deadline = trio.current_time() + _END_SECONDS
        except BaseException as error:  # noqa: ASYNC103  # but for what is the transport's own trouble
            if is_same(error, body.error) or not is_theirs(error):
                raise
            if not is_open or isinstance(body.error, trio.Cancelled):
                raise _named(name, kind, error) from error  # noqa: ASYNC104  # nobody cancelled the task
            _log.error("transport_failed", transport=name, plugin=kind, at="its end", exc_info=error)
    if end.cancelled_caught:
        _log.error("transport_failed", transport=name, plugin=kind, at="its end", seconds=_END_SECONDS)
    if body.error is not None:
        raise body.error  # the transport, or its end, must not hide it


def _has_room(transport: Transport) -> bool:
    """Whether it says how many recipients and octets it takes; looking runs the plugin's code."""
    try:
        with as_exceptions():
            able = transport.capabilities
            most: object = getattr(able, "message_bytes", None)
            return 1 <= able.recipients_per_call <= _RECIPIENTS_PER_CALL and type(most) in (int, type(None))
    except Exception:
        return False


def _named(name: str, kind: str, error: BaseException) -> Exception:
    cause = leaves(error)[0]
    if isinstance(cause, ConfigError):
        return ConfigError(f"transports.{name}.{cause.key}", cause.problem)
    return PluginError(f"transport {name!r} (plugin {kind!r}) failed: {words_for(cause)}")
