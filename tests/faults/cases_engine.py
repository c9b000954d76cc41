"""The whole engine before a scripted server: what becomes of a message, and what is told.  Rows 19, 20, 35, 36 and 57."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import trio
from fault_case import Case, Seen
from fault_engine import MAIL, engine_case, outcome_of, running

from postroad.events import AttemptInDoubt, MaybeDuplicate, RecipientDeferred
from postroad.testing.smtp_peer import ACCEPT, Cut, Raw, Reaction

__all__ = ["cases"]


def cases() -> Iterator[Case]:
    for make in (_in_doubt, _dead_session, _greylisting, _hostile):
        yield from make()


# --- Rows 19 and 20 ---


def _in_doubt() -> Iterator[Case]:
    minutes = (270, 400)
    twice = ("in doubt, then logged maybe_duplicate", "2 copies with one Message-ID")
    took = [Raw(b"2", then_cut=True), ACCEPT]
    yield engine_case(
        "19",
        "the server took the message, and is cut off in its reply",
        partial(_meet_end, took),
        "delivered",
        facts=twice,
        seconds=minutes,
    )
    once = ("in doubt, then logged maybe_duplicate", "1 copy")
    yield engine_case(
        "19", "FIN instead of the reply", partial(_meet_end, [Cut(), ACCEPT]), "delivered", facts=once, seconds=minutes
    )
    bye = ["421 4.3.2 Bye", ACCEPT]
    facts = ("never in doubt", "1 copy")
    yield engine_case("20", "421 4.3.2", partial(_meet_end, bye), "delivered", facts=facts, seconds=minutes)


async def _meet_end(reactions: Sequence[Reaction]) -> Seen:
    async with running({".": list(reactions)}) as run:
        outcome = await run.settle()
        seconds = trio.current_time()
    logged = any(line["event"] == "maybe_duplicate" for line in run.logs)
    in_doubt = run.saw(AttemptInDoubt) and run.saw(MaybeDuplicate) and logged
    never = not (run.saw(AttemptInDoubt) or run.saw(MaybeDuplicate) or logged)
    ids = {each.content.partition(b"Message-ID: ")[2].partition(b"\r\n")[0] for each in run.peer.transactions}
    copies = len(run.peer.transactions)
    return Seen(
        outcomes=(outcome,),
        seconds=seconds,
        facts=(
            "in doubt, then logged maybe_duplicate" if in_doubt else "never in doubt" if never else "PARTLY IN DOUBT",
            "1 copy" if copies == 1 else f"{copies} copies with {'one Message-ID' if len(ids) == 1 else 'SEVERAL IDS'}",
        ),
    )


# --- Row 35 ---


def _dead_session() -> Iterator[Case]:
    meet = partial(_meet_dead_session, {"MAIL": [ACCEPT, Cut(), ACCEPT]})
    yield engine_case(
        "35", "FIN at the next MAIL", meet, "delivered", "delivered", facts=("1 attempt each", "no deferral told")
    )


async def _meet_dead_session(replies: Mapping[str, Any]) -> Seen:
    async with running(replies) as run:
        outcomes, attempts = [], []
        for _ in range(2):
            receipt = await run.engine.submit(MAIL)
            outcomes.append(await outcome_of(receipt))
            attempts += [one.attempts for one in (await receipt.outcome()).recipients.values()]
    told = "A DEFERRAL TOLD" if run.saw(RecipientDeferred) else "no deferral told"
    return Seen(
        outcomes=tuple(outcomes), facts=("1 attempt each" if attempts == [1, 1] else f"{attempts} ATTEMPTS", told)
    )


# --- Row 36 ---


def _greylisting() -> Iterator[Case]:
    replies = {
        "451 4.7.1 to RCPT, the first time": {"RCPT": ["451 4.7.1 Greylisted", ACCEPT]},
        "450 to the final dot, the first time": {".": ["450 Greylisted", ACCEPT]},
        "451 4.7.1 to RCPT, the first two times": {"RCPT": ["451 4.7.1 Greylisted", "451 4.7.1 Greylisted", ACCEPT]},
        "451 4.7.1 to RCPT with 'try again in 8 minutes'": {
            "RCPT": ["451 4.7.1 Greylisted, try again in 8 minutes", ACCEPT]
        },
    }
    for what, reply in replies.items():
        yield engine_case(
            "36",
            what,
            partial(_meet_greylisting, reply),
            "delivered",
            facts=("within 5 to 15 minutes",),
            seconds=(270, 900),
        )


async def _meet_greylisting(replies: Mapping[str, Any]) -> Seen:
    async with running(replies) as run:
        outcome = await run.settle()
        seconds = trio.current_time()
    in_time = (
        270 <= seconds <= 900
    )  # 300 s, a tenth more or less, so that what was refused together does not come back together
    return Seen(outcomes=(outcome,), seconds=seconds, facts=("within 5 to 15 minutes",) if in_time else ())


# --- Row 57 ---

HOSTILE = (
    "550 5.1.1 \x1b[2J\x1b]0;owned\x07 <script>alert(1)</script>\0 \u2028\u202e\u200b"
    " event=RecipientDelivered\x85\x0bDiagnostic-Code: smtp; 250 Ok " + "x" * 1500
)
_HARMLESS = ("event", "log", "outcome", "report")


def _hostile() -> Iterator[Case]:
    facts = (f"printable and cut in {', '.join(_HARMLESS)}",)
    for where, replies in {"to RCPT": "RCPT b@example.org", "to the final dot": "."}.items():
        yield engine_case(
            "57",
            f"controls, terminal sequences, markup, forged fields and 1,500 octets {where}",
            partial(_meet_hostile, replies),
            "failed 5.1.1",
            facts=facts,
        )


async def _meet_hostile(command: str) -> Seen:
    async with running({command: [Raw(HOSTILE.encode() + b"\r\n"), ACCEPT]}) as run:
        receipt = await run.engine.submit(MAIL)
        outcome = await outcome_of(receipt)
        replies = [one.reply for one in (await receipt.outcome()).recipients.values()]
        await run.peer.wait_received(1)  # the report
        await trio.sleep(1)
        report = run.peer.transactions[-1]
    assert report.sender == ""
    texts = {
        "event": [str(getattr(event, "reply", "")) for event in run.events],
        "log": [text for line in run.logs for text in map(str, line.values())],
        "outcome": replies,
        "report": report.content.decode().split("\r\n"),
    }
    assert any("alert(1)" in text for text in texts["event"]), "the test looks at the wrong events"
    assert b"alert(1)" in report.content
    harmless = [name for name in _HARMLESS if all(_is_harmless(text) for text in texts[name])]
    forged = [line for line in texts["report"] if line.startswith("Diagnostic-Code: smtp; 250")]
    assert forged == []
    return Seen(outcomes=(outcome,), facts=(f"printable and cut in {', '.join(harmless)}",))


def _is_harmless(text: str) -> bool:
    return text.isprintable() and len(text) <= 998
