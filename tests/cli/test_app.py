"""The root: version, help that imports little, where the spool is looked for, and exit codes."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

import postroad
from postroad.cli.exits import exit_code_of
from postroad.errors import (
    ConfigError,
    EngineClosed,
    EngineCrashed,
    PluginError,
    QueueFull,
    SpoolForeign,
    SpoolInUse,
    SpoolTooNew,
    StoreError,
    SubmissionError,
    UnknownMessage,
)
from postroad.spool import SpoolLock

LATE = ("trio", "dns", "structlog", "rich", "pluggy", "asyncio", "cryptography")


def modules_after(command, *words: str, stdin: str = "") -> set[str]:
    """The modules that a command of its own process has imported when it ends."""
    code = (
        "import atexit, sys\n"
        "atexit.register(lambda: print('MODULES', *sys.modules, file=sys.stderr))\n"
        "from postroad.cli import main\nmain()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        capture_output=True,
        input=stdin,
        text=True,
        env={**os.environ, "POSTROAD_CONFIG": str(command.file)},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return set(done.stderr.partition("MODULES ")[2].split())


@pytest.mark.parametrize(
    "words",
    [
        ("--help",),
        ("--version",),
        ("demo", "--help"),
        ("serve", "--help"),
        ("queue", "status"),
        ("queue", "list"),
        ("send", "--from", "a@example.com", "--to", "b@example.org", "--body", "Hello"),
    ],
    ids=" ".join,
)
def test_what_must_be_quick_imports_none_of_the_engines_parts(command, words):
    imported = modules_after(command, *words)
    assert "postroad.cli.app" in imported
    assert not imported & set(LATE)


def test_the_version_is_the_packages(command):
    assert command.ok("--version") == f"postroad {postroad.__version__}"


def test_help_names_every_command_and_the_exit_codes(command):
    text = command.ok("--help")
    for word in ("demo", "serve", "send", "queue", "check", "--config", "--spool", "POSTROAD_SPOOL", "75", "78"):
        assert word in text


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (SubmissionError("to", "no"), 1),
        (UnknownMessage("no"), 1),
        (QueueFull("full"), 75),
        (StoreError("disk"), 75),
        (SpoolInUse("busy"), 75),
        (EngineClosed("closed"), 75),
        (ConfigError("retry", "bad"), 78),
        (PluginError("missing"), 78),
        (SpoolForeign("theirs"), 78),
        (SpoolTooNew("new"), 78),
        (EngineCrashed("bug"), 70),
    ],
)
def test_errors_have_the_exit_codes_that_service_managers_know(error, code):
    assert exit_code_of(error) == code


def test_an_error_is_one_line_on_standard_error(command):
    result = command.run("queue", "show", "nowhere")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.startswith("postroad: there is no message 'nowhere'")
    assert result.stderr.count("\n") == 1


def test_a_broken_configuration_is_told_by_its_key(command):
    command.configure("[retry]\nfirst_seconds = -1\n")
    result = command.run("queue", "status")
    assert result.exit_code == 78
    assert "retry.first_seconds" in result.stderr


def test_a_configuration_that_is_not_there_is_told_by_its_name(command, tmp_path):
    result = command.run("--config", str(tmp_path / "other.toml"), "queue", "status")
    assert result.exit_code == 78
    assert "other.toml: there is no such file" in result.stderr


def test_without_any_configuration_the_error_says_what_to_set(command, tmp_path, monkeypatch):
    folder = tmp_path / "empty"
    folder.mkdir()
    monkeypatch.chdir(folder)
    result = command.run("queue", "status", env={"POSTROAD_CONFIG": ""})
    assert result.exit_code == 78
    for name in ("--config", "POSTROAD_CONFIG"):
        assert name in result.stderr


def test_the_configuration_in_the_working_directory_is_the_default(command, monkeypatch):
    monkeypatch.chdir(command.folder)
    assert (
        command.run(
            "send", "--from", "a@example.com", "--to", "b@example.org", "--body", "x", env={"POSTROAD_CONFIG": ""}
        ).exit_code
        == 0
    )
    assert (command.folder / "spool" / "postroad.db").exists()


def test_a_spool_named_on_the_command_line_counts_from_the_working_directory(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    id = command.ok(
        "--spool", "sqlite:elsewhere/mail.db", "send", "--from", "a@example.com", "--to", "b@example.org", "--body", "x"
    )
    assert (tmp_path / "elsewhere" / "mail.db").exists()
    assert command.json("--spool", "sqlite:elsewhere/mail.db", "queue", "show", id)["id"] == id
    assert command.run("queue", "show", id).exit_code == 1


def test_a_spool_without_its_engines_rules_refuses_to_guess(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    spool = {"POSTROAD_CONFIG": "", "POSTROAD_SPOOL": "sqlite:other.db"}
    result = command.run("send", "--from", "a@example.com", "--to", "b@example.org", "--body", "x", env=spool)
    assert result.exit_code == 78
    assert "no engine has worked on this spool yet" in result.stderr


def test_a_spool_that_is_in_use_is_a_temporary_failure(command, monkeypatch):
    command.ok("send", "--from", "a@example.com", "--to", "b@example.org", "--body", "x")
    monkeypatch.setattr("postroad.handover.Handover.__init__.__kwdefaults__", {"deadline_seconds": 0.01})
    with SpoolLock(command.folder / "spool" / "postroad.db.lock"):
        result = command.run("queue", "status")
    assert result.exit_code == 75


def test_a_wrong_command_line_ends_with_2(command):
    assert command.run("queue", "list", "--state", "lost").exit_code == 2
    assert command.run("nonsense").exit_code == 2
