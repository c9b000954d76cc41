"""Credits: at most N leases, each with a token of its own and a slot nobody else has."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.actors.leases import LeaseBook
from postroad.actors.notes import Lease
from postroad.message import Message
from postroad.testing.fakes import MemoryContent

MESSAGE = Message(id="m", sender="a@example.com", accepted_at=0.0, size=1)


def lease(token):
    return Lease(token, 1, "lane", MESSAGE, (), MemoryContent(b"x"))


@given(
    st.integers(1, 8), st.lists(st.tuples(st.sampled_from(["reserve", "return", "begin", "end"]), st.integers(0, 7)))
)
def test_credits_are_neither_lost_nor_doubled(credits, story):
    book = LeaseBook(credits, itertools.count(1))
    reserved, seen = [], set()
    for chapter, index in story:
        if chapter == "reserve" and book.free:
            token = book.reserve()
            assert token not in seen
            seen.add(token)
            reserved.append(token)
        elif chapter == "return" and reserved:
            book.give_back(reserved.pop(index % len(reserved)))
        elif chapter == "begin" and reserved:
            token = reserved.pop(index % len(reserved))
            book.begin(lease(token))
        elif chapter == "end" and book.live:
            book.end(sorted(book.live)[index % len(book.live)])
        assert book.free + len(reserved) + len(book.live) == credits
        slots = {held.slot for held in book.live.values()}
        assert len(slots) == len(book.live)
        assert slots <= set(range(credits))
        assert book.is_home is (not reserved and not book.live)


def test_no_credit_is_given_that_is_not_there():
    book = LeaseBook(1, itertools.count(1))
    book.reserve()
    with pytest.raises(IndexError):
        book.reserve()


def test_a_lease_ends_once():
    book = LeaseBook(1, itertools.count(1))
    token = book.reserve()
    book.begin(lease(token))
    book.end(token)
    with pytest.raises(KeyError):
        book.end(token)
