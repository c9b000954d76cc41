"""The checker of promises: a sound ledger is found sound, and a small breach of each invariant is found and named."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from msgspec import structs

from postroad.message import Kind, Message
from postroad.store.contract import TAKEN, StoredMessage, StoredRecipient
from postroad.store.states import State
from postroad.testing.promises import Arrival, Attempt, Evidence, Letter, broken_promises, forbidden_octets

SENDER = "app@example.com"
OK, NO, OFF, LATE = "ok@example.org", "no@example.org", "off@example.org", "late@example.org"


def stored(id: str, states: dict[str, State], *, sender: str = SENDER, kind: Kind = Kind.MAIL) -> StoredMessage:
    recipients = tuple(
        StoredRecipient(number=number, address=address, lane="out", state=state, due=0.0, attempts=1, settled_at=number)
        for number, (address, state) in enumerate(states.items())
    )
    message = Message(id=id, sender=sender, accepted_at=0.0, size=1, kind=kind)
    return StoredMessage(handle=1, message=message, recipients=recipients, finished_at=1.0)


def line(event: str, recipient: str, id: str = "m1") -> dict[str, Any]:
    return {"event": event, "id": id, "recipient": recipient}


LETTER = Letter("body", SENDER, (OK, NO, OFF), "m1")
MAIL = stored("m1", {OK: State.ACCEPTED, NO: State.REPORTED, OFF: State.CANCELLED})
REPORT = stored("r1", {SENDER: State.ACCEPTED}, sender="", kind=Kind.REPORT)
TOLD = (line("delivered", OK), line("failed", NO), line("cancelled", OFF), line("delivered", SENDER, "r1"))
CAME = Arrival("m1", OK, "body")
REPORT_CAME = Arrival("r1", SENDER, "report", failed=(("m1", NO),))
SOUND = Evidence(letters=(LETTER,), arrivals=(CAME, REPORT_CAME), spool=(MAIL, REPORT), log=TOLD)


def with_state(address: str, state: State) -> tuple[StoredMessage, ...]:
    states = {recipient.address: recipient.state for recipient in MAIL.recipients}
    return (stored("m1", states | {address: state}), REPORT)


def again(*more: Arrival, **changes: Any) -> Evidence:
    return replace(SOUND, arrivals=(*SOUND.arrivals, *more), **changes)


def test_a_sound_ledger_breaks_nothing() -> None:
    assert broken_promises(SOUND) == []


def test_what_was_never_acknowledged_may_be_absent() -> None:
    assert broken_promises(replace(SOUND, letters=(LETTER, Letter("other", SENDER, (LATE,))))) == []


BREACHES = {
    "I1: m2 to late@example.org was acknowledged and is lost": replace(
        SOUND, letters=(LETTER, Letter("other", SENDER, (LATE,), "m2"))
    ),
    "I1: m1 to off@example.org has no final outcome: WAITING": replace(
        SOUND, spool=with_state(OFF, State.WAITING), log=[one for one in TOLD if one["recipient"] != OFF]
    ),
    "I1: m1 to ok@example.org is settled as delivered and never arrived": replace(SOUND, arrivals=(REPORT_CAME,)),
    "I1: m1 to no@example.org failed, and no report of it arrived": replace(
        SOUND, arrivals=(CAME, replace(REPORT_CAME, failed=()))
    ),
    "I2: m1 to ok@example.org arrived 2 times, announced by 0 maybe_duplicate": again(CAME),
    "I2: m1 to ok@example.org arrived 3 times, announced by 1 maybe_duplicate": again(
        CAME, CAME, log=(*TOLD, line("maybe_duplicate", OK))
    ),
    "I3: m1 to no@example.org is reported 2 times, in r1, r2": again(
        replace(REPORT_CAME, id="r2"),
        spool=(MAIL, REPORT, stored("r2", {SENDER: State.ACCEPTED}, sender="", kind=Kind.REPORT)),
        log=(*TOLD, line("delivered", SENDER, "r2")),
    ),
    "I3: m1 to ok@example.org was reported as failed and is ACCEPTED": replace(
        SOUND, arrivals=(CAME, replace(REPORT_CAME, failed=(("m1", NO), ("m1", OK))))
    ),
    "I3: m1 to no@example.org arrived and is REPORTED": again(Arrival("m1", NO, "body")),
    "I3: m1 to off@example.org arrived and is CANCELLED": again(Arrival("m1", OFF, "body")),
    "I3: of m1 to ok@example.org the log tells failed, then delivered": replace(SOUND, log=(line("failed", OK), *TOLD)),
    "I4: late@example.org got m1, whose content was not addressed to him": again(Arrival("m1", LATE, "body")),
    "I4: ok@example.org got m1, whose content was not addressed to him": replace(
        SOUND,
        letters=(LETTER, Letter("other", SENDER, (OK,))),
        arrivals=(replace(CAME, body="other"), REPORT_CAME),
    ),
    "I4: ok@example.org got a content in m1 that nobody submitted": replace(
        SOUND, arrivals=(replace(CAME, body="bo"), REPORT_CAME)
    ),
    "I4: late@example.org got the report on m1 to no@example.org, which is another sender's": again(
        replace(REPORT_CAME, recipient=LATE)
    ),
    "I5: m1 to ok@example.org held a bare CR or LF": replace(
        SOUND, arrivals=(replace(CAME, forbidden="a bare CR or LF"), REPORT_CAME)
    ),
    "I6: m3 to late@example.org has the null sender and was reported": again(
        replace(REPORT_CAME, recipient="", failed=(("m3", LATE),)),
        spool=(MAIL, REPORT, stored("m3", {LATE: State.UNREPORTED}, sender="")),
        log=(*TOLD, line("failed", LATE, "m3")),
        letters=(LETTER, Letter("third", "", (LATE,), "m3")),
    ),
    "I7: mx saw 3 attempts within an hour, 2 at most are explained": replace(
        SOUND, attempts=[Attempt("mx", at) for at in (0.0, 1.0, 3601.0, 3602.0, 3603.0)], attempts_an_hour=2
    ),
    "I7: m1 to ok@example.org was tried again after 30 s, the schedule says 60 s": replace(
        SOUND, attempts=[Attempt("mx", at, (("m1", OK),)) for at in (0.0, 30.0, 90.0)], pause_seconds=60.0
    ),
    "I8: m9.new was left behind": replace(SOUND, leftovers=("m9.new",)),
    "I9: of m1 to off@example.org the log says failed and the spool CANCELLED": replace(
        SOUND, log=[line("failed", OFF) if one["recipient"] == OFF else one for one in TOLD]
    ),
    "I9: the log is silent on 1 commits after 0 kills: m1 to ok@example.org": replace(SOUND, log=TOLD[1:]),
    "I9: the log is silent on 1 deeds after 0 kills: m1 to off@example.org": replace(SOUND, log=(*TOLD[:2], TOLD[3])),
    "damaged: a page is torn": replace(SOUND, problems=("a page is torn",)),
}


@pytest.mark.parametrize("sentence", BREACHES)
def test_a_breach_is_named(sentence: str) -> None:
    assert sentence in broken_promises(BREACHES[sentence])


def test_each_invariant_has_a_breach() -> None:
    assert {sentence.partition(":")[0] for sentence in BREACHES} == {f"I{n}" for n in range(1, 10)} | {"damaged"}


def test_an_announced_duplicate_is_kept_within_the_promise() -> None:
    assert broken_promises(again(CAME, log=(*TOLD, line("maybe_duplicate", OK)))) == []


def test_a_report_that_was_refused_itself_tells_nobody_and_breaks_nothing() -> None:
    refused = stored("r1", {SENDER: State.UNREPORTED}, sender="", kind=Kind.REPORT)
    log = [line("failed", SENDER, "r1") if one["id"] == "r1" else one for one in TOLD]
    assert broken_promises(replace(SOUND, arrivals=(CAME,), spool=(MAIL, refused), log=log)) == []


def doubted(address: str, **changes: Any) -> tuple[StoredMessage, ...]:
    recipients = tuple(
        structs.replace(recipient, in_doubt=True, **changes) if recipient.address == address else recipient
        for recipient in MAIL.recipients
    )
    return (structs.replace(MAIL, recipients=recipients), REPORT)


def test_what_arrived_in_doubt_may_end_otherwise() -> None:
    assert broken_promises(again(Arrival("m1", OFF, "body"), spool=doubted(OFF))) == []


def test_what_somebody_took_as_delivered_need_not_have_arrived() -> None:
    taken = replace(SOUND, arrivals=(REPORT_CAME,), spool=doubted(OK, reply=f"{TAKEN}: unseen"))
    assert broken_promises(taken) == []
    assert broken_promises(replace(taken, spool=doubted(OK))) != []


def test_a_kill_excuses_the_lines_of_one_commit_and_one_deed_and_no_more() -> None:
    killed = replace(SOUND, kills=1)
    assert broken_promises(replace(killed, log=TOLD[1:])) == []
    assert broken_promises(replace(killed, log=[TOLD[1], TOLD[3]])) == []
    assert [one[:3] for one in broken_promises(replace(killed, log=TOLD[2:]))] == ["I9:"]


def test_a_pause_may_be_cut_short_by_what_hurried_and_at_the_end() -> None:
    attempts = [Attempt("mx", at, (("m1", OK),)) for at in (0.0, 5.0, 65.0, 66.0)]
    hurried = replace(SOUND, attempts=attempts, pause_seconds=60.0, hurried=(4.0,))
    assert broken_promises(hurried) == []
    assert [one[:3] for one in broken_promises(replace(hurried, hurried=(6.0,)))] == ["I7:"]
    assert broken_promises(replace(hurried, hurried=(), pause_seconds=None)) == []


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"a\r\nb\r\n", ""),
        (b"a\nb", "a bare CR or LF"),
        (b"a\rb", "a bare CR or LF"),
        (b"a\0b", "NUL"),
        (b"x" * 999, "a line of more than 1000 octets"),
        (b"x" * 998, ""),
        ("ä".encode(), "an octet over 127"),
    ],
)
def test_octets_that_must_not_pass_are_named(content: bytes, said: str) -> None:
    assert forbidden_octets(content) == said


def test_eight_bit_octets_pass_where_they_are_offered() -> None:
    assert forbidden_octets("ä".encode(), eight_bit=True) == ""
