"""No field of a message can write another: line breaks are refused by name, and the header is checked again when written."""

from __future__ import annotations

from collections.abc import Callable
from email import message_from_bytes, policy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postroad.compose import Attachment, MailFields, compose
from postroad.compose.fields import check_block, check_content_fields
from postroad.errors import SubmissionError

BASIC: dict[str, Any] = {"sender": "support@example.com", "to": "ann@example.org", "subject": "Hello", "body": "Hi\n"}

# Where text can be put, what the error calls it.
FIELDS: dict[str, Callable[[str], dict[str, Any]]] = {
    "sender[0]": lambda bad: {"sender": f"support{bad}@example.com"},
    "sender[0] ": lambda bad: {"sender": f"A{bad}B <support@example.com>"},
    "to": lambda bad: {"to": f"ann@example.org{bad}"},
    "to[1]": lambda bad: {"to": ["ann@example.org", f"b{bad}@example.org"]},
    "to ": lambda bad: {"to": f'"A{bad}B" <ann@example.org>'},
    "cc": lambda bad: {"cc": f"A <ann@exa{bad}mple.org>"},
    "bcc[0]": lambda bad: {"bcc": [f"ann@example.org{bad}Bcc: x@y"]},
    "reply_to": lambda bad: {"reply_to": f"{bad}ann@example.org"},
    "subject": lambda bad: {"subject": f"Hello{bad}Bcc: x@y"},
    "headers[X-Any]": lambda bad: {"headers": {"X-Any": f"a{bad}Bcc: x@y"}},
    "headers[References]": lambda bad: {"headers": {"References": f"<a@b>{bad}Bcc: x@y"}},
    "headers[List-Unsubscribe]": lambda bad: {"headers": {"List-Unsubscribe": f"<https://e.example/{bad}>"}},
    "headers[Sender]": lambda bad: {"headers": {"Sender": f"a@b{bad}"}},
    "headers[]": lambda bad: {"headers": {f"X{bad}Bcc": "x@y"}},
    "attachments[2].filename": lambda bad: {"attachments": [("a", b""), ("b", b""), (f"c{bad}Bcc: x.pdf", b"")]},
    "attachments[0].content_type": lambda bad: {"attachments": [("a", b"", f"text/plain{bad}; x=y")]},
    "attachments[0].content_type ": lambda bad: {"attachments": [("a", b"", f'text/plain; x="{bad}"')]},
    "attachments[0].content_id": lambda bad: {"attachments": [Attachment("a", b"", content_id=f"x{bad}@y")]},
    "message_id": lambda bad: {"message_id": f"x{bad}@y"},
    "message_id ": lambda bad: {"message_id": f"x@y{bad}"},
}
CONTROLS = ["\r", "\n", "\r\n", "\r\n ", "\n\t", "\0", "\x85", "\u2028", "\u2029", "\x0b", "\x0c", "\x1c", "\x7f"]


@pytest.mark.parametrize("bad", CONTROLS)
@pytest.mark.parametrize("where", FIELDS)
def test_a_control_character_is_refused_and_its_field_named(where: str, bad: str) -> None:
    fields = {**BASIC, **FIELDS[where](bad)}
    message_id = fields.pop("message_id", "id@example.com")
    with pytest.raises(SubmissionError) as caught:
        compose(MailFields(**fields), message_id=message_id, date=0)
    named = where.strip()
    assert caught.value.field == named or (named == "headers[]" and caught.value.field.startswith("headers["))
    assert caught.value.field.isprintable()


@pytest.mark.parametrize(
    ("where", "bad"),
    [
        (where, bad)
        for where in ("to", "to[1]", "message_id", "attachments[0].content_id")
        for bad in (" ", ">", "<", "\u00a0")
    ]
    + [(where, bad) for where in ("to", "to[1]") for bad in (",", ";", ":")],
)
def test_what_ends_an_address_or_an_id_is_refused_in_it(where: str, bad: str) -> None:
    fields = {**BASIC, **FIELDS[where](f"{bad}x")}
    message_id = fields.pop("message_id", "id@example.com")
    with pytest.raises(SubmissionError) as caught:
        compose(MailFields(**fields), message_id=message_id, date=0)
    assert caught.value.field == where


@pytest.mark.parametrize(
    "name",
    [
        "From",
        "TO",
        "cc",
        "Bcc",
        "Resent-Bcc",
        "Date",
        "message-id",
        "MIME-Version",
        "Content-Type",
        "content-x",
        "Subject",
        "Reply-To",
    ],
)
def test_names_that_the_composer_owns_are_refused(name: str) -> None:
    with pytest.raises(SubmissionError) as caught:
        compose(MailFields(**BASIC, headers={name: "x@y"}), message_id="id@example.com", date=0)
    assert caught.value.field == f"headers[{name}]"


