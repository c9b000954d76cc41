"""Further cases of `check_store`: what happens to a message after its attempts; see `store_cases.py`."""

from __future__ import annotations

from collections.abc import Callable

from ..store.contract import (
    IN_DOUBT,
    RESTORED,
    UNROUTED,
    Accepted,
    Cancel,
    Cancelled,
    ContentPlace,
    DelayReport,
    Filter,
    Hold,
    LaneDue,
    Move,
    Moved,
    Outcome,
    Prune,
    Pruned,
    Recover,
    Recovered,
    Release,
    Remember,
    Report,
    Retry,
    Settle,
    Settled,
    TakeAsDelivered,
    TakenAsDelivered,
    Tally,
)
from ..store.states import State, Step
from .store_bench import CONTENT, NO_LANES, NONE, NOW, Bench, accept, expect, key, lanes_of, recipient, sure

__all__ = ["LATER_CASES"]

Case = Callable[[Bench], None]
LATER_CASES: list[Case] = []
_SIZE = len(CONTENT)


def _case(case: Case) -> Case:
    LATER_CASES.append(case)
    return case


# --- Reporting ---


@_case
def failed_counts_until_reported(bench: Bench) -> None:
    """A failed recipient is unfinished, and its content kept, until its report is committed with it."""
    handle = bench.accept("m1")
    expect(bench.lease_and(Step.FAIL, reply="550 no").handle, handle, "handle")
    expect((bench.store.tally(), bench.store.content(handle)), (Tally(1, 1, _SIZE), CONTENT), "tally and content")
    answer = bench.do(Report(handle, (0,), accept("r1", sender=""), NOW + 5), Accepted)
    expect((answer.id, answer.duplicate), ("r1", False), "the report's answer")
    expect((bench.row("m1").state, bench.row("m1").reply), (State.REPORTED, "550 no"), "state and reply")
    expect((bench.message("m1").finished_at, bench.store.tally().messages), (NOW + 5, 1), "finished_at and messages")
    bench.content_is_gone(handle)
    expect(bench.lease().message.id, "r1", "the report is mail like any other")


@_case
def an_unwanted_report_is_none(bench: Bench) -> None:
    """Without a report to store the recipients become UNREPORTED, and the message is finished."""
    handle = bench.accept("m1", recipient("a@x"), recipient("b@x"))
    bench.lease_and(Step.FAIL)
    expect(bench.store.apply([Report(handle, (1,), None, NOW)]), [None], "the answer")
    expect(bench.states("m1"), [State.FAILED, State.UNREPORTED], "states")
    bench.store.apply([Report(handle, (0,), None, NOW)])
    expect((bench.store.tally(), bench.store.failures(10)), (Tally(), NONE), "tally and failures")


@_case
def a_report_on_nobody_is_refused(bench: Bench) -> None:
    """A report on a recipient that is not there is not stored: somebody would be told of what is not marked."""
    handle = bench.accept("m1")
    bench.lease_and(Step.FAIL)
    bench.refused([Report(handle, (0, 1), accept("r1"), NOW)], "a report on more recipients than there are")
    expect((bench.states("m1"), bench.store.message("r1")), ([State.FAILED], None), "the state, and the report")


@_case
def failures_are_found(bench: Bench) -> None:
    """`failures` has messages with FAILED recipients, only those recipients, bounded, oldest first."""
    for id in ("m1", "m2", "m3"):
        bench.accept(id, *(recipient(f"u{number}@x") for number in range(4)))
    for lease in bench.take().leases[::2]:
        outcomes = [Outcome(lease.token, lease.handle, number, Step.FAIL) for number in (3, 1, 0)]
        bench.do(Settle(tuple(outcomes), NOW), Settled)
    found = [(one.message.id, [row.number for row in one.recipients]) for one in bench.store.failures(10, recipients=2)]
    expect(found, [("m1", [0, 1]), ("m3", [0, 1])], "failures")
    expect([one.message.id for one in bench.store.failures(1)], ["m1"], "failures, one at most")


