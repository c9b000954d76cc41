"""The cases of `check_store`: one small function each; its docstring is the duty, from `postroad.store.contract`."""

from __future__ import annotations

from collections.abc import Callable

from ..store.contract import (
    Accept,
    Accepted,
    Cancel,
    ContentPlace,
    Filter,
    IdempotencyMismatch,
    Outcome,
    Remember,
    Report,
    Settle,
    Settled,
    TakeLeases,
    Taken,
    Tally,
)
from ..store.states import State, Step
from .store_bench import CONTENT, NO_LANES, NONE, NOW, Bench, accept, expect, key, lanes_of, recipient, sure

__all__ = ["CASES"]

Case = Callable[[Bench], None]
CASES: list[Case] = []
_SIZE = len(CONTENT)


def _case(case: Case) -> Case:
    CASES.append(case)
    return case


# --- Accepting ---


@_case
def accepted_is_kept(bench: Bench) -> None:
    """What was accepted is there with all its recipients and its content."""
    one = recipient("anna@example.org", notify=("failure", "delay"), orcpt="rfc822;anna@example.org")
    two = recipient("bert@example.net", "out/example.net", due=NOW + 5)
    given = accept("m1", one, two, tags=("a", "b"), priority=2, message_id="x@example.com")
    (answer,) = bench.store.apply([given])
    handle = bench.kind(answer, Accepted).handle
    found = bench.message("m1")
    expect(found.message, given.message, "the message")
    expect(found.finished_at, None, "finished_at")
    expect([(row.number, row.address, row.lane, row.due) for row in found.recipients],
           [(0, "anna@example.org", "out/example.org", NOW), (1, "bert@example.net", "out/example.net", NOW + 5)],
           "the recipients")  # fmt: skip
    expect((found.recipients[0].notify, found.recipients[0].orcpt), (one.notify, one.orcpt), "notify and orcpt")
    expect(bench.store.content(handle), CONTENT, "the content")
    expect(bench.store.message("m2"), None, "a message never accepted")


@_case
def a_content_file_stays_a_name(bench: Bench) -> None:
    """A ContentPlace is given back as it was, and TakeLeases does not read it along."""
    handle = bench.accept("m1", content=ContentPlace("m1"))
    expect(bench.store.content(handle), ContentPlace("m1"), "the content")
    expect(bench.lease(content_bytes=1 << 30).content, None, "content in the lease")


@_case
def a_content_file_is_needed_until_the_end(bench: Bench) -> None:
    """content_files names the files of unfinished messages, and no others."""
    bench.accept("m1", content=ContentPlace("m1"))
    bench.accept("m2", recipient(lane="else"), content=ContentPlace("m2"))
    bench.accept("m3", recipient(lane="else"))
    bench.lease_and(Step.DEFER)
    expect(bench.store.content_files(), frozenset({"m1", "m2"}), "files before the end")
    bench.lease_and(Step.DELIVER)
    expect(bench.store.content_files(), frozenset({"m2"}), "files after the end of m1")


@_case
def any_text_is_only_text(bench: Bench) -> None:
    """Addresses, replies and names are data, whatever is in them."""
    odd = "'; DROP TABLE message; --%_\\\"\u00fc\u2028\U0001f4a9@example.org"
    bench.accept("m1", recipient(odd, lane=odd), sender=odd)
    lease = bench.lease(lane=odd)
    bench.settle(lease, Step.DEFER, due=NOW + 9, status=odd, reply=odd, remote=odd)
    found = bench.row("m1")
    expect((found.address, found.lane, found.status, found.reply, found.remote), (odd,) * 5, "odd text")
    for filter in (Filter(recipient=odd), Filter(lane=odd), Filter(sender=odd)):
        expect(len(bench.store.find(filter, 10)), 1, f"messages found by {filter}")


