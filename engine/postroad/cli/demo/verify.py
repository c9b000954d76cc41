"""Looks at what really happened: what the servers took, what lies in the sender's mailbox, what the engine says of each message.

Reads with the standard library (email, mailbox), so that the engine does not judge its own writing.
"""

from __future__ import annotations

import mailbox
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from email import message_from_bytes, policy
from email.message import EmailMessage
from email.utils import parseaddr
from pathlib import Path
from typing import Any

import msgspec

from ...receipt import Outcome
from .letters import ALBERT, LETTERS, MARIA, NOBODY, SENDER
from .servers import Server, Taken

__all__ = ["Check", "Evidence", "Result", "verify"]


class Check(msgspec.Struct, frozen=True):
    """One thing that should have happened."""

    what: str
    ok: bool
    seen: str = ""


class Result(msgspec.Struct, frozen=True):
    """The whole demo.  seconds: of wall time, servers and all."""

    ok: bool
    seconds: float
    folder: str
    messages: Mapping[str, str]  # id by recipient
    checks: tuple[Check, ...]


@dataclass(frozen=True)
class Evidence:
    """What can be looked at when all is over."""

    first: Server
    second: Server
    third: Server
    mailbox: Path
    outcomes: Mapping[str, Outcome]


def verify(evidence: Evidence, *, folder: Path, seconds: float, limit: float) -> Result:
    checks = (
        *_approval(evidence),
        *_retried(evidence),
        *_bounced(evidence),
        Check(f"all of it within {limit:g} s", seconds < limit, f"{seconds:.1f} s"),
    )
    return Result(
        ok=all(check.ok for check in checks),
        seconds=round(seconds, 2),
        folder=str(folder),
        messages={recipient: outcome.id for recipient, outcome in evidence.outcomes.items()},
        checks=checks,
    )


def _approval(evidence: Evidence) -> Iterator[Check]:
    yield _came_once(
        "the approval mail reached Albert Johnson's server, once, as it was written", ALBERT, evidence.first
    )
    yield _ended(evidence, ALBERT, "accepted", attempts=1)


def _retried(evidence: Evidence) -> Iterator[Check]:
    answers = [answer[:3] for answer in evidence.second.answers]
    yield Check(
        "the second server refused the connection, then answered 451, then accepted",
        answers == ["451", "250"],
        str(answers),
    )
    yield _came_once("the retried message came exactly once, as it was written", MARIA, evidence.second)
    yield _ended(evidence, MARIA, "accepted", attempts=3)


def _bounced(evidence: Evidence) -> Iterator[Check]:
    answers = [answer[:3] for answer in evidence.third.answers]
    yield Check(
        "the third server answered 550 and took nothing", answers == ["550"] and not evidence.third.taken, str(answers)
    )
    yield _ended(evidence, NOBODY, "failed", attempts=1)
    yield _bounce(evidence.mailbox)


def _ended(evidence: Evidence, recipient: str, state: str, *, attempts: int) -> Check:
    outcome = evidence.outcomes.get(recipient)
    found = outcome.recipients.get(recipient) if outcome else None
    seen = f"{found.state} after {found.attempts} tries" if found else "nothing is known of it"
    what = f"the engine says of {recipient}: {state} after {attempts} {'try' if attempts == 1 else 'tries'}"
    return Check(what, found is not None and (found.state, found.attempts) == (state, attempts), seen)


# --- what a server took ---


def _came_once(what: str, recipient: str, server: Server) -> Check:
    taken = server.taken
    if len(taken) != 1:
        return Check(what, ok=False, seen=f"{len(taken)} messages were taken")
    trouble = "; ".join(_differences(recipient, taken[0]))
    return Check(what, ok=not trouble, seen=trouble or f"{len(taken[0].content):,} octets")


def _differences(recipient: str, taken: Taken) -> Iterator[str]:
    """What is not as it was written."""
    letter = LETTERS[recipient]
    message = message_from_bytes(taken.content, policy=policy.default)
    assert isinstance(message, EmailMessage)
    if (taken.sender, taken.recipients) != (SENDER, (recipient,)):
        yield f"its envelope says {taken.sender} to {taken.recipients}"
    for field, said, meant in (
        ("Subject", message["Subject"], letter["subject"]),
        ("To", _mailboxes(message, "To"), [parseaddr(letter["to"])]),
        ("From", _mailboxes(message, "From"), [parseaddr(letter["sender"])]),
        ("text", _body(message, "plain"), letter["body"]),
        ("HTML", _body(message, "html"), letter.get("html")),
        (
            "attachments",
            _attached(message),
            [(name, _octets(content)) for name, content in letter.get("attachments", ())],
        ),
    ):
        if said != meant:
            yield f"its {field} is {said!r}"
    if not (message["Date"] and message["Message-ID"]):
        yield "it has no Date or no Message-ID"


def _mailboxes(message: EmailMessage, field: str) -> list[tuple[str, str]]:
    return [(mailbox.display_name, mailbox.addr_spec) for mailbox in message[field].addresses]


def _body(message: EmailMessage, kind: str) -> str | None:
    part = message.get_body((kind,))
    if part is None:
        return None
    text = str(part.get_content()).replace("\r\n", "\n")
    return text if kind == "plain" else text.rstrip("\n")


def _attached(message: EmailMessage) -> list[tuple[str, bytes]]:
    return [(str(part.get_filename()), part.get_payload(decode=True) or b"") for part in message.iter_attachments()]  # type: ignore[misc]  # decode=True gives bytes


def _octets(content: str | bytes) -> bytes:
    return content.encode("utf-8") if isinstance(content, str) else content


# --- the bounce ---


def _bounce(place: Path) -> Check:
    what = f"the bounce lies in the Maildir of {SENDER}, and names {NOBODY}"
    if not place.is_dir():
        return Check(what, ok=False, seen=f"there is no {place}")
    box = mailbox.Maildir(place, create=False)
    found = [message_from_bytes(box.get_bytes(key), policy=policy.default) for key in box.iterkeys()]
    if len(found) != 1:
        return Check(what, ok=False, seen=f"{len(found)} messages lie there")
    report = found[0]
    assert isinstance(report, EmailMessage)
    facts = _facts(report)
    meant = {"action": "failed", "status": "5.1.1", "final-recipient": f"rfc822;{NOBODY}"}
    is_right = (
        report.get_content_type() == "multipart/report"
        and report["Return-Path"] == "<>"
        and SENDER in str(report["To"])
    )
    return Check(
        what, ok=is_right and all(facts.get(name) == value for name, value in meant.items()), seen=_told(report, facts)
    )


def _facts(report: EmailMessage) -> dict[str, str]:
    """The fields about the recipient (RFC 3464 section 2.3), without spaces."""
    for part in report.walk():
        if part.get_content_type() == "message/delivery-status":
            groups: Any = part.get_payload()
            return {name.lower(): str(value).replace(" ", "") for name, value in groups[-1].items()}
    return {}


def _told(report: EmailMessage, facts: Mapping[str, str]) -> str:
    return f"{report['Subject']} ({facts.get('status', 'no status')} {facts.get('action', '')})"