@pytest.mark.parametrize("name", ["", "X Y", "X:Y", "X-Ü", "X" * 129, 7, b"X"])
def test_what_is_no_header_name_is_refused(name: Any) -> None:
    with pytest.raises(SubmissionError, match=r"^headers\["):
        compose(MailFields(**BASIC, headers=[(name, "x")]), message_id="id@example.com", date=0)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"headers": {"X": 7}}, "headers[X]"),
        ({"headers": ["X"]}, "headers"),
        ({"subject": b"x"}, "subject"),
        ({"body": b"x"}, "body"),
        ({"attachments": ["a.pdf"]}, "attachments[0]"),
        ({"attachments": [("a.pdf",)]}, "attachments[0]"),
        ({"attachments": [("a.pdf", 7)]}, "attachments[0].content"),
        ({"attachments": [("a.pdf", "\ud800")]}, "attachments[0].content"),
        ({"attachments": [(7, b"")]}, "attachments[0].filename"),
        ({"attachments": [("", b"")]}, "attachments[0].filename"),
        ({"attachments": [("x" * 999, b"")]}, "attachments[0].filename"),
        ({"attachments": [("a", b"", "pdf")]}, "attachments[0].content_type"),
        ({"attachments": [("a", b"", "multipart/mixed")]}, "attachments[0].content_type"),
        ({"attachments": [Attachment("a", b"", content_id="")]}, "attachments[0].content_id"),
        ({"headers": {"List-Unsubscribe": "<https://bücher.example>"}}, "headers[List-Unsubscribe]"),
        ({"headers": {"References": "x" * 1000}}, "headers[References]"),
        ({"headers": {"Sender": ""}}, "headers[Sender]"),
    ],
)
def test_what_cannot_be_written_is_refused_and_named(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(SubmissionError) as caught:
        compose(MailFields(**{**BASIC, **fields}), message_id="id@example.com", date=0)
    assert caught.value.field == field


def test_an_encoded_line_break_in_a_subject_stays_text() -> None:
    evil = "A \U0001f4a9 s=?UTF-8?Q?=0A?=Bcc: inj@example.com"
    content = compose(MailFields(**{**BASIC, "subject": evil}), message_id="id@example.com", date=0).content
    assert b"Bcc:" not in content
    assert message_from_bytes(content, policy=policy.compat32)["Bcc"] is None


@settings(deadline=None)
@given(
    subject=st.text(max_size=60),
    name=st.text(max_size=30),
    header=st.text(max_size=60),
    filename=st.text(min_size=1, max_size=30),
    body=st.text(max_size=60),
)
def test_whatever_is_given_the_header_has_the_fields_that_were_meant(
    subject: str, name: str, header: str, filename: str, body: str
) -> None:
    quoted = name.replace("\\", "\\\\").replace('"', '\\"')
    fields = MailFields(
        sender=f'"{quoted}" <a@example.com>', to="b@example.com", subject=subject, body=body,
        headers={"X-Any": header, "Sender": f'"{quoted}" <a@example.com>'}, attachments=[(filename, b"\r\n.\r\n")],
    )  # fmt: skip
    try:
        content = compose(fields, message_id="id@example.com", date=0).content
    except SubmissionError:
        return
    message = message_from_bytes(content, policy=policy.compat32)
    assert list(message) == [
        "Date", "From", "To", "Subject", "Message-ID", "X-Any", "Sender", "MIME-Version", "Content-Type",
    ]  # fmt: skip
    assert [list(part) for part in message.get_payload()] == [  # type: ignore[union-attr]
        ["Content-Type", "Content-Transfer-Encoding"],
        ["Content-Type", "Content-Transfer-Encoding", "Content-Disposition"],
    ]


@pytest.mark.parametrize(
    "block",
    [
        "A: 1\r\n",
        "A: 1\r\nB: 2\r\nC: 3\r\n",
        "B: 2\r\nA: 1\r\n",
        "A: 1\r\nB: 2",
        "A: 1\nB: 2\r\n",
        "A: 1\r\rB: 2\r\n",
        "A: 1\r\n\r\nB: 2\r\n",
        "A: 1\r\n \r\nB: 2\r\n",
        "A: \0\r\nB: 2\r\n",
        " A: 1\r\nB: 2\r\n",
        "A: 1\r\nB: 2\r\njunk\r\n",
    ],
)
def test_the_last_check_finds_what_the_others_let_pass(block: str) -> None:
    check_block("A: 1\r\n 1\r\nB: 2\r\n", ["A", "B"], "headers")
    with pytest.raises(SubmissionError):
        check_block(block, ["A", "B"], "headers")


@pytest.mark.parametrize(
    "block", ["", "X: 1\r\n", "Content-Type: a\r\nX: 1\r\n", "Content-Type: a\r\n\r\n", "Content-Type: ü\r\n"]
)
def test_a_part_has_content_fields_alone(block: str) -> None:
    assert check_content_fields("Content-Type: a;\r\n b=c\r\n")
    with pytest.raises(SubmissionError):
        check_content_fields(block)
