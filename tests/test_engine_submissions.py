"""`submit_many`: all or nothing where that can be known, and otherwise who was accepted."""

from __future__ import annotations

import pytest

from postroad import Submission
from postroad.errors import IdempotencyConflict, NotAuthorized, SubmissionError, SubmissionTooLarge
from postroad.testing.engine import open_test_engine

RAW = b"From: a@example.com\r\nTo: b@example.org\r\nSubject: Hello\r\n\r\nHello.\r\n"


def submission(**fields):
    return Submission(**{"sender": "a@example.com", "recipients": ["b@example.org"], "content": RAW, **fields})


async def test_a_conflict_among_many_names_the_submission_and_hands_over_the_receipts_of_the_others(autojump_clock):
    async with open_test_engine() as engine:
        earlier = await engine.submit(submission(idempotency_key="k"))
        many = [
            submission(),
            submission(idempotency_key="k", priority=1),
            submission(idempotency_key="k"),
            submission(idempotency_key="new"),
            submission(idempotency_key="new", priority=1),
        ]
        with pytest.raises(IdempotencyConflict) as caught:
            await engine.submit_many(many)
        assert caught.value.field == "submissions[1].idempotency_key"
        assert str(caught.value).startswith("submissions[1].idempotency_key: was used by 'a@example.com'")
        first, none, same, new, nothing = caught.value.receipts
        assert (none, nothing) == (None, None)
        assert same.id == earlier.id
        assert (await first.settled()).is_delivered
        assert (await new.settled()).is_delivered


async def test_a_conflict_in_one_commit_keeps_no_later_commit_from_being_made(autojump_clock):
    async with open_test_engine() as engine:
        await engine.submit(submission(idempotency_key="k"))
        many = [submission(idempotency_key="k", priority=1), *[submission()] * 1500]
        with pytest.raises(IdempotencyConflict) as caught:
            await engine.submit_many(many)
        assert [receipt is None for receipt in caught.value.receipts] == [True] + [False] * 1500
        assert (await caught.value.receipts[-1].settled()).is_delivered


async def test_a_conflict_of_one_submission_has_no_receipts(autojump_clock):
    async with open_test_engine() as engine:
        await engine.submit(submission(idempotency_key="k"))
        with pytest.raises(IdempotencyConflict) as caught:
            await engine.submit(submission(idempotency_key="k", priority=1))
    assert caught.value.field == "idempotency_key"
    assert caught.value.receipts == ()


@pytest.mark.parametrize(
    ("bad", "kind", "field"),
    [
        ({"recipients": ["nonsense"]}, SubmissionError, "recipients[0]"),
        ({"sender": "x@elsewhere.example"}, NotAuthorized, "sender"),
        ({"content": bytes(5000)}, SubmissionTooLarge, "content"),
    ],
)
async def test_a_bad_one_among_many_is_named_and_nothing_is_stored(autojump_clock, bad, kind, field):
    async with open_test_engine(senders={"authorized": ["*@example.com"]}, limits={"message_bytes": 4096}) as engine:
        with pytest.raises(kind) as caught:
            await engine.submit_many([submission(), submission(**bad)])
        with pytest.raises(kind) as alone:
            await engine.submit(submission(**bad))
        assert (await engine.status()).messages == 0
    assert caught.value.field == f"submissions[1].{field}"
    assert caught.value.problem == alone.value.problem
    assert str(caught.value) == f"submissions[1].{alone.value}"
    assert alone.value.field == field
