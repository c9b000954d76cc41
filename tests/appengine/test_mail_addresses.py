"""Which values are addresses, in the contract's words, and which recipients a value names."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mail_users import User

from postroad.appengine import mail
from postroad.appengine.addresses import split_recipients


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "None email address for cc."),
        ([], "Invalid email address type for cc."),
        (b"a@example.com", "Invalid email address type for cc."),
        (True, "Invalid email address type for cc."),
        (0, "Invalid email address type for cc."),
        (User(None), "Invalid email address type for cc."),
        ("", "Empty email address for cc."),
        (" \t", "Empty email address for cc."),
        (User(" "), "Empty email address for cc."),
        ("not an address", None),
        ("Zoë <z@example.com>", None),
        (User("a@example.com"), None),
    ],
)
def test_the_reason_why_a_value_is_no_address(value: Any, reason: str | None) -> None:
    assert mail.invalid_email_reason(value, "cc") == mail.InvalidEmailReason(value, "cc") == reason
    assert mail.is_email_valid(value) == mail.IsEmailValid(value) == (reason is None)
    if reason is None:
        mail.check_email_valid(value, "cc")
        return
    with pytest.raises(mail.InvalidEmailError) as raised:
        mail.CheckEmailValid(value, "cc")
    assert str(raised.value) == reason


@pytest.mark.parametrize(
    ("value", "recipients"),
    [
        ("a@example.com", ["a@example.com"]),
        (" a@example.com ,b@example.com, ", ["a@example.com", "b@example.com"]),
        ('"Doe, John" <j@example.com>', ['"Doe, John" <j@example.com>']),
        ('"Doe, \\"J, K\\"" <j@example.com>, b@c', ['"Doe, \\"J, K\\"" <j@example.com>', "b@c"]),
        ("a@b (one, (two), three), c@d", ["a@b (one, (two), three)", "c@d"]),
        ('a@b (5" wide), c@d', ['a@b (5" wide)', "c@d"]),
        ('x <"a,b"@c>, d@e', ['x <"a,b"@c>', "d@e"]),
        ('a"b@c, d@e', ['a"b@c', "d@e"]),  # what is not closed was not meant to be opened
        ("(a@b, c@d", ["(a@b", "c@d"]),
        (" , ", []),
        (["b@c, d@e", " f@g "], ["b@c, d@e", " f@g "]),
        ((), []),
        (User("u@example.com"), ["u@example.com"]),
        ([User("u@example.com"), "v@example.com"], ["u@example.com", "v@example.com"]),
        ({"a@b": 1}, ["a@b"]),
    ],
)
def test_which_recipients_a_value_names(value: Any, recipients: list[str]) -> None:
    assert split_recipients(value) == recipients


@given(st.lists(st.text(st.characters(exclude_characters='",<>()\\', exclude_categories=["Cs"]), min_size=1)))
def test_a_text_without_quotes_is_split_at_every_comma(addresses: list[str]) -> None:
    addresses = [address.strip() or "a@b" for address in addresses]
    assert split_recipients(", ".join(addresses)) == addresses


@given(st.text('a",<>()\\ @', max_size=30))
def test_nothing_is_lost_or_made_up_by_splitting(text: str) -> None:
    joined = "".join(split_recipients(text))
    assert joined.replace(",", "").replace(" ", "") == text.replace(",", "").replace(" ", "")
