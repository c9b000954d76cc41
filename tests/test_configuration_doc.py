"""docs/configuration.md and docs/postroad.toml say what the settings are."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from postroad import configdoc
from postroad.config import Config, load_config, read_settings

DOCS = Path(__file__).resolve().parent.parent / "docs"
EXAMPLE = DOCS / "postroad.toml"
RAW: dict[str, Any] = tomllib.loads(EXAMPLE.read_text(encoding="utf-8"))
SECTIONS = ("spool", "senders", "limits", "quotas", "in_flight", "retry", "windows", "reports", "callbacks")
WITHOUT_DESCRIPTION = {"folder", "transports", "routes", *SECTIONS}  # set by load_config; described by their tables


def test_the_page_is_what_the_settings_say() -> None:
    assert (DOCS / "configuration.md").read_text(encoding="utf-8") == configdoc.render(), "run: make docs"


def test_check_accepts_the_page_and_refuses_another(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert configdoc.main(["--check", str(DOCS / "configuration.md")]) == 0
    other = tmp_path / "other.md"
    other.write_text("# Configuration\n")
    assert configdoc.main(["--check", str(other)]) == 1
    assert "make docs" in capsys.readouterr().err


def test_unknown_arguments_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert configdoc.main(["--chek"]) == 2
    assert "usage" in capsys.readouterr().err


def test_without_arguments_the_page_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert configdoc.main([]) == 0
    assert capsys.readouterr().out == configdoc.render()


@pytest.mark.parametrize("section", SECTIONS)
def test_every_setting_says_what_it_does(section: str) -> None:
    page = configdoc.render()
    keys = type(getattr(Config(), section)).__struct_fields__
    rows = {key: next((line for line in page.splitlines() if line.startswith(f"| `{key}` |")), "") for key in keys}
    for key, row in rows.items():
        assert len(row.split(" | ")[-1]) > 20, f"{section}.{key} has no description"


def test_a_heading_is_one_sentence_and_the_text_below_it_whole() -> None:
    page = configdoc.render()
    assert not [line for line in page.splitlines() if line.startswith("## ") and line.endswith(".")]
    assert "and a minute at each full one. Counted by the commit" in page


def test_every_top_level_key_is_described_or_a_table() -> None:
    page = configdoc.render()
    for key in set(Config.__struct_fields__) - WITHOUT_DESCRIPTION:
        assert f"| `{key}` |" in page


def test_the_plugins_settings_are_described_too() -> None:
    for kind, settings in configdoc.plugin_settings():
        assert f'### plugin = "{kind}"' in configdoc.render()
        assert all(f"| `{field.encode_name}` |" in configdoc.render() for field in msgspec.structs.fields(settings))


def test_the_example_loads() -> None:
    config = load_config(EXAMPLE)
    assert [route.label for route in config.routes] == ["team", "newsletter", "outbound"]
    assert set(config.transports) == {"outbound", "archive"}


def test_the_examples_transports_suit_their_plugins() -> None:
    known = dict(configdoc.plugin_settings())
    for table in RAW["transports"].values():
        settings = {key: value for key, value in table.items() if key != "plugin"}
        if table["plugin"] in known:
            read_settings(settings, known[table["plugin"]])


@pytest.mark.parametrize("section", SECTIONS)
def test_the_example_has_every_setting(section: str) -> None:
    assert set(RAW[section]) == set(type(getattr(Config(), section)).__struct_fields__)


@pytest.mark.parametrize("section", [name for name in SECTIONS if name != "senders"])
def test_the_example_shows_the_defaults(section: str) -> None:
    assert getattr(load_config(EXAMPLE), section) == getattr(Config(), section)
