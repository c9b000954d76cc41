"""What Amazon's events make us ask Amazon: the certificate of a signature, and the confirmation of a subscription.

Only URLs that `ses.py` has approved come here.  Redirects are not followed; little is read, and not for long.  Imports httpx2
late.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from postroad.errors import ConfigError

from .source import Forged

__all__ = ["Certificates", "Fetch", "fetch"]

Fetch = Callable[[str], Awaitable[bytes]]

_ANSWER_OCTETS = 65_536  # a certificate has 2 KB
_SECONDS = 10.0  # SNS itself waits 15 s for our answer
_KEPT = 16  # certificates; each region has one or two at a time


async def fetch(url: str) -> bytes:
    """GET it.  Raises OSError for all but a small answer 200, ConfigError without httpx2."""
    try:
        import httpx2
    except ModuleNotFoundError:
        raise ConfigError(
            "events_topics", 'need httpx2, which is not installed: pip install "postroad[events]"'
        ) from None
    body = b""
    try:
        async with (
            httpx2.AsyncClient(timeout=_SECONDS, trust_env=False, follow_redirects=False) as client,
            client.stream("GET", url) as answer,
        ):
            async for piece in answer.aiter_bytes():
                body += piece
                if len(body) > _ANSWER_OCTETS:
                    raise OSError("the answer is too large")
    except httpx2.HTTPError as error:
        raise OSError(f"no answer: {type(error).__name__}") from error
    if answer.status_code != 200:
        raise OSError(f"answered {answer.status_code}")
    return body


class Certificates:
    """The last ones, by URL: a certificate's URL never means another one.  Only what proved a signature is kept."""

    def __init__(self, get: Fetch) -> None:
        self._get = get
        self._kept: dict[str, bytes] = {}

    async def at(self, url: str) -> bytes:
        """Raises Forged where none is there: an URL that looks right costs a stranger as much as us.  Raises ConfigError."""
        if url in self._kept:
            return self._kept[url]
        try:
            return await self._get(url)
        except OSError as error:
            raise Forged(f"its certificate cannot be had: {error}") from None

    def keep(self, url: str, certificate: bytes) -> None:
        self._kept.pop(url, None)
        while len(self._kept) >= _KEPT:
            del self._kept[next(iter(self._kept))]
        self._kept[url] = certificate
