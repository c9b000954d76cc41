"""Which road does a recipient take?  Pure: the routes and the transports' capabilities are given.

The answer is a lane: the road's label, and the recipient's domain where its transport works by domain ("outbound/example.org",
"postmark").  A route with several transports has a road by each: "postmark" (the first), "postmark~ses"; docs/failover.md.
A lane is a cached answer of routing: it is chosen at the door and kept with the recipient; `generation` says whether answers
kept in a spool are still those of this configuration.  What is for the application itself takes the road of [callbacks], whatever
routes and plugins say.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate

import msgspec

from ..config import CALLBACKS, Config, GiveUp, InDoubt, Retry, Route, Windows
from ..message import BOUNCE_ADDRESS, Kind, Message
from ..transport import Capabilities
from .admission import matches
from .carrying import exclusion

__all__ = ["Road", "RoutingTable", "domain_of_lane", "is_callback", "road_of_lane", "route_of_lane"]


_BY = "~"  # between a route's label and the transport of a further road; no label holds it

Hook = Callable[[str, str, tuple[str, ...]], str | None]


class Road(msgspec.Struct, frozen=True):
    """What a lane's road means: the transport, whether lanes are split by domain, and the settings in force.

    others: labels of the further roads of its route, in the order in which they are tried after this one.
    """

    label: str
    transport: str
    by_domain: bool
    recipients_per_call: int
    retry: Retry
    windows: Windows
    in_doubt: InDoubt = "send_again"
    give_up: GiveUp = "drop"
    others: tuple[str, ...] = ()
    fails_over_in_doubt: bool = False

    @property
    def shared_by(self) -> str:
        """The transport where all its lanes lead to the same servers, "" where it works by domain."""
        return "" if self.by_domain else self.transport


def is_callback(message: Message, address: str) -> bool:
    """Whether this recipient is the application.  Mail that an application sends to that address is mail, and no callback."""
    return message.kind is Kind.INCOMING or (message.kind is Kind.REPORT and address == BOUNCE_ADDRESS)


def road_of_lane(lane: str) -> str:
    """The label of a lane's road."""
    return lane.partition("/")[0]


def route_of_lane(lane: str) -> str:
    """The label of a lane's route."""
    return road_of_lane(lane).partition(_BY)[0]


def domain_of_lane(lane: str) -> str | None:
    """The domain of a lane, or None where its transport does not work by domain."""
    return lane.partition("/")[2] or None


