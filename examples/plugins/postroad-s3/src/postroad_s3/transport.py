"""Puts each recipient's mail as one object into a bucket of S3-compatible storage.

The object's name depends on message and recipient alone: the same mail put again replaces itself.  Large contents are
read twice, once for their digest and once to be sent, and never lie in memory as a whole.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated
from urllib.parse import quote, urlsplit

import httpx2
import msgspec
from msgspec import Meta
from postroad.config import PathSetting
from postroad.log import printable
from postroad.transport import Capabilities, Content, DeliveryRequest
from postroad.verdict import Scope, Verdict, retry_after

from .signing import signed

__all__ = ["S3Settings", "S3Transport"]

_MOST_BYTES = 5 * 2**30  # of one PUT; more wants a multipart upload
_NAME = r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$"


class S3Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[transports.NAME] with plugin = "s3"."""

    endpoint: Annotated[str, Meta(description="Address of the storage, without a bucket.", pattern="^https?://[^/]+$")]
    bucket: Annotated[str, Meta(description="The bucket; it must be there.", pattern=_NAME)]
    access_key_id: Annotated[str, Meta(description="Names the key that requests are signed with.", min_length=1)]
    secret_key_file: Annotated[PathSetting, Meta(description="File with the secret half of that key.")]
    region: Annotated[str, Meta(description="The region that signatures name.")] = "us-east-1"
    prefix: Annotated[str, Meta(description='Begins every object\'s name, such as "mail/".')] = ""
    timeout_seconds: Annotated[float, Meta(description="Seconds without a sign of the storage.", gt=0)] = 60.0


class S3Transport:
    """One PUT for each recipient; many run at once over one client."""

    def __init__(self, settings: S3Settings, secret: str, client: httpx2.AsyncClient) -> None:
        self._settings = settings
        self._secret = secret
        self._client = client

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(recipients_per_call=1, message_bytes=_MOST_BYTES)

    async def deliver(self, request: DeliveryRequest) -> Sequence[Verdict]:
        if request.content.size > _MOST_BYTES:
            return [Verdict.refused("too large for one object", status="5.3.4")]
        digest = await _digest_of(request.content)
        path = f"/{self._settings.bucket}/{self._name_of(request)}"
        request.committing()  # from here on the storage might have it
        try:
            answer = await self._put(path, digest, request.content)
        except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout) as error:
            return [Verdict.deferred(printable(f"cannot be reached: {error}"), status="4.4.1", scope=Scope.SITE)]
        except httpx2.HTTPError as error:
            return [Verdict.in_doubt(printable(f"sent, and no answer: {type(error).__name__} {error}"))]
        return [_verdict_of(answer)]

    def _name_of(self, request: DeliveryRequest) -> str:
        [recipient] = request.recipients
        return f"{self._settings.prefix}{request.message.id}.{recipient.number}.eml"

    async def _put(self, path: str, digest: str, content: Content) -> httpx2.Response:
        headers = signed(
            "PUT",
            path,
            {"Host": urlsplit(self._settings.endpoint).netloc, "Content-Type": "message/rfc822"},
            payload_sha256=digest,
            key_id=self._settings.access_key_id,
            secret=self._secret,
            region=self._settings.region,
            now=datetime.now(UTC),
        )
        url = self._settings.endpoint + quote(path, safe="/-_.~")
        async with content.chunks() as pieces:
            return await self._client.put(url, content=pieces, headers={**headers, "Content-Length": str(content.size)})


async def _digest_of(content: Content) -> str:
    digest = hashlib.sha256()
    async with content.chunks() as pieces:
        async for piece in pieces:
            digest.update(piece)
    return digest.hexdigest()


def _verdict_of(answer: httpx2.Response) -> Verdict:
    """A storage refuses no recipient: whatever it says is the operator's trouble, or its own, and mail waits."""
    said = f"HTTP {answer.status_code}"
    match answer.status_code:
        case 200:
            return Verdict.accepted(said)
        case 429 | 503:  # SlowDown
            return Verdict.deferred(said, status="4.3.2", scope=Scope.SITE, retry_after_seconds=_hint_of(answer))
        case status if status >= 500:
            return Verdict.deferred(said, status="4.3.0", scope=Scope.SITE)
        case _:  # wrong key, no such bucket, no permission
            return Verdict.deferred(said, status="4.3.5", scope=Scope.TRANSPORT)


def _hint_of(answer: httpx2.Response) -> float | None:
    said = answer.headers
    return retry_after(said.get("Retry-After", ""), date=said.get("Date", ""), now=time.time())
