"""docs/http.md says what the providers' modules say."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import msgspec
import pytest

import provider_table
from postroad_http.events import SOURCES
from postroad_http.providers import PROVIDERS


def test_the_table_is_what_the_providers_declare() -> None:
    page = provider_table.PAGE.read_text(encoding="utf-8")
    assert provider_table.render(page) == page, "run: make docs"
    assert all(f"| `{name}` |" in page for name in PROVIDERS)


def test_the_table_of_events_is_what_the_sources_declare() -> None:
    page = provider_table.EVENTS_PAGE.read_text(encoding="utf-8")
    assert provider_table.render_events(page) == page, "run: make docs"
    assert all(f"[{source.title}]({source.documentation})" in page for source in SOURCES.values())


@pytest.mark.parametrize("page", [provider_table.PAGE, provider_table.EVENTS_PAGE], ids=lambda page: page.name)
def test_the_examples_are_settings(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    (example,) = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    tables = tomllib.loads(example)["transports"]
    assert tables
    for table in tables.values():
        settings = {key: value for key, value in table.items() if key != "plugin"}
        msgspec.convert(settings, PROVIDERS[settings["provider"]].settings)