@_case
def a_delay_is_told_once(bench: Bench) -> None:
    """A notice of delay is wanted once per message, and done with DelayReport or with the message's end."""
    handle = bench.accept("m1")
    sure(not bench.lease_and(Step.DEFER, delay_notice=True).delay_noticed, "no notice at first")
    expect([(one.message.id, one.delay_notice) for one in bench.store.delays(9)], [("m1", True)], "delays")
    answer = bench.do(DelayReport(handle, accept("d1", recipient(lane="reports")), NOW), Accepted)
    expect((answer.id, bench.store.delays(9)), ("d1", NONE), "the answer, and delays left")
    sure(bench.lease_and(Step.DEFER, delay_notice=True).delay_noticed, "the next lease to know of the notice")
    expect(bench.store.delays(9), NONE, "delays after it was asked for again")
    again = DelayReport(handle, accept("d2", recipient(lane="reports")), NOW)
    expect((bench.store.apply([again]), bench.store.message("d2")), ([None], None), "a second notice")


@_case
def no_delay_is_told_of_what_ended(bench: Bench) -> None:
    """A message that finished before its notice of delay was written needs none."""
    handle = bench.accept("m1")
    bench.lease_and(Step.DEFER, delay_notice=True)
    bench.lease_and(Step.DELIVER)
    expect(bench.store.delays(9), NONE, "delays")
    expect(bench.store.apply([DelayReport(handle, accept("d1"), NOW)]), [None], "the answer to a late notice")


# --- Operating ---


@_case
def cancelling_ends_what_waits(bench: Bench) -> None:
    """Cancel ends what waits or is held, leaves what failed or ended, and answers with the names."""
    handle = bench.accept("m1", recipient("a@x"), recipient("b@x", state=State.HELD))
    other = bench.accept("m2", recipient("c@x"))
    answer = bench.do(Cancel(Filter(id="m1"), NOW), Cancelled)
    expect(answer, Cancelled(2, 0, ((handle, "m1", "a@x"), (handle, "m1", "b@x")), (handle,)), "the answer")
    expect((bench.states("m1"), bench.states("m2")), ([State.CANCELLED] * 2, [State.WAITING]), "states")
    expect(bench.do(Cancel(Filter(id="m1"), NOW), Cancelled), Cancelled(0, 0), "again")
    bench.lease_and(Step.FAIL)
    expect(bench.do(Cancel(Filter(), NOW), Cancelled), Cancelled(0, 0), "with only a failed one left")
    expect(bench.store.content(other), CONTENT, "the content of the failed one")


@_case
def cancelling_waits_for_the_attempt(bench: Bench) -> None:
    """A leased recipient is marked, and CANCELLED by every step but DELIVER."""
    bench.accept("m1", recipient("a@x"), recipient("b@x"), recipient("c@x"))
    lease = bench.lease()
    expect(bench.do(Cancel(Filter(), NOW), Cancelled), Cancelled(0, 3), "the answer")
    expect(bench.states("m1"), [State.LEASED] * 3, "states while the attempt runs")
    steps = (Step.DELIVER, Step.DEFER, Step.FAIL)
    outcomes = tuple(Outcome(lease.token, lease.handle, number, step) for number, step in enumerate(steps))
    settled = bench.do(Settle(outcomes, NOW), Settled)
    expect(settled.states, (State.ACCEPTED, State.CANCELLED, State.CANCELLED), "states after it")
    expect(settled.finished, (lease.handle,), "finished")


@_case
def filters_mean_what_they_say(bench: Bench) -> None:
    """All given conditions of a filter hold; a domain compares without case; an empty filter means all."""
    bench.accept("m1", recipient("a@Example.ORG", "one"), recipient("b@sub.example.org", "two"), sender="s@x")
    bench.accept("m2", recipient("a@example.net", "one", state=State.HELD), sender="t@x")
    cases = {
        Filter(): ["m1", "m2"],
        Filter(id="m2"): ["m2"],
        Filter(recipient="b@sub.example.org"): ["m1"],
        Filter(lane="one"): ["m1", "m2"],
        Filter(lane="two", sender="t@x"): [],
        Filter(sender="s@x"): ["m1"],
        Filter(domain="EXAMPLE.org"): ["m1"],
        Filter(domain="org"): [],
        Filter(states=(State.HELD, State.FAILED)): ["m2"],
        Filter(id="m1", states=(State.HELD,)): [],
    }
    for filter, wanted in cases.items():
        expect([one.message.id for one in bench.store.find(filter, 9)], wanted, f"found by {filter}")


