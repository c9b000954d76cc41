"""One POST over one connection (HTTP/1.1, RFC 9112), and what is known when it fails: whether the application may have it.

The last piece of the body is held back until `committing` was called: before, nothing whole has left.  Redirects are not
followed, nothing is tried again, and the answer's body is thrown away.  Every wait and every reply has a limit.
"""

from __future__ import annotations

import errno
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from typing import NamedTuple

import h11
import trio

from .settings import AppEngineSettings, Place

__all__ = ["Answer", "Post", "Progress", "Unanswered", "Unsent", "connect", "exchange"]

_ANSWER_BYTES = 65_536  # of a header; servers allow requests less
_REST_BYTES, _REST_SECONDS = 65_536, 1.0  # of an answer's body, so that most servers see no reset
_EARLY_SECONDS = 5.0  # for an answer that was given before all was sent
_LOCAL = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS})
_HTTP = b"HTTP/"
_PASSING = 20  # interim answers (1xx) before the real one


class Post(NamedTuple):
    """What is posted.  size: octets of the body."""

    target: str
    headers: Sequence[tuple[str, str]]
    size: int


class Progress:
    """How far it is.  is_committed: its end was about to be sent, and `committing` called.  is_whole: its end was taken."""

    def __init__(self, committing: Callable[[], None]) -> None:
        self._committing = committing
        self.is_committed = False
        self.is_whole = False

    def commit(self) -> None:
        self.is_committed = True
        self._committing()


class Answer(NamedTuple):
    status: int
    reason: str
    retry_after: str
    date: str


class Unsent(Exception):
    """The application cannot have all of it.  is_local: it is this machine's trouble, and nothing was tried."""

    def __init__(self, why: str, *, is_local: bool = False) -> None:
        super().__init__(why)
        self.is_local = is_local


class Unanswered(Exception):
    """The application may have it.  is_whole: everything was given to the connection, and nothing came back."""

    def __init__(self, why: str, *, is_whole: bool) -> None:
        super().__init__(why)
        self.is_whole = is_whole


async def connect(settings: AppEngineSettings, place: Place, tls: ssl.SSLContext | None) -> trio.abc.Stream:
    """Raises Unsent."""
    try:
        with trio.fail_after(settings.connect_seconds):
            return await _connected(settings, place, tls)
    except trio.TooSlowError:
        raise Unsent(f"no connection within {settings.connect_seconds:g} s") from None
    except (OSError, trio.BrokenResourceError) as error:
        raise Unsent(f"no connection: {_words(error)}", is_local=_is_local(error)) from error


async def _connected(settings: AppEngineSettings, place: Place, tls: ssl.SSLContext | None) -> trio.abc.Stream:
    if settings.socket:
        plain: trio.abc.Stream = await trio.open_unix_socket(settings.socket)
    else:
        plain = await trio.open_tcp_stream(place.host, place.port)
    if tls is None:
        return plain
    stream = trio.SSLStream(plain, tls, server_hostname=place.host, https_compatible=True)
    try:
        await stream.do_handshake()
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise
    return stream


async def exchange(
    stream: trio.abc.Stream,
    post: Post,
    body: AsyncIterator[bytes],
    progress: Progress,
    settings: AppEngineSettings,
) -> Answer:
    """Send it and read the answer.  Raises Unsent or Unanswered; what reading the body raises passes."""
    talk = _Talk(stream, settings)
    pending = talk.head(post)
    async for piece in body:
        if not await talk.send(pending):
            answer = await talk.early_answer()
            progress.commit()  # perhaps it took what it had
            return answer
        pending = talk.data(piece)
    pending += talk.end()
    progress.commit()
    progress.is_whole = await talk.send(pending)
    return await (talk.answer() if progress.is_whole else talk.late_answer())


