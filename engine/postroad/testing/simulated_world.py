"""The world of a simulation: its servers, its names, its wall clock, the engine in it, and the record of all that happens.

Made by `simulation.py`.  What it gives the engine are ports: a clock, a store, and for the SMTP transport a way to connect, a
name server and a source of chance.
"""

from __future__ import annotations

import errno
import ipaddress
import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

import trio

from ..address import parse_address
from ..clock import Clock
from ..config import Config
from ..engine import Engine
from ..events import Event
from ..hookspecs import hookimpl
from ..opening import open_engine
from ..plugins import Plugins
from ..store.states import ENDS
from ..transport import Transport, TransportFactory, TransportSettings
from .dns_peer import Answer, Lie, Turns
from .promises import Evidence
from .simulated_evidence import evidence_of
from .simulated_names import SimulatedNames
from .simulated_server import Mail, MailServer, Schedule
from .simulated_store import LedgerStore
from .simulated_trace import Trace
from .smtp_behaviour import Reaction, Silence

__all__ = ["World"]

_NETWORK = ipaddress.IPv4Network("198.18.0.0/15")  # RFC 2544, for tests of networks: room for 100,000 servers


class World:
    """A simulated world.  Moments and durations in it are virtual seconds; moments count from its beginning.

    engine: the running engine; another one after `restart`.  names: the DNS, by name and kind of record, as for `DnsPeer`;
    `server` puts in what its servers need.  mail: all that any server took, in order.
    """

    engine: Engine

    def __init__(
        self,
        nursery: trio.Nursery,
        config: Config,
        plugins: Mapping[str, object],
        *,
        seed: int | None,
        start: float,
        follows_wall: bool,
    ) -> None:
        self.names: dict[str, dict[str, Answer | Turns]] = {}
        self.mail: list[Mail] = []
        self._nursery = nursery
        self._config = config
        self._seed = seed
        self._follows_wall = follows_wall
        self._trace = Trace()
        self._store = LedgerStore()
        self._servers: dict[str, list[MailServer]] = {}
        self._by_address: dict[str, MailServer] = {}
        self._network: Schedule[Silence] = Schedule()
        self._outages: Schedule[Lie] = Schedule()
        self._dns = SimulatedNames(self.names, self._trace, self._network, self._outages)
        self._rng = random.Random(None if seed is None else f"smtp {seed}")  # noqa: S311  # spreads load, hides nothing
        self._plugins = {**plugins, "simulated": _Ports(self._store, self._transport, self._trace.note_event)}
        self._wall_ahead = start - self._trace.begun
        self._stop, self._stopped = trio.Event(), trio.Event()

    # --- what there is to see ---

    @property
    def now(self) -> float:
        """Seconds since the beginning."""
        return self._trace.elapsed

    @property
    def wall(self) -> float:
        """The wall clock, Unix seconds: what `send_at` and `expires_at` mean."""
        return self._trace.begun + self._trace.elapsed + self._wall_ahead

    @property
    def trace(self) -> str:
        """What happened, a line each: when, of which kind (log, event, smtp, dns), and what.  Equal seeds give equal traces."""
        return "\n".join([f"seed {self._seed}", *self._trace.lines, ""])

    @property
    def end_of_trace(self) -> str:
        """Its last forty lines, which go with a failure."""
        return "\n".join(self.trace.splitlines()[-40:])

    def unfinished(self) -> list[str]:
        """The recipients that have not come to their end, ten at most: id, address, state and why."""
        left = [
            f"{one.message.id} to {row.address}: {row.state.name} {row.reason or row.reply}".rstrip()
            for one in self._store.everything()
            for row in one.recipients
            if row.state not in ENDS
        ]
        return left[:10]

    @property
    def log(self) -> Sequence[Mapping[str, Any]]:
        """The lines of the log, whatever its level: `event` and `level`, and what else is in them."""
        return self._trace.log

    @property
    def events(self) -> Sequence[Event]:
        """The engine's events."""
        return self._trace.events

    @property
    def servers(self) -> Sequence[MailServer]:
        """All servers, in the order in which they were made."""
        return list(self._by_address.values())

    def mailbox(self, address: str) -> list[Mail]:
        """What arrived for an address, in order; domains are compared without regard to case."""
        wanted = str(parse_address(address, "address"))
        return [mail for mail in self.mail if mail.recipient == wanted]

    def evidence(self) -> Evidence:
        """What `broken_promises` looks at; for the end, when the engine is closed."""
        return evidence_of(self._store, self.mail, self.log)

    def end(self) -> None:
        """For `open_simulation` only: time passes no more."""
        self._trace.end()

    def note_log(self, line: Mapping[str, Any]) -> None:
        """For `open_simulation` only: somebody logged something."""
        self._trace.note_log(line)

    # --- scripting ---

    def server(
        self,
        domain: str,
        replies: Mapping[str, Reaction | Sequence[Reaction]] | None = None,
        *,
        preference: int = 10,
    ) -> MailServer:
        """A server that takes mail for a domain, with its MX and address records; a further one where the domain has some.

        replies: as for `Behaviour`.  preference: of the MX record.  The domain itself has its first server's address, so that
        it may also be a smarthost's name.
        """
        address = str(_NETWORK[len(self._by_address) + 1])
        servers = self._servers.setdefault(domain, [])
        host = f"mx{len(servers) + 1}.{domain}"
        server = MailServer(
            host, address, replies=replies or {}, trace=self._trace, network=self._network, took=self.mail.append
        )
        servers.append(server)
        self._by_address[address] = server
        records = self.names.setdefault(domain, {"A": [address]})
        told = records.get("MX", ())
        assert isinstance(told, (list, tuple)), f"names[{domain!r}] has an MX of your own; it takes no server"
        records["MX"] = [*told, f"{preference} {host}."]
        self.names[host] = {"A": [address]}
        return server

    def offline(self, seconds: float, *, after: float = 0.0) -> None:
        """Take the network away for so long: nothing connects, and nobody answers, the DNS least of all."""
        self._network.add(Silence(), seconds, after)

    def dns_down(self, seconds: float, *, after: float = 0.0, lie: Lie = Lie.SILENCE) -> None:
        """Have the DNS give no answer, SERVFAIL or REFUSED for so long.  What was learnt before holds for its time to live."""
        self._outages.add(lie, seconds, after)

    def move_wall(self, seconds: float) -> None:
        """Set the wall clock forward or back; the monotonic one goes on.  Raises ValueError without `follows_wall=True`."""
        if not self._follows_wall:
            raise ValueError("the engine does not look at this wall clock; give the simulation follows_wall=True")
        self._wall_ahead += seconds

    # --- running ---

    async def wait_finished(self) -> None:
        """Wait until every message has come to its end, reports too."""
        await self._store.wait_finished()

    async def restart(self, *, after: float = 0.0) -> None:
        """Close the engine, and open another one on the same spool so many seconds later."""
        await self.stop()
        await trio.sleep(after)
        await self.start()

    async def start(self) -> None:
        """Open an engine on the spool, where none runs."""
        self._stop, self._stopped = trio.Event(), trio.Event()
        self.engine = await self._nursery.start(self._live)

    async def stop(self) -> None:
        """Close the engine; attempts that are under way have `in_flight.drain_seconds` to end."""
        self._stop.set()
        await self._stopped.wait()

    async def _live(self, *, task_status: trio.TaskStatus[Engine]) -> None:
        clock = Clock(follow_wall=self._follows_wall, wall=lambda: self.wall)
        try:
            async with open_engine(self._config, plugins=self._plugins, clock=clock, seed=self._seed) as engine:
                task_status.started(engine)
                await self._stop.wait()
        finally:
            self._stopped.set()

    # --- the transport's ports ---

    def _transport(self, table: Mapping[str, Any]) -> AbstractAsyncContextManager[Transport]:
        settings = TransportSettings(table, base=self._config.resolved(""))
        settings.pop("dns_servers", None)
        settings["helo"] = settings.get("helo") or self._config.reports.hostname
        if not settings.get("smarthost"):
            settings["allow_networks"] = [*settings.get("allow_networks", ()), str(_NETWORK)]
        return _smtp()(settings, dial=self._dial, nameservers=[self._dns.in_memory()], rng=self._rng)

    async def _dial(self, address: str, port: int) -> trio.abc.Stream:
        await trio.lowlevel.checkpoint()
        if self._network.now():
            raise OSError(errno.ENETUNREACH, "Network is unreachable")
        server = self._by_address.get(address)
        if server is None:
            raise OSError(errno.EHOSTUNREACH, "No route to host")
        return await server.connect(self._nursery)


def _smtp() -> Callable[..., AbstractAsyncContextManager[Transport]]:
    """The factory of the SMTP transport, found as an engine finds it; it takes ports, too."""
    plugins = Plugins()
    plugins.load("smtp")
    return plugins.transports["smtp"]


class _Ports:
    """What the world puts in the place of others, as a plugin."""

    def __init__(self, store: LedgerStore, transport: TransportFactory, take: Callable[[Event], None]) -> None:
        self._store = store
        self._transport = transport
        self._take = take

    @hookimpl
    def postroad_register_stores(self, register: Callable[[str, Any], None]) -> None:
        register("simulated", self._store.opened)

    @hookimpl
    def postroad_register_transports(self, register: Callable[[str, TransportFactory], None]) -> None:
        register("smtp", self._transport)

    @hookimpl
    def postroad_notice(self, event: Event) -> None:
        self._take(event)