@_case
def holding_and_releasing(bench: Bench) -> None:
    """Hold takes what is leasable until Release, which makes it due; what is leased is not touched."""
    bench.accept("m1", recipient("a@x", "one"), recipient("b@x", "two"))
    lease = bench.lease(lane="one")
    expect(bench.do(Hold(Filter(), "an operator", NOW), Moved), Moved(1, held=1), "held")
    expect((bench.states("m1"), lanes_of(bench.store)), ([State.LEASED, State.HELD], NO_LANES), "states and lanes")
    expect(bench.row("m1", 1).reason, "an operator", "why")
    expect(bench.do(Release(Filter(lane="else"), NOW), Moved), Moved(0), "released on another lane")
    expect(bench.do(Release(Filter(), NOW + 9), Moved), Moved(1, (LaneDue("two", NOW + 9),)), "released")
    expect((bench.row("m1", 1).due, bench.row("m1", 1).reason), (NOW + 9, ""), "due and reason")
    expect(bench.settle(lease, Step.DELIVER).states, (State.ACCEPTED,), "the leased one")


@_case
def taking_as_delivered(bench: Bench) -> None:
    """TakeAsDelivered ends what is held and in doubt, and nothing else; it answers with the names."""
    handle = bench.accept("m1", recipient("a@x", "one"), recipient("b@x", "two", state=State.HELD))
    bench.accept("m2", recipient("c@x", "three"))
    bench.accept("m3", recipient("d@x", "three"))
    bench.settle(bench.lease(lane="one"), Step.HOLD, in_doubt=True, reply="in doubt: cut", status="4.4.2")
    for lease, step in zip(bench.take(lane="three").leases, (Step.DOUBT, Step.FAIL), strict=True):
        bench.settle(lease, step, in_doubt=True, due=NOW)
    expect(bench.do(TakeAsDelivered(Filter(id="m2"), NOW), TakenAsDelivered), TakenAsDelivered(), "of what waits")
    answer = bench.do(TakeAsDelivered(Filter(), NOW + 9), TakenAsDelivered)
    expect(answer, TakenAsDelivered(1, ((handle, "m1", "a@x"),)), "the answer")
    expect(bench.states("m1") + bench.states("m2") + bench.states("m3"),
           [State.ACCEPTED, State.HELD, State.IN_DOUBT, State.FAILED], "states")  # fmt: skip
    row = bench.row("m1")
    expect((row.in_doubt, row.reason, row.settled_at), (True, "", NOW + 9), "doubt, reason, and when")
    expect((row.status, row.reply), ("4.4.2", "in doubt, taken as delivered: cut"), "the last word")
    expect(bench.store.tally().recipients, 3, "unfinished")


@_case
def taking_the_last_one_as_delivered(bench: Bench) -> None:
    """With the last recipient its message finishes, as by any other end; taken once it is taken no more."""
    handle = bench.accept("m1")
    bench.lease_and(Step.HOLD, in_doubt=True, reply="in doubt: cut")
    answer = bench.do(TakeAsDelivered(Filter(states=(State.HELD,)), NOW), TakenAsDelivered)
    expect((answer.recipients, answer.finished), (1, (handle,)), "the answer")
    expect(bench.store.tally(), Tally(), "tally")
    bench.content_is_gone(handle)
    expect(bench.do(TakeAsDelivered(Filter(), NOW), TakenAsDelivered), TakenAsDelivered(), "again")


