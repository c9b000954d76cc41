"""The whole engine before a strict server: nothing leaves that the message did not mean.  Rows 47, 48 and 54."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import msgspec
from fault_case import Case, Seen
from fault_engine import CONTENT, MAIL, Run, engine_case, outcome_of, running

from postroad import SubmissionError
from postroad.compose import Attachment

__all__ = ["cases"]


def cases() -> Iterator[Case]:
    for make in (_smuggling, _fields, _old_servers):
        yield from make()


# --- Row 47 ---

SEQUENCES = ("\n.\n", "\n.\r", "\r.\n", "\r.\r", "\n.\r\n", "\r.\r\n", "\r\n.\r\r\n", "\r\r\n.\r\r\n", "\r\n\0.\r\n")
EVIL = "MAIL FROM:<evil@example.com>\r\nRCPT TO:<victim@example.org>\r\nDATA\r\nSubject: evil\r\n\r\nevil\r\n"


def _smuggling() -> Iterator[Case]:
    clean = ("1 transaction", "no octet that ends it early")
    for way in ("bytes", "str"):
        for sequence in SEQUENCES:
            refused = way == "bytes" and "\0" in sequence
            outcome, facts = ("SubmissionError: content", ("0 transactions",)) if refused else ("delivered", clean)
            yield engine_case(
                "47", ascii(sequence)[1:-1], partial(_meet_smuggling, sequence, way), outcome, facts=facts, variant=way
            )


async def _meet_smuggling(sequence: str, way: str) -> Seen:
    body = f"Hello{sequence}{EVIL}"
    async with running() as run:
        try:
            if way == "bytes":
                outcome = await run.settle(msgspec.structs.replace(MAIL, content=CONTENT + body.encode()))
            else:
                mail = {"sender": "a@example.com", "to": "b@example.org", "subject": "Hello", "body": body}
                outcome = await outcome_of(await run.engine.send_mail(**mail))
        except SubmissionError as error:
            outcome = f"SubmissionError: {error.field}"
    taken = run.peer.transactions
    facts = (f"{len(taken)} transaction{'' if len(taken) == 1 else 's'}", *(_cleanness(each.raw) for each in taken))
    assert all((each.sender, each.recipients) == ("a@example.com", ("b@example.org",)) for each in taken)
    return Seen(outcomes=(outcome,), facts=facts)


def _cleanness(raw: bytes) -> str:
    """A content as it went over the wire: line ends are CRLF and nothing else, and only its last line is a lone dot."""
    lines = raw.removesuffix(b".\r\n").split(b"\r\n")
    is_clean = raw.endswith(b"\r\n.\r\n") and all(line != b"." and not {0, 10, 13}.intersection(line) for line in lines)
    return "no octet that ends it early" if is_clean else "UNCLEAN"


# --- Row 48 ---

BREAKS = ("\r", "\n", "\r\n", "\0")
BASIC: dict[str, Any] = {"sender": "a@example.com", "to": "b@example.org", "subject": "Hello", "body": "Hello"}
FIELDS: dict[str, Callable[[str], Mapping[str, Any]]] = {
    "sender": lambda bad: {"sender": f"a{bad}@example.com"},
    "sender's name": lambda bad: {"sender": f"A{bad}B <a@example.com>"},
    "to": lambda bad: {"to": f"b@example.org{bad}RCPT TO:<c@example.org>"},
    "name in to": lambda bad: {"to": f'"B{bad}C" <b@example.org>'},
    "cc": lambda bad: {"cc": f"c@exam{bad}ple.org"},
    "bcc": lambda bad: {"bcc": [f"c@example.org{bad}Bcc: d@example.org"]},
    "reply_to": lambda bad: {"reply_to": f"{bad}c@example.org"},
    "subject": lambda bad: {"subject": f"Hello{bad}Bcc: c@example.org"},
    "header's name": lambda bad: {"headers": {f"X{bad}Bcc": "c@example.org"}},
    "header's value": lambda bad: {"headers": {"X-Any": f"a{bad}Bcc: c@example.org"}},
    "List-Unsubscribe": lambda bad: {"headers": {"List-Unsubscribe": f"<https://example.com/{bad}>"}},
    "References": lambda bad: {"headers": {"References": f"<a@b>{bad}Bcc: c@example.org"}},
    "attachment's name": lambda bad: {"attachments": [(f"a{bad}.pdf", b"")]},
    "attachment's type": lambda bad: {"attachments": [("a.pdf", b"", f"text/plain{bad}")]},
    "attachment's id": lambda bad: {"attachments": [Attachment("a.pdf", b"", content_id=f"x{bad}@y")]},
    "report_to": lambda bad: {"report_to": [f"c@example.org{bad}"]},
    "idempotency_key": lambda bad: {"idempotency_key": f"a{bad}b"},
    "tag": lambda bad: {"tags": [f"a{bad}b"]},
}
ENVELOPES: dict[str, Callable[[str], Mapping[str, Any]]] = {
    "envelope's sender": lambda bad: {"sender": f"a@example.com{bad}RCPT TO:<c@example.org>"},
    "envelope's recipient": lambda bad: {"recipients": ["b@example.org", f"c@example.org{bad}DATA"]},
    "quoted recipient": lambda bad: {"recipients": [f'"b{bad}c"@example.org']},
}


def _fields() -> Iterator[Case]:
    for what in (*FIELDS, *ENVELOPES):
        yield engine_case(
            "48",
            what,
            partial(_meet_field, what),
            "SubmissionError that names it",
            facts=("nothing stored, nothing sent",),
            variant="CR, LF, CRLF, NUL",
        )


async def _meet_field(what: str) -> Seen:
    async with running() as run:
        told = {await _refusal(run, what, bad) for bad in BREAKS}
        stored = (await run.engine.status()).messages
    nothing = stored == 0 and not run.peer.connections
    return Seen(outcomes=tuple(sorted(told)), facts=("nothing stored, nothing sent",) if nothing else ())


async def _refusal(run: Run, what: str, bad: str) -> str:
    given = (FIELDS.get(what) or ENVELOPES[what])(bad)
    try:
        if what in FIELDS:
            await run.engine.send_mail(**{**BASIC, **given})
        else:
            await run.engine.submit(msgspec.structs.replace(MAIL, **given))
    except SubmissionError as error:
        (key,) = given
        return (
            "SubmissionError that names it"
            if error.field.startswith(key.removesuffix("s"))
            else f"SubmissionError: {error.field}"
        )
    return "TAKEN"


# --- Row 54 ---

UMLAUT = "\N{LATIN SMALL LETTER U WITH DIAERESIS}"
SIGNED = b"DKIM-Signature: v=1; a=rsa-sha256; d=example.com; s=x; h=from; bh=eA==; b=eA==\r\n"
OLD: tuple[str, ...] = ()


def _old_servers() -> Iterator[Case]:
    seven = ("no octet over 127, no line over 998",)
    rows: dict[str, tuple[Mapping[str, Any], str, tuple[str, ...]]] = {
        "text with octets over 127": ({"body": f"{UMLAUT}ber " * 50}, "delivered", seven),
        "subject and name with octets over 127": (
            {"subject": UMLAUT * 200, "sender": f"{UMLAUT} <a@example.com>"},
            "delivered",
            seven,
        ),
        "a line of 2 MB": ({"body": "x" * 2_000_000}, "delivered", seven),
        "written content with octets over 127": ({"content": CONTENT + UMLAUT.encode() + b"\r\n"}, "delivered", seven),
        "written content with a line of 2 MB": ({"content": CONTENT + b"x" * 2_000_000 + b"\r\n"}, "delivered", seven),
        "signed content with octets over 127": (
            {"content": SIGNED + CONTENT + UMLAUT.encode() + b"\r\n"},
            "failed 5.6.3",
            (),
        ),
        "signed content with a UTF-8 header": (
            {"content": SIGNED + f"X-Any: {UMLAUT}\r\n".encode() + CONTENT},
            "failed 5.6.9",
            (),
        ),
        "signed content with a line of 2 MB": (
            {"content": SIGNED + CONTENT + b"x" * 2_000_000 + b"\r\n"},
            "SubmissionError: content",
            (),
        ),
        "UTF-8 recipient": ({"recipients": [f"{UMLAUT}@example.org"]}, "failed 5.6.7", ()),
        "UTF-8 sender": ({"sender": f"{UMLAUT}@example.com", "content": CONTENT}, "failed 5.6.7", ()),
        "UTF-8 recipient, who stands in To too": ({"to": f"{UMLAUT}@example.org"}, "failed 5.6.9", ()),
    }
    for what, (mail, outcome, facts) in rows.items():
        meet, large = partial(_meet_old, mail, OLD), "2 MB" in what
        yield engine_case(
            "54", what, meet, outcome, facts=facts, variant="server without extensions", has_threads=large
        )
    content = SIGNED + CONTENT + UMLAUT.encode() + b"\r\n"
    as_it_was = ("octet for octet as it was",)
    yield engine_case(
        "54",
        "signed content with octets over 127",
        partial(_meet_signed, content, ("8BITMIME",)),
        "delivered",
        facts=as_it_was,
        variant="server with 8BITMIME",
    )


async def _meet_old(mail: Mapping[str, Any], extensions: Sequence[str]) -> Seen:
    async with running(extensions=extensions) as run:
        try:
            if "content" in mail or "recipients" in mail:
                outcome = await run.settle(msgspec.structs.replace(MAIL, **mail))
            else:
                outcome = await outcome_of(await run.engine.send_mail(**{**BASIC, **mail}))
        except SubmissionError as error:
            outcome = f"SubmissionError: {error.field}"
        taken = [each for each in run.peer.transactions if each.sender]  # not the reports
    assert len(taken) == (outcome == "delivered")
    is_plain = all(each.content.isascii() and max(map(len, each.content.split(b"\r\n"))) <= 998 for each in taken)
    facts = ("no octet over 127, no line over 998" if is_plain else "NOT 7-BIT",) if taken else ()
    return Seen(outcomes=(outcome,), facts=facts)


async def _meet_signed(content: bytes, extensions: Sequence[str]) -> Seen:
    async with running(extensions=extensions) as run:
        outcome = await run.settle(msgspec.structs.replace(MAIL, content=content))
    return Seen(
        outcomes=(outcome,),
        facts=("octet for octet as it was",) if run.peer.transactions[0].content == content else ("CHANGED",),
    )
