"""What follows from an attempt whose answer was not seen?  Pure: the route's choice is given, and what is proven.

Nothing is taken as delivered unless it is proven that all of it left: mail that was never sent would be lost in silence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ..config import InDoubt, Route
from ..store.contract import IN_DOUBT, TAKEN
from ..store.states import Step
from .routing import route_of_lane

__all__ = ["after_crash", "said", "step"]


def step(choice: InDoubt, *, is_proven: bool) -> Step:
    """DOUBT (it is sent again), HOLD or DELIVER.  is_proven: whether all of the content is known to have left."""
    if choice == "send_again":
        return Step.DOUBT
    return Step.DELIVER if choice == "take_as_delivered" and is_proven else Step.HOLD


def after_crash(routes: Iterable[Route] | None) -> Callable[[str], Step]:
    """What follows, by lane, where an engine's end cut the hand-over.

    Nothing is proven then: the mark is set before the last octets leave.  Mail of a route that is gone is sent again.
    routes: None where they are not known; then all is held, since a route may have chosen that.
    """
    if routes is None:
        return lambda _: Step.HOLD
    choices: dict[str, InDoubt] = {route.label: route.in_doubt for route in routes}
    return lambda lane: step(choices.get(route_of_lane(lane), "send_again"), is_proven=False)


def said(step: Step, reply: str) -> str:
    """What the recipient's last word is after such a step: of what was not simply sent again, it tells why."""
    match step:
        case Step.HOLD:
            return f"{IN_DOUBT}: {reply}"
        case Step.DELIVER:
            return f"{TAKEN}: {reply}"
        case _:
            return reply
