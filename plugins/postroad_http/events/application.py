"""The ASGI application: a POST in, checked, read and handed over; 200 only when all of it is durable.

It believes nothing before `Source.check`, keeps no secret, and writes none into a log.  Whatever a stranger sends is answered,
and costs a bounded time and memory.  For any server and loop; it imports neither a framework nor trio.  ASGI 3, HTTP and
lifespan.
"""

from __future__ import annotations

import inspect
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from postroad.config import Config
from postroad.errors import ConfigError, PostroadError, SubmissionError
from postroad.log import get_logger, printable
from postroad.remote import Noted, RemoteNotice

from ..settings import HttpTable
from .amazon import Certificates, Fetch, fetch
from .loops import TooSlow, in_thread, within
from .source import Batch, Forged, Keys, Malformed, Posted, Source

__all__ = ["Door", "ProviderEvents", "provider_events"]

_BODY_OCTETS = 8 << 20  # SparkPost and Mandrill send the largest: some thousand events of 1 KB
_TOO_LARGE = f"it has more than {_BODY_OCTETS} octets"
_BODY_SECONDS = 20.0
_AT_ONCE = 16  # requests that are being read: with their bodies 128 MiB
_AGAIN_SECONDS = 30
_HEADERS = 200  # more of them are nobody's who means us well; servers have limits of their own
_REASONS = 1000  # of refusals that are counted apart

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Take = Callable[[str, Sequence[RemoteNotice], str], Awaitable[Noted]]

_log = get_logger()


class Door(Protocol):
    """An Engine (whose method is async) or a Handover (whose is not)."""

    def receive_notices(self, transport: str, notices: Iterable[RemoteNotice], *, token: str = "") -> Any: ...


@dataclass(frozen=True, slots=True)
class Place:
    """Where the events of one transport come in."""

    transport: str
    source: Source
    settings: HttpTable


class _Refused(Exception):
    """How a request is answered that is not taken.  counted: the word for it in `counts`.  why: for the log, if it is due."""

    def __init__(
        self, status: int, counted: str, headers: Sequence[tuple[bytes, bytes]] = (), *, why: str = ""
    ) -> None:
        super().__init__(counted)
        self.status, self.counted, self.headers, self.why = status, counted, headers, why


def provider_events(door: Door, config: Config | None = None) -> ProviderEvents:
    """The application for all HTTP transports of a configuration that take events, each at `/NAME` below where it is mounted.

    door: an Engine, in its own trio application; or a Handover, in any other process and under any loop.  config: by
    default the engine's own.  Raises ConfigError: where nothing takes events, or a secret is not there.
    """
    config = config or getattr(door, "config", None)
    if not isinstance(config, Config):
        raise ConfigError("config", "must be given with a Handover")
    return ProviderEvents(places_of(config), _taker(door))


def _taker(door: Door) -> Take:
    async def by_engine(transport: str, notices: Sequence[RemoteNotice], token: str) -> Noted:
        noted: Noted = await door.receive_notices(transport, notices, token=token)
        return noted

    async def by_handover(transport: str, notices: Sequence[RemoteNotice], token: str) -> Noted:
        return await in_thread(partial(door.receive_notices, transport, notices, token=token))

    return by_engine if inspect.iscoroutinefunction(door.receive_notices) else by_handover


def places_of(config: Config) -> dict[str, Place]:
    """By the transports' names.  Raises ConfigError."""
    from postroad.config import read_settings
    from postroad.transport import TransportSettings

    from ..providers import PROVIDERS
    from .sources import SOURCES

    places: dict[str, Place] = {}
    for name, table in config.transports.items():
        provider = PROVIDERS.get(str(table.get("provider", "")))
        if table.get("plugin") != "http" or provider is None:
            continue
        given = TransportSettings(
            {key: value for key, value in table.items() if key != "plugin"}, base=config.resolved("")
        )
        settings = read_settings(given, provider.settings)
        if settings.takes_events:
            settings.secret_of_events()
            places[name] = Place(name, SOURCES[provider.name], settings)
    if not places:
        raise ConfigError(
            "transports", "no HTTP transport has events_secret (or events_topics); see docs/provider-events.md"
        )
    return places


