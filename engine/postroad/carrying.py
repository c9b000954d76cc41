"""Which road of its route can carry this message?  A recipient begins on the first that can; where none can, the message is
refused at the door, with the field, instead of bouncing later.

A road is asked twice: what its transport declares (`Capabilities`), and, where it has one, its own `objection`, which knows the
provider behind it.  One that fails to say may carry it; then delivery decides.  Asked by `acceptance.py`, for what is large in
a thread.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from .decide.admission import Refusal
from .decide.carrying import exclusion
from .decide.routing import RoutingTable, road_of_lane
from .log import get_logger, printable
from .store.contract import Accept
from .strangers import as_exceptions
from .transport import Objecting, Transport

__all__ = ["Carrying"]

_log = get_logger()


class Carrying:
    """The roads of an engine, and what their transports cannot carry."""

    def __init__(self, table: RoutingTable, transports: Mapping[str, Transport]) -> None:
        self._table = table
        self._transports = transports
        self._choosy = {name for name, transport in transports.items() if _may_object(transport)}
        # By the road that a recipient begins on, where that may have something against it: others cost a look at this.
        self._ways = {
            label: (label, *road.others) for label, road in table.roads.items() if road.transport in self._choosy
        }

    def placed(self, accept: Accept) -> Accept | Refusal:
        """The same with each recipient on a road that can carry it; why none can, where some recipient's route has none."""
        if not self._ways:
            return accept
        lanes: dict[str, str] = {}
        for ways, recipients in self._groups(accept).items():
            found = self._lanes(ways, accept, recipients)
            if isinstance(found, Refusal):
                return found
            lanes.update(found)
        return _moved(accept, lanes) if lanes else accept

    def _groups(self, accept: Accept) -> dict[tuple[str, ...], list[str]]:
        """Recipients by the roads of their route, as far as these must be asked."""
        groups: dict[tuple[str, ...], list[str]] = {}
        for recipient in accept.recipients:
            if ways := self._ways.get(road_of_lane(recipient.lane)):
                groups.setdefault(ways, []).append(recipient.address)
        return groups

    def _lanes(self, ways: Sequence[str], accept: Accept, recipients: Sequence[str]) -> Mapping[str, str] | Refusal:
        """The lanes of those that do not stay where they are, by address."""
        told: list[tuple[str, Refusal]] = []
        for label in ways:
            transport = self._table.roads[label].transport
            objection = self._objection(transport, accept, recipients)
            if objection is None:
                return {each: self._table.lane_by(label, each) for each in recipients} if told else {}
            told.append((transport, objection))
        if len(ways) > 1 and len(recipients) > 1:
            return self._lanes_of_each(ways, accept, recipients)
        said = "no transport of its route can carry it: " if len(ways) > 1 else "its transport cannot carry it: "
        problems = [f"{name!r}: {each.problem}" for name, each in told]
        return Refusal(field=told[0][1].field, problem=said + "; ".join(problems))

    def _lanes_of_each(
        self, ways: Sequence[str], accept: Accept, recipients: Sequence[str]
    ) -> Mapping[str, str] | Refusal:
        """Each road may have something against another of them."""
        lanes: dict[str, str] = {}
        for each in recipients:
            found = self._lanes(ways, accept, [each])
            if isinstance(found, Refusal):
                return found
            lanes.update(found)
        return lanes

    def _objection(self, name: str, accept: Accept, recipients: Sequence[str]) -> Refusal | None:
        if name not in self._choosy:
            return None
        transport = self._transports[name]
        try:
            with as_exceptions():
                return _said_by(transport, accept, recipients)
        except Exception as error:
            _log.error("transport_failed", id=accept.message.id, transport=name, at="its objection", exc_info=error)
            return None


def _moved(accept: Accept, lanes: Mapping[str, str]) -> Accept:
    """lanes: by address."""
    recipients = tuple([replace(each, lane=lanes.get(each.address, each.lane)) for each in accept.recipients])
    return replace(accept, recipients=recipients)


def _may_object(transport: Transport) -> bool:
    """A stranger's capabilities may lack what ours have by now."""
    able = transport.capabilities
    unlimited = getattr(able, "message_bytes", None) is None
    carries_all = getattr(able, "eight_bit", True) and getattr(able, "smtputf8", True)
    return isinstance(transport, Objecting) or not (unlimited and carries_all)


def _said_by(transport: Transport, accept: Accept, recipients: Sequence[str]) -> Refusal | None:
    if isinstance(transport, Objecting) and isinstance(accept.content, bytes):
        said = transport.objection(accept.message, recipients, accept.content)
        if said is not None:
            return Refusal(field=str(said.field), problem=printable(str(said.problem)))
    return exclusion(transport.capabilities, accept.message, recipients)
