"""No address and no id can lead outside the folder, and different ones never share a name."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad_file.boxes import Settings, body_place, place_of, safe_name

EML = Settings(folder="/mail")
MAILDIR = Settings(folder="/mail", format="maildir", layout="by_recipient")


def test_ordinary_addresses_stay_readable() -> None:
    assert safe_name("b+tag@example.org") == "b+tag@example.org"


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("", "%"),
        (".", "%2E"),
        ("..", "%2E."),
        ("../../etc/passwd", "%2E.%2F..%2Fetc%2Fpasswd"),
        ("a\0b", "a%00b"),
        ("jürgen@x", "j%C3%BCrgen@x"),
        ("a%2Fb", "a%252Fb"),
        ("a:2,S", "a%3A2%2CS"),
    ],
)
def test_what_could_be_a_path_is_encoded(name: str, safe: str) -> None:
    assert safe_name(name) == safe


def test_long_names_are_cut_and_stay_different() -> None:
    one, other = safe_name("x" * 300 + "a"), safe_name("x" * 300 + "b")
    assert len(one) == len(other) == 200
    assert one != other


@given(st.text(st.characters()), st.text(st.characters()))
def test_any_name_is_one_visible_bounded_component(one: str, other: str) -> None:
    safe = safe_name(one)
    assert safe == os.path.basename(safe) != ""
    assert not safe.startswith(".")
    assert safe.isascii()
    assert len(safe) <= 200
    assert (safe_name(other) == safe) == (one == other)


def test_the_places_of_an_eml_file_lie_in_one_folder() -> None:
    place = place_of(EML, "01abc", 7, "b@example.org")
    assert (place.temporary, place.final, place.seen) == ("/mail/.01abc.7.tmp", "/mail/01abc.7.eml", None)
    assert body_place(EML, "01abc", 7) == "/mail/.01abc.7.body"


def test_the_places_in_a_maildir_follow_its_convention() -> None:
    place = place_of(MAILDIR, "01abc", 7, "B@EXAMPLE.org")
    assert place.temporary == "/mail/B@example.org/tmp/01abc.7.postroad"
    assert place.final == "/mail/B@example.org/new/01abc.7.postroad"
    assert place.seen == ("/mail/B@example.org/cur", "01abc.7.postroad")


def test_mail_can_be_gathered_by_domain() -> None:
    by_domain = Settings(folder="/mail", layout="by_domain")
    assert place_of(by_domain, "01abc", 0, "b@EXAMPLE.org").final == "/mail/example.org/01abc.0.eml"