class ProviderEvents:
    """counts: requests and events by word, since the start: "told", "known", "unmatched", "ignored", "forged" and so on.

    get: fetches an URL of Amazon's (for tests).  now: Unix seconds.
    """

    def __init__(
        self, places: Mapping[str, Place], take: Take, *, get: Fetch = fetch, now: Callable[[], float] = time.time
    ) -> None:
        self._places = places
        self._take = take
        self._get = get
        self._now = now
        self._certificates = Certificates(get)
        self._refusals: Counter[tuple[str, str]] = Counter()
        self._running = 0
        self.counts: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _live(receive, send)
        elif scope["type"] == "http":
            status, headers = await self._answer(scope, receive)
            await _send(send, status, headers)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1000})

    async def _answer(self, scope: Scope, receive: Receive) -> tuple[int, Sequence[tuple[bytes, bytes]]]:
        place = self._places.get(_name_in(scope))
        try:
            if place is None:
                raise _Refused(404, "unknown address")
            if scope["method"] in ("GET", "HEAD"):
                return 200, ()  # providers look whether anybody is there
            if scope["method"] != "POST":
                raise _Refused(405, "no POST", [(b"allow", b"POST, GET, HEAD")])
            if self._running >= _AT_ONCE:
                raise _Refused(503, "busy", [(b"retry-after", b"%d" % _AGAIN_SECONDS)])
            self._running += 1
            try:
                await self._handle(place, scope, receive)
            finally:
                self._running -= 1
        except _Refused as refused:
            self.counts[refused.counted] += 1
            return refused.status, refused.headers
        return 200, ()

    async def _handle(self, place: Place, scope: Scope, receive: Receive) -> None:
        """Returns where all is durable.  Raises _Refused."""
        try:
            headers = _headers_in(scope, is_form=place.source.is_form)
            keys = self._keys(place)
            place.source.check_before(Posted(headers, b""), keys)
            posted = Posted(headers, await _body(receive, headers))
            await self._check(place.source, posted, keys)
            await self._hand_over(place, place.source.read(posted))
        except _Refused as refused:
            if refused.why:
                self._tell_refusal(place, refused.counted, refused.why)
            raise
        except Forged as forged:
            self._tell_refusal(place, "forged", str(forged))
            challenge = [(b"www-authenticate", b'Basic realm="postroad"')] if place.source.challenge else []
            raise _Refused(401, "forged", challenge) from None
        except Malformed as malformed:
            self._tell_refusal(place, "malformed", str(malformed))
            raise _Refused(400, "malformed") from None
        except ConfigError as error:
            self._tell_refusal(place, "misconfigured", str(error))
            raise _Refused(503, "misconfigured", [(b"retry-after", b"%d" % _AGAIN_SECONDS)]) from None

    def _keys(self, place: Place) -> Keys:
        return Keys(
            secret=place.settings.secret_of_events(),
            now=self._now(),
            url=getattr(place.settings, "events_url", ""),
            topics=getattr(place.settings, "events_topics", ()),
        )

    async def _check(self, source: Source, posted: Posted, keys: Keys) -> None:
        """Raises Forged, and ConfigError where what it takes is not installed."""
        url = source.certificate_url(posted, keys)
        certificate = await self._certificates.at(url) if url else b""
        try:
            source.check(posted, Keys(keys.secret, keys.now, keys.url, keys.topics, certificate))
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] != "cryptography":
                raise
            raise ConfigError(
                "provider", 'needs cryptography, which is not installed: pip install "postroad[events]"'
            ) from None
        if url:
            self._certificates.keep(url, certificate)

    async def _hand_over(self, place: Place, batch: Batch) -> None:
        self.counts["ignored"] += batch.ignored
        if batch.confirm:
            await self._confirm(place, batch.confirm)
        if not batch.notices and not batch.token:
            return
        try:
            noted = await self._take(place.transport, batch.notices, batch.token)
        except SubmissionError as error:
            raise Malformed(str(error)) from None
        except PostroadError as error:
            _log.warning("provider_events_not_taken", transport=place.transport, error=repr(error))
            raise _Refused(503, "not taken", [(b"retry-after", b"%d" % _AGAIN_SECONDS)]) from None
        for word in ("told", "known", "unmatched", "unsettled"):
            self.counts[word] += getattr(noted, word)
        if noted.unsettled:
            raise _Refused(503, "told again later", [(b"retry-after", b"%d" % _AGAIN_SECONDS)])

    async def _confirm(self, place: Place, url: str) -> None:
        try:
            await self._get(url)
        except OSError as error:
            _log.warning("provider_events_unconfirmed", transport=place.transport, error=str(error))
            raise _Refused(503, "not confirmed") from None
        _log.info("provider_events_subscribed", transport=place.transport)
        self.counts["subscribed"] += 1

    def _tell_refusal(self, place: Place, counted: str, why: str) -> None:
        """The 1st, 2nd, 4th, 8th of each: whoever sends forged ones fills no log."""
        key = (place.transport, why)
        if key not in self._refusals and len(self._refusals) >= _REASONS:
            return
        self._refusals[key] += 1
        number = self._refusals[key]
        if number & (number - 1) == 0:
            _log.warning(
                "provider_events_refused", transport=place.transport, kind=counted, why=printable(why), times=number
            )


