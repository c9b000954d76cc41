"""Which further headers a message may carry, in the contract's words."""

from __future__ import annotations

from typing import Any

import pytest

from postroad.appengine import mail, settings

NAMES = [
    "Auto-Submitted",
    "In-Reply-To",
    "List-Id",
    "List-Unsubscribe",
    "On-Behalf-Of",
    "References",
    "Resent-Date",
    "Resent-From",
    "Resent-To",
]


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        (None, "Headers dictionary was None."),
        ([], "Invalid type for headers. Should be a dictionary."),
        ("", "Invalid type for headers. Should be a dictionary."),
        ({3: "value"}, "Header names should be strings."),
        ({b"References": "value"}, "Header names should be strings."),
        ({"References": None}, "Header values should be strings."),
        ({"X-Other": 3}, "Header values should be strings."),
        ({"X-Zoë": "value"}, "Header name should be an ASCII string."),
        ({"X-Other": ""}, 'Header "X-Other" is not allowed.'),
        ({" Received ": "a"}, 'Header "Received" is not allowed.'),
        ({"References": "a", "X-Other": "b", 3: "c"}, 'Header "X-Other" is not allowed.'),
        ({}, None),
        ({" References ": "any\nthing"}, None),
        (dict.fromkeys(NAMES, "value"), None),
    ],
)
@pytest.mark.parametrize("strict", [False, True])
def test_the_reason_why_headers_are_refused(
    headers: Any, reason: str | None, strict: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "strict_headers", strict)
    assert mail.invalid_headers_reason(headers) == reason
    if reason is None:
        mail.check_headers_valid(headers)
        return
    with pytest.raises(mail.InvalidEmailError) as raised:
        mail.check_headers_valid(headers)
    assert str(raised.value) == reason


@pytest.mark.parametrize("name", ["list-id", "LIST-UNSUBSCRIBE", "List-Unsubscribe-Post", "list-unsubscribe-post"])
def test_case_does_not_matter_and_one_click_unsubscribing_works_unless_headers_are_strict(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert mail.invalid_headers_reason({name: "value"}) is None
    monkeypatch.setattr(settings, "strict_headers", True)
    assert mail.invalid_headers_reason({name: "value"}) == f'Header "{name}" is not allowed.'


def test_the_list_is_the_contracts() -> None:
    assert isinstance(mail.HEADER_WHITELIST, frozenset)
    assert sorted(mail.HEADER_WHITELIST) == NAMES


def test_ascii() -> None:
    assert mail.is_ascii("")
    assert mail.is_ascii("a\x7f")
    assert not mail.is_ascii("ä")