@_case
def the_same_id_is_a_duplicate(bench: Bench) -> None:
    """A message whose id is already there was accepted before: the answer says duplicate, nothing changes."""
    handle = bench.accept("m1")
    tally = bench.store.tally()
    again = accept("m1", recipient("other@example.org", lease=bench.token()))
    answers = bench.store.apply([again, accept("m2"), accept("m2")])
    expect(answers[0], Accepted("m1", handle, duplicate=True), "the same id later")
    sure(bench.kind(answers[2], Accepted).duplicate, "the same id in one batch to be a duplicate")
    expect(bench.row("m1").address, "anna@example.org", "the first one's recipient")
    expect(bench.store.tally().messages, tally.messages + 1, "messages in the tally")


@_case
def a_key_is_used_once(bench: Bench) -> None:
    """The same idempotency key of the same sender gives the first message, or a mismatch for another digest."""
    first = bench.accept("m1", idempotency=key("k"))
    expect(bench.do(accept("m2", idempotency=key("k")), Accepted), Accepted("m1", first, duplicate=True), "same digest")
    mismatch = bench.do(accept("m3", idempotency=key("k", b"else")), IdempotencyMismatch)
    expect(mismatch.id, "m1", "the message that has the key")
    expect([bench.store.message(id) for id in ("m2", "m3")], [None, None], "messages not stored")
    bench.accept("m4", idempotency=key("k", b"else", sender="other@example.com"))


@_case
def a_key_works_within_a_batch(bench: Bench) -> None:
    """Two Accepts with the same key inside one batch are one message."""
    answers = bench.store.apply([accept("m1", idempotency=key("k")), accept("m2", idempotency=key("k"))])
    one, two = (bench.kind(answer, Accepted) for answer in answers)
    expect(two, Accepted("m1", one.handle, duplicate=True), "the second answer")
    expect(bench.store.tally().messages, 1, "messages in the tally")


@_case
def a_key_ends(bench: Bench) -> None:
    """An idempotency key past its time is free again."""
    bench.accept("m1", idempotency=key("k", until=NOW + 10))
    bench.accept("m2", idempotency=key("k", b"else"), accepted_at=NOW + 10)


@_case
def a_lease_may_begin_with_accepting(bench: Bench) -> None:
    """A recipient accepted with a token is leased by the same commit; HELD means that there is no route."""
    token = bench.token()
    handle = bench.accept("m1", recipient(lease=token), recipient("b@example.org"), recipient("c@x", state=State.HELD))
    expect(bench.states("m1"), [State.LEASED, State.WAITING, State.HELD], "states")
    expect(bench.row("m1", 2).reason, "no route", "why it is held")
    expect([row.number for row in bench.lease().recipients], [1], "numbers left to lease")
    settled = bench.do(Settle((Outcome(token, handle, 0, Step.DELIVER),), NOW + 1), Settled)
    expect(settled.states, (State.ACCEPTED,), "the state after settling with that token")


@_case
def all_or_nothing(bench: Bench) -> None:
    """On any exception nothing was stored, whatever came before it in the batch."""
    handle = bench.accept("m1")
    impossible = Report(handle, (0,), None, NOW)  # not failed
    before = bench.store.tally(), bench.message("m1"), lanes_of(bench.store)
    take = TakeLeases("out/example.org", NOW, (bench.token(),))
    more = (accept("m2", idempotency=key("k")), Remember("fact", b"x"), take, Cancel(Filter(), NOW))
    bench.refused([*more, impossible], "a report on a recipient that has not failed")
    expect((bench.store.tally(), bench.message("m1"), lanes_of(bench.store)), before, "tally, message and lanes")
    expect((bench.store.message("m2"), bench.store.recall("fact")), (None, None), "what the batch would have added")
    bench.accept("m3", idempotency=key("k"))


