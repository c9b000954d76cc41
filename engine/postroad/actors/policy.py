"""Policy decides, and touches no store and no network.

It is passed on the way out (may this leave now?) and on the way in (what now, when?).  The decisions are pure functions in
`decide/`; this actor keeps the windows and holds that they need.
Notes in: Leased (from queue), Attempted (from delivery).  Notes out: Attempt (to delivery), Settled, Room and Learnt (to queue).
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Any, TypeAlias, assert_never

import trio

from ..decide import limits, retry
from ..decide.routing import Road, domain_of_lane
from ..events import LaneHeld, LaneResumed
from ..log import get_logger
from ..store.contract import NO_ROUTE, UNROUTED, Outcome
from ..store.states import Step
from ..verdict import Scope, Verdict
from .circuits import CIRCUITS
from .detours import Detours
from .inbox import Inbox, Outbox
from .notes import Attempt, Attempted, Learnt, Lease, Leased, Room, Settled
from .ports import Ports
from .sites import CLEARING, Site, Sites

__all__ = ["HOLDS_PER_TURN", "Policy", "PolicyNote", "judge"]

PolicyNote: TypeAlias = Leased | Attempted

_PROBE_SECONDS = (
    15.0  # what a half-open site keeps from leaving asks again then; mostly the probe's end lets it go before
)
_lane_of = attrgetter("lane")
HOLDS_PER_TURN = 1000  # holds ended at once: bounds the notes that queue gets from it

_log = get_logger()


class Policy:
    """The policy actor."""

    def __init__(
        self,
        ports: Ports,
        inbox: Inbox[PolicyNote],
        queue: Outbox[Settled | Room | Learnt],
        delivery: Outbox[list[Attempt]],
    ) -> None:
        self._ports = ports
        self._inbox = inbox
        self._queue = queue
        self._delivery = delivery
        self._seconds = ports.config.in_flight.attempt_seconds
        self._sites = Sites()
        self._detours = Detours(ports.table, self._sites)
        self._holds: list[tuple[float, int, Site]] = []  # when holds end
        self._count = itertools.count()
        self._attempts: list[Attempt] = []  # to be passed on at the end of this turn

    async def run(self) -> None:
        self._resume_circuits()
        while True:
            notes = await self._wait_for_notes()
            now = self._ports.clock.now()
            self._end_holds(now)
            for note in notes:
                self._take(note, now)
            if self._attempts:
                self._delivery.put(self._attempts)
                self._attempts = []

    def _resume_circuits(self) -> None:
        """Roads that were held when the last engine ended are left alone for the rest of it; then one probe goes first."""
        now = self._ports.clock.now()
        for circuit in self._ports.circuits.held(self._ports.table, now):
            road = self._ports.table.road_of(circuit.lane)
            assert road is not None, "circuits tell only of roads that are there"
            self._sites.learn(circuit.lane, circuit.site, road.shared_by)
            site = self._sites.of(circuit.lane, road.windows, road.shared_by)
            site.window = circuit.window
            self._keep_alone(site, circuit.lane, road)
            self._queue.put(Room(site.name, site.clearing, circuit.lane))
            site.told = site.clearing
            if circuit.window.hold_until > now:
                seconds = round(circuit.window.hold_until - now, 1)
                _log.warning("site_held", seconds=seconds, site=site.name, lane=circuit.lane)

    async def _wait_for_notes(self) -> list[PolicyNote]:
        if not self._holds:
            return await self._inbox.take_all()
        with trio.move_on_at(self._ports.clock.deadline(self._holds[0][0])):
            return await self._inbox.take_all()
        return []

    def _take(self, note: PolicyNote, now: float) -> None:
        match note:
            case Leased():
                self._leave_all(note.leases, now)
                for room in self._sites.forget_idle(now):
                    self._queue.put_latest(room.site, room)
            case Attempted():
                self._return(note.lease, now)
            case _:
                assert_never(note)

    # --- on the way out: may it leave now? ---

    def _leave_all(self, leases: Iterable[Lease], now: float) -> None:
        """Road and site are looked up once for leases of one lane that come together."""
        for lane, those in itertools.groupby(leases, _lane_of):
            road = self._ports.table.road_of(lane)
            if road is None:
                for lease in those:
                    self._route_anew(lease, now)
                continue
            site = self._sites.of(lane, road.windows, road.shared_by)
            if site.name != lane:
                self._say_where(lane, site)
            for lease in those:
                self._leave(lease, site, road, now)

    def _leave(self, lease: Lease, site: Site, road: Road, now: float) -> None:
        lease.road = road
        if retry.is_expired(lease.message, now, self._ports.clock.jumped_at):
            self._settle_all(lease, Step.FAIL, status=retry.EXPIRED, reply="not delivered before it expired")
        elif site.window.trouble and self._is_left_alone(lease, site, road, now):
            self._postpone(lease, site, road, now)
        elif site.is_open(now):
            self._send(lease, site, road)
        else:
            site.waiting.append(lease)

    def _say_where(self, lane: str, site: Site) -> None:
        """Which site a lane belongs to: of several words in a turn the last one counts."""
        self._queue.put_latest((lane,), Room(site.name, site.told, lane))

    def _is_left_alone(self, lease: Lease, site: Site, road: Road, now: float) -> bool:
        """Of a site with trouble: whether it is on hold, or being probed while mail can go another way."""
        return site.window.hold_until > now or (site.is_probed(now) and self._detours.is_any_open(lease, road, now))

    def _route_anew(self, lease: Lease, now: float) -> None:
        """Its lane is gone: mail that was held while the routes changed.  What has no route now is held, loudly."""
        message = lease.message
        outcomes: list[Outcome] = []
        for recipient in lease.recipients:
            lane = self._ports.table.lane_of(message, recipient.address)
            outcomes.append(
                Outcome(
                    token=lease.token,
                    handle=lease.handle,
                    number=recipient.number,
                    step=Step.POSTPONE if lane else Step.HOLD,
                    due=now,
                    tried=False,
                    reply="routed anew" if lane else f"{NO_ROUTE}: the configuration has none for lane {lease.lane!r}",
                    lane=lane or UNROUTED,
                )
            )
        self._queue.put(Settled(lease, tuple(outcomes)))

    def _send(self, lease: Lease, site: Site, road: Road) -> None:
        site.in_flight += 1
        site.invited_until = 0.0
        lease.site = site
        domain = domain_of_lane(lease.lane) if road.by_domain else None
        self._attempts.append(Attempt(lease, road.transport, domain, self._seconds))

    def _postpone(self, lease: Lease, site: Site, road: Road, now: float) -> None:
        """It is left alone, or is being probed.  What ran out of time meanwhile fails, unless only the clock jumped."""
        window, clock = site.window, self._ports.clock
        end = retry.expires_at(lease.message, road.retry)
        is_given_up = now >= end and (clock.jumped_at is None or window.failed_at >= clock.jumped_at)
        is_given_up = is_given_up and road.give_up == "drop"  # what is held when it is over was tried until then
        notice = _is_notice_due(lease, self._ports, now)
        lanes: Mapping[int, str] = {}
        if is_given_up:
            self._settle_all(lease, Step.FAIL, status=retry.EXPIRED, reply=f"given up: {window.reason}")
        else:
            lanes = self._detours.around(lease, road, now)
            dues = self._dues(lease, lanes, window, road, now)
            self._settle_all(
                lease, Step.POSTPONE, reply=f"held: {window.reason}", delay_notice=notice, lanes=lanes, dues=dues
            )
        is_moving = is_given_up or notice or bool(lanes) or self._detours.is_any_open(lease, road, now)
        site.clearing = CLEARING if is_moving else max(0, site.clearing - 1)
        self._tell_room(site, now)

    def _dues(
        self, lease: Lease, lanes: Mapping[int, str], window: limits.Window, road: Road, now: float
    ) -> Mapping[int, float]:
        """When what was not tried goes on, by the recipients' numbers: when a hold ends of a road that it may take."""
        jitter = self._ports.random.random() * min(window.hold_seconds, 60.0) * road.retry.jitter
        end = retry.expires_at(lease.message, road.retry)
        dues: dict[int, float] = {}
        for recipient in lease.recipients:
            ends = (window.hold_until, self._detours.soonest(lease.message, road, recipient, now))
            due = min(until if until > now else now + _PROBE_SECONDS for until in ends) + jitter
            dues[recipient.number] = now if recipient.number in lanes else min(due, end) if now < end else due
        return dues

    def _settle_all(
        self,
        lease: Lease,
        step: Step,
        *,
        status: str = "",
        reply: str = "",
        delay_notice: bool = False,
        lanes: Mapping[int, str] = {},  # only read
        dues: Mapping[int, float] = {},  # only read
    ) -> None:
        """lanes, dues: by which road, and when, recipients go on, by their numbers."""
        outcomes = tuple(
            Outcome(
                token=lease.token,
                handle=lease.handle,
                number=recipient.number,
                step=step,
                due=dues.get(recipient.number, 0.0),
                lane=lanes.get(recipient.number, ""),
                tried=False,
                status=status,
                reply=reply,
                delay_notice=delay_notice and retry.wants_delay_notice(lease.message, recipient),
            )
            for recipient in lease.recipients
        )
        self._queue.put(Settled(lease, outcomes))

    # --- on the way in: what now? ---

    def _return(self, lease: Lease, now: float) -> None:
        verdicts: Sequence[Verdict] = lease.verdicts or ()
        road, left = lease.road, lease.site
        assert road is not None, "set when the lease came"
        assert left is not None, "set when it left"
        left.in_flight -= 1
        site = self._learn_site(lease, left, verdicts, road)
        self._learn(lease, site, verdicts, road, now)
        outcomes = judge(lease, verdicts, road, self._ports, now)
        self._queue.put(Settled(lease, self._detours.taken(lease, road, verdicts, outcomes, now)))
        self._let_go(left, now)
        if site is not left:
            self._let_go(site, now)

    def _learn_site(self, lease: Lease, left: Site, verdicts: Sequence[Verdict], road: Road) -> Site:
        """The site that the lane belongs to from now on: what the verdicts say of it must meet the mail that waits here, too."""
        if not verdicts or not self._sites.learn(lease.lane, verdicts[0].site, road.shared_by):
            return self._sites.of(lease.lane, road.windows, road.shared_by)
        site = self._sites.of(lease.lane, left.settings, road.shared_by)
        self._say_where(lease.lane, site)
        site.waiting.extend(other for other in left.waiting if other.lane == lease.lane)
        left.waiting = deque(other for other in left.waiting if other.lane != lease.lane)
        return site

    def _learn(self, lease: Lease, site: Site, verdicts: Sequence[Verdict], road: Road, now: float) -> None:
        trouble = next(filter(limits.is_site_trouble, verdicts), None)
        before = site.window
        if trouble is not None:
            hold_now = trouble.scope is Scope.TRANSPORT
            site.window = limits.after_failure(before, site.settings, now, trouble.reply, hold_now=hold_now)
            if site.window.hold_until > now >= before.hold_until:
                self._begin_hold(site, lease.lane, road, trouble, now)
        elif any(map(limits.is_answer, verdicts)):
            site.window = limits.after_success(before, site.settings)
        if before.trouble >= site.settings.trouble and not site.window.trouble:
            self._open_again(site, before, road, now)
        if site.window is not before:
            self._tell_room(site, now)

    def _begin_hold(self, site: Site, lane: str, road: Road, trouble: Verdict, now: float) -> None:
        until = site.window.hold_until
        self._keep_alone(site, lane, road)
        self._note_circuit(site, road.shared_by, now)
        about: dict[str, Any] = {
            "site": site.name,
            "lane": lane,
            "transport": road.transport,
            "reason": f"{trouble.scope.value} trouble",
            "status": trouble.status,
            "reply": trouble.reply,
        }
        _log.warning("site_held", seconds=round(until - now, 1), **about)
        if self._ports.observers.is_active:
            self._ports.observers.publish(LaneHeld(at=now, until=until, **about))

    def _open_again(self, site: Site, before: limits.Window, road: Road, now: float) -> None:
        """The probe got through, or an attempt that began before the hold."""
        if before.hold_until > now:
            self._say_resumed(site, now)
        self._note_circuit(site, road.shared_by, now)
        self._let_others_take(site, now)
        self._sites.note_up(site)

    def _keep_alone(self, site: Site, lane: str, road: Road) -> None:
        """What waits for a site that has other roads is let out, a few leases at a time, to take one."""
        heapq.heappush(self._holds, (site.window.hold_until, next(self._count), site))
        site.held_lane, site.has_others = lane, bool(self._ports.table.failing_over(road.transport))
        site.clearing = CLEARING if site.has_others else 0
        if site.has_others:
            self._sites.note_down(site, road.transport)

    def _note_circuit(self, site: Site, transport: str, now: float) -> None:
        if site.has_others and transport:
            fact = self._ports.circuits.note(site.name, site.held_lane, site.window, now)
            self._queue.put_latest(CIRCUITS, Learnt(CIRCUITS, fact))

    def _say_resumed(self, site: Site, now: float) -> None:
        _log.info("site_resumed", site=site.name, lane=site.held_lane)
        if self._ports.observers.is_active:
            self._ports.observers.publish(LaneResumed(at=now, site=site.name, lane=site.held_lane))

    def _tell_room(self, site: Site, now: float) -> None:
        note = site.room_note(now)
        if note is not None:
            self._queue.put_latest(note.site, note)

    def _let_go(self, site: Site, now: float) -> None:
        """Leases that waited for the window leave now, or go back where the site is held."""
        while site.waiting and (site.is_open(now) or site.window.hold_until > now):
            self._leave_from(site, site.waiting.popleft(), now)

    def _leave_from(self, site: Site, lease: Lease, now: float) -> None:
        road = lease.road
        assert road is not None, "set when the lease came"
        if site.window.hold_until > now:
            self._postpone(lease, site, road, now)
        else:
            self._send(lease, site, road)

    def _end_holds(self, now: float) -> None:
        for _ in range(HOLDS_PER_TURN):
            if not self._holds or self._holds[0][0] > now:
                return
            until, _, site = heapq.heappop(self._holds)
            if site.window.hold_until == until:  # else it ended early, or another hold follows
                self._say_resumed(site, now)
                self._tell_room(site, now)
                self._let_others_take(site, now)

    def _let_others_take(self, resumed: Site, now: float) -> None:
        """A road is open again, or half open: what waits on those that are down may take it."""
        for site in self._detours.beside(resumed):
            if site.window.hold_until > now:
                site.clearing = CLEARING
                self._tell_room(site, now)
            elif site is not resumed:
                waiting, site.waiting = site.waiting, deque()
                self._leave_all(waiting, now)


def judge(lease: Lease, verdicts: Sequence[Verdict], road: Road, ports: Ports, now: float) -> tuple[Outcome, ...]:
    """What becomes of each recipient of a lease, by its verdict.  One draw for all: what waits together goes on together."""
    drawn = ports.random.random()
    wants_notice = _is_notice_due(lease, ports, now)
    damage = lease.content.damage
    untried_until = math.inf if lease.is_cut else retry.untried_until(ports.clock.awake_since, road.retry)
    return tuple(
        [
            retry.outcome(
                verdict,
                token=lease.token,
                handle=lease.handle,
                message=lease.message,
                recipient=recipient,
                retry=road.retry,
                now=now,
                draw=drawn,
                delay_notice=wants_notice,
                untried_until=untried_until,
                in_doubt=road.in_doubt,
                give_up=road.give_up,
                damage=damage,
            )
            for recipient, verdict in zip(lease.recipients, verdicts, strict=True)
        ]
    )


def _is_notice_due(lease: Lease, ports: Ports, now: float) -> bool:
    seconds = ports.config.reports.delay_notice_seconds
    return seconds > 0 and not lease.delay_noticed and now - lease.message.started_at >= seconds
