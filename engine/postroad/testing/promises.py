"""Compares what was handed over, what arrived, what the spool says and what the log says; names every broken promise.

For tests that kill, starve or confuse an engine: collect an `Evidence` once everything is drained, and expect
`broken_promises` to find nothing.  Pure: it reads no file, asks no clock, and knows neither engine nor server.  The invariants
I1 to I9 are explained in docs/testing.md.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, TypeAlias

from ..compose.canonical import forbidden_octets
from ..message import Kind
from ..store.contract import TAKEN, StoredMessage, StoredRecipient
from ..store.states import ENDS, State

__all__ = ["Arrival", "Attempt", "Evidence", "Letter", "broken_promises", "forbidden_octets"]

Place: TypeAlias = tuple[str, str]  # message id and recipient

_HOUR = 3600.0
_ENDINGS = {
    State.ACCEPTED: "delivered",
    State.REPORTED: "failed",
    State.UNREPORTED: "failed",
    State.CANCELLED: "cancelled",
}
_ENDING_LINES = frozenset(_ENDINGS.values())


@dataclass(frozen=True, slots=True)
class Letter:
    """What was submitted.  body: names its content (a digest of the body), unlike any other's.  id: "" if never acknowledged."""

    body: str
    sender: str
    recipients: tuple[str, ...]
    id: str = ""


@dataclass(frozen=True, slots=True)
class Arrival:
    """A message that the other side accepted for one recipient, in the order of acceptance.

    body: as in Letter.  forbidden: what `forbidden_octets` says of its octets.  failed: of a report, the places it tells of.
    """

    id: str
    recipient: str
    body: str
    forbidden: str = ""
    failed: tuple[Place, ...] = ()


@dataclass(frozen=True, slots=True)
class Attempt:
    """A transaction that reached a host at a moment (Unix seconds).  places: what it was about, where that is known."""

    host: str
    at: float
    places: tuple[Place, ...] = ()


@dataclass(frozen=True)
class Evidence:
    """Everything there is to see after the end.

    spool: its messages, with a history that forgot none.  log: the lines of all lives.  kills: lives that ended by kill -9
    and may have taken the lines of their last commit along.
    leftovers: names of files that nobody needs.  problems: what `Store.check` says.
    attempts_an_hour: the most that one host may see; None: unknown.
    pause_seconds: what the schedule leaves between two attempts for a recipient at the least; None: unknown.  hurried: when
    somebody or something cut pauses short, as restarts, operators and jumps of the clock do (Unix seconds).
    is_cut_short: an engine that was closed before all was settled: what is still queued is no loss.
    """

    letters: Sequence[Letter]
    arrivals: Sequence[Arrival]
    spool: Sequence[StoredMessage]
    log: Sequence[Mapping[str, Any]]
    attempts: Sequence[Attempt] = ()
    leftovers: Sequence[str] = ()
    kills: int = 0
    attempts_an_hour: int | None = None
    pause_seconds: float | None = None
    hurried: Sequence[float] = ()
    problems: Sequence[str] = ()
    is_cut_short: bool = False

    @cached_property
    def recipients(self) -> Mapping[Place, StoredRecipient]:
        return {(one.message.id, recipient.address): recipient for one in self.spool for recipient in one.recipients}

    @cached_property
    def arrived(self) -> Counter[Place]:
        return Counter((arrival.id, arrival.recipient) for arrival in self.arrivals)

    @cached_property
    def reports(self) -> Mapping[Place, set[str]]:
        """By failed place, the ids of the reports that tell of it."""
        found: defaultdict[Place, set[str]] = defaultdict(set)
        for arrival in self.arrivals:
            for place in arrival.failed:
                found[place].add(arrival.id)
        return found

    def places_in_log(self, *events: str) -> list[Place]:
        return [(line["id"], line["recipient"]) for line in self.log if line["event"] in events and "recipient" in line]


def broken_promises(evidence: Evidence) -> list[str]:
    """One sentence for each broken promise, which begins with its invariant; none where all are kept."""
    found = [f"damaged: {problem}" for problem in evidence.problems]
    for check in _CHECKS:
        found += check(evidence)
    return found