class _Talk:
    """The state of one exchange."""

    def __init__(self, stream: trio.abc.Stream, settings: AppEngineSettings) -> None:
        self._stream = stream
        self._settings = settings
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=_ANSWER_BYTES)
        self._trouble = ""
        self._heard = b""  # how the answer begins

    def head(self, post: Post) -> bytes:
        headers = [*post.headers, ("Content-Length", str(post.size)), ("Connection", "close")]
        return self._octets(h11.Request(method="POST", target=post.target, headers=headers))

    def data(self, piece: bytes) -> bytes:
        return self._octets(h11.Data(data=piece))

    def end(self) -> bytes:
        return self._octets(h11.EndOfMessage())

    def _octets(self, event: h11.Request | h11.Data | h11.EndOfMessage) -> bytes:
        return self._http.send(event) or b""

    async def send(self, octets: bytes) -> bool:
        """Whether it was taken."""
        try:
            with trio.fail_after(self._settings.send_seconds):
                await self._stream.send_all(octets)
        except trio.TooSlowError:
            self._trouble = f"took nothing for {self._settings.send_seconds:g} s"
        except trio.BrokenResourceError as error:
            self._trouble = f"connection cut while sending: {_words(error)}"
        return not self._trouble

    async def early_answer(self) -> Answer:
        """The connection ended before all was sent: perhaps the application said why."""
        try:
            return await self._within(_EARLY_SECONDS)
        except (trio.TooSlowError, trio.BrokenResourceError, h11.ProtocolError, EOFError):
            raise Unsent(self._trouble) from None

    async def late_answer(self) -> Answer:
        """As `early_answer`, where the last piece may have arrived."""
        try:
            return await self.early_answer()
        except Unsent as error:
            raise Unanswered(str(error), is_whole=False) from None

    async def answer(self) -> Answer:
        seconds = self._settings.reply_seconds
        try:
            return await self._within(seconds)
        except trio.TooSlowError:
            raise self._unanswered(f"no answer within {seconds:g} s") from None
        except EOFError:
            raise self._unanswered("connection closed without an answer") from None
        except trio.BrokenResourceError as error:
            raise self._unanswered(f"connection cut before the answer: {_words(error)}") from None
        except h11.ProtocolError:
            raise Unanswered("the answer is not HTTP", is_whole=False) from None

    def _unanswered(self, why: str) -> Unanswered:
        """Who speaks something else is not the application."""
        return Unanswered(why, is_whole=_HTTP.startswith(self._heard))

    async def _within(self, seconds: float) -> Answer:
        with trio.fail_after(seconds):
            response = await self._response()
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in response.headers}
        await self._read_rest()
        return Answer(
            status=response.status_code,
            reason=response.reason.decode("latin-1"),
            retry_after=headers.get("retry-after", ""),
            date=headers.get("date", ""),
        )

    async def _response(self) -> h11.Response:
        passing = 0
        while passing < _PASSING:
            event = self._http.next_event()
            if isinstance(event, h11.Response):
                return event
            if event is h11.NEED_DATA:
                self._http.receive_data(await self._receive())
            passing += isinstance(event, h11.InformationalResponse)
        raise h11.RemoteProtocolError("interim answers only")

    async def _receive(self) -> bytes:
        octets = bytes(await self._stream.receive_some(_ANSWER_BYTES))
        if not octets:
            raise EOFError
        self._heard = self._heard or octets[: len(_HTTP)]
        return octets

    async def _read_rest(self) -> None:
        """Whatever comes of it: the answer is there."""
        octets = 0
        try:
            with trio.move_on_after(_REST_SECONDS):
                while octets < _REST_BYTES and not isinstance(event := self._http.next_event(), h11.EndOfMessage):
                    if event is h11.NEED_DATA:
                        received = await self._receive()
                        octets += len(received)
                        self._http.receive_data(received)
        except (trio.BrokenResourceError, h11.ProtocolError, EOFError):
            return


def _is_local(error: BaseException | None) -> bool:
    """Whether descriptors or memory were missing, also for one of several attempts to connect."""
    while error is not None:
        inside: Sequence[BaseException] = getattr(error, "exceptions", ())
        if (isinstance(error, OSError) and error.errno in _LOCAL) or any(map(_is_local, inside)):
            return True
        error = error.__cause__
    return False


def _words(error: BaseException) -> str:
    cause = error.__cause__
    return str(cause if isinstance(error, trio.BrokenResourceError) and cause is not None else error) or repr(error)
