"""Which road does a recipient take?  Pure: the routes and the transports' capabilities are given.

The answer is a lane: the route's label, and the recipient's domain where the route's transport works by domain
("outbound/example.org", "postmark").  A lane is a cached answer of routing: it is chosen at the door and kept with the recipient;
`generation` says whether answers kept in a spool are still those of this configuration.  What is for the application itself
takes the road of [callbacks], whatever routes and plugins say.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping

import msgspec

from ..config import CALLBACKS, Config, GiveUp, InDoubt, Retry, Route, Windows
from ..message import BOUNCE_ADDRESS, Kind, Message
from .admission import matches

__all__ = ["Road", "RoutingTable", "domain_of_lane", "is_callback", "route_of_lane"]


Hook = Callable[[str, str, tuple[str, ...]], str | None]


class Road(msgspec.Struct, frozen=True):
    """What a lane's route means: the transport, whether lanes are split by domain, and the settings in force."""

    label: str
    transport: str
    by_domain: bool
    recipients_per_call: int
    retry: Retry
    windows: Windows
    in_doubt: InDoubt = "send_again"
    give_up: GiveUp = "drop"

    @property
    def shared_by(self) -> str:
        """The transport where all its lanes lead to the same servers, "" where it works by domain."""
        return "" if self.by_domain else self.transport


def is_callback(message: Message, address: str) -> bool:
    """Whether this recipient is the application.  Mail that an application sends to that address is mail, and no callback."""
    return message.kind is Kind.INCOMING or (message.kind is Kind.REPORT and address == BOUNCE_ADDRESS)


def route_of_lane(lane: str) -> str:
    """The label of a lane's route."""
    return lane.partition("/")[0]


def domain_of_lane(lane: str) -> str | None:
    """The domain of a lane, or None where its transport does not work by domain."""
    return lane.partition("/")[2] or None


class RoutingTable:
    """The routes of one configuration.  by_domain, recipients_per_call: what the transports declare, by name."""

    def __init__(
        self,
        config: Config,
        by_domain: Mapping[str, bool],
        recipients_per_call: Mapping[str, int] | None = None,
        hook: Hook | None = None,
    ) -> None:
        self._routes = config.routes
        self._hook = hook
        per_call = recipients_per_call or {}
        callbacks = config.callbacks.route
        self.roads: Mapping[str, Road] = {
            route.label: Road(
                label=route.label,
                transport=route.transport,
                by_domain=route is not callbacks and by_domain.get(route.transport, False),
                recipients_per_call=per_call.get(route.transport, 100),
                retry=config.retry_of(route),
                windows=config.windows_of(route),
                in_doubt=route.in_doubt,
                give_up=config.callbacks.give_up if route is callbacks else "drop",
            )
            for route in (*config.routes, *([callbacks] if callbacks else []))
        }
        self.callback_lane = CALLBACKS if callbacks else None
        self.tells_bounces = self.callback_lane is not None and config.callbacks.bounces

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
        road = self.roads.get(label)
        if road is None:
            return None
        return f"{label}/{recipient.rpartition('@')[2].lower()}" if road.by_domain else label

    def _label(self, sender: str, recipient: str, tags: tuple[str, ...]) -> str | None:
        if self._hook is not None:
            named = self._hook(sender, recipient, tags)
            if named is not None:
                return named
        for route in self._routes:
            if _fits(route, sender, recipient, tags):
                return route.label
        return None

    def road_of(self, lane: str) -> Road | None:
        """The road of a lane, or None where its route is gone or works otherwise by now."""
        road = self.roads.get(route_of_lane(lane))
        if road is None or road.by_domain != ("/" in lane):
            return None
        return road

    @property
    def generation(self) -> bytes:
        """Names this table: it changes when the lanes kept in a spool may have to be chosen anew."""
        parts = [CALLBACKS.encode()] if self.callback_lane else []
        parts += [
            msgspec.json.encode(
                (route.label, route.recipients, route.senders, route.tag, self.roads[route.label].by_domain)
            )
            for route in self._routes
        ]
        return hashlib.blake2b(b"\n".join(parts), digest_size=16).digest()


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