def _without_end(evidence: Evidence) -> Iterator[str]:
    acknowledged = [
        (letter.id, recipient) for letter in evidence.letters if letter.id for recipient in letter.recipients
    ]
    for id, recipient in dict.fromkeys([*acknowledged, *evidence.recipients]):
        problem = _why_not_ended(evidence, (id, recipient))
        if problem:
            yield f"I1: {id} to {recipient} {problem}"


def _why_not_ended(evidence: Evidence, place: Place) -> str:
    recipient = evidence.recipients.get(place)
    if recipient is None:
        return "was acknowledged and is lost"
    if recipient.state not in ENDS:
        if evidence.is_cut_short and recipient.state is not State.LEASED:
            return ""
        return f"has no final outcome: {recipient.state.name}"
    is_decided = recipient.in_doubt and recipient.reply.startswith(TAKEN)
    if recipient.state is State.ACCEPTED and not evidence.arrived[place] and not is_decided:
        return "is settled as delivered and never arrived"
    return ""


def _unreported(evidence: Evidence) -> Iterator[str]:
    """A report may itself be refused: then one in the spool stands for each message whose report nobody saw."""
    refused = Counter(
        recipient.address
        for one in evidence.spool
        for recipient in one.recipients
        if one.message.kind is Kind.REPORT and recipient.state is not State.ACCEPTED
    )
    for one in evidence.spool:
        unseen = [
            recipient.address
            for recipient in one.recipients
            if recipient.state is State.REPORTED and (one.message.id, recipient.address) not in evidence.reports
        ]
        told = one.message.report_to or (one.message.sender,)
        if unseen and all(refused[address] for address in told):
            refused.subtract(told)
        elif unseen:
            yield f"I1: {one.message.id} to {unseen[0]} failed, and no report of it arrived"


def _silent_duplicates(evidence: Evidence) -> Iterator[str]:
    announced = Counter(evidence.places_in_log("maybe_duplicate"))
    for place, times in evidence.arrived.items():
        if times - 1 > announced[place]:
            yield f"I2: {_named(place)} arrived {times} times, announced by {announced[place]} maybe_duplicate"


def _second_outcomes(evidence: Evidence) -> Iterator[str]:
    for place, ids in evidence.reports.items():
        if len(ids) > 1:
            yield f"I3: {_named(place)} is reported {len(ids)} times, in {', '.join(sorted(ids))}"
        recipient = evidence.recipients.get(place)
        if recipient is not None and recipient.state is not State.REPORTED:
            yield f"I3: {_named(place)} was reported as failed and is {recipient.state.name}"
    for place, recipient in evidence.recipients.items():
        if evidence.arrived[place] and recipient.state in ENDS - {State.ACCEPTED} and not recipient.in_doubt:
            yield f"I3: {_named(place)} arrived and is {recipient.state.name}"


def _misdirected(evidence: Evidence) -> Iterator[str]:
    by_body = {letter.body: letter for letter in evidence.letters}
    by_id = {letter.id: letter for letter in evidence.letters if letter.id}
    reports = {one.message.id for one in evidence.spool if one.message.kind is Kind.REPORT}
    for arrival in evidence.arrivals:
        if arrival.id in reports:
            yield from _misdirected_report(evidence, arrival)
            continue
        letter = by_body.get(arrival.body)
        if letter is None:
            yield f"I4: {arrival.recipient} got a content in {arrival.id} that nobody submitted"
        elif arrival.recipient not in letter.recipients or by_id.get(arrival.id, letter) is not letter:
            yield f"I4: {arrival.recipient} got {arrival.id}, whose content was not addressed to him"


def _misdirected_report(evidence: Evidence, arrival: Arrival) -> Iterator[str]:
    messages = {one.message.id: one.message for one in evidence.spool}
    for id, recipient in arrival.failed:
        message = messages.get(id)
        if message is not None and arrival.recipient not in (message.sender, *message.report_to):
            yield f"I4: {arrival.recipient} got the report on {id} to {recipient}, which is another sender's"


def _forbidden(evidence: Evidence) -> Iterator[str]:
    for arrival in evidence.arrivals:
        if arrival.forbidden:
            yield f"I5: {arrival.id} to {arrival.recipient} held {arrival.forbidden}"


