"""The pages about the plug-in contract are what the code says: duties and their cases, capabilities, the examples' files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import write_contract
from postroad.testing.duties import duty_text, plugin_duties, transport_duties
from postroad.testing.plugin_subject import PUBLIC_MODULES

DOCS = Path(__file__).resolve().parent.parent / "docs"


def page(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def test_the_duties_are_what_the_code_says() -> None:
    assert page("duties.md") == write_contract.duties_page(), "run: make docs"


def test_the_matrix_is_what_the_transports_declare() -> None:
    assert page("transports.md") == write_contract.transports_page(), "run: make docs"
    assert "| `smtp` by MX | yes | 100 |" in page("transports.md")


def test_a_transport_that_is_not_in_the_matrix_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        write_contract, "WAYS", {name: each for name, each in write_contract.WAYS.items() if name != "smtp"}
    )
    with pytest.raises(KeyError, match="how the transport 'smtp' is opened"):
        write_contract.transports_page()


def test_the_examples_on_the_page_are_their_files() -> None:
    text = page("plugins.md")
    assert text == write_contract.with_files(text), "run: make docs"
    assert len(re.findall("class ChatTransport|class S3Transport|check_transport[(]", text)) >= 3


def test_duties_are_numbered_without_gaps_and_say_something() -> None:
    for letter, duties in (("T", transport_duties()), ("H", plugin_duties())):
        assert list(duties) == [f"{letter}{number}" for number in range(1, len(duties) + 1)]
        assert all(len(prose) > 40 and ": " in prose for prose in duties.values())
    assert duty_text("T1").startswith("T1 One verdict each: ")


def test_without_docstrings_a_report_still_names_the_number(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> dict[str, Any]:
        return {}

    monkeypatch.setattr("postroad.testing.duties.transport_duties", none)
    assert duty_text("T1") == "T1"


def test_what_the_check_takes_for_public_is_what_the_page_lists() -> None:
    section = page("plugins.md").partition("## What a plugin may import")[2].partition("\n## ")[0]
    assert set(re.findall(r"^\| `(postroad[\w.]*)` \|", section, re.MULTILINE)) == PUBLIC_MODULES
