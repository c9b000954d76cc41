"""Moments as people write and read them."""

from __future__ import annotations

from datetime import UTC, datetime

import click
import pytest

from postroad.cli import moments
from postroad.cli.moments import MOMENT, ago

NOW = 1_800_000_000.0


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("+90s", NOW + 90),
        ("+10m", NOW + 600),
        ("+1.5h", NOW + 5400),
        ("+2d", NOW + 172_800),
        ("1900000000", 1_900_000_000.0),
        ("2026-12-24T08:00:00+01:00", datetime(2026, 12, 24, 7, tzinfo=UTC).timestamp()),
        ("2026-12-24", datetime(2026, 12, 24).astimezone().timestamp()),  # local time is meant
        ("2026-12-24 08:00", datetime(2026, 12, 24, 8).astimezone().timestamp()),
    ],
)
def test_a_moment_may_be_written_in_many_ways(text, moment, monkeypatch):
    monkeypatch.setattr(moments.time, "time", lambda: NOW)
    assert MOMENT.convert(text, None, None) == moment


@pytest.mark.parametrize("text", ["", "tomorrow", "+10", "+10y", "10m", "-5", "2026-13-01", "nan", "1e9"])
def test_what_is_no_moment_is_refused(text):
    with pytest.raises(click.BadParameter, match="is no moment"):
        MOMENT.convert(text, None, None)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.2, "now"), (5, "in 5 s"), (-70, "70 s ago"), (300, "in 5 min"), (-7200, "2 h ago"), (432_000, "in 5 d")],
)
def test_distances_are_told_roughly(seconds, said):
    assert ago(NOW + seconds, NOW) == said
