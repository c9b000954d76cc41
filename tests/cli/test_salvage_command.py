"""`postroad salvage`: what it prints, and how it ends."""

from __future__ import annotations

import json

import pytest

from postroad.message import Message
from postroad.store.contract import Accept, NewRecipient, TakeLeases
from postroad.store.sqlite import sqlite_store

CONTENT = b"Subject: Hello\r\n\r\nHello.\r\n"


def filled(path):
    with sqlite_store(str(path), folder=path.parent) as store:
        for id in ("m1", "m2"):
            message = Message(id=id, sender="a@example.com", accepted_at=1.0, size=len(CONTENT))
            store.apply([Accept(message, (NewRecipient(f"{id}@example.org", "out", 1.0),), CONTENT)])


def test_a_sound_spool_is_saved_and_the_next_step_named(tmp_path, command):
    filled(tmp_path / "old.db")
    done = command.run("--spool", f"sqlite:{tmp_path}/old.db", "salvage", str(tmp_path / "new.db"))
    assert done.exit_code == 0, done.output
    assert "saved: 2 messages; recipients: 2 waiting" in done.output
    assert f"next: postroad --spool sqlite:{tmp_path}/new.db check --spool" in done.output


def test_what_is_not_whole_is_named_and_ends_with_1(tmp_path, command):
    filled(tmp_path / "old.db")
    with sqlite_store(str(tmp_path / "old.db"), folder=tmp_path) as store:
        store._writer.execute("UPDATE message SET record = x'ff00' WHERE seq = 1")
    looked = command.run("--spool", f"sqlite:{tmp_path}/old.db", "salvage", "--dry-run", str(tmp_path / "new.db"))
    assert (looked.exit_code, "would be saved: 1 messages" in looked.output) == (1, True)
    assert not (tmp_path / "new.db").exists()
    done = command.run("--spool", f"sqlite:{tmp_path}/old.db", "salvage", "--json", str(tmp_path / "new.db"))
    assert done.exit_code == 1
    (one,) = json.loads(done.stdout)["incomplete"]
    assert (one["id"], one["sender"], one["recipients"]) == ("m1", "a@example.com", ["m1@example.org (waiting)"])
    assert "its record cannot be read" in one["missing"]
    assert (tmp_path / "new.db.quarantine" / one["file"]).read_bytes() == CONTENT
    listed = json.loads((tmp_path / "new.db.quarantine" / "incomplete.json").read_text())
    assert [each["id"] for each in listed] == ["m1"]


def test_what_is_no_spool_ends_with_75_and_leaves_nothing(tmp_path, command):
    (tmp_path / "old.db").write_bytes(b"no database")
    done = command.run("--spool", f"sqlite:{tmp_path}/old.db", "salvage", str(tmp_path / "new.db"))
    assert (done.exit_code, "nothing of a spool is found" in done.output) == (75, True)
    assert not (tmp_path / "new.db").exists()


def test_no_spool_ends_with_75(tmp_path, command):
    done = command.run("--spool", f"sqlite:{tmp_path}/none.db", "salvage", str(tmp_path / "new.db"))
    assert (done.exit_code, "there is no spool" in done.output) == (75, True)


def leased(path):
    """A spool whose engine was killed while an attempt had its message."""
    filled(path)
    with sqlite_store(str(path), folder=path.parent) as store:
        [taken] = store.apply([TakeLeases("out", 2.0, (1,))])
    assert len(taken.leases) == 1


@pytest.mark.parametrize(
    ("choice", "named", "state"),
    [
        ("hold", "the configuration", "held"),
        ("send_again", "the configuration", "in_doubt"),
        ("hold", "the folder", "held"),
        ("send_again", "the folder", "in_doubt"),
        ("send_again", "another's folder", "held"),
        ("send_again", "a folder with a mistake", "held"),
        ("send_again", "nothing", "held"),
    ],
)
def test_the_routes_choice_holds_for_what_an_attempt_had_and_without_it_all_is_held(
    tmp_path, command, monkeypatch, choice, named, state
):
    old = tmp_path / ("other.db" if named == "another's folder" else "spool/postroad.db")
    old.parent.mkdir(exist_ok=True)
    leased(old)
    command.configure(
        command.file.read_text().replace('transport = "out"', f'transport = "out"\nin_doubt = "{choice}"')
    )
    monkeypatch.chdir(tmp_path)
    if named == "nothing":
        command.file.unlink()
    elif named == "a folder with a mistake":
        command.configure("nonsense = 1")
    env = {} if named == "the configuration" else {"POSTROAD_CONFIG": None}
    done = command.run("--spool", f"sqlite:{old}", "salvage", "--json", str(tmp_path / "new.db"), env=env)
    assert done.exit_code == 1, done.output
    assert json.loads(done.stdout)["recipients"] == {state: 1, "waiting": 1}
