"""Who may come in: address patterns, senders, sizes, the queue's bounds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.config import Limits, Senders
from postroad.decide.admission import (
    Refusal,
    check_hops,
    check_queue,
    check_sender,
    check_size,
    is_authorized,
    matches,
    refusal_error,
)
from postroad.errors import NotAuthorized, QueueFull, SubmissionError, SubmissionTooLarge
from postroad.store.contract import Tally

LOCALS = st.text("abcXYZ09.+-", min_size=1, max_size=12)
DOMAINS = st.lists(st.text("abc09", min_size=1, max_size=6), min_size=1, max_size=4).map(".".join)


@pytest.mark.parametrize(
    ("pattern", "address", "fits"),
    [
        ("*", "a@example.org", True),
        ("*", "", True),
        ("a@example.org", "a@example.org", True),
        ("a@EXAMPLE.org", "a@example.ORG", True),
        ("a@example.org", "A@example.org", False),
        ("a@example.org", "b@example.org", False),
        ("*@example.org", "anybody@example.org", True),
        ("*@example.org", "a@sub.example.org", False),
        ("*@example.org", "a@badexample.org", False),
        ("*@example.org", "", False),
        ("*@*.example.org", "a@x.example.org", True),
        ("*@*.example.org", "a@x.y.example.org", True),
        ("*@*.example.org", "a@example.org", False),
        ("*@*.example.org", "a@badexample.org", False),
        ("b@*.example.org", "a@x.example.org", False),
        ('"a@b"@example.org', '"a@b"@example.org', True),
        ("", "", False),
        ("example.org", "a@example.org", False),
        ("@example.org", "a@example.org", False),
    ],
)
def test_a_pattern_is_everything_a_domain_its_subdomains_or_one_address(pattern, address, fits):
    assert matches(pattern, address) is fits


@given(LOCALS, DOMAINS)
def test_every_address_fits_itself_its_domain_and_its_parents_subdomains(local, domain):
    address = f"{local}@{domain}"
    assert matches(address, address)
    assert matches(f"*@{domain.upper()}", address)
    assert not matches(f"*@*.{domain}", address)
    assert matches(f"*@*.{domain}", f"{local}@mail.{domain}")


@given(LOCALS, DOMAINS, LOCALS, DOMAINS)
def test_no_address_fits_another(local, domain, other_local, other_domain):
    is_same = local == other_local and domain == other_domain
    assert matches(f"{local}@{domain}", f"{other_local}@{other_domain}") is is_same


def test_nobody_may_send_unless_the_configuration_says_so():
    assert not is_authorized("a@example.com", Senders())
    assert not is_authorized("", Senders(authorized=("*@example.com",)))
    assert is_authorized("a@example.com", Senders(authorized=("*@example.com",)))


def test_administrators_may_send():
    check_sender("ops@example.com", Senders(admins=("ops@example.com",)))


def test_a_refused_sender_reads_who_may_send_and_what_to_do():
    rules = Senders(authorized=tuple(f"a{number}@example.com" for number in range(8)))
    with pytest.raises(NotAuthorized, match=r"a0@example\.com.*and 3 more.*\[senders\] authorized") as caught:
        check_sender("x@example.net", rules)
    assert caught.value.field == "sender"
    assert "'x@example.net'" in str(caught.value)
    with pytest.raises(NotAuthorized, match="nobody"):
        check_sender("x@example.net", Senders())


def test_the_size_limit_itself_is_allowed():
    limits = Limits(message_bytes=2000)
    check_size(2000, limits)
    with pytest.raises(SubmissionTooLarge, match=r"2,001 octets, 2,000 are allowed.*message_bytes") as caught:
        check_size(2001, limits)
    assert caught.value.field == "content"


@pytest.mark.parametrize(
    ("tally", "size", "said"),
    [
        (Tally(messages=9), 100, None),
        (Tally(messages=10), 0, "queue_messages"),
        (Tally(content_bytes=1900), 100, None),
        (Tally(content_bytes=1901), 100, "queue_bytes"),
    ],
)
def test_the_queue_is_bounded_by_messages_and_by_octets(tally, size, said):
    full = check_queue(size, tally, Limits(queue_messages=10, queue_bytes=2000))
    if said is None:
        assert full is None
    else:
        assert isinstance(full, QueueFull)
        assert said in str(full)
        assert "try again later" in str(full)


def test_a_plugins_refusal_becomes_an_error_with_its_field():
    error = refusal_error(Refusal(field="tags", problem="no newsletters today"))
    assert (error.field, str(error)) == ("tags", "tags: no newsletters today")


def test_mail_that_passed_too_many_servers_goes_round():
    check_hops(50, Limits())
    check_hops(0, Limits())
    with pytest.raises(SubmissionError, match="51 servers, 50 are allowed") as caught:
        check_hops(51, Limits())
    assert caught.value.field == "content"
    check_hops(51, Limits(hops=51))
