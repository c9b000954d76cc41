"""Quotas: exact for any number of doors, by the engine or without it, over restarts; days are Pacific ones."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

import postroad
from postroad import Submission
from postroad.decide.quotas import Use, charges_of, limits_of, quota_error
from postroad.errors import QuotaExceeded, SubmissionTooLarge
from postroad.handover import Handover
from postroad.message import new_message_id
from postroad.offline import open_offline
from postroad.pacific import pacific_day
from postroad.quotas import Quotas
from postroad.spool import SpoolPlace
from postroad.store.charges import USED, Usage
from postroad.store.contract import Charge, QuotaExhausted
from postroad.testing.engine import open_test_engine, test_config
from postroad.testing.fakes import ScriptedTransport

FIELDS = {"sender": "a@example.com", "to": "b@example.org", "subject": "Hello", "body": "Hi"}
RAW = b"From: a@example.com\r\nTo: b@example.org\r\nSubject: Hello\r\n\r\nHello.\r\n"
SUMMER = datetime(2026, 7, 4, 12, tzinfo=UTC).timestamp()

# --- which quotas, which windows ---


def test_none_is_in_force_by_default():
    assert limits_of(Quotas()) == {}
    assert charges_of(Use(recipients=5), limits_of(Quotas()), SUMMER) == ()


def test_the_profile_has_app_engines_numbers_and_each_can_be_set():
    limits = limits_of(Quotas(profile="appengine", recipients_per_day=7))
    assert len(limits) == 10
    assert (limits["recipients_per_day"], limits["recipients_per_minute"], limits["admins_per_day"]) == (7, 8, 5000)
    assert limits["body_bytes_per_minute"] == 340 * 1024
    assert limits_of(Quotas(attachments_per_day=3)) == {"attachments_per_day": 3}


def test_only_what_a_message_has_is_charged():
    charges = charges_of(Use(recipients=2, body_bytes=10), limits_of(Quotas(profile="appengine")), SUMMER)
    assert [(charge.quota, charge.amount) for charge in charges] == [
        ("recipients_per_day", 2),
        ("recipients_per_minute", 2),
        ("body_bytes_per_day", 10),
        ("body_bytes_per_minute", 10),
    ]
    assert all(charge.start <= SUMMER < charge.start + charge.seconds for charge in charges)


def test_days_begin_at_midnight_pacific_time():
    assert pacific_day(SUMMER) == (datetime(2026, 7, 4, 7, tzinfo=UTC).timestamp(), 86_400)
    winter = datetime(2026, 1, 4, 7, 59, 59, tzinfo=UTC).timestamp()
    assert pacific_day(winter) == (datetime(2026, 1, 3, 8, tzinfo=UTC).timestamp(), 86_400)
    assert pacific_day(datetime(2026, 3, 8, 20, tzinfo=UTC).timestamp())[1] == 23 * 3600
    assert pacific_day(datetime(2026, 11, 1, 20, tzinfo=UTC).timestamp())[1] == 25 * 3600


@given(st.integers(min_value=1_180_000_000, max_value=2_000_000_000))
def test_the_rule_of_the_clocks_is_that_of_the_table_of_time_zones(moment):
    try:
        zone = ZoneInfo("America/Los_Angeles")
    except ZoneInfoNotFoundError:  # pragma: no cover
        pytest.skip("no time zones are installed here")
    day = datetime.fromtimestamp(moment, zone).date()
    start = datetime(day.year, day.month, day.day, tzinfo=zone).timestamp()
    after = day + timedelta(days=1)
    assert pacific_day(moment) == (start, datetime(after.year, after.month, after.day, tzinfo=zone).timestamp() - start)


def test_the_error_says_which_and_when_there_is_more():
    charge = Charge("recipients_per_minute", 2, 8, int(SUMMER), 60)
    said = str(quota_error(QuotaExhausted(charge, 7)))
    assert said == (
        "7 of [quotas] recipients_per_minute = 8 are used, and this message takes 2; there is more from "
        "2026-07-04 12:01:00 UTC on"
    )
    assert "this message alone takes 9" in str(quota_error(QuotaExhausted(Charge("x", 9, 8, 0, 60), 0)))


def test_counters_that_cannot_be_read_begin_anew():
    usage = Usage(b"\xc1 no msgpack")
    assert usage.take([Charge("few", 1, 1, 0, 60)]) is None
    assert isinstance(Usage(usage.encoded()).take([Charge("few", 1, 1, 0, 60)]), QuotaExhausted)


# --- at the engine's door ---


async def test_the_engine_refuses_what_is_over_a_quota_until_its_window_ends(mock_clock):
    mock_clock.autojump_threshold = 0
    async with open_test_engine(quotas={"recipients_per_minute": 3}, start=SUMMER) as engine:
        await engine.send_mail(**{**FIELDS, "to": "b@example.org, c@example.org"})
        with pytest.raises(
            QuotaExceeded, match=r"2 of .* recipients_per_minute = 3 are used, and this message takes 2"
        ):
            await engine.send_mail(**{**FIELDS, "to": "b@example.org, c@example.org"})
        await engine.send_mail(**FIELDS)
        with pytest.raises(QuotaExceeded):
            await engine.send_mail(**FIELDS)
        await trio.sleep(60)
        await engine.send_mail(**FIELDS)


async def test_administrators_and_bodies_and_attachments_count_apart(mock_clock):
    quotas = {"admins_per_day": 1, "recipients_per_day": 1, "body_bytes_per_day": 5, "attachments_per_day": 1}
    senders = {"authorized": ["*"], "admins": ["ops@Example.com"]}
    async with open_test_engine(quotas=quotas, senders=senders, start=SUMMER) as engine:
        await engine.send_mail_to_admins(sender="a@example.com", subject="x", body="1234")
        with pytest.raises(QuotaExceeded, match="admins_per_day"):
            await engine.send_mail(sender="a@example.com", to="ops@example.com", subject="x")
        with pytest.raises(QuotaExceeded, match="body_bytes_per_day"):
            await engine.send_mail(**{**FIELDS, "body": "ü"})
        with pytest.raises(QuotaExceeded, match="attachments_per_day"):
            await engine.send_mail(**{**FIELDS, "body": "1", "attachments": [("a.txt", b"1"), ("b.txt", b"2")]})
        await engine.send_mail(**{**FIELDS, "body": "1", "attachments": [("a.txt", b"1")]})
        with pytest.raises(QuotaExceeded, match="recipients_per_day"):
            await engine.send_mail(**{**FIELDS, "body": None})


async def test_of_many_submissions_those_that_fit_are_accepted(mock_clock):
    async with open_test_engine(quotas={"recipients_per_minute": 2}, start=SUMMER) as engine:
        submissions = [
            Submission(sender="a@example.com", recipients=[f"r{n}@x.example"], content=RAW) for n in range(3)
        ]
        with pytest.raises(QuotaExceeded) as caught:
            await engine.submit_many(submissions)
        assert [receipt is None for receipt in caught.value.receipts] == [False, False, True]


async def test_a_message_may_have_its_octets_before_it_is_encoded(mock_clock):
    """The limit is on what its author gave: base64 makes it a third more."""
    limit = 4096
    async with open_test_engine(limits={"message_bytes": limit}) as engine:
        await engine.send_mail(**{**FIELDS, "attachments": [("a.bin", b"\xff" * (limit - 2))]})
        with pytest.raises(SubmissionTooLarge):
            await engine.send_mail(**{**FIELDS, "attachments": [("a.bin", b"\xff" * (limit - 1))]})


# --- on every road ---


def config_at(folder, limit):
    return test_config(
        spool={"url": f"sqlite:{folder}/spool.db"}, quotas={"recipients_per_day": limit}, senders={"authorized": ["*"]}
    )


def door_of(config, folder, with_config=True):
    return Handover(SpoolPlace.parse(config.spool.url, folder), config if with_config else None)


async def test_the_count_goes_on_from_road_to_road_and_a_message_asked_for_twice_counts_once(tmp_path):
    config = config_at(tmp_path, 4)
    door = door_of(config, tmp_path)
    ids = [new_message_id() for _ in range(5)]
    assert [door.send_mail(FIELDS, id) for id in (ids[0], ids[0], ids[1])] == [ids[0], ids[0], ids[1]]
    async with postroad.open_engine(config, plugins={"scripted": ScriptedTransport().plugin()}):

        def send():
            with door_of(config, tmp_path) as own:
                sent = [own.send_mail(FIELDS, id) for id in (ids[1], ids[2], ids[2], ids[3], ids[0])]
                with pytest.raises(QuotaExceeded, match="4 of"):
                    own.send_mail(FIELDS, ids[4])
                return sent

        with trio.fail_after(60):
            assert await trio.to_thread.run_sync(send) == [ids[1], ids[2], ids[2], ids[3], ids[0]]
    with pytest.raises(QuotaExceeded):
        door_of(config, tmp_path, with_config=False).send_mail(FIELDS, ids[4])  # by the rules the engine left
    with open_offline(SpoolPlace.parse(config.spool.url, tmp_path), config) as spool:
        ((start, used),) = Usage(spool._store.recall(USED))._used.values()
    assert used == 4
    assert start <= time.time() < start + 90_000


def test_a_large_content_that_is_refused_leaves_no_file(tmp_path):
    config = config_at(tmp_path, 1)
    door = door_of(config, tmp_path)
    large = {**FIELDS, "attachments": [("a.bin", b"\0" * 300_000)]}
    door.send_mail(large)
    with pytest.raises(QuotaExceeded):
        door.send_mail(large)
    folder = SpoolPlace.parse(config.spool.url, tmp_path).content_folder
    assert len(list(folder.iterdir())) == 1
