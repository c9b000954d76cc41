"""The SMTP transport: takes requests, finds their site, and waits for the sessions' verdicts.

Carries, and judges nothing: whatever happens becomes a verdict.  Created by the factory in `__init__.py`; called by delivery,
many calls at once.  RFC 5321.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Sequence

import trio

from postroad.log import printable
from postroad.transport import Capabilities, Content, DeliveryRequest, Done, Withdraw
from postroad.verdict import Verdict

from . import emit
from .answers import Resolver
from .approach import Ways
from .clock import Clock
from .dial import Dial, Guard
from .ear import Ear
from .encoding import check_size, encode_content
from .endpoints import Endpoints
from .envelope import is_eight_bit
from .handover import Handover
from .handshake import Terms
from .known import KnownHosts
from .mx import Exchangers, Route
from .opening import Addresses, Opener
from .places import read_networks, read_place, read_server, read_sources
from .pool import Site, Sites
from .session import Session
from .settings import SmtpSettings, read_login
from .smarthost import SystemNames, smarthost_route
from .talk import Talk
from .tls import Certificates, Level, Tls
from .trouble import Kind, Trouble
from .verdicts import Remote, of_trouble, own_refusal

__all__ = ["STREAM_FROM", "SmtpTransport"]

STREAM_FROM = 262_144  # octets: larger contents are never held in memory whole


class SmtpTransport:
    """Delivers to a smarthost, or to the recipients' own servers.

    nursery: for the sessions, which outlive calls.  dial, resolver, rng: ports, for tests and for other ways to connect; a `dial`
    connects from where it likes, whatever `source_addresses` says; a `resolver` finds a smarthost's addresses, too.
    Raises ConfigError where the settings cannot be used.
    """

    def __init__(
        self,
        settings: SmtpSettings,
        nursery: trio.Nursery,
        *,
        dial: Dial | None = None,
        resolver: Resolver | None = None,
        rng: random.Random | None = None,
    ) -> None:
        self._settings = settings
        self._nursery = nursery
        self._known = KnownHosts()
        self._ear = Ear(nursery)
        self._clock = Clock(nursery)
        self._route: Route | None = None
        self._exchangers: Exchangers | None = None
        if settings.smarthost:
            self._route = smarthost_route(read_place("smarthost", settings.smarthost, settings.usual_port))
        if self._route is None or resolver is not None:
            self._exchangers = _exchangers(settings, nursery, resolver)
        self._opener = self._make_opener(dial, rng or random.Random())  # noqa: S311 - spreads load, hides nothing
        self._sites = Sites(settings.sessions, self._start_session, self._call_later)

    def _make_opener(self, dial: Dial | None, rng: random.Random) -> Opener:
        settings = self._settings
        level = self._level()
        port = self._route.port if self._route else settings.usual_port
        terms = Terms(
            settings.helo_name,
            level,
            read_login(settings),
            settings.login_without_tls,
            settings.mechanisms,
            implicit_tls=level is not Level.NONE and settings.is_tls_implicit(port),
            is_lmtp=settings.protocol == "lmtp",
        )
        names: Addresses = self._exchangers or SystemNames(settings.dns_seconds)
        sources = read_sources(settings.source_addresses)
        ways = Ways(Guard(read_networks(settings.allow_networks)), sources, Endpoints(rng))
        tls = Tls(level, Certificates(settings.ca_file, settings.client_cert_file, settings.client_key_file))
        return Opener(settings, terms, tls, dial, ways, names, self._known, rng)

    def _level(self) -> Level:
        """Over a unix socket nobody listens: TLS only where it is asked for."""
        level = Level(self._settings.tls)
        is_unix = self._route is not None and self._route.site.startswith("unix:")
        return Level.NONE if is_unix and level is Level.OPPORTUNISTIC else level

    def _start_session(self, site: Site, handover: Handover) -> Session:
        talk = Talk(self._settings, self._ear, self._clock)
        session = Session(site, handover, self._opener, self._settings, self._known, talk, self._nursery)
        session.begin()
        return session

    def _call_later(self, seconds: float, act: Callable[[], None]) -> None:
        self._nursery.start_soon(_after, seconds, act)

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(by_domain=self._route is None)

    async def deliver(self, request: DeliveryRequest) -> Sequence[Verdict]:
        """Try once to hand the message over; see `postroad.transport.Transport`."""
        try:
            route = self._known_route(request.domain) or await self._find_route(request.domain)
        except Trouble as trouble:
            return self._same(request, of_trouble(trouble, Remote(site=printable(request.domain or "", 255))))
        try:
            handover = await self._prepare(request, route)
        except emit.Unsafe as error:
            return self._same(request, own_refusal(str(error), "5.6.0", Remote(site=route.site)))
        self._sites.submit(handover)
        await handover.wait_settled(lambda: self._take_back(handover))
        if handover.error is not None:
            raise handover.error
        return handover.verdicts

    def begin_delivery(self, request: DeliveryRequest, done: Done) -> Withdraw | None:
        """Begin where the route is known and the content at hand; see `postroad.transport.Beginning`."""
        route, data = self._known_route(request.domain), _at_hand(request.content)
        if route is None or data is None:
            return None
        try:
            handover = self._handover(request, route, data, done)
        except emit.Unsafe:
            return None  # `deliver` finds the same, and says so
        self._sites.submit(handover)
        return functools.partial(self._take_back, handover)

    def _take_back(self, handover: Handover) -> bool:
        is_back = self._sites.withdraw(handover)
        if is_back:
            handover.forget_done()
        return is_back

    async def _prepare(self, request: DeliveryRequest, route: Route) -> Handover:
        """The request with its content as it goes on the wire.  Raises emit.Unsafe; StoreError."""
        data = _at_hand(request.content)
        return self._handover(request, route, await request.content.read() if data is None else data)

    def _handover(self, request: DeliveryRequest, route: Route, data: bytes, done: Done | None = None) -> Handover:
        """data: the content, unless that is to be streamed.  Raises emit.Unsafe."""
        size = request.content.size
        if size > STREAM_FROM:
            return Handover(request, route, None, done=done)
        check_size(len(data), size)
        payload = encode_content(data, eight_bit=is_eight_bit(request))
        return Handover(request, route, payload, data if self._settings.chunking == "on" else None, done)

    def _known_route(self, domain: str | None) -> Route | None:
        if self._route is not None or domain is None or self._exchangers is None:
            return self._route
        return self._exchangers.route_nowait(domain)

    async def _find_route(self, domain: str | None) -> Route:
        if domain is None or self._exchangers is None:
            raise Trouble(Kind.FAULT, "a request without a domain, and no smarthost", "4.3.5")
        route = await self._exchangers.route(domain)
        if not self._sites.has(route.site):
            await self._exchangers.prepare(route)  # here, where a task waits for the DNS already
        return route

    def _same(self, request: DeliveryRequest, verdict: Verdict) -> Sequence[Verdict]:
        return (verdict,) * len(request.recipients)

    def close(self) -> None:
        """End every session: at once, but with `doubt_seconds` for the reply to a final dot."""
        self._sites.close()
        self._nursery.cancel_scope.cancel()  # look-ups; sessions are shielded and end by themselves


def _at_hand(content: Content) -> bytes | None:
    """The content, if it is in memory; nothing of what is to be streamed."""
    return b"" if content.size > STREAM_FROM else content.read_nowait()


async def _after(seconds: float, act: Callable[[], None]) -> None:
    await trio.sleep(seconds)
    act()


def _exchangers(settings: SmtpSettings, nursery: trio.Nursery, resolver: Resolver | None) -> Exchangers:
    if resolver is None:
        from .lookup import Dns

        servers = [read_server("dns_servers", server, 53) for server in settings.dns_servers]
        resolver = Dns(servers, settings.dns_seconds)
    return Exchangers(nursery, resolver, port=settings.usual_port, own_name=settings.helo_name)