# --- ASGI ---


def _name_in(scope: Scope) -> str:
    """The transport's name: the path behind where the application is mounted (servers and frameworks leave the root in it)."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", "").rstrip("/")).strip("/")


def _headers_in(scope: Scope, *, is_form: bool) -> Sequence[tuple[str, str]]:
    """Raises _Refused for what is neither JSON (or text, as Amazon has it) nor, where one is due, a form; or is compressed."""
    raw: Sequence[tuple[bytes, bytes]] = list(scope["headers"])
    if len(raw) > _HEADERS:
        raise _Refused(400, "too many header fields", why=f"it has more than {_HEADERS}")
    headers = [(name.decode("latin-1").lower(), value.decode("latin-1").strip()) for name, value in raw]
    kinds = [value.partition(";")[0].strip().lower() for name, value in headers if name == "content-type"]
    wanted = ("application/x-www-form-urlencoded",) if is_form else ("application/json", "text/plain")
    encodings = [value.lower() for name, value in headers if name == "content-encoding"]
    if len(kinds) != 1 or kinds[0] not in wanted or any(encoding != "identity" for encoding in encodings):
        raise _Refused(415, "another content type", why=f"it is no {' or '.join(wanted)}, or compressed")
    return headers


async def _body(receive: Receive, headers: Sequence[tuple[str, str]]) -> bytes:
    """Raises _Refused for one that is too large, too slow or cut."""
    lengths = [value for name, value in headers if name == "content-length"]
    if any(not length.isdecimal() or len(length) > 18 or int(length) > _BODY_OCTETS for length in lengths):
        raise _Refused(413, "too large", why=_TOO_LARGE)
    try:
        return await within(_BODY_SECONDS, partial(_gathered, receive))
    except TooSlow:
        raise _Refused(408, "too slow", why=f"it had not come whole within {_BODY_SECONDS:g} s") from None


async def _gathered(receive: Receive) -> bytes:
    pieces: list[bytes] = []
    octets = 0
    while True:
        event = await receive()
        if event["type"] != "http.request":
            raise _Refused(400, "cut", why="its sender left before all of it was there")
        piece = event.get("body", b"")
        octets += len(piece)
        if octets > _BODY_OCTETS:
            raise _Refused(413, "too large", why=_TOO_LARGE)
        if piece:
            pieces.append(piece)
        if not event.get("more_body", False):
            return b"".join(pieces)


async def _send(send: Send, status: int, headers: Sequence[tuple[bytes, bytes]]) -> None:
    all_headers = [(b"content-length", b"0"), (b"cache-control", b"no-store"), *headers]
    await send({"type": "http.response.start", "status": status, "headers": all_headers})
    await send({"type": "http.response.body", "body": b""})


async def _live(receive: Receive, send: Send) -> None:
    while True:
        event = await receive()
        if event["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})
        elif event["type"] == "lifespan.shutdown":
            await send({"type": "lifespan.shutdown.complete"})
            return
