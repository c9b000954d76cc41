"""Cases of `check_store` about quotas: what an Accept is charged, and when it does not fit; see `store_cases.py`."""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from ..store.contract import Accept, Accepted, Charge, QuotaExhausted
from .store_bench import NOW, Bench, accept, expect, key, sure

__all__ = ["QUOTA_CASES"]

Case = Callable[[Bench], None]
QUOTA_CASES: list[Case] = []
_MINUTE = int(NOW) // 60 * 60


def _case(case: Case) -> Case:
    QUOTA_CASES.append(case)
    return case


def _charge(amount: int = 1, limit: int = 2, start: int = _MINUTE, quota: str = "few") -> Charge:
    return Charge(quota, amount, limit, start, 60)


def _charged(id: str, *charges: Charge) -> Accept:
    return replace(accept(id), charges=charges or (_charge(),))


def _is_stored(bench: Bench, id: str) -> bool:
    return bench.store.message(id) is not None


@_case
def a_quota_is_never_exceeded(bench: Bench) -> None:
    """What does not fit beside what is used is answered with QuotaExhausted, also within a batch, and not stored."""
    answers = bench.store.apply([_charged("m1"), _charged("m2"), _charged("m3")])
    bench.kind(answers[0], Accepted)
    bench.kind(answers[1], Accepted)
    expect(answers[2], QuotaExhausted(_charge(), 2), "the third of two")
    expect([_is_stored(bench, id) for id in ("m1", "m2", "m3")], [True, True, False], "which are stored")
    expect(bench.store.tally().messages, 2, "messages in the tally")
    expect(bench.do(_charged("m4"), QuotaExhausted).used, 2, "what is used later")


@_case
def a_quota_begins_anew_with_its_window(bench: Bench) -> None:
    """A later window has its whole limit; one that begins earlier than the last by no more than its length is the last."""
    bench.do(_charged("m1", _charge(2)), Accepted)
    bench.do(_charged("m2", _charge(2, start=_MINUTE + 60)), Accepted)
    bench.do(_charged("m3", _charge(1)), QuotaExhausted)
    bench.do(_charged("m4", _charge(1, start=_MINUTE - 600)), Accepted)


@_case
def of_several_quotas_all_or_none_are_charged(bench: Bench) -> None:
    """A message that one quota refuses costs nothing of the others."""
    many = _charge(3, limit=4, quota="many")
    bench.do(_charged("m1", many), Accepted)
    bench.do(_charged("m2", _charge(), many), QuotaExhausted)
    bench.do(_charged("m3", _charge(2)), Accepted)
    bench.do(_charged("m4", _charge(1, limit=4, quota="many")), Accepted)


@_case
def a_duplicate_costs_nothing(bench: Bench) -> None:
    """The same id or key again is answered as a duplicate, also where the quota is used up."""
    handle = bench.do(replace(_charged("m1", _charge(2)), idempotency=key("k")), Accepted).handle
    expect(bench.do(_charged("m1", _charge(2)), Accepted), Accepted("m1", handle, duplicate=True), "the same id")
    again = bench.do(replace(_charged("m2", _charge(2)), idempotency=key("k")), Accepted)
    expect(again, Accepted("m1", handle, duplicate=True), "the same key")


@_case
def a_failed_batch_charges_nothing(bench: Bench) -> None:
    """What is not stored because another operation of its batch is impossible is not counted."""
    bench.refused([_charged("m1", _charge(2)), "no operation"], "a batch with nonsense in it")  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]  # that is the point
    sure(not _is_stored(bench, "m1"), "the message not to be stored")
    bench.do(_charged("m2", _charge(2)), Accepted)
