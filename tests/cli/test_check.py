"""`postroad check` finds every problem at once."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from postroad.spool import SpoolLock

ROOT = Path(__file__).parents[2]


def problems(command, text, code=78):
    command.configure(text)
    result = command.run("check", "--json")
    assert result.exit_code == code, result.output
    import json

    found = json.loads(result.stdout)
    return {(each["part"], each["where"]) for each in found if each["level"] == "problem"}


def test_a_sound_configuration_has_no_problems(command):
    assert command.ok("check") == "no problems"
    command.ok("send", "--from", "a@example.com", "--to", "b@example.org", "--body", "x")  # makes it
    assert command.ok("check", "--spool") == "no problems, and the spool is sound"


SHIPPED = [path for path in ROOT.glob("examples/**/*.toml") if path.name == "postroad.toml"]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_configurations_of_the_examples_have_no_problems(command, path, monkeypatch):
    """Those with [callbacks], too: what names a transport must not be asked while another is looked at alone."""
    for name in re.findall(r'_env = "(\w+)"', path.read_text()):
        monkeypatch.setenv(name, "a-secret")
    assert problems(command, path.read_text(), code=0) == set()


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
        format = "tape"
        layout = 7
        [transports.c]
        plugin = "smtp"
        smarthost = "not a host"
        [transports.d]
        plugin = "file"
        """,
    )
    assert found == {
        ("plugin", "not-installed"),
        ("plugin", "transports.a.plugin"),
        ("transport", "transports.b.colour"),
        ("transport", "transports.b.format"),
        ("transport", "transports.b.layout"),
        ("transport", "transports.c.smarthost"),
        ("transport", "transports.d.folder"),
    }


NAMED = '[reports]\nhostname = "mail.example.com"\n'


@pytest.mark.parametrize(
    ("name", "is_known"), [("localhost", False), ("box", False), ("box.localdomain", False), ("mail.example.com", True)]
)
def test_a_name_that_no_other_machine_knows_is_a_warning(command, monkeypatch, name, is_known):
    monkeypatch.setattr("socket.getfqdn", lambda: name)
    command.configure("")
    found = [each for each in command.json("check") if each["where"] == "reports.hostname"]
    assert [each["level"] for each in found] == ([] if is_known else ["warning"])
    assert all(f"calls itself {name}: it stands in Message-IDs" in each["problem"] for each in found)
    command.configure(NAMED)
    assert "reports.hostname" not in command.run("check").stdout


def test_the_table_is_readable(command):
    command.configure(f"[retry]\ntries = 9\n{NAMED}")
    result = command.run("check")
    assert result.exit_code == 78
    assert [line.split()[:2] for line in result.stdout.splitlines()] == [
        ["PART", "WHERE"],
        ["configuration", "retry.tries"],
        ["configuration", "routes"],
        ["configuration", "senders.authorized"],
    ]


def test_a_bad_address_is_told_once_and_by_its_own_number(command):
    command.configure(
        f'[senders]\nauthorized = ["x", "*@example.com", 7]\nadmins = ["no address", "*@b.example"]\n{NAMED}'
    )
    found = [each["where"] for each in json.loads(command.run("check", "--json").stdout) if each["level"] == "problem"]
    assert sorted(found) == [
        "senders.admins[0]",
        "senders.admins[1]",
        "senders.authorized[0]",
        "senders.authorized[2]",
    ]


def test_a_transport_that_is_not_there_is_told_once_for_each_place_that_names_it(command):
    command.configure(
        """
        [senders]
        authorized = ["*"]
        [reports]
        hostname = "mx.example.com"
        [[routes]]
        transport = "missing"
        fail_over = ["out", "gone", "lost"]
        weights = [1, 1, 1, 1]
        [[routes]]
        transport = "absent"
        [transports.out]
        plugin = "file"
        folder = "x"
        """
    )
    found = json.loads(command.run("check", "--json").stdout)
    assert {each["where"]: each["problem"] for each in found} == {
        where: f"there is no [transports.{name}] (known: out)"
        for where, name in (
            ("routes[0].transport", "missing"),
            ("routes[0].fail_over[1]", "gone"),
            ("routes[0].fail_over[2]", "lost"),
            ("routes[1].transport", "absent"),
        )
    }


def test_a_damaged_spool_is_a_finding(command):
    command.ok("send", "--from", "a@example.com", "--to", "b@example.org", "--body", "x")  # makes it
    path = command.folder / "spool" / "postroad.db"
    path.write_bytes(b"SQLite format 3\0" + bytes(5000))
    result = command.run("check", "--spool", "--json")
    assert result.exit_code == 75
    assert '"spool"' in result.stdout


def test_a_spool_in_use_is_not_read(command):
    command.ok("send", "--from", "a@example.com", "--to", "b@example.org", "--body", "x")  # makes it
    with SpoolLock(command.folder / "spool" / "postroad.db.lock"):
        result = command.run("check", "--spool")
    assert result.exit_code == 75
    assert "in use" in result.stderr


def test_a_spool_that_is_not_there_yet_is_not_made(command):
    result = command.run("check", "--spool")
    assert result.exit_code == 75
    assert "no spool yet" in result.stdout
    assert not (command.folder / "spool" / "postroad.db").exists()


def test_what_is_wrong_only_for_want_of_a_key_taken_out_is_not_told(command):
    assert problems(command, '[transports.a]\nplugin = "file"\nfolder = 7\nformat = "tape"\n') == {
        ("transport", "transports.a.folder"),
        ("transport", "transports.a.format"),
    }


