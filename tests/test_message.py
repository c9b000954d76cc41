"""What is sent: ids, defaults, and that values are values."""

from __future__ import annotations

import subprocess
import sys

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.message import DEFAULT_PRIORITY, DsnOptions, Kind, Message, Submission, new_message_id, seeded_ids

MOMENTS = st.floats(min_value=0, max_value=4e9, allow_nan=False)  # until the year 2096


def test_an_id_is_safe_in_file_names_and_local_parts() -> None:
    assert set(new_message_id()) <= set("0123456789abcdefghjkmnpqrstvwxyz")
    assert len(new_message_id()) == 20


@given(MOMENTS, st.floats(min_value=0.001, max_value=1e9))
def test_ids_sort_by_the_time_they_were_made(now: float, later: float) -> None:
    assert new_message_id(now)[:10] < new_message_id(now + later + 0.001)[:10]


def test_ids_of_one_moment_differ() -> None:
    assert len({new_message_id(1_700_000_000.0) for _ in range(1000)}) == 1000


def test_the_time_part_of_an_id_keeps_its_form() -> None:
    assert new_message_id(0.0).startswith("0000000000")
    assert new_message_id(1.024)[:10] == "0000000100"


def test_a_submission_needs_sender_recipients_and_content_and_nothing_else() -> None:
    submission = Submission(sender="a@example.com", recipients=["b@example.org"], content=b"Subject: x\r\n\r\n")
    assert submission.priority == DEFAULT_PRIORITY == 5
    assert submission.dsn == DsnOptions()
    assert submission.send_at is submission.expires_at is submission.idempotency_key is None
    with pytest.raises(TypeError, match="content"):
        Submission(sender="a@example.com", recipients=["b@example.org"])  # type: ignore[call-arg]


def test_a_submission_cannot_be_changed_after_it_was_made() -> None:
    submission = Submission(sender="a@example.com", recipients=[], content=b"")
    with pytest.raises(AttributeError):
        submission.sender = "b@example.com"  # type: ignore[misc]


def test_a_message_survives_the_spools_encoding() -> None:
    message = Message(
        id=new_message_id(),
        sender="",
        accepted_at=1_700_000_000.25,
        size=4096,
        kind=Kind.REPORT,
        tags=("welcome", "eu"),
        dsn=DsnOptions(notify=("failure", "delay"), ret="headers", envid="x1"),
        report_to=("ops@example.com",),
    )
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(message), type=Message) == message


def test_unknown_dsn_options_are_refused_when_read_back() -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"notify": ["sometimes"]}, DsnOptions)


FORKING = """
import os
from postroad.message import new_message_id
new_message_id(1.0)
child = os.fork()
os.write(1, new_message_id(1.0).encode() + b"\\n")
if child:
    os.waitpid(child, 0)
"""


def test_a_forked_child_mints_other_ids_than_its_parent() -> None:
    ended = subprocess.run([sys.executable, "-c", FORKING], capture_output=True, text=True, check=True)
    mine, theirs = ended.stdout.split()
    assert mine != theirs


def test_the_ids_of_a_seed_are_the_same_again_and_no_two_of_them_are_equal() -> None:
    ids = [list(map(seeded_ids(seed), [1_700_000_000.0] * 100)) for seed in ("7 1", "7 1", "7 2")]
    assert ids[0] == ids[1]
    assert len({*ids[0], *ids[2]}) == 200
    assert all(id.startswith(new_message_id(1_700_000_000.0)[:10]) and len(id) == 20 for id in ids[0])
