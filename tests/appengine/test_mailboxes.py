"""Recipients as people write them: parted with regard to quotes, groups as their members, names that lack quotes."""

from __future__ import annotations

from email.headerregistry import Address
from email.utils import getaddresses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.address import parse_mailboxes
from postroad.appengine.mailboxes import mailbox_of, mailboxes_of


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("a@b.example", ["a@b.example"]),
        ("  a@b.example\n", ["a@b.example"]),
        ("Anna <a@b.example>", ["Anna <a@b.example>"]),
        ("Jérôme <a@b.example>", ["Jérôme <a@b.example>"]),
        ('"Doe, John" <j@b.example>', ['"Doe, John" <j@b.example>']),
        ('"Doe, John" <j@b.example>, x@b.example', ['"Doe, John" <j@b.example>', "x@b.example"]),
        ("a@b.example,c@b.example", ["a@b.example", "c@b.example"]),
        ("a@b.example, , c@b.example,", ["a@b.example", "c@b.example"]),
        ("a@b.example; c@b.example", ["a@b.example", "c@b.example"]),
        ("Friends: a@b.example, Anna <c@b.example>; d@b.example", ["a@b.example", "Anna <c@b.example>", "d@b.example"]),
        ("undisclosed-recipients:;", []),
        ('"No: group" <a@b.example>', ['"No: group" <a@b.example>']),
        ("Sales @ Example <a@b.example>", ['"Sales @ Example" <a@b.example>']),
        ('Say "hi" @ us <a@b.example>', ['"Say hi @ us" <a@b.example>']),
        ("a@b.example <a@b.example>", ['"a@b.example" <a@b.example>']),
        ("Anna (work, late) <a@b.example>, c@b.example", ["Anna (work, late) <a@b.example>", "c@b.example"]),
        ("Anna (never closed <a@b.example>", ['"Anna (never closed" <a@b.example>']),
        ("root@[IPv6:2001:db8::1], a@b.example", ["root@[IPv6:2001:db8::1]", "a@b.example"]),
        ('"a,b"@b.example, c@b.example', ['"a,b"@b.example', "c@b.example"]),
        ("=?utf-8?q?J=C3=A9r=C3=B4me?= <a@b.example>", ["=?utf-8?q?J=C3=A9r=C3=B4me?= <a@b.example>"]),
        ("not an address", ["not an address"]),
        ('"not closed <a@b.example>', ['"\\"not closed" <a@b.example>']),
        ("", []),
    ],
)
def test_a_text_is_its_mailboxes(given, read):
    assert mailboxes_of([given]) == read


def test_several_texts_are_all_their_mailboxes():
    assert mailboxes_of(["a@b.example, c@b.example", "d@b.example"]) == ["a@b.example", "c@b.example", "d@b.example"]


def test_the_sender_is_one_mailbox_or_left_to_be_refused():
    assert mailbox_of("Sales @ us <a@b.example>") == '"Sales @ us" <a@b.example>'
    assert mailbox_of("a@b.example, c@b.example") == "a@b.example, c@b.example"
    assert mailbox_of("") == ""


NAMES = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]) | st.just(" "), max_size=20).map(str.strip)


@given(st.lists(NAMES, min_size=1, max_size=5))
def test_what_the_standard_library_writes_is_read_as_it_was_meant(names):
    written = [str(Address(name, "a", "b.example")) for name in names if "  " not in name]
    found = parse_mailboxes(mailboxes_of([", ".join(written)]), "to")
    assert [(each.name, str(each.address)) for each in found] == getaddresses(written)


@given(st.text(alphabet='ab@.,:;<>()[]"\\ \t\né', max_size=40))
def test_any_text_is_read_in_the_end_and_no_address_is_made_up(text):
    for mailbox in mailboxes_of([text]):
        assert mailbox.strip()
        assert set(mailbox) <= set(text) | set('" \\<>')


def test_long_texts_are_read_in_a_moment():
    assert len(mailboxes_of(["a@b.example, " * 20_000])) == 20_000
    awkward = [character * 50_001 for character in '("<[:;\\@']
    for text in [*awkward, "a@" * 50_000, '"' + '\\"' * 50_000, "(" + "\\(" * 50_000]:
        mailboxes_of([text])
