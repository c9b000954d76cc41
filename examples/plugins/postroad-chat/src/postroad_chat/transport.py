"""Posts each mail as a line of chat: subject, sender and text, in the channel that the recipient's local part names.

Its duties stand in `postroad.transport.Transport`.  What happens becomes a Verdict: temporary unless proven permanent.
"""

from __future__ import annotations

import email
import email.policy
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import httpx2
import msgspec
from msgspec import Meta
from postroad import ConfigError
from postroad.config import PathSetting
from postroad.log import printable
from postroad.transport import Capabilities, DeliveryRequest
from postroad.verdict import Scope, Verdict, retry_after

__all__ = ["ChatSettings", "ChatTransport", "headers_of"]

_MOST_BYTES = 262_144  # more is no chat; and a content up to here may be read at once
_MOST_TEXT = 4000  # characters of one post


class ChatSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[transports.NAME] with plugin = "chat"."""

    url: Annotated[str, Meta(description="The webhook's address, http or https.", pattern="^https?://.")]
    token_file: Annotated[
        PathSetting, Meta(description="File with the token that goes along with each post; empty: none goes.")
    ] = ""
    timeout_seconds: Annotated[float, Meta(description="Seconds without a sign of the chat.", gt=0)] = 30.0


def headers_of(settings: ChatSettings) -> dict[str, str]:
    """Read the token, once.  Raises ConfigError."""
    if not settings.token_file:
        return {}
    try:
        token = Path(settings.token_file).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError("token_file", f"cannot be read: {error}") from None
    return {"Authorization": f"Bearer {token}"}


class ChatTransport:
    """One post for each recipient; many run at once over one client."""

    def __init__(self, settings: ChatSettings, client: httpx2.AsyncClient) -> None:
        self._url = settings.url
        self._client = client

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(recipients_per_call=1, message_bytes=_MOST_BYTES)

    async def deliver(self, request: DeliveryRequest) -> Sequence[Verdict]:
        if request.content.size > _MOST_BYTES:
            return [Verdict.refused("too large for a chat", status="5.3.4")]
        [recipient] = request.recipients
        post = {"channel": recipient.address.rpartition("@")[0], "text": text_of(await request.content.read())}
        request.committing()  # from here on the chat might show it
        try:
            answer = await self._client.post(self._url, json=post)
        except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout) as error:
            return [Verdict.deferred(printable(f"cannot be reached: {error}"), status="4.4.1", scope=Scope.SITE)]
        except httpx2.HTTPError as error:
            return [Verdict.in_doubt(printable(f"posted, and no answer: {type(error).__name__} {error}"))]
        return [verdict_of(answer)]


def text_of(content: bytes) -> str:
    """What a mail says, for people who see one line of it."""
    mail = email.message_from_bytes(content, policy=email.policy.default)
    body = mail.get_body(("plain", "html"))
    try:
        said = body.get_content() if body is not None else ""
    except (LookupError, ValueError):  # a charset that is not known
        said = "(cannot be shown)"
    return f"*{mail.get('subject', '')}* ({mail.get('from', '')})\n{said}".strip()[:_MOST_TEXT]


def verdict_of(answer: httpx2.Response) -> Verdict:
    """What a status code means for the one recipient (RFC 9110 section 15)."""
    said = f"HTTP {answer.status_code}"
    match answer.status_code:
        case 200 | 201 | 202 | 204:
            return Verdict.accepted(said)
        case 401 | 403:  # what we bring along; no fault of the recipient's
            return Verdict.deferred(said, status="4.7.8", scope=Scope.TRANSPORT)
        case 404 | 410:
            return Verdict.refused(f"{said}: there is no such channel", status="5.1.1")
        case 429 | 503:
            return Verdict.deferred(said, status="4.3.2", scope=Scope.SITE, retry_after_seconds=_hint_of(answer))
        case _:
            return Verdict.deferred(said, status="4.3.0")


def _hint_of(answer: httpx2.Response) -> float | None:
    said = answer.headers
    return retry_after(said.get("Retry-After", ""), date=said.get("Date", ""), now=time.time())