class RoutingTable:
    """The routes of one configuration.  by_domain, recipients_per_call, able: what the transports declare, by name."""

    def __init__(
        self,
        config: Config,
        by_domain: Mapping[str, bool],
        recipients_per_call: Mapping[str, int] | None = None,
        hook: Hook | None = None,
        able: Mapping[str, Capabilities] = {},  # only read
    ) -> None:
        self._able = able
        self._routes = config.routes
        self._rules = [(route.label, route) for route in config.routes]
        self._hook = hook
        per_call = recipients_per_call or {}
        callbacks = config.callbacks.route
        self.roads: Mapping[str, Road] = {
            label: Road(
                label=label,
                transport=transport,
                by_domain=route is not callbacks and by_domain.get(transport, False),
                recipients_per_call=per_call.get(transport, 100),
                retry=config.retry_of(route),
                windows=config.windows_of(route),
                in_doubt=route.in_doubt,
                give_up=config.callbacks.give_up if route is callbacks else "drop",
                others=others,
                fails_over_in_doubt=route.fail_over_in_doubt,
            )
            for route in (*config.routes, *([callbacks] if callbacks else []))
            for label, transport, others in _roads_of(route)
        }
        self._failing_over: dict[str, list[Road]] = {}
        for road in self.roads.values():
            if road.others:
                self._failing_over.setdefault(road.transport, []).append(road)
        self._shares = {route.label: tuple(accumulate(route.weights)) for route in config.routes if route.weights}
        self._labels = {route.label: tuple(label for label, _, _ in _roads_of(route)) for route in config.routes}
        self.callback_lane = CALLBACKS if callbacks else None
        self.tells_bounces = config.callbacks.tells_bounces

    def lane_of(self, message: Message, address: str) -> str | None:
        """The lane of a recipient of a message, or None where no route fits."""
        if is_callback(message, address):
            return self.callback_lane
        return self.lane(message.sender, address, message.tags)

    def lane(self, sender: str, recipient: str, tags: tuple[str, ...] = ()) -> str | None:
        """The lane of a recipient, or None where no route fits."""
        label = self._label(sender, recipient, tags)
        if label is None:
            return None
        if label not in self._labels:
            return None
        return self.lane_by(self._first_road(label, recipient) if label in self._shares else label, recipient)

    def may_carry(self, road: str, message: Message, recipient: str) -> bool:
        """Whether a road's transport declares nothing that excludes this message."""
        able = self._able.get(self.roads[road].transport)
        return able is None or exclusion(able, message, (recipient,)) is None

    def lane_by(self, road: str, recipient: str) -> str:
        """The lane of a recipient by one road of the table."""
        return f"{road}/{recipient.rpartition('@')[2].lower()}" if self.roads[road].by_domain else road

    def _first_road(self, route: str, recipient: str) -> str:
        """With weights, the road that a hash of the address falls to: always the same."""
        shares = self._shares[route]
        drawn = int.from_bytes(hashlib.blake2b(recipient.lower().encode(), digest_size=8).digest(), "big") % shares[-1]
        return next(label for label, share in zip(self._labels[route], shares, strict=True) if drawn < share)

    def _label(self, sender: str, recipient: str, tags: tuple[str, ...]) -> str | None:
        if self._hook is not None:
            named = self._hook(sender, recipient, tags)
            if named is not None:
                return named
        for label, route in self._rules:
            if _fits(route, sender, recipient, tags):
                return label
        return None

    def road_of(self, lane: str) -> Road | None:
        """The road of a lane, or None where its route is gone or works otherwise by now."""
        label, slash, _ = lane.partition("/")
        road = self.roads.get(label)
        if road is None or road.by_domain != bool(slash):
            return None
        return road

    def failing_over(self, transport: str) -> Sequence[Road]:
        """The roads by a transport that are one of several.  Others by it, of routes without fail-over, share its sites."""
        return self._failing_over.get(transport, ())

    @property
    def generation(self) -> bytes:
        """Names this table: it changes when the lanes kept in a spool may have to be chosen anew."""
        parts = [CALLBACKS.encode()] if self.callback_lane else []
        parts += [
            msgspec.json.encode(
                (
                    route.label,
                    route.recipients,
                    route.senders,
                    route.tag,
                    *[self.roads[label].by_domain for label in self._labels[route.label]],
                    *[[*route.fail_over, route.weights]] * bool(route.fail_over),
                )
            )
            for route in self._routes
        ]
        return hashlib.blake2b(b"\n".join(parts), digest_size=16).digest()


def _roads_of(route: Route) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Label, transport, and the labels of the others in the order behind it."""
    labels = [route.label, *[f"{route.label}{_BY}{transport}" for transport in route.fail_over]]
    for number, (label, transport) in enumerate(zip(labels, route.transports, strict=True)):
        yield label, transport, (*labels[number + 1 :], *labels[:number])


def _fits(route: Route, sender: str, recipient: str, tags: tuple[str, ...]) -> bool:
    if route.recipients != "*" and not matches(route.recipients, recipient):
        return False
    if route.senders != "*" and not _sender_fits(route.senders, sender):
        return False
    return not route.tag or route.tag in tags


def _sender_fits(pattern: str, sender: str) -> bool:
    if pattern == "<>":
        return sender == ""
    return matches(pattern, sender)