def test_what_lets_no_mail_go_is_a_warning_and_no_problem(command):
    command.configure(NAMED)
    found = command.json("check")
    assert [(each["level"], each["where"]) for each in found] == [
        ("warning", "routes"),
        ("warning", "senders.authorized"),
    ]
    said = command.ok("check")
    assert "warning: there are none: nobody may send" in said
    assert said.endswith("\nno problems")
    command.configure('[senders]\nadmins = ["ops@example.com"]\n')
    assert "only the administrators may send" in command.ok("check")


# --- the spool's place ---


def placed(command, url, **spool):
    lines = "\n".join(f"{name} = {value}" for name, value in spool.items())
    return f'[spool]\nurl = "{url}"\n{lines}\n'


def test_a_folder_that_cannot_be_is_a_problem(command):
    assert problems(command, placed(command, "sqlite:postroad.toml/deep/down.db")) == {("configuration", "spool.url")}


def test_a_folder_that_may_not_be_written_is_a_problem(command, monkeypatch):
    monkeypatch.setattr("os.access", lambda path, mode: False)
    for url in ("sqlite:postroad.db", "sqlite:new/deep/postroad.db"):
        assert problems(command, placed(command, url)) == {("configuration", "spool.url")}
    assert not (command.folder / "new").exists()


@pytest.mark.parametrize("ending", ["", ".lock", ".marks", ".reached", "-wal"])
def test_files_that_may_not_be_written_are_problems(command, monkeypatch, ending):
    path = command.folder / f"postroad.db{ending}"
    path.touch()
    monkeypatch.setattr("os.access", lambda asked, mode: asked != path)
    assert problems(command, placed(command, "sqlite:postroad.db"), code=75) == {("spool", str(path))}


@pytest.mark.parametrize("ending", ["", ".lock", ".sock"])
def test_what_stands_in_the_place_of_a_file_is_a_problem(command, ending):
    path = command.folder / f"postroad.db{ending}"
    path.mkdir()
    assert problems(command, placed(command, "sqlite:postroad.db"), code=75) == {("spool", str(path))}


def test_a_name_too_long_for_a_socket_is_a_problem_only_where_there_is_one(command):
    url = f"sqlite:{'x' * 200}.db"
    assert problems(command, placed(command, url)) == {("configuration", "spool.url")}
    assert problems(command, placed(command, url, socket="false"), code=0) == set()


def test_looking_at_the_place_makes_nothing(command):
    command.ok("check")
    assert [path.name for path in command.folder.iterdir()] == ["postroad.toml"]


# --- the whole file in one run ---


def test_a_problem_of_one_section_hides_none_of_another(command):
    found = problems(
        command,
        """
        plugins = ["not-installed", 7]
        [retry]
        tries = 9
        [spool]
        url = "sqlite:postroad.toml/deep.db"
        [[routes]]
        transport = "missing"
        [transports]
        odd = "text"
        [transports.a]
        folder = "x"
        [transports.b]
        plugin = "file"
        folder = 7
        [transports.c]
        plugin = "carrier-pigeon"
        """,
    )
    assert found == {
        ("configuration", "plugins[1]"),
        ("configuration", "retry.tries"),
        ("configuration", "routes[0].transport"),
        ("configuration", "spool.url"),
        ("configuration", "transports.a.plugin"),
        ("configuration", "transports.odd"),
        ("plugin", "not-installed"),
        ("plugin", "transports.c.plugin"),
        ("transport", "transports.b.folder"),
    }


@pytest.mark.parametrize("line", ['url = "nowhere"', "socket = 7"])
def test_a_spool_that_is_not_as_configured_is_not_looked_at(command, line):
    (command.folder / "var").write_text("in the way of the default")
    (found,) = problems(command, f"[spool]\n{line}\n")
    assert found == ("configuration", f"spool.{line.partition(' ')[0]}")


def test_what_was_taken_out_is_not_warned_of(command):
    command.configure("routes = 7\n[senders]\nauthorized = 7\n[reports]\nhostname = 7\n")
    found = command.run("check", "--json").stdout
    assert '"problem"' in found
    assert '"warning"' not in found


def test_other_sections_are_warned_of_beside_a_problem(command):
    command.configure("[retry]\ntries = 9\n")
    assert "warning: there are none: nobody may send" in command.run("check").stdout


def test_the_spool_is_read_beside_a_problem_of_another_section(command):
    command.configure("[retry]\ntries = 9\n[spool]\nurl = 'sqlite:postroad.db'\n")
    assert "no spool yet" in command.run("check", "--spool").stdout


def test_a_setting_named_within_another_does_not_hide_its_problem(command):
    text = '[transports.a]\nplugin = "smtp"\nsmarthost = "host"\ntls = "sometimes"\nlogin_without_tls = true\n'
    assert problems(command, text) == {
        ("transport", "transports.a.tls"),
        ("transport", "transports.a.login_without_tls"),
    }


# --- addresses to send from ---


def test_an_address_that_this_machine_does_not_have_is_a_warning(command):
    command.configure(
        """
        [transports.out]
        plugin = "smtp"
        source_addresses = ["127.0.0.1", "2001:db8::5"]
        [transports.bulk]
        plugin = "smtp"
        source_addresses = ["192.0.2.6"]
        """
    )
    warned = {each["where"]: each["problem"] for each in command.json("check") if each["part"] == "transport"}
    assert set(warned) == {"transports.out.source_addresses[1]", "transports.bulk.source_addresses[0]"}
    assert "2001:db8::5 cannot be sent from" in warned["transports.out.source_addresses[1]"]
    assert "mail only waits" in warned["transports.bulk.source_addresses[0]"]


def test_addresses_that_are_none_are_a_problem_and_no_warning(command):
    text = '[transports.out]\nplugin = "smtp"\nsource_addresses = ["eth0"]\n'
    assert problems(command, text) == {("transport", "transports.out.source_addresses")}
    assert "mail only waits" not in command.run("check").stdout