@_case
def retrying_now(bench: Bench) -> None:
    """Retry makes what was tried or postponed due now; what is due already keeps its place."""
    for id, lane, step in (("m1", "one", Step.DEFER), ("m2", "two", Step.POSTPONE), ("m3", "two", Step.DOUBT)):
        bench.accept(id, recipient(lane=lane))
        bench.settle(bench.lease(lane=lane), step, due=NOW + 50)
    bench.accept("m4", recipient("b@x", "one", due=NOW - 50), recipient("d@x", "three", state=State.HELD))
    wanted = Moved(4, (LaneDue("one", NOW - 50), LaneDue("two", NOW)))
    expect(bench.do(Retry(Filter(), NOW), Moved), wanted, "the answer")
    expect([bench.row(id).due for id in ("m1", "m2", "m3", "m4")], [NOW, NOW, NOW, NOW - 50], "due times")


@_case
def retrying_scheduled_mail(bench: Bench) -> None:
    """Retry leaves what was never settled to its send_at, and says so."""
    bench.accept("m1", recipient("a@x", "one", due=NOW + 50), recipient("b@x", "two", due=NOW + 70))
    bench.accept("m2", recipient("c@x", "two"))
    bench.settle(bench.lease(lane="two"), Step.DEFER, due=NOW + 90)
    wanted = Moved(3, (LaneDue("one", NOW + 50), LaneDue("two", NOW + 10)))
    expect(bench.do(Retry(Filter(), NOW + 10), Moved), wanted, "the answer")
    expect([row.due for row in bench.message("m1").recipients], [NOW + 50, NOW + 70], "scheduled due times")
    expect(lanes_of(bench.store), {"one": NOW + 50, "two": NOW + 10}, "lanes")
    expect(bench.take(lane="one", now=NOW + 49).leases, (), "leases before send_at")


@_case
def retrying_after_the_clock_was_set_back(bench: Bench) -> None:
    """Retry makes due what had been due by a clock that was set back since, though nobody tried it."""
    bench.accept("m1", recipient("a@x", "one", due=NOW + 50), recipient("b@x", "two", due=NOW + 70))
    wanted = Moved(2, (LaneDue("one", NOW), LaneDue("two", NOW + 70)))
    expect(bench.do(Retry(Filter(), NOW, untried_until=NOW + 50), Moved), wanted, "the answer")
    expect([row.due for row in bench.message("m1").recipients], [NOW, NOW + 70], "due times")


@_case
def retrying_what_was_given_while_the_clock_was_ahead_of_the_wall(bench: Bench) -> None:
    """Retry after the clock was set back gives scheduled mail its time by the wall, once; held mail, too."""
    ahead = {"ahead": 100.0, "send_at": NOW + 170, "expires_at": NOW + 200}
    bench.accept("m1", recipient("a@x", "one", due=NOW + 170), recipient("b@x", "two", due=NOW + 170), **ahead)
    bench.accept("m2", recipient("c@x", "two", due=NOW + 170), send_at=NOW + 170)
    bench.accept("m3", recipient("d@x", "one", due=NOW + 120), **ahead)
    bench.do(Hold(Filter(recipient="b@x"), "an operator", NOW), Moved)
    wanted = Moved(3, (LaneDue("one", NOW + 20), LaneDue("two", NOW + 170)))
    for until in (NOW + 110, NOW + 10):
        expect(bench.do(Retry(Filter(), NOW, untried_until=until), Moved), wanted, "the answer")
        expect(lanes_of(bench.store), {"one": NOW + 20, "two": NOW + 170}, "lanes")
        expect([row.due - NOW for row in bench.message("m1").recipients], [70, 70], "due times, in seconds from now")
        message = bench.message("m1").message
        moments = message.accepted_at, message.send_at, message.expires_at
        expect(moments, (NOW - 100, NOW + 70, NOW + 100), "moments")


