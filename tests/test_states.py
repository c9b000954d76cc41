"""The state table: what holds for every state and step, whatever the table says in detail."""

from __future__ import annotations

import pytest

from postroad.store.states import ENDS, LEASABLE, TRANSITIONS, IllegalStep, State, Step, advance, sources

BEGINNINGS = {State.WAITING, State.HELD}  # what a store may accept a recipient as (NewRecipient.state)


def reachable(beginnings: set[State]) -> set[State]:
    seen, fresh = set(beginnings), set(beginnings)
    for _ in State:  # a road without loops is never longer
        fresh = {target for (state, _), target in TRANSITIONS.items() if state in fresh} - seen
        seen |= fresh
    return seen


def test_every_state_is_reachable_from_the_door() -> None:
    assert reachable(BEGINNINGS) == set(State)


def test_an_end_has_no_way_out_and_every_other_state_has_one() -> None:
    assert {state for state, _ in TRANSITIONS} == set(State) - ENDS


def test_every_state_leads_to_an_end() -> None:
    for state in State:
        assert reachable({state}) & ENDS, state.name


def test_every_step_is_used() -> None:
    assert {step for _, step in TRANSITIONS} == set(Step)


@pytest.mark.parametrize("state", sorted(LEASABLE))
def test_what_is_leasable_can_be_leased_and_nothing_else(state: State) -> None:
    assert advance(state, Step.LEASE) is State.LEASED
    assert sources(Step.LEASE) == LEASABLE


@pytest.mark.parametrize("state", list(State))
@pytest.mark.parametrize("step", list(Step))
def test_advance_takes_exactly_the_steps_of_the_table(state: State, step: Step) -> None:
    if (state, step) in TRANSITIONS:
        assert advance(state, step) is TRANSITIONS[state, step]
        assert state in sources(step)
    else:
        with pytest.raises(IllegalStep, match=f"{step.name} is not a step from {state.name}"):
            advance(state, step)
        assert state not in sources(step)


def test_what_failed_is_never_tried_again() -> None:
    assert reachable({State.FAILED}) == {State.FAILED, State.REPORTED, State.UNREPORTED}


def test_only_a_delivery_leads_to_accepted() -> None:
    assert {step for (_, step), target in TRANSITIONS.items() if target is State.ACCEPTED} == {Step.DELIVER}


def test_every_unfinished_state_that_no_attempt_owns_can_be_cancelled_or_was_reported_as_failed() -> None:
    assert sources(Step.CANCEL) == set(State) - ENDS - {State.FAILED}


def test_the_table_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        TRANSITIONS[State.ACCEPTED, Step.LEASE] = State.LEASED  # type: ignore[index]


def test_the_numbers_kept_in_spools_stay() -> None:
    kept = "WAITING IN_DOUBT LEASED HELD PARKED FAILED ACCEPTED REPORTED UNREPORTED CANCELLED"
    assert [state.name for state in sorted(State)] == kept.split()
    assert [int(state) for state in sorted(State)] == list(range(10))
