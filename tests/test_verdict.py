"""Retry-After: seconds or a date, by whose clock, and what is of no use."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.verdict import retry_after

NOW = 1_792_567_080.0  # Wed, 21 Oct 2026 07:18:00 GMT
DATE, LATER, EARLIER = (f"Wed, 21 Oct 2026 0{at}:00 GMT" for at in ("7:18", "7:28", "6:28"))


@pytest.mark.parametrize(
    ("value", "date", "seconds"),
    [
        ("120", "", 120.0),
        (" 0 ", "", 0.0),
        ("9999999999", "", 86_400.0),
        (LATER, DATE, 600.0),
        (LATER, "", 600.0),
        (DATE, EARLIER, 3000.0),
        (EARLIER, DATE, 0.0),
        (EARLIER, "", None),
        (LATER, "soon", 600.0),
        ("Wednesday, 21-Oct-26 07:28:00 GMT", DATE, 600.0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", DATE, 86_400.0),
        ("Wed, 21 Oct 2026 07:28:00", DATE, None),
        ("9" * 40, "", None),
        ("\u0665", "", None),
        *[(text, DATE, None) for text in ("", "-5", "1.5", "soon", "Fri, 99 Foo 2026 00:00:00 GMT")],
    ],
)
def test_a_hint_is_seconds_or_a_date_by_the_peers_own_clock(value, date, seconds):
    assert retry_after(value, date=date, now=NOW) == seconds


@given(st.sampled_from([-7200, 7200, 86_400 * 365]))
def test_a_clock_that_is_wrong_here_changes_nothing_where_the_reply_has_a_date(off):
    assert retry_after(LATER, date=DATE, now=NOW + off) == 600.0


@given(st.text(), st.text())
def test_nothing_that_a_peer_says_raises_or_keeps_mail_for_more_than_a_day(value, date):
    seconds = retry_after(value, date=date, now=NOW)
    assert seconds is None or 0 <= seconds <= 86_400