@_case
def releasing_scheduled_mail(bench: Bench) -> None:
    """Release leaves what was never settled to its send_at; what was settled before is due now."""
    bench.accept("m1", recipient("a@x", "one", due=NOW + 50), recipient("b@x", "two", due=NOW + 70))
    bench.accept("m2", recipient("c@x", "two"), recipient("d@x", "one", state=State.HELD, due=NOW + 60))
    bench.settle(bench.lease(lane="two"), Step.DEFER, due=NOW + 90)
    bench.do(Hold(Filter(), "an operator", NOW), Moved)
    wanted = Moved(4, (LaneDue("one", NOW + 50), LaneDue("two", NOW + 10)))
    expect(bench.do(Release(Filter(), NOW + 10), Moved), wanted, "the answer")
    rows = [*bench.message("m1").recipients, *bench.message("m2").recipients]
    expect([row.due - NOW for row in rows], [50, 70, 10, 60], "due times, in seconds from now")
    expect(lanes_of(bench.store), {"one": NOW + 50, "two": NOW + 10}, "lanes")
    expect(bench.take(lane="one", now=NOW + 49).leases, (), "leases before send_at")


@_case
def routing_anew(bench: Bench) -> None:
    """Move asks for each recipient of a lane; no lane holds it on UNROUTED, and only what
    was held for want of a route is released.
    """
    bench.accept("m1", recipient("a@x", "old", due=NOW + 50), recipient("b@x", "old"), recipient("c@x", "old"))
    bench.accept("m2", recipient("d@x", "old", state=State.HELD), recipient("e@x", "old"), recipient("f@x", "else"))
    bench.do(Hold(Filter(recipient="e@x"), "an operator", NOW), Moved)
    targets = {"a@x": "new", "b@x": None, "c@x": "old", "d@x": "new", "e@x": "new"}
    move = Move("old", lambda message, address: targets[address], NOW + 1)
    expect(bench.do(move, Moved), Moved(4, (LaneDue("new", NOW + 1),), 1), "the answer")
    rows = [*bench.message("m1").recipients, *bench.message("m2").recipients]
    wanted = [("new", State.WAITING), (UNROUTED, State.HELD), ("old", State.WAITING),
              ("new", State.WAITING), ("new", State.HELD), ("else", State.WAITING)]  # fmt: skip
    expect([(row.lane, row.state) for row in rows], wanted, "lanes and states")
    expect([rows[0].due, rows[1].reason, rows[3].due, rows[4].reason],
           [NOW + 50, "no route", NOW + 1, "an operator"], "due times and reasons")  # fmt: skip


@_case
def a_route_found_later_does_not_hurry(bench: Bench) -> None:
    """What was held for want of a route and is scheduled waits for its send_at on the lane that it gets."""
    bench.accept("m1", recipient("a@x", "old", due=NOW + 50, state=State.HELD))
    moved = bench.do(Move("old", lambda message, address: "new", NOW + 1), Moved)
    expect(moved, Moved(1, (LaneDue("new", NOW + 50),)), "the answer")
    expect(lanes_of(bench.store), {"new": NOW + 50}, "lanes")


@_case
def routing_anew_goes_on(bench: Bench) -> None:
    """Move stops at its limit and says where to go on, also behind what stays where it is."""
    handle = bench.accept("m1", *(recipient(f"u{number}@x", "old") for number in range(5)))
    seen: list[str] = []

    def stay(message: object, address: str) -> str:
        seen.append(address)
        return "old"

    first = bench.do(Move("old", stay, NOW, limit=3), Moved)
    expect((first.recipients, first.rest), (0, (handle, 2)), "the first part's answer")
    second = bench.do(Move("old", stay, NOW, limit=3, after=(handle, 2)), Moved)
    expect((second.rest, seen), (None, [f"u{number}@x" for number in range(5)]), "the end, and who was asked for")


# --- Starting, forgetting, remembering ---


@_case
def recovering(bench: Bench) -> None:
    """Recover: leased and marked is in doubt, which counts as a try; leased alone is waiting."""
    one, two = bench.token(), bench.token()
    bench.accept("m1", recipient("a@x", lease=one), recipient("b@x", lease=two), recipient("c@x"))
    answer = bench.do(Recover(frozenset({two, 999}), rebooted=False, now=NOW), Recovered)
    expect(answer, Recovered(1, 1, (("m1", "b@x"),)), "the answer")
    expect(bench.states("m1"), [State.WAITING, State.IN_DOUBT, State.WAITING], "states")
    expect([(row.in_doubt, row.attempts) for row in bench.lease().recipients],
           [(False, 0), (True, 1), (False, 0)], "in doubt, attempts")  # fmt: skip


