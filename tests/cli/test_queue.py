"""`postroad queue` while no engine runs."""

from __future__ import annotations

import time

import pytest

from postroad.store.contract import Outcome, Settle, TakeLeases
from postroad.store.sqlite import sqlite_store
from postroad.store.states import Step


def attempt(command, step, **outcome):
    """What an engine would have done with the mail that was sent: an attempt, an hour ago."""
    path = command.folder / "spool" / "postroad.db"
    now = time.time() - 3600
    with sqlite_store(str(path), folder=path.with_name("postroad.db.content")) as store:
        (taken,) = store.apply([TakeLeases("?", time.time(), (1,))])
        (lease,) = taken.leases
        told = {"due": now + 7200, "status": "4.3.0", "reply": "451 later", "remote": "mx.example.org", **outcome}
        numbers = [recipient.number for recipient in lease.recipients]
        store.apply([Settle(tuple(Outcome(1, lease.handle, number, step, **told) for number in numbers), now)])


def send(command, recipient="b@example.org", *words):
    return command.ok("send", "--from", "a@example.com", "--to", recipient, "--body", "x", *words)


def states(command, id):
    return [recipient["state"] for recipient in command.json("queue", "show", id)["recipients"]]


def test_the_list_has_one_line_for_each_recipient(command):
    ids = [send(command, "b@example.org, c@example.net"), send(command, "d@example.org")]
    lines = command.ok("queue", "list").splitlines()
    assert lines[0].split() == ["ID", "STATE", "TRIES", "NEXT", "TRY", "SENDER", "RECIPIENT", "LAST", "WORD"]
    assert [line.split()[0] for line in lines[1:]] == [ids[0], ids[0], ids[1]]
    assert lines[1].split()[1:] == ["waiting", "0", "now", "a@example.com", "b@example.org"]
    assert [record["id"] for record in command.json("queue", "list")] == ids


def test_an_empty_queue_is_said_to_be_empty(command):
    assert command.ok("queue", "list") == "nothing"
    assert command.json("queue", "list") == []


def test_the_list_is_chosen_from(command):
    first, second = send(command, "b@example.org, c@example.net"), send(command, "d@example.org")
    assert [record["id"] for record in command.json("queue", "list", "--domain", "example.net")] == [first]
    assert len(command.ok("queue", "list", "--domain", "example.net").splitlines()) == 2
    assert [record["id"] for record in command.json("queue", "list", "--recipient", "d@example.org")] == [second]
    assert command.json("queue", "list", "--sender", "x@example.com") == []
    assert [record["id"] for record in command.json("queue", "list", "--limit", "1")] == [first]
    assert [record["id"] for record in command.json("queue", "list", "--after", first)] == [second]
    assert command.json("queue", "list", "--state", "held") == []


def test_finished_ones_are_shown_when_asked_for(command):
    id = send(command)
    command.ok("queue", "cancel", id)
    assert command.json("queue", "list") == []
    assert [record["id"] for record in command.json("queue", "list", "--all")] == [id]
    assert [record["id"] for record in command.json("queue", "list", "--state", "cancelled")] == [id]


def test_a_message_is_shown_with_all_its_recipients(command):
    id = send(command, "b@example.org, c@example.org", "--tag", "news")
    text = command.ok("queue", "show", id)
    for word in (id, "a@example.com", "news", "b@example.org", "c@example.org", "waiting"):
        assert word in text


def test_only_what_has_ended_is_called_settled(command):
    id = send(command)
    attempt(command, Step.DEFER)
    lines = command.ok("queue", "show", id).splitlines()
    assert [line.split(":")[0] for line in lines if "settled" in line] == []
    assert [line.split(":")[0] for line in lines[-3:]] == ["last word", "by", "last word at"]
    (record,) = command.json("queue", "show", id)["recipients"]
    assert record["settled_at"] is None
    assert record["last_word_at"] == pytest.approx(time.time() - 3600, abs=60)
    command.ok("queue", "cancel", id)
    assert "settled: " in command.ok("queue", "show", id)
    (record,) = command.json("queue", "show", id)["recipients"]
    assert record["settled_at"] == pytest.approx(time.time(), abs=60)


def test_a_doubt_is_shown_whatever_follows(command):
    id = send(command)
    assert "in doubt" not in command.ok("queue", "show", id) + command.ok("queue", "list")
    assert "in doubt" not in command.ok("queue", "status")
    attempt(command, Step.DOUBT, due=0)
    assert [line.split()[1] for line in command.ok("queue", "list").splitlines()[1:]] == ["in_doubt"]
    attempt(command, Step.DEFER)
    other = send(command, "c@example.org")
    assert "waiting, in doubt" in command.ok("queue", "list")
    assert "in doubt:" in command.ok("queue", "show", id)
    assert "in doubt:   1 recipients" in command.ok("queue", "status")
    assert command.json("queue", "status")["in_doubt"] == 1
    (record,) = command.json("queue", "list", "--in-doubt")
    assert (record["id"], record["recipients"][0]["in_doubt"]) == (id, True)
    assert other not in command.ok("queue", "list", "--in-doubt")


def test_hold_release_retry_and_cancel(command):
    id, other = send(command, "b@example.org", "--at", "+1h"), send(command, "c@example.net")
    assert command.json("queue", "hold", id, "--reason", "under review") == {"recipients": 1}
    assert states(command, id) == ["held"]
    assert "under review" in command.ok("queue", "list")
    assert command.json("queue", "release", "--domain", "example.org") == {"recipients": 1}
    assert states(command, id) == ["waiting"]
    assert command.json("queue", "retry", "--all") == {"recipients": 2}
    assert command.ok("queue", "cancel", "--recipient", "c@example.net") == "cancelled: 1 recipients"
    assert states(command, other) == ["cancelled"]
    assert states(command, id) == ["waiting"]


def test_what_is_held_in_doubt_is_settled_or_sent_again(command):
    id = send(command, "b@example.org")
    attempt(command, Step.HOLD, in_doubt=True, reply="in doubt: cut")
    other = send(command, "c@example.org")
    command.ok("queue", "hold", other)
    assert command.json("queue", "settle", "--all") == {"recipients": 1}
    assert (states(command, id), states(command, other)) == (["accepted"], ["held"])
    assert "in doubt, taken as delivered: cut" in command.ok("queue", "show", id)
    assert command.ok("queue", "settle", other) == "taken as delivered: 0 recipients"


@pytest.mark.parametrize("operation", ["hold", "release", "retry", "cancel", "settle"])
def test_nothing_is_changed_without_saying_what(command, operation):
    id = send(command)
    result = command.run("queue", operation)
    assert result.exit_code == 2
    assert "--all" in result.stderr
    assert states(command, id) == ["waiting"]


@pytest.mark.parametrize("operation", ["hold", "release", "retry", "cancel", "settle", "show"])
def test_an_id_that_is_not_there_is_an_error(command, operation):
    result = command.run("queue", operation, "01aaaaaaaaaaaaaaaaaa")
    assert result.exit_code == 1
    assert "there is no message" in result.stderr


def test_status_counts_and_tells_that_no_engine_runs(command):
    send(command)
    assert "engine:     not running" in command.ok("queue", "status")
    status = command.json("queue", "status")
    assert (status["engine"], status["messages"], status["by_state"]) == (False, 1, {"waiting": 1})
