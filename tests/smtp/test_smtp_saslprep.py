"""SASLprep: the RFC's examples, and what it prohibits."""

from __future__ import annotations

import pytest

from postroad_smtp.saslprep import saslprep


@pytest.mark.parametrize(
    ("text", "prepared"),
    [
        ("I\u00adX", "IX"),  # RFC 4013 section 3: these five
        ("user", "user"),
        ("USER", "USER"),
        ("\u00aa", "a"),
        ("\u2168", "IX"),
        ("a\u00a0b\u3000c", "a b c"),
        ("p\u0061\u0308ss", "p\u00e4ss"),
        ("\u0627\u0628", "\u0627\u0628"),
    ],
)
def test_prepares_as_the_rfc_says(text: str, prepared: str) -> None:
    assert saslprep(text) == prepared
    assert saslprep(prepared) == prepared


@pytest.mark.parametrize(
    "text",
    [
        "\u0007",
        "\u06271",
        "\u0627a\u0628",
        "",
        "\u00ad",
        "a\tb",
        "\ue000x",
        "\ufffdx",
        "\u200ex",
        "\U000e0041x",
        "\U0001f600",
    ],
)
def test_refuses_without_showing_it(text: str) -> None:
    with pytest.raises(ValueError, match=r"RFC 4013|direction|right to left|nothing") as caught:
        saslprep(text)
    assert not text or text not in str(caught.value)


def test_a_query_may_have_what_unicode_3_2_did_not_know() -> None:
    assert saslprep("\U0001f600", is_query=True) == "\U0001f600"