@_case
def recovering_forgets_no_doubt(bench: Bench) -> None:
    """What was in doubt before stays so, though the attempt that Recover finds had not begun to hand over."""
    bench.accept("m1")
    bench.lease_and(Step.DOUBT)
    bench.lease()
    expect(bench.do(Recover(frozenset(), rebooted=False, now=NOW), Recovered), Recovered(1, 0), "the answer")
    expect([(row.in_doubt, row.attempts) for row in bench.lease().recipients], [(True, 1)], "in doubt, attempts")


@_case
def recovering_after_a_boot(bench: Bench) -> None:
    """After a reboot no mark can be trusted: everything leased is in doubt, unless it was cancelled, which is named."""
    bench.accept("m1", recipient("a@x", lease=bench.token()), recipient("b@x", lease=bench.token()))
    bench.do(Cancel(Filter(recipient="b@x"), NOW), Cancelled)
    answer = bench.do(Recover(frozenset(), rebooted=True, now=NOW), Recovered)
    expect(answer, Recovered(0, 1, (("m1", "a@x"),), cancelled=(("m1", "b@x"),)), "the answer")
    expect(bench.states("m1"), [State.IN_DOUBT, State.CANCELLED], "states")


@_case
def recovering_by_lane(bench: Bench) -> None:
    """What is in doubt after Recover takes the step that `doubt` names for its lane; a held one says why, and is named."""
    lanes = ("again", "hold")
    bench.accept("m1", *(recipient(f"{lane}@x", lane, lease=bench.token()) for lane in lanes))
    bench.accept("m2", recipient("c@x", "else", lease=bench.token()))
    doubt = {"again": Step.DOUBT, "hold": Step.HOLD}.__getitem__
    answer = bench.do(Recover(frozenset({1, 2}), rebooted=False, now=NOW, doubt=doubt), Recovered)
    expect(answer, Recovered(1, 2, (("m1", "again@x"),), (("m1", "hold@x"),)), "the answer")
    expect(bench.states("m1") + bench.states("m2"), [State.IN_DOUBT, State.HELD, State.WAITING], "states")
    expect(
        [(row.in_doubt, row.attempts) for row in bench.message("m1").recipients], [(True, 1)] * 2, "doubts and tries"
    )
    sure(bench.row("m1", 1).reason.startswith(IN_DOUBT), "a reason that tells the doubt")
    expect(bench.do(Release(Filter(), NOW + 1), Moved).recipients, 1, "released")
    expect(
        [row.in_doubt for row in bench.lease(lane="hold", now=NOW + 1).recipients], [True], "in doubt at the next lease"
    )


@_case
def recovering_a_restored_store(bench: Bench) -> None:
    """Restored: what could be delivered again is in doubt, and nothing of it goes by itself; what has ended stays so."""
    one, two = bench.token(), bench.token()
    bench.accept("m1", recipient("done@x", lease=one), recipient("had@x", lease=two))
    bench.do(Settle((Outcome(one, bench.message("m1").handle, 0, Step.DELIVER),), NOW), Settled)
    lost, mine = recipient("lost@x", state=State.HELD), recipient("mine@x", state=State.HELD, reason="mine")
    bench.accept("m2", recipient("waits@x"), lost, mine)
    answer = bench.do(Recover(frozenset(), rebooted=True, now=NOW, restored=True), Recovered)
    expect((answer.doubted, answer.restored), (1, 4), "the answer's doubts")
    rows = {row.address: row for id in ("m1", "m2") for row in bench.message(id).recipients}
    done = rows.pop("done@x")
    expect((done.state, done.in_doubt), (State.ACCEPTED, False), "what was delivered before")
    expect({(row.state, row.in_doubt) for row in rows.values()}, {(State.HELD, True)}, "the others")
    why = f"{IN_DOUBT}: {RESTORED}"
    expect([rows[f"{name}@x"].reason for name in ("had", "waits", "lost", "mine")], [why, why, why, "mine"], "reasons")
    bench.do(Move("out/example.org", lambda message, address: "else", NOW), Moved)
    expect(lanes_of(bench.store), {}, "lanes with something due, with a route for all")
    expect(bench.do(Release(Filter(), NOW), Moved).recipients, 4, "released")