@_case
def impossible_messages_are_refused(bench: Bench) -> None:
    """A message without recipients, or with a priority that does not exist, is a bug of the caller."""
    bench.refused([Accept(accept("m1").message, (), CONTENT)], "no recipients")
    bench.refused([accept("m1", priority=10)], "priority 10")
    bench.refused([accept("m1", recipient(state=State.ACCEPTED))], "a recipient that has ended already")
    bench.refused([accept("m1", recipient(state=State.HELD, lease=7))], "held and leased")
    expect(bench.store.tally(), Tally(), "the tally")


@_case
def operations_see_the_ones_before(bench: Bench) -> None:
    """Operations of one batch happen in their order."""
    token = bench.token()
    answers = bench.store.apply(
        [
            accept("m1"),
            TakeLeases("out/example.org", NOW, (token,)),
            Settle((Outcome(token, 1, 0, Step.DELIVER),), NOW),
            accept("m1"),
        ]
    )
    handle = bench.kind(answers[0], Accepted).handle
    expect([lease.handle for lease in bench.kind(answers[1], Taken).leases], [handle], "leases")
    sure(bench.kind(answers[3], Accepted).duplicate, "the id again to be a duplicate")


# --- Leasing ---


@_case
def leases_come_in_order(bench: Bench) -> None:
    """By priority, then due time, then order of acceptance; nothing before its time, nothing of another lane."""
    for id, priority, due in (
        ("a", 5, 3.0),
        ("b", 5, 1.0),
        ("c", 0, 9.0),
        ("d", 9, 0.0),
        ("e", 5, 1.0),
        ("f", 0, 11.0),
    ):
        bench.accept(id, recipient(due=NOW + due), priority=priority)
    bench.accept("g", recipient(lane="out/else"))
    taken = bench.take(4, now=NOW + 10)
    expect([lease.message.id for lease in taken.leases], ["c", "b", "e", "a"], "the order of leasing")
    expect(taken.next_due, NOW, "the earliest due time left")
    rest = bench.take(4, now=NOW + 10)
    expect([lease.message.id for lease in rest.leases], ["d"], "the rest that is due")
    expect(rest.next_due, NOW + 11, "the earliest due time left")
    last = bench.take(4, now=NOW + 11)
    expect(([lease.message.id for lease in last.leases], last.next_due), (["f"], None), "the last")


@_case
def a_lease_is_one_message(bench: Bench) -> None:
    """A lease has the due recipients of one message on one lane, at most so many."""
    people = [recipient(f"u{number}@example.org", due=NOW + (99 if number == 1 else 0)) for number in range(6)]
    bench.accept("m1", *people, recipient("x@example.net", "out/example.net"))
    bench.accept("m2")
    found = [(lease.message.id, [row.number for row in lease.recipients]) for lease in bench.take(each=3).leases]
    expect(found, [("m1", [0, 2, 3]), ("m1", [4, 5]), ("m2", [0])], "leases")


@_case
def a_lease_is_exclusive(bench: Bench) -> None:
    """What is leased is not leased again before it is settled, and not listed as due."""
    bench.accept("m1")
    lease = bench.lease()
    expect((bench.take().leases, lanes_of(bench.store)), ((), NO_LANES), "leases and lanes left")
    expect(bench.row("m1").state, State.LEASED, "the state")
    bench.settle(lease, Step.POSTPONE, due=NOW + 5)
    expect(lanes_of(bench.store), {"out/example.org": NOW + 5}, "lanes after it was given back")


@_case
def contents_come_along_within_a_budget(bench: Bench) -> None:
    """Contents up to so many octets in all are read along; the rest has None."""
    for number, size in enumerate((10, 50, 20)):
        bench.accept(f"m{number}", content=b"x" * size)
    expect([lease.content for lease in bench.take(content_bytes=30).leases], [b"x" * 10, None, b"x" * 20], "contents")


