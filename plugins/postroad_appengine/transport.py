"""The transport: a bounce or a mail in, one POST, one verdict out.

Once the application may have it, a cancelled call goes on for `doubt_seconds`: an answer that is not read makes a duplicate.
A connection serves one request: a kept one that the application closed meanwhile would put what it is asked in doubt.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from urllib.parse import quote

import trio

from postroad import __version__
from postroad.callbacks import Bounce, is_bounce, key_of, read_bounce
from postroad.errors import ConfigError
from postroad.log import printable
from postroad.outlasting import outlast
from postroad.transport import Capabilities, DeliveryRequest
from postroad.verdict import Scope, Verdict

from .client import Post, Progress, Unanswered, Unsent, connect, exchange
from .form import write_form
from .settings import AppEngineSettings, place_of, secret_of
from .verdicts import verdict_of, verdict_of_unanswered, verdict_of_unsent

__all__ = ["AppEngineTransport"]

_PIECE_BYTES = 65_536
_INLINE_BYTES = 8192  # of returned mail: a form of more may take 0.3 s, which the engine must not wait for


class AppEngineTransport:
    """Posts to an application.  nursery: for what outlasts the cancellation of its call.

    Raises ConfigError for a secret or authorities that are not there.
    """

    capabilities = Capabilities(recipients_per_call=1, callbacks=True)

    def __init__(self, settings: AppEngineSettings, nursery: trio.Nursery) -> None:
        self._settings = settings
        self._nursery = nursery
        self._place = place_of(settings.url)
        self._tls = _tls_of(settings) if self._place.is_tls else None
        self._remote = settings.socket or f"{self._place.host}:{self._place.port}"
        self._site = printable(f"unix:{settings.socket}" if settings.socket else self._place.origin)
        secret_of(settings)

    async def deliver(self, request: DeliveryRequest) -> Sequence[Verdict]:
        await trio.lowlevel.checkpoint()
        try:
            secret = secret_of(self._settings)
        except ConfigError as error:
            reply = printable(str(error))
            return [Verdict.deferred(reply, status="4.3.5", scope=Scope.TRANSPORT, site=self._site)]
        progress = Progress(request.committing)
        verdict = await outlast(
            self._nursery,
            partial(self._tell, request, secret, progress),
            lambda: request.doubt_seconds if progress.is_committed else 0.0,
        )
        if verdict is None and not progress.is_committed:
            await trio.lowlevel.checkpoint_if_cancelled()
        return [verdict or self._ended(progress)]

    def _ended(self, progress: Progress) -> Verdict:
        trouble = Unanswered("no answer in time", is_whole=progress.is_whole)
        return verdict_of_unanswered(trouble, self._remote, self._site)

    async def _tell(self, request: DeliveryRequest, secret: str, progress: Progress) -> Verdict:
        if is_bounce(request):
            return await self._tell_bounce(await read_bounce(request), request, secret, progress)
        return await self._bring_mail(request, secret, progress)

    async def _tell_bounce(self, bounce: Bounce, request: DeliveryRequest, secret: str, progress: Progress) -> Verdict:
        is_quick = len(bounce.raw) <= _INLINE_BYTES or bounce.raw.isascii()
        kind, form = write_form(bounce) if is_quick else await trio.to_thread.run_sync(write_form, bounce)
        headers = [("Content-Type", kind), *self._headers(request, secret)]
        post = Post(self._target(self._settings.bounce_path), headers, len(form))
        return await self._post(post, _Pieces(form), progress)

    async def _bring_mail(self, request: DeliveryRequest, secret: str, progress: Progress) -> Verdict:
        address = quote(request.recipients[0].address, safe="@")
        headers = [
            ("Content-Type", "message/rfc822"),
            ("X-Postroad-Sender", quote(request.message.sender, safe="@")),
            *self._headers(request, secret),
        ]
        post = Post(self._target(self._settings.mail_path) + address, headers, request.content.size)
        async with request.content.chunks() as pieces:
            return await self._post(post, pieces, progress)

    async def _post(self, post: Post, body: AsyncIterator[bytes], progress: Progress) -> Verdict:
        try:
            async with self._connection() as stream:
                answer = await exchange(stream, post, body, progress, self._settings)
        except Unsent as trouble:
            return verdict_of_unsent(trouble, self._remote, self._site)
        except Unanswered as trouble:
            return verdict_of_unanswered(trouble, self._remote, self._site)
        return verdict_of(answer, self._remote, self._site, time.time())

    @asynccontextmanager
    async def _connection(self) -> AsyncGenerator[trio.abc.Stream]:
        stream = await connect(self._settings, self._place, self._tls)
        try:
            yield stream
        finally:
            await trio.aclose_forcefully(stream)

    def _target(self, path: str) -> str:
        return self._place.path + path

    def _headers(self, request: DeliveryRequest, secret: str) -> list[tuple[str, str]]:
        headers = [
            ("Host", self._place.header),
            ("User-Agent", f"postroad/{__version__}"),
            ("Idempotency-Key", key_of(request)),
            ("X-Postroad-Id", request.message.id),
            *self._settings.headers.items(),
        ]
        if request.recipients[0].in_doubt:
            headers.append(("X-Postroad-Maybe-Duplicate", "1"))
        if secret:
            headers.append(("Authorization", f"Bearer {secret}"))
        return headers


class _Pieces:
    """Octets in pieces, as a content gives them."""

    def __init__(self, octets: bytes) -> None:
        self._pieces = (octets[start : start + _PIECE_BYTES] for start in range(0, len(octets), _PIECE_BYTES))

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        await trio.lowlevel.checkpoint()
        for piece in self._pieces:
            return piece
        raise StopAsyncIteration


def _tls_of(settings: AppEngineSettings) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=settings.ca_file or None)
    except OSError as error:  # ssl.SSLError is one
        raise ConfigError("ca_file", f"cannot be read: {error.strerror or error}") from None
