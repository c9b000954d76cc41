"""One request, from the first octet to the reply: knows nothing of providers, and judges nothing.

Until the body's last octets go, a cancelled call ends at once.  From then on it goes on for `doubt_seconds`, because an answer
that is not read makes a duplicate.  So the request runs in a task of its own, which lives no longer than its caller waits.
Nothing is ever sent twice, no redirect is followed, no reply is read beyond 256 KiB.
"""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import TypeAlias
from urllib.parse import urlsplit

import httpx2
import trio

from postroad import __version__
from postroad.log import printable
from postroad.outlasting import outlast

from .clients import Clients
from .provider import Answer, Call

__all__ = ["Exchange", "Outcome", "Post", "Unanswered", "Unsent"]

_REPLY_OCTETS = 262_144  # a batch of 100 errors with a kilobyte each fits
_PIECE_OCTETS = 65_536
_LOCAL = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS})


@dataclass(frozen=True, slots=True)
class Unsent:
    """It failed before the peer could have all of it.  is_local: for want of descriptors or memory on this machine."""

    said: str
    is_local: bool = False


@dataclass(frozen=True, slots=True)
class Unanswered:
    """No answer was seen, and the peer may have all of it; handed_over: it was given all of it."""

    said: str
    handed_over: bool


Outcome: TypeAlias = Answer | Unsent | Unanswered


class Exchange:
    """Sends requests.  nursery: for those under way.  seconds: for one of them, and its wait for a connection."""

    def __init__(self, clients: Clients, nursery: trio.Nursery, seconds: float) -> None:
        self._clients = clients
        self._nursery = nursery
        self._seconds = seconds

    async def ask(self, call: Call, committing: Callable[[], None], doubt_seconds: float) -> Outcome:
        """What became of it, also when cancelled: `Unsent` then means that Cancelled may pass.

        committing: called before the body's last octets go; after that, cancelling only sets a limit.
        """
        return await self.post(call, committing).ask(doubt_seconds)

    def post(self, call: Call, committing: Callable[[], None]) -> Post:
        """As `ask`, for a caller that looks at it meanwhile.  What committing raises ends it before its last octets go."""
        return Post(call, committing, self._clients, self._nursery, self._seconds)


class Post:
    """One request."""

    def __init__(
        self, call: Call, committing: Callable[[], None], clients: Clients, nursery: trio.Nursery, seconds: float
    ) -> None:
        self._call = call
        self._body = _Body(call.body, committing)
        self._clients = clients
        self._nursery = nursery
        self._seconds = seconds

    @property
    def is_handed_over(self) -> bool:
        return self._body.is_handed_over

    async def ask(self, doubt_seconds: float) -> Outcome:
        """As `Exchange.ask`.  To be called once."""
        outcome = await outlast(self._nursery, self._run, lambda: doubt_seconds if self._body.is_committed else 0.0)
        return self._without_answer("no answer in time") if outcome is None else outcome

    async def _run(self) -> Outcome | None:
        with trio.move_on_after(self._seconds):
            async with self._clients.one() as client:
                return await self._exchange(client)
        return None

    async def _exchange(self, client: httpx2.AsyncClient) -> Outcome:
        try:
            response = await client.send(self._request(), stream=True, follow_redirects=False)
            try:
                answer = await _read(response)
            finally:
                if not response.is_closed:  # as it is once all of it was read
                    with trio.CancelScope(shield=True):  # closes sockets, and waits for nobody
                        await response.aclose()
        except (
            Exception
        ) as error:  # whatever a client raises is trouble of the network, and never shown but by its kind
            return self._without_answer(_words(error), is_local=_is_local(error))
        if answer.status < 300 and not self._body.is_committed:
            return Unsent(f"{answer.status}, before all of the request was sent")
        return answer

    def _request(self) -> httpx2.Request:
        headers = [
            ("Host", urlsplit(self._call.url).netloc),
            ("User-Agent", f"postroad/{__version__}"),
            ("Accept", "application/json"),
            ("Accept-Encoding", "identity"),  # a packed reply can be larger than it looks
            ("Content-Length", str(len(self._call.body))),
            *self._call.headers,
        ]
        timeout = httpx2.Timeout(self._seconds).as_dict()
        return httpx2.Request(
            "POST", self._call.url, headers=headers, stream=self._body, extensions={"timeout": timeout}
        )

    def _without_answer(self, said: str, *, is_local: bool = False) -> Outcome:
        if self._body.is_committed:
            return Unanswered(said, self._body.is_handed_over)
        return Unsent(said, is_local)


class _Body(httpx2.AsyncByteStream):
    """The body in pieces.  is_committed: its end was about to be sent.  is_handed_over: its end was taken by the connection."""

    def __init__(self, octets: bytes, committing: Callable[[], None]) -> None:
        self._octets = octets
        self._committing = committing
        self._at = 0
        self.is_committed = False
        self.is_handed_over = False

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        await trio.lowlevel.checkpoint_if_cancelled()  # each piece is a checkpoint when it is sent
        if self.is_committed:
            self.is_handed_over = True
            raise StopAsyncIteration
        piece = self._octets[self._at : self._at + _PIECE_OCTETS]
        self._at += len(piece)
        if self._at >= len(self._octets):
            self._committing()
            self.is_committed = True
        return piece


async def _read(response: httpx2.Response) -> Answer:
    octets, is_whole = bytearray(), True
    with trio.CancelScope() as enough:
        async for piece in response.aiter_raw():
            octets += piece
            if len(octets) > _REPLY_OCTETS:
                is_whole = False
                enough.cancel()  # within the client, so that nothing of it is left half done
    headers = {name.lower(): value for name, value in response.headers.items()}
    return Answer(response.status_code, headers, bytes(octets[:_REPLY_OCTETS]), is_whole)


def _words(error: BaseException) -> str:
    name = type(error).__name__
    text = str(error)
    return printable(f"{name}: {text}" if text else name, 300)


def _is_local(error: BaseException) -> bool:
    """Whether some cause of it was a want of this machine."""
    seen: BaseException | None = error
    for _ in range(10):
        if seen is None:
            return False
        if isinstance(seen, OSError) and seen.errno in _LOCAL:
            return True
        seen = seen.__cause__ or seen.__context__
    return False