def _bounced_bounces(evidence: Evidence) -> Iterator[str]:
    for one in evidence.spool:
        for recipient in one.recipients:
            place = (one.message.id, recipient.address)
            if not one.message.sender and (recipient.state is State.REPORTED or place in evidence.reports):
                yield f"I6: {_named(place)} has the null sender and was reported"


def _stormed(evidence: Evidence) -> Iterator[str]:
    times: defaultdict[str, list[float]] = defaultdict(list)
    for attempt in evidence.attempts:
        times[attempt.host].append(attempt.at)
    for host, moments in times.items():
        most = _most_within(sorted(moments), _HOUR)
        if evidence.attempts_an_hour is not None and most > evidence.attempts_an_hour:
            yield f"I7: {host} saw {most} attempts within an hour, {evidence.attempts_an_hour} at most are explained"


def _hurried(evidence: Evidence) -> Iterator[str]:
    """The last try is free: it comes when the time is over, however soon that is."""
    times: defaultdict[Place, list[float]] = defaultdict(list)
    for attempt in evidence.attempts:
        for place in attempt.places:
            times[place].append(attempt.at)
    for place, moments in times.items():
        pauses = list(pairwise(sorted(moments)))[:-1]
        short = [after - before for before, after in pauses if _is_unexplained(evidence, before, after)]
        if short:
            yield f"I7: {_named(place)} was tried again after {min(short):g} s, the schedule says {evidence.pause_seconds:g} s"


def _is_unexplained(evidence: Evidence, before: float, after: float) -> bool:
    if evidence.pause_seconds is None or after - before >= evidence.pause_seconds:
        return False
    return not any(before <= moment <= after for moment in evidence.hurried)


def _most_within(moments: Sequence[float], seconds: float) -> int:
    first = most = 0
    for last, moment in enumerate(moments):
        while moments[first] <= moment - seconds:
            first += 1
        most = max(most, last + 1 - first)
    return most


def _left_behind(evidence: Evidence) -> Iterator[str]:
    return (f"I8: {name} was left behind" for name in evidence.leftovers)


def _untold(evidence: Evidence) -> Iterator[str]:
    told = _told(evidence.log)
    silent: list[Place] = []
    for place, recipient in evidence.recipients.items():
        ending = _ENDINGS.get(recipient.state)
        if ending is None:
            continue
        if place not in told:
            silent.append(place)
        elif told[place][-1] != ending:
            yield f"I9: of {_named(place)} the log says {told[place][-1]} and the spool {recipient.state.name}"
    yield from _silent(evidence, silent)
    for place, endings in told.items():
        if any(before != after for before, after in pairwise(endings)):
            yield f"I3: of {_named(place)} the log tells {', then '.join(endings)}"


def _silent(evidence: Evidence, places: Iterable[Place]) -> Iterator[str]:
    """A kill between a commit and its lines takes these: its settlements have one moment, an operator's deed another."""
    moments: dict[bool, dict[float | None, Place]] = {False: {}, True: {}}
    for place in places:
        recipient = evidence.recipients[place]
        is_decided = recipient.state is State.CANCELLED or recipient.reply.startswith(TAKEN)
        moments[is_decided].setdefault(recipient.settled_at, place)
    for is_decided, silent in moments.items():
        if len(silent) > evidence.kills:
            named = ", ".join(_named(place) for place in list(silent.values())[:10])
            what = "deeds" if is_decided else "commits"
            yield f"I9: the log is silent on {len(silent)} {what} after {evidence.kills} kills: {named}"


def _told(log: Iterable[Mapping[str, Any]]) -> dict[Place, list[str]]:
    told: defaultdict[Place, list[str]] = defaultdict(list)
    for line in log:
        if line["event"] in _ENDING_LINES and "recipient" in line:
            told[line["id"], line["recipient"]].append(line["event"])
    return dict(told)


def _named(place: Place) -> str:
    return f"{place[0]} to {place[1]}"


_CHECKS = (
    _without_end,
    _unreported,
    _silent_duplicates,
    _second_outcomes,
    _misdirected,
    _forbidden,
    _bounced_bounces,
    _stormed,
    _hurried,
    _left_behind,
    _untold,
)
