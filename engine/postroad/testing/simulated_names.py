"""The DNS of a simulated world: a `DnsPeer` in memory that may be out of order for a while, and notes what it is asked."""

from __future__ import annotations

import dns.exception
import dns.message
import dns.rcode

from .dns_peer import DnsPeer, Lie, Zone
from .simulated_server import Schedule
from .simulated_trace import Trace
from .smtp_behaviour import Silence

__all__ = ["SimulatedNames"]


class SimulatedNames(DnsPeer):
    """network: when it cannot be reached.  outages: when it does not answer as the zone says, and what instead."""

    def __init__(self, zone: Zone, trace: Trace, network: Schedule[Silence], outages: Schedule[Lie]) -> None:
        super().__init__(zone)
        self._trace = trace
        self._network = network
        self._outages = outages

    def _answer_udp(self, query: dns.message.Message) -> bytes:
        lies = [Lie.SILENCE] if self._network.now() else self._outages.now()
        wire = _lie(query, lies[0]) if lies else super()._answer_udp(query)
        question = query.question[0]
        self._trace.note("dns", f"{question.to_text().removesuffix('.')}: {_told(wire)}")
        return wire


def _lie(query: dns.message.Message, lie: Lie) -> bytes:
    if lie is Lie.SILENCE:
        return b""
    response = dns.message.make_response(query)
    response.set_rcode(dns.rcode.from_text(lie.value))
    return response.to_wire()


def _told(wire: bytes) -> str:
    """In few words, what the answer is."""
    if not wire:
        return "no answer"
    try:
        response = dns.message.from_wire(wire)
    except dns.exception.DNSException:
        return "garbage"
    records = [line.split(" ", 4)[4] for rrset in response.answer for line in rrset.to_text().splitlines()]
    return ", ".join(records) or dns.rcode.to_text(response.rcode())