@_case
def forgetting(bench: Bench) -> None:
    """Prune forgets what finished before, keys past their time, and names content files that nobody needs, once."""
    bench.accept("m1", content=ContentPlace("m1"), idempotency=key("k", until=NOW + 100))
    bench.lease_and(Step.DELIVER)
    bench.accept("m2")
    early = bench.do(Prune(before=NOW + 1, now=NOW + 99), Pruned)
    expect(early, Pruned(0, ("m1",)), "before its time: the file alone may go")
    expect(bench.message("m1").recipients[0].state, State.ACCEPTED, "still remembered")
    sure(bench.do(accept("m3", idempotency=key("k")), Accepted).duplicate, "the key to hold until its time")
    expect(bench.do(Prune(before=NOW + 1.5, now=NOW + 100), Pruned), Pruned(1, ()), "after its time")
    expect(bench.store.message("m1"), None, "the finished message")
    expect(bench.states("m2"), [State.WAITING], "the unfinished one")
    bench.accept("m4", idempotency=key("k", b"else"))


@_case
def forgetting_in_parts(bench: Bench) -> None:
    """Prune forgets at most so many at once, the first finished first; an id forgotten is new again."""
    for number in (3, 1, 2):
        bench.accept(f"m{number}")
        bench.settle(bench.lease(), Step.DELIVER, now=NOW + number)
    expect(bench.do(Prune(before=NOW + 9, now=NOW, limit=2), Pruned).messages, 2, "forgotten at once")
    expect([bench.store.message(f"m{number}") is None for number in (1, 2, 3)], [True, True, False], "forgotten")
    bench.accept("m1")


@_case
def a_file_name_used_again_is_kept(bench: Bench) -> None:
    """A content file that a new message uses is not named for deletion because an old one of that name has ended."""
    bench.accept("m1", content=ContentPlace("file"))
    bench.lease_and(Step.DELIVER)
    bench.accept("m2", content=ContentPlace("file"))
    expect(bench.do(Prune(before=NOW, now=NOW), Pruned), Pruned(0, ()), "the answer")


@_case
def remembering(bench: Bench) -> None:
    """Remember keeps a fact under its name until it is replaced or forgotten."""
    bench.store.apply([Remember("a", b"1"), Remember("b", b""), Remember("a", b"2")])
    expect([bench.store.recall(name) for name in ("a", "b", "c")], [b"2", b"", None], "facts")
    bench.store.apply([Remember("a", None), Remember("c", None)])
    expect(bench.store.recall("a"), None, "a forgotten fact")


# --- Questions ---


@_case
def finding_in_pages(bench: Bench) -> None:
    """`find` gives messages by id, at most so many, from behind an id on."""
    for id in ("b", "d", "a", "c"):
        bench.accept(id)
    expect([one.message.id for one in bench.store.find(Filter(), 2)], ["a", "b"], "the first page")
    expect([one.message.id for one in bench.store.find(Filter(), 9, after="b")], ["c", "d"], "the second page")


@_case
def counting(bench: Bench) -> None:
    """`counts` has every recipient, by state."""
    bench.accept("m1", recipient("a@x"), recipient("b@x"), recipient("c@x", state=State.HELD))
    counted = {state: count for state, count in bench.store.counts().items() if count}
    expect(counted, {State.WAITING: 2, State.HELD: 1}, "counts")


@_case
def a_sound_store_says_so(bench: Bench) -> None:
    """`check` finds no problem where there is none."""
    bench.accept("m1", recipient("a@x"), recipient("b@x", "else"))
    bench.accept("m2", content=ContentPlace("m2"))
    for lease in bench.take().leases:
        bench.settle(lease, Step.DELIVER)
    expect(bench.store.check(), NONE, "problems")


@_case
def a_closed_store_refuses(bench: Bench) -> None:
    """A closed store stores nothing; closing twice does no harm."""
    bench.store.close()
    bench.store.close()
    bench.refused([accept("m1")], "accepting after closing")
