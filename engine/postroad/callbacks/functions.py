"""Tells the application by functions of its own: the transport `functions`, which comes with `Callbacks`, a plugin object.

A function that returns has taken it.  One that raises is called again later, by the schedule of [callbacks]; it is never
asked to give anything up.  One that is not async runs in a thread of its own, so that it may block.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Annotated, Any, TypeAlias

import msgspec
import trio
from msgspec import Meta

from ..config import read_settings
from ..hookspecs import hookimpl
from ..log import get_logger
from ..strangers import as_exceptions, words_for
from ..transport import Capabilities, DeliveryRequest, Transport, TransportFactory
from ..verdict import Scope, Verdict
from .told import Bounce, IncomingMail, is_bounce, key_of, read_bounce

__all__ = ["Callbacks", "FunctionSettings", "FunctionTransport", "TryAgain"]

BounceFunction: TypeAlias = Callable[[Bounce], Awaitable[None] | None]
MailFunction: TypeAlias = Callable[[IncomingMail], Awaitable[None] | None]

_SITE = "application"

_log = get_logger()


class TryAgain(Exception):
    """Raised by a function of the application: not now, but in so many seconds, within the bounds of [callbacks.retry]."""

    def __init__(self, seconds: float, why: str = "asked to be called again later") -> None:
        super().__init__(why)
        self.seconds = seconds


class FunctionSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[transports.NAME] with plugin = "functions": functions of the application that embeds the engine."""

    seconds: Annotated[
        float, Meta(description="Seconds. What takes longer is in doubt, and called again later.", gt=0)
    ] = 60.0


class Callbacks:
    """A plugin object with functions of the application: `open_engine(config, plugins={"application": Callbacks(...)})`.

    bounce, mail: called with a Bounce and an IncomingMail, from trio's thread when async, else in threads, many at once.
    name: of the kind of transport, for `plugin = ` in the configuration.
    """

    def __init__(
        self, *, bounce: BounceFunction | None = None, mail: MailFunction | None = None, name: str = "functions"
    ) -> None:
        self._bounce = bounce
        self._mail = mail
        self._name = name

    @hookimpl
    def postroad_register_transports(self, register: Callable[[str, TransportFactory], None]) -> None:
        register(self._name, self._open)

    @asynccontextmanager
    async def _open(self, settings: Mapping[str, Any]) -> AsyncGenerator[Transport]:
        await trio.lowlevel.checkpoint()
        yield FunctionTransport(read_settings(settings, FunctionSettings), self._bounce, self._mail)


class FunctionTransport:
    """Calls functions."""

    capabilities = Capabilities(recipients_per_call=1, callbacks=True)

    def __init__(self, settings: FunctionSettings, bounce: BounceFunction | None, mail: MailFunction | None) -> None:
        self._settings = settings
        self._bounce = bounce
        self._mail = mail

    async def deliver(self, request: DeliveryRequest) -> Sequence[Verdict]:
        function: Callable[[Any], Any] | None = self._bounce if is_bounce(request) else self._mail
        if function is None:
            await trio.lowlevel.checkpoint()
            return [_deferred("the application has no function for this", scope=Scope.MESSAGE, status="4.3.5")]
        told = await (read_bounce(request) if is_bounce(request) else _read_mail(request))
        with trio.move_on_after(self._settings.seconds):
            return [await self._call(function, told, request)]
        return [Verdict.in_doubt("the function did not return in time", handed_over=True, site=_SITE)]

    async def _call(self, function: Callable[[Any], Any], told: Any, request: DeliveryRequest) -> Verdict:
        request.committing()
        try:
            with as_exceptions():
                await _run(function, told)
        except TryAgain as again:
            return _deferred(words_for(again, str), retry_after_seconds=again.seconds)
        except Exception as error:
            _log.warning("callback_failed", id=request.message.id, exc_info=error)
            return _deferred(f"the function raised {words_for(error)}")
        return Verdict.accepted("taken by the application", site=_SITE)


async def _read_mail(request: DeliveryRequest) -> IncomingMail:
    recipient = request.recipients[0]
    return IncomingMail(
        id=request.message.id,
        key=key_of(request),
        sender=request.message.sender,
        address=recipient.address,
        raw=await _content_of(request),
        maybe_duplicate=recipient.in_doubt,
    )


async def _content_of(request: DeliveryRequest) -> bytes:
    read = bytearray()
    async with request.content.chunks() as pieces:
        async for piece in pieces:
            read += piece
    return bytes(read)


async def _run(function: Callable[[Any], Any], told: Any) -> None:
    """A function that only returns something to be awaited counts as async, and must be quick to return it."""
    if _is_async(function):
        await function(told)
        return
    answers: list[Any] = []

    def call() -> None:
        """Trio refuses threads that return a coroutine, in words that show what the function was given."""
        answers.append(function(told))

    await trio.to_thread.run_sync(call, abandon_on_cancel=True)
    if inspect.isawaitable(answers[0]):
        await answers[0]


def _is_async(function: Callable[[Any], Any]) -> bool:
    plain = function.func if isinstance(function, partial) else function
    return inspect.iscoroutinefunction(plain) or inspect.iscoroutinefunction(type(plain).__call__)


def _deferred(
    reply: str, *, status: str = "4.3.0", scope: Scope = Scope.MESSAGE, retry_after_seconds: float | None = None
) -> Verdict:
    return Verdict.deferred(reply, status=status, scope=scope, site=_SITE, retry_after_seconds=retry_after_seconds)
