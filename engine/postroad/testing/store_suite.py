"""Tries any store against the contract in `postroad.store.contract`: for plugin authors' own tests.

    def test_my_store_keeps_the_contract(tmp_path):
        check_store(lambda name: my_store(str(tmp_path / name), folder=tmp_path), durable=True)

The given function opens the store of a name: a new name is a new, empty store; with `durable`, a name used before is the
same store again.  Each case has a name of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

from ..store.contract import ContentPlace, Filter, Recover, Recovered, Remember, Store, Tally
from ..store.states import State, Step
from .store_bench import CONTENT, NO_LANES, NONE, NOW, Bench, Unmet, expect, lanes_of, recipient, sure
from .store_cases import CASES
from .store_cases_later import LATER_CASES
from .store_cases_quotas import QUOTA_CASES

__all__ = ["OpenStore", "StoreFailed", "check_store", "store_checks"]

OpenStore = Callable[[str], AbstractContextManager[Store]]


class StoreFailed(AssertionError):
    """A store broke its contract; the text has each failed case, what was expected, and the duty."""


def check_store(open_store: OpenStore, *, durable: bool) -> None:
    """Run every case; raise StoreFailed with all that failed."""
    problems: list[str] = []
    for check in store_checks(durable=durable):
        try:
            check(open_store)
        except StoreFailed as error:
            problems.append(str(error))
    if problems:
        raise StoreFailed("\n".join(problems))


def store_checks(*, durable: bool) -> Iterator[Callable[[OpenStore], None]]:
    """The cases one by one, each to be called with the opening function; `__name__` names it."""
    for case in (*CASES, *LATER_CASES, *QUOTA_CASES):
        yield _alone(case)
    if durable:
        yield from map(_named, (everything_is_there_again, leases_outlive_the_process, handles_are_never_given_twice))


def _alone(case: Callable[[Bench], None]) -> Callable[[OpenStore], None]:
    def check(open_store: OpenStore) -> None:
        with open_store(case.__name__) as store:
            case(Bench(store))

    check.__name__, check.__doc__ = case.__name__, case.__doc__
    return _named(check)


def _named(check: Callable[[OpenStore], None]) -> Callable[[OpenStore], None]:
    def run(open_store: OpenStore) -> None:
        try:
            check(open_store)
        except Unmet as error:
            raise StoreFailed(f"{check.__name__}: {error}\n    duty: {check.__doc__}") from error
        except Exception as error:
            raise StoreFailed(f"{check.__name__}: raised {error!r}\n    duty: {check.__doc__}") from error

    run.__name__ = check.__name__
    return run


def everything_is_there_again(open_store: OpenStore) -> None:
    """What was committed is there when the store is opened again."""
    with open_store("again") as store:
        bench = Bench(store)
        handle = bench.accept("m1", recipient("a@x", "one", due=NOW + 9), recipient("b@x", "two"))
        bench.accept("m2", recipient(lane="three"), content=ContentPlace("m2"))
        bench.settle(bench.lease(lane="two"), Step.FAIL, reply="550 no")
        store.apply([Remember("fact", b"value")])
        before = _everything(store)
    with open_store("again") as store:
        expect(_everything(store), before, "what is there again")
        expect((store.content(handle), store.recall("fact")), (CONTENT, b"value"), "content and fact")
        expect(store.check(), NONE, "problems")


def _everything(store: Store) -> tuple[object, ...]:
    return store.tally(), store.find(Filter(), 100), lanes_of(store), store.failures(9), dict(store.counts())


def leases_outlive_the_process(open_store: OpenStore) -> None:
    """What was leased stays leased until Recover."""
    with open_store("leases") as store:
        bench = Bench(store)
        bench.accept("m1", recipient(lease=bench.token()))
    with open_store("leases") as store:
        bench = Bench(store)
        expect((bench.states("m1"), lanes_of(store)), ([State.LEASED], NO_LANES), "the state, and what is due")
        expect(bench.do(Recover(frozenset(), rebooted=False, now=NOW), Recovered), Recovered(1, 0), "recovered")
        expect(bench.lease().message.id, "m1", "the message leased then")


def handles_are_never_given_twice(open_store: OpenStore) -> None:
    """A handle names one message for the store's life, even after that is forgotten."""
    with open_store("handles") as store:
        bench = Bench(store)
        first = bench.accept("m1")
        bench.settle(bench.lease(), Step.DELIVER)
        bench.forget()
        expect(store.tally(), Tally(), "the tally")
    with open_store("handles") as store:
        second = Bench(store).accept("m2")
        sure(second != first, "another handle for another message")
