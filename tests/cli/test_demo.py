"""The demo: what it shows happens, it cleans up after itself, and it would notice if it did not happen."""

from __future__ import annotations

import json
import mailbox
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from postroad.cli import demo as demo_package
from postroad.cli.app import postroad
from postroad.cli.demo.letters import ALBERT, LETTERS, MARIA, NOBODY, configuration, mailbox_of
from postroad.cli.demo.servers import started
from postroad.cli.demo.verify import Evidence, verify
from postroad.compose import MailFields, compose
from postroad.config import load_config
from postroad.receipt import Outcome, RecipientOutcome

pytest.importorskip("aiosmtpd")


def run_demo(folder: Path, *words: str):
    return subprocess.run(
        [sys.executable, "-m", "postroad.cli", "demo", "--folder", str(folder), *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_all_of_it_happens_and_its_servers_are_gone_afterwards(tmp_path):
    done = run_demo(tmp_path / "run")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "FAILED" not in done.stdout
    for said in ("on disk", "delivered", "Connection refused", "451 4.7.1", "550 5.1.1", "All of it happened"):
        assert said in done.stdout
    pids = [int(part.partition(")")[0]) for part in done.stdout.split("(process ")[1:]]
    assert len(pids) == 3
    assert not any(is_running(pid) for pid in pids)
    box = mailbox.Maildir(mailbox_of(tmp_path / "run"), create=False)
    assert [message.get_content_type() for message in box] == ["multipart/report"]


def test_its_summary_is_to_be_had_as_json(tmp_path):
    done = run_demo(tmp_path, "--json")
    summary = json.loads(done.stdout)
    assert summary["ok"] is True
    assert done.returncode == 0
    assert set(summary["messages"]) == set(LETTERS)
    assert all(check["ok"] for check in summary["checks"])
    assert summary["seconds"] < 20
    story = [line for line in (tmp_path / "engine.log").read_text().splitlines() if summary["messages"][MARIA] in line]
    assert [json.loads(line)["event"] for line in story] == ["accepted", "deferred", "deferred", "delivered"]


def test_its_configuration_shortens_the_schedule_and_nothing_else(tmp_path):
    file = tmp_path / "postroad.toml"
    file.write_text(configuration([1, 2, 3]), encoding="utf-8")
    config = load_config(file)
    assert (config.retry.first_seconds, config.retry.max_seconds) == (1, 2)
    assert config.windows == type(config.windows)()
    assert config.spool.url.startswith("sqlite:")


def test_it_does_not_mix_with_what_is_there(tmp_path):
    (tmp_path / "first.journal").touch()
    result = CliRunner().invoke(postroad, ["demo", "--folder", str(tmp_path)])
    assert result.exit_code == 1
    assert "is not empty" in result.stderr


def test_without_aiosmtpd_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(demo_package, "find_spec", lambda name: None)
    result = CliRunner().invoke(postroad, ["demo"])
    assert result.exit_code == 1
    assert "pip install 'postroad[demo]'" in result.stderr


def test_its_servers_end_even_when_the_demo_fails(tmp_path):
    pids = []

    def fail():
        with started(("first", "second"), tmp_path) as servers:
            pids.extend(server.pid for server in servers)
            assert all(is_running(pid) for pid in pids)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert not any(is_running(pid) for pid in pids)


# --- It would notice ---


class FakeServer:
    def __init__(self, answers=(), taken=()):
        self.answers = list(answers)
        self.taken = list(taken)


def taken(recipient, **changes):
    from postroad.cli.demo.servers import Taken

    composed = compose(MailFields(**{**LETTERS[recipient], **changes}), message_id="x@example.com", date=0)
    return Taken(composed.sender, composed.recipients, composed.content)


def evidence(folder, **changes):
    outcomes = {
        recipient: Outcome(id="x", recipients={recipient: RecipientOutcome(state=state, attempts=attempts)})
        for recipient, state, attempts in ((ALBERT, "accepted", 1), (MARIA, "accepted", 3), (NOBODY, "failed", 1))
    }
    given = {
        "first": FakeServer(["250 ok"], [taken(ALBERT)]),
        "second": FakeServer(["451 later", "250 ok"], [taken(MARIA)]),
        "third": FakeServer(["550 no"]),
        "mailbox": folder / "none",
        "outcomes": outcomes,
    }
    return Evidence(**{**given, **changes})


def failing(found):
    return [check.what for check in found.checks if not check.ok]


def judged(folder, seconds=3.0, **changes):
    return verify(evidence(folder, **changes), folder=folder, seconds=seconds, limit=20.0)


def test_only_the_bounce_is_missing_where_only_the_bounce_is_missing(tmp_path):
    result = judged(tmp_path)
    assert not result.ok
    (what,) = failing(result)
    assert what.startswith("the bounce lies in the Maildir")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"first": FakeServer(["250"], [])}, "Albert"),
        ({"first": FakeServer(["250"], [taken(ALBERT)] * 2)}, "Albert"),
        ({"first": FakeServer(["250"], [taken(ALBERT, subject="Other")])}, "Albert"),
        ({"first": FakeServer(["250"], [taken(ALBERT, body="Other")])}, "Albert"),
        ({"first": FakeServer(["250"], [taken(ALBERT, to=NOBODY)])}, "Albert"),
        ({"second": FakeServer(["250"], [taken(MARIA)])}, "451"),
        ({"second": FakeServer(["451", "250"], [taken(MARIA)] * 2)}, "exactly once"),
        ({"second": FakeServer(["451", "250"], [taken(MARIA, attachments=())])}, "exactly once"),
        ({"third": FakeServer(["250"], [taken(NOBODY)])}, "550"),
        ({"outcomes": {}}, "the engine says"),
        ({"seconds": 21.0}, "within 20 s"),
    ],
)
def test_what_did_not_happen_is_told(tmp_path, changes, words):
    result = judged(tmp_path, **changes)
    assert not result.ok
    assert any(words in what for what in failing(result))
    assert len(failing(result)) >= 2


@pytest.mark.parametrize(
    "content",
    [b"Subject: Hello\n\nHello.\n", b"Content-Type: multipart/report; boundary=x\nTo: support@example.com\n\n--x--\n"],
)
def test_a_mailbox_with_something_else_in_it_holds_no_bounce(tmp_path, content):
    box = mailbox.Maildir(tmp_path / "box")
    box.add(content)
    assert any("Maildir" in what for what in failing(judged(tmp_path, mailbox=tmp_path / "box")))
