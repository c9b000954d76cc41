"""Can any road of its route carry this message?  What none can is refused at the door, with the field, instead of bouncing later.

A road is asked twice: what its transport declares (`Capabilities`), and, where it has one, its own `objection`, which knows the
provider behind it.  A message passes where one road of each recipient's route has nothing against it, and where a transport
fails to say; then delivery decides.  Asked by `acceptance.py`, for what is large in a thread.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .decide.admission import Refusal
from .decide.carrying import exclusion
from .decide.routing import Road, RoutingTable, road_of_lane
from .log import get_logger, printable
from .store.contract import Accept
from .strangers import as_exceptions
from .transport import Objecting, Transport

__all__ = ["Carrying"]

_log = get_logger()


class Carrying:
    """The roads of an engine, and what their transports cannot carry."""

    def __init__(self, table: RoutingTable, transports: Mapping[str, Transport]) -> None:
        self._transports = transports
        ways = {label: _transports_of(road, table) for label, road in table.roads.items()}
        choosy = {name for name, transport in transports.items() if _may_object(transport)}
        # Only routes all of whose transports may have something against a message: the others cost a look at this.
        self._ways = {label: names for label, names in ways.items() if choosy.issuperset(names)}

    def refusal(self, accept: Accept) -> Refusal | None:
        """Why no road of some recipient's route can carry it, None where each has one."""
        if not self._ways:
            return None
        for ways, recipients in self._groups(accept).items():
            objections = [self._objection(name, accept, recipients) for name in ways]
            told = [objection for objection in objections if objection is not None]
            if ways and len(told) == len(ways):
                problems = [f"{name!r}: {each.problem}" for name, each in zip(ways, told, strict=True)]
                said = (
                    "no transport of its route can carry it: " if len(ways) > 1 else "its transport cannot carry it: "
                )
                return Refusal(field=told[0].field, problem=said + "; ".join(problems))
        return None

    def _groups(self, accept: Accept) -> dict[tuple[str, ...], list[str]]:
        """Recipients by the transports of their route."""
        groups: dict[tuple[str, ...], list[str]] = {}
        for recipient in accept.recipients:
            groups.setdefault(self._ways.get(road_of_lane(recipient.lane), ()), []).append(recipient.address)
        return groups

    def _objection(self, name: str, accept: Accept, recipients: Sequence[str]) -> Refusal | None:
        transport = self._transports[name]
        try:
            with as_exceptions():
                return _said_by(transport, accept, recipients)
        except Exception as error:
            _log.error("transport_failed", id=accept.message.id, transport=name, at="its objection", exc_info=error)
            return None


def _transports_of(road: Road, table: RoutingTable) -> tuple[str, ...]:
    return tuple(table.roads[label].transport for label in (road.label, *road.others))


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