@_case
def lanes_have_their_earliest_due_time(bench: Bench) -> None:
    """Every lane with something leasable, with the earliest time that any of it is due, whatever its priority."""
    bench.accept("m1", recipient(lane="b", due=NOW + 7), recipient(lane="a", due=NOW + 3), priority=0)
    bench.accept("m2", recipient(lane="b", due=NOW + 5), recipient(lane="c", state=State.HELD), priority=9)
    expect(lanes_of(bench.store), {"a": NOW + 3, "b": NOW + 5}, "lanes")


# --- Settling ---


@_case
def each_step_has_its_state(bench: Bench) -> None:
    """DELIVER ends, DEFER and POSTPONE wait, DOUBT is in doubt, FAIL fails, HOLD holds; a try counts when it was one."""
    steps = (Step.DELIVER, Step.DEFER, Step.POSTPONE, Step.DOUBT, Step.FAIL, Step.HOLD)
    bench.accept("m1", *(recipient(f"u{number}@x") for number in range(6)))
    lease = bench.lease()
    outcomes = tuple(
        Outcome(lease.token, lease.handle, number, step, NOW + 60, tried=step is not Step.POSTPONE, reply=step.value)
        for number, step in enumerate(steps)
    )
    settled = bench.do(Settle(outcomes, NOW + 2), Settled)
    wanted = (State.ACCEPTED, State.WAITING, State.WAITING, State.IN_DOUBT, State.FAILED, State.HELD)
    expect((settled.states, settled.finished), (wanted, ()), "the answer")
    rows = bench.message("m1").recipients
    expect([row.attempts for row in rows], [1, 1, 0, 1, 1, 1], "attempts")
    expect([row.due - NOW for row in rows], [0, 60, 60, 60, 0, 0], "due times, in seconds from now")
    expect([row.reply for row in rows], [step.value for step in steps], "replies")
    expect({row.settled_at for row in rows}, {NOW + 2}, "settled_at")
    expect(rows[5].reason, "hold", "why it is held")


@_case
def silence_keeps_the_last_words(bench: Bench) -> None:
    """An outcome that says nothing does not wipe out what the last attempt was told."""
    bench.accept("m1")
    bench.settle(bench.lease(), Step.DEFER, due=NOW, status="4.2.0", reply="later", remote="mx")
    bench.settle(bench.lease(), Step.POSTPONE, due=NOW, tried=False)
    row = bench.row("m1")
    expect((row.status, row.reply, row.remote, row.attempts), ("4.2.0", "later", "mx", 1), "what was said")


@_case
def a_doubt_is_never_forgotten(bench: Bench) -> None:
    """What was in doubt once is leased as in_doubt every time, even after it was given back untried."""
    bench.accept("m1")
    expect([row.in_doubt for row in bench.lease_and(Step.DOUBT).recipients], [False], "in doubt at first")
    expect([row.in_doubt for row in bench.lease_and(Step.POSTPONE).recipients], [True], "in doubt after DOUBT")
    expect([(row.in_doubt, row.attempts) for row in bench.lease().recipients], [(True, 2)], "in doubt, attempts")


@_case
def a_doubt_is_seen(bench: Bench) -> None:
    """A doubt is found and counted from DOUBT on, in whatever state; counted while unfinished, found ever after."""
    bench.accept("m1")
    bench.accept("m2", recipient(lane="else"))
    seen: list[tuple[bool, int, list[str]]] = []
    for step in (Step.DEFER, Step.DOUBT, Step.DEFER, Step.DELIVER):
        bench.lease_and(step)
        found = [one.message.id for one in bench.store.find(Filter(in_doubt=True), 9)]
        seen.append((bench.row("m1").in_doubt, bench.store.doubts(), found))
    expect(seen, [(False, 0, NONE), (True, 1, ["m1"]), (True, 1, ["m1"]), (True, 0, ["m1"])], "in doubt")
    expect([one.message.id for one in bench.store.find(Filter(in_doubt=False), 9)], ["m2"], "found without doubt")


