"""Phase by fault: rows 28 and 30 to 33.  What each misbehaviour does in each phase, and that the next message is not harmed.

The expectations are one rule, not one per cell: `_expected` says what a kind of fault means in a phase.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from fault_case import DELIVERED, Case, Expected
from fault_scene import ONE_BY_ONE, Scene, play

from postroad.testing.smtp_peer import ACCEPT, Cut, Drip, Raw, Reaction, Reset, Silence

__all__ = ["cases"]

LOST, SILENT, GARBAGE = "deferred 4.4.2 (site)", "deferred 4.4.2 (site)", "deferred 4.5.0 (site)"
IN_DOUBT = "in doubt 4.4.2 (site)"
_LAST_WORDS = 2.0  # seconds that a server which went silent may still use to say why


@dataclass(frozen=True)
class Phase:
    """name: of the command that is answered.  limit: seconds that its reply may take.  at: other than its name, where it is."""

    name: str
    limit: float
    at: str = ""

    @property
    def command(self) -> str:
        return self.at or self.name

    @property
    def is_envelope(self) -> bool:
        return self.name in ("MAIL", "RCPT", "DATA", "the final dot", "RSET")


PHASES = (
    Phase("the greeting", 300, "CONNECT"),
    Phase("EHLO", 300),
    Phase("HELO", 300),
    Phase("AUTH", 300),
    Phase("MAIL", 300),
    Phase("RCPT", 300),
    Phase("DATA", 120),
    Phase("the final dot", 600, "."),
    Phase("RSET", 300),
)
INSIDE_TLS = (Phase("EHLO after TLS", 300, "EHLO"), *PHASES[4:])


@dataclass(frozen=True)
class Fault:
    """row: of the table.  outcome: before the final dot.  takes_time: whether the phase's limit ends it."""

    row: str
    name: str
    reaction: Reaction
    outcome: str
    takes_time: bool = False


FAULTS = (
    Fault("28", "no digits", Raw(b"hello there\r\n"), GARBAGE),
    Fault("28", "a code of no class (666)", Raw(b"666 the beast\r\n"), GARBAGE),
    Fault("28", "a code of two digits", Raw(b"25 Ok\r\n"), GARBAGE),
    Fault("28", "two codes in one reply", Raw(b"250-yes\r\n550 no\r\n"), GARBAGE),
    Fault("28", "octets of no text", Raw(b"\x00\xff\x80\r\n"), GARBAGE),
    Fault("28", "the wrong class", "354 what now", GARBAGE),
    Fault("30", "5,000 lines of one reply", Raw(b"250-x\r\n" * 5000), GARBAGE),
    Fault("30", "a line of 300,000 octets", Raw(b"250 " + b"x" * 300_000), GARBAGE),
    Fault("31", "silence", Silence(), SILENT, takes_time=True),
    Fault("32", "an octet every 20 s", Drip("250 " + "x" * 200, 20.0), SILENT, takes_time=True),
    Fault("33", "FIN", Cut(), LOST),
    Fault("33", "RST", Reset(), LOST),
    Fault("33", "half a reply, then FIN", Raw(b"250-go\r\n25", then_cut=True), LOST),
)


def cases() -> Iterator[Case]:
    for phase, fault in itertools.product(PHASES, FAULTS):
        if _makes_sense(phase, fault):
            yield from _of(phase, fault)
    for fault in FAULTS:
        if fault.row in ("28", "30"):
            yield _case(Phase("STARTTLS", 300), fault, "required", is_tls=True)
    for phase, fault in itertools.product(INSIDE_TLS, FAULTS):
        if fault.row in ("31", "32", "33"):
            yield _case(phase, fault, "inside TLS", is_tls=True)


def _makes_sense(phase: Phase, fault: Fault) -> bool:
    """A 3yz to AUTH is a question."""
    return not (phase.name == "AUTH" and fault.name == "the wrong class")


def _of(phase: Phase, fault: Fault) -> Iterator[Case]:
    if not phase.is_envelope:
        yield _case(phase, fault)
        return
    yield _case(phase, fault, "pipelined", settings={})
    yield _case(phase, fault, "one by one", settings=ONE_BY_ONE)
    if phase.name != "RSET":
        yield _case(phase, fault, "pipelined, kept", is_kept=True)
        yield _case(phase, fault, "one by one, kept", is_kept=True, settings=ONE_BY_ONE)


def _case(phase: Phase, fault: Fault, variant: str = "", **more: Any) -> Case:
    scene = partial(_scene, phase, fault, **more)
    expected = _expected(phase, fault, is_kept=more.get("is_kept", False))
    return Case(
        row=fault.row,
        what=fault.name,
        where=f"at {phase.name}",
        variant=variant,
        meet=lambda: play(scene()),
        expected=expected,
    )


def _scene(phase: Phase, fault: Fault, **more: Any) -> Scene:
    reaction = fault.reaction
    if fault.name == "the wrong class" and phase.name == "DATA":
        reaction = "250 what now"
    before = [ACCEPT] if phase.name == "EHLO after TLS" else []
    replies: dict[str, Any] = {phase.command: [*before, reaction, ACCEPT]}
    if phase.name == "HELO":
        replies["EHLO"] = ["502 5.5.1 Never heard of", ACCEPT]
    if phase.name == "RSET":
        replies["RCPT first@example.org"] = "550 5.1.1 No"
        more |= {"is_kept": True, "first": "refused 5.1.1 (recipient)"}
    return Scene(
        replies=replies,
        may_complain=True,
        has_login=phase.name == "AUTH",
        is_before_content=phase.name != "the final dot",
        **more,
    )


def _expected(phase: Phase, fault: Fault, *, is_kept: bool) -> Expected:
    least, most = (phase.limit * 0.98, phase.limit + _LAST_WORDS + 1) if fault.takes_time else (0.0, 1.0)
    outcome = fault.outcome
    if phase.name == "the final dot":
        outcome = IN_DOUBT
    elif phase.name == "RSET" or (is_kept and phase.name == "MAIL"):
        outcome = DELIVERED  # the connection's trouble alone: over a new one
    elif phase.name == "EHLO" and fault.row == "33":
        outcome = DELIVERED  # with HELO on a new one (row 27)
    return Expected(outcomes=(outcome,), seconds=(least, most))
