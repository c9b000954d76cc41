"""The schedule of retries: bounded, by age, and it ends exactly when it should."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.config import Retry
from postroad.decide.retry import (
    delay_seconds,
    expires_at,
    hinted_seconds,
    is_expired,
    outcome,
    wants_delay_notice,
)
from postroad.message import DsnOptions, Kind, Message
from postroad.store.contract import LeasedRecipient
from postroad.store.states import Step
from postroad.verdict import Disposition, Scope, Verdict

DAY = 86_400.0
BORN = 1_750_000_000.0
LATER = Verdict.deferred("451 later", status="4.3.0", remote="mx.example.org")
DEFAULT = Retry()
RECIPIENT = LeasedRecipient(3, "b@example.org")
DRAWS = st.floats(0, 1)


@st.composite
def schedules(draw):
    first = draw(st.floats(0.1, 1000))
    longest = first * draw(st.floats(1, 100))
    return Retry(
        first_seconds=first,
        max_seconds=longest,
        give_up_seconds=first * draw(st.floats(1, 1000)),
        jitter=draw(st.floats(0, 0.5)),
        hint_max_seconds=draw(st.floats(0, 20_000)),
    )


def message(**fields):
    return Message(**{"id": "m", "sender": "a@example.com", "accepted_at": BORN, "size": 1, **fields})


def after(
    verdict,
    *,
    now=BORN,
    retry=DEFAULT,
    draw=0.5,
    notice=False,
    to=RECIPIENT,
    untried_until=0.0,
    choice="send_again",
    **fields,
):
    return outcome(
        verdict,
        token=7,
        handle=8,
        message=message(**fields),
        recipient=to,
        retry=retry,
        now=now,
        draw=draw,
        delay_notice=notice,
        untried_until=untried_until,
        in_doubt=choice,
    )


@given(DRAWS)
def test_the_first_retry_comes_after_five_minutes_more_or_less(draw):
    result = after(LATER, now=BORN + 2, draw=draw)
    assert result.step is Step.DEFER
    assert 270 <= result.due - (BORN + 2) <= 330


@given(st.floats(4000, 5 * DAY - 4401), DRAWS)
def test_later_retries_come_about_hourly(age, draw):
    assert 3600 <= after(LATER, now=BORN + age, draw=draw).due - (BORN + age) <= 4400


@given(st.floats(-1e6, 1e9), schedules(), DRAWS)
def test_every_delay_stays_within_the_schedules_bounds(age, retry, draw):
    delay = delay_seconds(age, retry, draw)
    slack = 1 + 1e-9
    assert retry.first_seconds * (1 - retry.jitter) / slack <= delay <= retry.max_seconds * (1 + retry.jitter) * slack


@given(schedules(), DRAWS)
def test_a_message_that_is_always_deferred_is_given_up_exactly_at_the_end(retry, draw):
    now, end = BORN, BORN + retry.give_up_seconds
    for _ in range(3000):
        result = after(LATER, now=now, retry=retry, draw=draw)
        if result.step is Step.FAIL:
            break
        assert now < result.due <= end
        now = result.due
    assert result.step is Step.FAIL
    assert now == end
    assert (result.status, result.reply, result.remote) == ("4.4.7", "451 later", "mx.example.org")


def test_a_clock_that_went_back_does_not_shorten_or_stop_the_schedule():
    assert after(LATER, now=BORN - 10 * DAY).due == BORN - 10 * DAY + 300


def test_life_begins_with_send_at():
    assert message(send_at=BORN + DAY).started_at == BORN + DAY
    assert message(send_at=BORN - DAY).started_at == BORN
    assert expires_at(message(send_at=BORN + DAY), Retry()) == BORN + 6 * DAY
    assert expires_at(message(expires_at=BORN + 60), Retry()) == BORN + 60
    assert after(LATER, now=BORN + DAY, send_at=BORN + DAY).due == BORN + DAY + 300


def test_the_senders_own_end_cuts_the_last_wait():
    assert after(LATER, now=BORN, expires_at=BORN + 60).due == BORN + 60
    assert after(LATER, now=BORN + 60, expires_at=BORN + 60).step is Step.FAIL


def test_the_senders_own_end_stops_attempts_but_a_jump_of_the_clock_does_not():
    assert not is_expired(message(), BORN + 90 * DAY, None)
    late = message(expires_at=BORN + 60)
    assert not is_expired(late, BORN + 59, None)
    assert is_expired(late, BORN + 60, None)
    assert not is_expired(late, BORN + DAY, BORN + DAY)  # it lived through the jump: it is tried first
    assert is_expired(late, BORN + 60, BORN - 5)


@given(st.one_of(st.floats(-1e9, 1e9), st.sampled_from([math.inf, -math.inf])), schedules())
def test_hints_are_honoured_within_bounds(hint, retry):
    hinted = hinted_seconds(Verdict.deferred("451", retry_after_seconds=hint), retry)
    if not retry.hint_max_seconds:
        assert hinted is None
    else:
        assert hinted is not None
        assert min(30.0, retry.hint_max_seconds) <= hinted <= retry.hint_max_seconds


def test_a_hint_replaces_the_schedules_delay():
    assert after(Verdict.deferred("451", retry_after_seconds=600)).due == BORN + 600
    assert after(Verdict.deferred("451", retry_after_seconds=1)).due == BORN + 30
    assert after(Verdict.deferred("451", retry_after_seconds=1e9)).due == BORN + 14_400
    assert after(LATER).due == BORN + 300
    assert after(Verdict.deferred("451", retry_after_seconds=600), retry=Retry(hint_max_seconds=0)).due == BORN + 300


def test_a_hint_never_reaches_behind_the_end():
    assert after(Verdict.deferred("451", retry_after_seconds=600), expires_at=BORN + 60).due == BORN + 60


def test_acceptance_and_refusal_are_final():
    accepted = after(Verdict.accepted("250 ok", remote="mx"))
    assert (accepted.step, accepted.tried, accepted.status) == (Step.DELIVER, True, "2.0.0")
    assert (accepted.token, accepted.handle, accepted.number) == (7, 8, 3)
    refused = after(Verdict.refused("550 no", status="5.1.1"))
    assert (refused.step, refused.status, refused.reply) == (Step.FAIL, "5.1.1", "550 no")


@pytest.mark.parametrize("scope", [Scope.TRANSPORT, Scope.LOCAL])
def test_a_refusal_of_the_transport_or_this_machine_bounces_nothing(scope):
    assert after(Verdict.refused("535 wrong password", scope=scope)).step is Step.DEFER


def test_doubt_is_tried_again_by_the_same_schedule():
    result = after(Verdict.in_doubt("cut after the final dot"))
    assert (result.step, result.due, result.tried) == (Step.DOUBT, BORN + 300, True)
    assert after(Verdict.in_doubt("cut"), now=BORN + 5 * DAY).step is Step.FAIL


@pytest.mark.parametrize("now", [BORN, BORN + 6 * DAY])
@pytest.mark.parametrize(
    ("choice", "handed_over", "step", "reply"),
    [
        ("hold", True, Step.HOLD, "in doubt: cut"),
        ("take_as_delivered", False, Step.HOLD, "in doubt: cut"),
        ("take_as_delivered", True, Step.DELIVER, "in doubt, taken as delivered: cut"),
    ],
)
def test_a_route_may_decide_otherwise_on_a_doubt_however_old_the_message(choice, handed_over, step, reply, now):
    result = after(Verdict.in_doubt("cut", handed_over=handed_over), choice=choice, now=now, notice=True)
    assert (result.step, result.reply, result.status, result.tried) == (step, reply, "4.4.2", True)
    assert (result.in_doubt, result.delay_notice) == (True, False)


def test_the_choice_is_for_doubts_alone():
    for choice in ("hold", "take_as_delivered"):
        for verdict, step in ((LATER, Step.DEFER), (Verdict.accepted("250"), Step.DELIVER)):
            result = after(verdict, choice=choice)
            assert (result.step, result.reply, result.in_doubt) == (step, verdict.reply, False)


@given(st.one_of(st.none(), st.floats(-1e9, 1e9), st.just(math.inf)), st.floats(0, 5 * DAY - 1), DRAWS)
def test_what_was_not_tried_costs_no_try_and_waits_shortly(hint, age, draw):
    now = BORN + age
    result = after(Verdict.postponed("no descriptors", retry_after_seconds=hint), now=now, draw=draw)
    assert (result.step, result.tried) == (Step.POSTPONE, False)
    assert min(now + 1.0, BORN + 5 * DAY) <= result.due <= min(now + 14_400 * 1.1 + 1, BORN + 5 * DAY)


def test_what_is_never_tried_is_given_up_at_the_same_age_and_says_what_the_local_trouble_was():
    trouble = Verdict.postponed("local trouble: no descriptors")
    assert after(trouble, now=BORN + 5 * DAY - 1).step is Step.POSTPONE
    given_up = after(trouble, now=BORN + 5 * DAY)
    assert (given_up.step, given_up.tried) == (Step.FAIL, False)
    assert (given_up.status, given_up.reply) == ("4.4.7", "local trouble: no descriptors")


def test_what_could_not_be_tried_for_a_moment_only_is_not_given_up_for_that():
    late = BORN + 6 * DAY
    trouble = Verdict.postponed("no network yet")
    assert after(trouble, now=late, untried_until=late + 1).step is Step.POSTPONE
    assert after(trouble, now=late, untried_until=late + 1).due > late
    assert after(trouble, now=late, untried_until=late).step is Step.FAIL
    assert after(LATER, now=late, untried_until=late + 1).step is Step.FAIL


def test_what_was_not_tried_waits_fifteen_seconds_where_nobody_says_otherwise():
    assert after(Verdict.postponed("no memory"), draw=0).due == BORN + 15


@pytest.mark.parametrize("disposition", list(Disposition))
@pytest.mark.parametrize("scope", list(Scope))
def test_only_a_proven_refusal_or_the_end_fails_a_recipient(disposition, scope):
    result = after(Verdict(disposition=disposition, scope=scope))
    proven = disposition is Disposition.REFUSED and scope not in (Scope.TRANSPORT, Scope.LOCAL)
    assert (result.step is Step.FAIL) is proven


@pytest.mark.parametrize(
    ("fields", "notify", "wanted"),
    [
        ({}, (), True),
        ({"dsn": DsnOptions(notify=("failure",))}, (), False),
        ({"dsn": DsnOptions(notify=("failure", "delay"))}, (), True),
        ({"dsn": DsnOptions(notify=("never",))}, (), False),
        ({"dsn": DsnOptions(notify=("never",))}, ("delay",), True),
        ({}, ("never",), False),
        ({"sender": ""}, (), False),
        ({"kind": Kind.REPORT}, (), False),
    ],
)
def test_notify_decides_on_notices_of_delay(fields, notify, wanted):
    to = LeasedRecipient(0, "b@example.org", notify=notify)
    assert wants_delay_notice(message(**fields), to) is wanted
    assert after(LATER, notice=True, to=to, **fields).delay_notice is wanted
    assert not after(LATER, notice=False, to=to, **fields).delay_notice


def test_a_recipient_that_is_done_brings_no_notice_of_delay():
    for verdict in (Verdict.accepted("250"), Verdict.refused("550")):
        assert not after(verdict, notice=True).delay_notice


def test_a_recipient_that_stays_brings_a_notice_of_delay_whether_or_not_it_was_tried():
    for verdict in (LATER, Verdict.in_doubt("cut"), Verdict.postponed("local")):
        assert after(verdict, notice=True).delay_notice
