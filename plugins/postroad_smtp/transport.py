"""The SMTP transport: takes requests, finds their site, and waits for the sessions' verdicts.

Carries, and judges nothing: whatever happens becomes a verdict.  Created by the factory in `__init__.py`; called by delivery,
many calls at once.  RFC 5321.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence

import trio

from postroad.transport import Capabilities, DeliveryRequest
from postroad.verdict import Verdict

from . import emit
from .dial import Dial, Guard
from .handover import Handover
from .handshake import Terms
from .known import KnownHosts
from .lookup import Dns, Resolver
from .mx import Exchangers, Route, smarthost_route
from .opening import Addresses, Opener
from .plain import connect
from .pool import Site, Sites
from .session import Session
from .settings import SmtpSettings, read_login, read_networks, read_place
from .tls import Level, Tls
from .trouble import Kind, Trouble
from .verdicts import Remote, of_trouble, own_refusal

__all__ = ["STREAM_FROM", "SmtpTransport"]

STREAM_FROM = 262_144  # octets: larger contents are never held in memory whole


class SmtpTransport:
    """Delivers to a smarthost, or to the recipients' own servers.

    nursery: for the sessions, which outlive calls.  dial, resolver: ports, for tests and for other ways to connect.
    Raises ConfigError where the settings cannot be used.
    """

    def __init__(
        self,
        settings: SmtpSettings,
        nursery: trio.Nursery,
        *,
        dial: Dial = connect,
        resolver: Resolver | None = None,
    ) -> None:
        self._settings = settings
        self._nursery = nursery
        self._known = KnownHosts()
        self._route: Route | None = None
        self._exchangers: Exchangers | None = None
        if settings.smarthost:
            self._route = smarthost_route(read_place("smarthost", settings.smarthost, settings.port))
        else:
            self._exchangers = _exchangers(settings, nursery, resolver)
        self._opener = self._make_opener(dial)
        self._sites = Sites(settings.sessions, self._start_session)

    def _make_opener(self, dial: Dial) -> Opener:
        settings = self._settings
        terms = Terms(settings.helo_name, Level(settings.tls), read_login(settings), settings.login_without_tls)
        names: Addresses = self._exchangers or SystemNames(settings.dns_seconds)
        guard = Guard(read_networks(settings.allow_networks))
        tls = Tls(terms.level, settings.ca_file)
        return Opener(settings, terms, tls, dial, guard, names, self._known)

    def _start_session(self, site: Site, handover: Handover) -> Session:
        session = Session(site, handover, self._opener, self._settings, self._known)
        self._nursery.start_soon(session.run)
        return session

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(by_domain=self._route is None)

    async def deliver(self, request: DeliveryRequest) -> Sequence[Verdict]:
        """Try once to hand the message over; see `postroad.transport.Transport`."""
        try:
            route = self._route or await self._find_route(request.domain)
        except Trouble as trouble:
            return self._same(request, of_trouble(trouble, Remote(site=request.domain or "")))
        try:
            payload = await _payload(request)
        except emit.Unsafe as error:
            return self._same(request, own_refusal(str(error), "5.6.0", Remote(site=route.site)))
        handover = Handover(request, route, payload)
        self._sites.submit(handover)
        await handover.wait_settled(lambda: self._sites.withdraw(handover))
        if handover.error is not None:
            raise handover.error
        return handover.verdicts

    async def _find_route(self, domain: str | None) -> Route:
        if domain is None or self._exchangers is None:
            raise Trouble(Kind.FAULT, "a request without a domain, and no smarthost", "4.3.5")
        return self._exchangers.route_nowait(domain) or await self._exchangers.route(domain)

    def _same(self, request: DeliveryRequest, verdict: Verdict) -> Sequence[Verdict]:
        return (verdict,) * len(request.recipients)

    def close(self) -> None:
        """End every session: at once, but with up to 20 s for the reply to a final dot."""
        self._sites.close()
        self._nursery.cancel_scope.cancel()  # look-ups; sessions are shielded and end by themselves


class SystemNames:
    """Addresses of a smarthost by the system's own means (/etc/hosts and all), as every other program finds them."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    async def addresses(self, host: str) -> Sequence[str]:
        with trio.move_on_after(self._seconds):
            try:
                found = await trio.socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
            except (OSError, UnicodeError) as error:
                raise Trouble(Kind.UNREACHABLE, f"the smarthost's name cannot be resolved: {error}", "4.4.3") from error
            return list(dict.fromkeys(str(entry[4][0]) for entry in found))
        raise Trouble(Kind.UNREACHABLE, "the smarthost's name was not resolved in time", "4.4.3")


def _exchangers(settings: SmtpSettings, nursery: trio.Nursery, resolver: Resolver | None) -> Exchangers:
    if resolver is None:
        servers = [read_place("dns_servers", server, 53) for server in settings.dns_servers]
        resolver = Dns(servers, settings.dns_seconds)
    return Exchangers(nursery, resolver, port=settings.port, own_name=settings.helo_name)


async def _payload(request: DeliveryRequest) -> bytes | None:
    """The content as it goes on the wire, or None where it is to be streamed.  Raises emit.Unsafe."""
    content = request.content
    if content.size > STREAM_FROM:
        return None
    data = content.read_nowait()
    if data is None:
        data = await content.read()
    return emit.encode_content(data, eight_bit=request.message.eight_bit or request.message.smtputf8)