@_case
def a_doubt_may_come_with_any_step(bench: Bench) -> None:
    """An outcome that says in_doubt leaves the doubt, whatever its step; why it is held is what was said."""
    for number, step in enumerate((Step.HOLD, Step.DELIVER, Step.DEFER)):
        bench.accept(f"m{number}", recipient(lane=step.name))
        bench.settle(bench.lease(lane=step.name), step, in_doubt=True, reply="in doubt: cut")
    rows = [bench.row(f"m{number}") for number in range(3)]
    wanted = [(State.HELD, True), (State.ACCEPTED, True), (State.WAITING, True)]
    expect([(row.state, row.in_doubt) for row in rows], wanted, "states and doubts")
    expect((rows[0].reason, bench.store.doubts()), ("in doubt: cut", 2), "why it is held, and doubts")


@_case
def a_stale_token_changes_nothing(bench: Bench) -> None:
    """An outcome with a token that is no longer the lease's changes nothing, and neither does token 0."""
    bench.accept("m1")
    old = bench.lease()
    bench.settle(old, Step.DEFER, due=NOW)
    before = bench.message("m1")
    expect(bench.settle(old, Step.DELIVER).states, (None,), "an old token on a waiting recipient")
    zero = Outcome(0, old.handle, 0, Step.DELIVER)
    expect(bench.do(Settle((zero,), NOW), Settled).states, (None,), "token 0")
    expect(bench.message("m1"), before, "the message")
    new = bench.lease()
    expect(bench.settle(old, Step.DELIVER).states, (None,), "an old token on a leased recipient")
    nobody = Outcome(new.token, old.handle + 1000, 0, Step.DELIVER), Outcome(new.token, old.handle, 7, Step.DELIVER)
    expect(bench.do(Settle(nobody, NOW), Settled).states, (None, None), "recipients that do not exist")
    twice = (Outcome(new.token, new.handle, 0, Step.DELIVER), Outcome(new.token, new.handle, 0, Step.FAIL))
    expect(bench.do(Settle(twice, NOW), Settled).states, (State.ACCEPTED, None), "settled twice in one operation")


@_case
def an_outcome_may_change_the_lane(bench: Bench) -> None:
    """An outcome with a lane moves the recipient there; one without leaves it."""
    bench.accept("m1")
    bench.settle(bench.lease(), Step.DEFER, due=NOW + 1, lane="backup")
    expect(lanes_of(bench.store), {"backup": NOW + 1}, "lanes")
    bench.settle(bench.lease(lane="backup", now=NOW + 1), Step.DEFER, due=NOW + 2)
    expect(bench.row("m1").lane, "backup", "the lane")


@_case
def an_illegal_step_is_refused(bench: Bench) -> None:
    """A step that the state table does not know from LEASED fails as a whole."""
    handle = bench.accept("m1")
    lease = bench.lease()
    bench.refused([Settle((Outcome(lease.token, handle, 0, Step.REPORT),), NOW)], "REPORT on a leased recipient")
    expect(bench.row("m1").state, State.LEASED, "the state")


@_case
def finished_with_the_last_recipient(bench: Bench) -> None:
    """`finished` names a message when its last recipient ended; then its content is gone and the tally is down."""
    handle = bench.accept("m1", recipient("a@x"), recipient("b@x"))
    expect(bench.store.tally(), Tally(1, 2, _SIZE), "tally")
    lease = bench.lease()
    one, two = (Outcome(lease.token, handle, number, Step.DELIVER) for number in (0, 1))
    expect(bench.do(Settle((one,), NOW + 1), Settled).finished, (), "finished after one of two")
    expect(bench.store.tally(), Tally(1, 1, _SIZE), "tally after one of two")
    expect(bench.store.content(handle), CONTENT, "content")
    expect(bench.do(Settle((two,), NOW + 2), Settled).finished, (handle,), "finished after both")
    expect((bench.store.tally(), bench.message("m1").finished_at), (Tally(), NOW + 2), "tally and finished_at")
    bench.content_is_gone(handle)
