"""Rows 19 to 33 where the content goes by BDAT (RFC 3030), and by LMTP (RFC 2033) with its reply for each recipient."""

from __future__ import annotations

from collections.abc import Iterator

from fault_case import DELIVERED, Case, Expected
from fault_scene import Scene, play

__all__ = ["cases"]

IN_DOUBT = "in doubt 4.4.2 (site)"
_TO_CHUNK = """
    S: 220 peer.example ESMTP
    C: EHLO *
    S: 250-peer.example
    S: 250-ENHANCEDSTATUSCODES
    S: 250 CHUNKING
    C: MAIL FROM:<a@example.com>
    S: 250 Ok
    C: RCPT TO:<*
    S: 250 Ok
    C: BDAT * LAST
    !chunk
"""
_TO_CONTENT = """
    S: 220 store.example LMTP
    C: LHLO *
    S: 250-store.example
    S: 250-ENHANCEDSTATUSCODES
    S: 250 PIPELINING
    C: MAIL FROM:<a@example.com>
    S: 250 Ok
    C: RCPT TO:<b@example.org>
    S: 250 Ok
    C: RCPT TO:<c@example.org>
    S: 250 Ok
    C: DATA
    S: 354 Go on
    !content
"""
_NEXT = _TO_CONTENT.replace("C: RCPT TO:<c@example.org>\n    S: 250 Ok\n    ", "").replace("<b@", "<next@")
_END = "S: 250 Ok\nC: QUIT\nS: 221 Bye"
ENDS = {
    # row, fault: the server's part, the outcome, and the seconds until it
    ("19", "FIN instead of the reply"): ("!cut", IN_DOUBT, 0),
    ("20", "421 4.3.2"): ("S: 421 4.3.2 Bye", "deferred 4.3.2 (site)", 0),
    ("28", "no digits"): ("S: hello there\n!silence", IN_DOUBT, 0),
    ("28", "the wrong class"): ("S: 354 what now\n!silence", IN_DOUBT, 0),
    ("31", "silence"): ("!silence", IN_DOUBT, 600),
    ("32", "an octet every 20 s"): (f"!drip 20 250 {'x' * 100}", IN_DOUBT, 600),
    ("33", "RST"): ("!reset", IN_DOUBT, 0),
}


def cases() -> Iterator[Case]:
    for (row, what), (end, outcome, limit) in ENDS.items():
        seconds = (limit * 0.98, limit + 3.0)
        chunked = Scene(dialogues=(f"{_TO_CHUNK}\n{end}", f"{_TO_CHUNK}\n{_END}"), settings={"chunking": "on"})
        yield _case(row, what, "at the last BDAT", chunked, outcome, seconds=seconds)
        stored = _lmtp(f"S: 250 2.0.0 Ok\n{end}")
        yield _case(row, what, "at the second reply to a content by LMTP", stored, DELIVERED, outcome, seconds=seconds)
    mixed = _lmtp("S: 250 2.0.0 Ok\nS: 552 5.2.2 Full\nC: QUIT\nS: 221 Bye", is_followed=False)
    expected = Expected(outcomes=(DELIVERED, "refused 5.2.2 (recipient)"), is_next_delivered=None)
    yield Case(row="23", what="250, 552", where="to a content by LMTP", meet=lambda: play(mixed), expected=expected)


def _lmtp(end: str, *, is_followed: bool = True) -> Scene:
    return Scene(
        dialogues=(f"{_TO_CONTENT}\n{end}", f"{_NEXT}\n{_END}"),
        recipients=("b@example.org", "c@example.org"),
        settings={"protocol": "lmtp"},
        is_followed=is_followed,
    )


def _case(row: str, what: str, where: str, scene: Scene, *outcomes: str, seconds: tuple[float, float]) -> Case:
    expected = Expected(outcomes=outcomes, seconds=seconds)
    return Case(row=row, what=what, where=where, meet=lambda: play(scene), expected=expected)
