"""docs/appengine.md: its configuration is one, its tests pass, what it says of names and numbers is so."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

from postroad.appengine import doors, service
from postroad.config import Limits, Quotas, load_config
from postroad.decide.quotas import limits_of

pytestmark = pytest.mark.usefixtures("nothing_said")

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "appengine.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def test_the_configuration_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMTP_PASSWORD", "secret")
    (text,) = blocks("toml")
    config = load_config(tomllib.loads(text))
    assert config.senders.admins == ("ops@shop.example",)


def test_the_five_minutes_work_with_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (text,) = blocks("toml")
    head, _, _ = text.partition("[transports.outbound]")
    (tmp_path / "postroad.toml").write_text(head + '[transports.outbound]\nplugin = "file"\nfolder = "outbox"\n')
    monkeypatch.setenv("POSTROAD_CONFIG", str(tmp_path / "postroad.toml"))
    (command,) = re.findall(r"^\$ python -c '(.*)'$", PAGE, re.MULTILINE)

    def run(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, *words], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run("-m", "postroad.cli", "check")
    run("-c", command)
    assert "you@example.org" in run("-m", "postroad.cli", "queue", "list", "--all")


def test_its_tests_pass(tmp_path: Path) -> None:
    first, second = blocks("python")
    (tmp_path / "test_first.py").write_text(first)
    (tmp_path / "test_second.py").write_text(second)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert "2 passed" in done.stdout, done.stdout + done.stderr


def test_every_module_that_it_names_is_there() -> None:
    named = set(re.findall(r"`(postroad(?:\.\w+)+)`", PAGE)) - {"postroad.toml"}
    more = re.findall(r"^\| `google[^|]*\| `(postroad\.appengine)\.\w+`, `\.(\w+)` \|", PAGE, re.MULTILINE)
    assert len(more) == 2
    for name in sorted(named | {".".join(pair) for pair in more}):
        try:
            import_module(name)
        except ModuleNotFoundError:
            module, _, attribute = name.rpartition(".")
            assert hasattr(import_module(module), attribute), name


SETTINGS = {
    "recipients": "recipients",
    "administrators": "admins",
    "bodies": "body_bytes",
    "attachments": "attachments",
    "octets of attachments": "attachment_bytes",
}
UNITS = {"": 1, " KB": 1 << 10, " MB": 1 << 20}


@pytest.mark.parametrize("what", SETTINGS)
def test_the_quotas_are_those_of_the_profile(what: str) -> None:
    found = re.search(rf"^\| {what} \| ([\d,]+)( [KM]B)? a day, (\d+)( [KM]B)? a minute \|", PAGE, re.MULTILINE)
    assert found is not None
    profile = limits_of(Quotas(profile="appengine"))
    day, day_unit, minute, minute_unit = found.groups(default="")
    assert profile[f"{SETTINGS[what]}_per_day"] == int(day.replace(",", "")) * UNITS[day_unit]
    assert profile[f"{SETTINGS[what]}_per_minute"] == int(minute) * UNITS[minute_unit]


def test_the_limits_are_those_of_the_code() -> None:
    limits = Limits()
    assert f"| recipients of a message | not stated | {limits.recipients:,}:" in PAGE
    assert f"| a backlog | not stated | {limits.queue_messages:,} messages:" in PAGE
    assert f"| a message with its attachments | {limits.message_bytes / (1 << 20)} MB |" in PAGE
    assert f"among its recipients | {service._ADMIN_OCTETS >> 10} KB |" in PAGE
    assert f"`send()` may take | {doors._DEADLINE_SECONDS:g} s |" in PAGE
