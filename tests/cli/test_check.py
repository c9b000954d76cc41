"""`postroad check` finds every problem at once."""

from __future__ import annotations

import pytest

from postroad.spool import SpoolLock


def problems(command, text, code=78):
    command.configure(text)
    result = command.run("check", "--json")
    assert result.exit_code == code, result.output
    import json

    return {(each["part"], each["where"]) for each in json.loads(result.stdout)}


def test_a_sound_configuration_has_no_problems(command):
    assert command.ok("check") == "no problems"
    command.ok("queue", "status")
    assert command.ok("check", "--spool") == "no problems, and the spool is sound"


def test_every_problem_is_told_at_once(command):
    found = problems(
        command,
        """
        nonsense = 1
        plugins = "smtp"
        [spool]
        url = "postroad.db"
        [senders]
        authorized = ["a@example.com", 3, 4]
        [retry]
        first_seconds = 500
        max_seconds = 400
        jitter = 3
        tries = 9
        [[routes]]
        transport = "missing"
        [[routes]]
        name = "second"
        recipients = 7
        [[routes]]
        transport = "out"
        [[routes]]
        transport = "out"
        [transports]
        odd = "text"
        [transports.out]
        folder = "x"
        """,
    )
    assert found == {
        ("configuration", where)
        for where in (
            "nonsense", "plugins", "spool.url", "senders.authorized[1]", "senders.authorized[2]", "retry.first_seconds",
            "retry.jitter", "retry.tries", "routes[0].transport", "routes[1].transport", "routes[1].recipients",
            "routes[3].name", "transports.odd", "transports.out.plugin",
        )
    }  # fmt: skip


@pytest.mark.parametrize("text", ["[spool", "\xff = 1"])
def test_a_file_that_is_no_toml_is_one_problem(command, text):
    (part,) = problems(command, text)
    assert part == ("configuration", str(command.file))


def test_plugins_that_are_missing_and_transports_that_cannot_be_made_are_named(command):
    found = problems(
        command,
        """
        plugins = ["not-installed"]
        [transports.a]
        plugin = "carrier-pigeon"
        [transports.b]
        plugin = "file"
        folder = "x"
        colour = "red"
        [transports.c]
        plugin = "smtp"
        smarthost = "not a host"
        """,
    )
    assert found == {
        ("plugin", "not-installed"),
        ("plugin", "transports.a.plugin"),
        ("transport", "transports.b.plugin"),
        ("transport", "transports.c.smarthost"),
    }


def test_the_table_is_readable(command):
    command.configure("[retry]\ntries = 9\n")
    result = command.run("check")
    assert result.exit_code == 78
    assert [line.split()[:2] for line in result.stdout.splitlines()] == [
        ["PART", "WHERE"],
        ["configuration", "retry.tries"],
    ]


def test_a_damaged_spool_is_a_finding(command):
    command.ok("queue", "status")
    path = command.folder / "spool" / "postroad.db"
    path.write_bytes(b"SQLite format 3\0" + bytes(5000))
    result = command.run("check", "--spool", "--json")
    assert result.exit_code == 75
    assert '"spool"' in result.stdout


def test_a_spool_in_use_is_not_read(command):
    command.ok("queue", "status")
    with SpoolLock(command.folder / "spool" / "postroad.db.lock"):
        result = command.run("check", "--spool")
    assert result.exit_code == 75
    assert "in use" in result.stderr


def test_a_spool_that_is_not_there_yet_is_not_made(command):
    result = command.run("check", "--spool")
    assert result.exit_code == 75
    assert "no spool yet" in result.stdout
    assert not (command.folder / "spool" / "postroad.db").exists()
