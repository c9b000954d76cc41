"""What callers give: None means "not given", a mistake is the same error on every road, a moment is never a duration."""

from __future__ import annotations

import inspect
from datetime import UTC, datetime

import pytest

from postroad import Attachment, Engine, Submission
from postroad.arguments import OPTIONS, mail_arguments, read_options
from postroad.compose import MailFields
from postroad.errors import SubmissionError
from postroad.gate_protocol import Mail
from postroad.testing.engine import open_test_engine
from postroad.testing.fakes import ScriptedTransport

FIELDS = {"sender": "a@example.com", "to": "b@example.org", "subject": "Hello", "body": "Hi"}
LISTS = ("cc", "bcc", "reply_to", "headers", "attachments")


def options(**given):
    return read_options(Submission(sender="", recipients=(), content=b"", **given))


def refused(read, **given):
    with pytest.raises(SubmissionError) as caught:
        read(**given)
    return caught.value


def test_every_road_knows_the_same_arguments():
    of_engine = set(inspect.signature(Engine.send_mail).parameters) - {"self"}
    assert of_engine == set(Mail.__struct_fields__) - {"id", "to_admins", "admin_bytes"}
    assert of_engine == {*MailFields.__struct_fields__, *OPTIONS}


@pytest.mark.parametrize("name", ["to", *LISTS])
def test_none_is_not_given(name):
    assert mail_arguments({name: None}) == mail_arguments({})
    assert mail_arguments({name: None})[name] == ()


async def test_optional_lists_may_be_none(autojump_clock):
    transport = ScriptedTransport()
    async with open_test_engine(transport=transport) as engine:
        receipt = await engine.send_mail(**FIELDS, **dict.fromkeys(LISTS))
        assert (await receipt.settled()).is_delivered
        with pytest.raises(SubmissionError) as caught:
            await engine.send_mail(**{**FIELDS, "to": None})
    assert caught.value.field == "to"
    assert len(transport.calls) == 1


def test_headers_and_attachments_have_one_form_whatever_they_came_as():
    forms = [{"X-A": "1"}, [("X-A", "1")], (["X-A", "1"] for _ in range(1))]
    assert {mail_arguments({"headers": form})["headers"] for form in forms} == {(("X-A", "1"),)}
    given = iter([("a.txt", "text"), Attachment("b", b"x")])
    assert mail_arguments({"attachments": given})["attachments"] == (Attachment("a.txt", "text"), Attachment("b", b"x"))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("headers", 5),
        ("headers", "X-A: 1"),
        ("headers", [("X-A",)]),
        ("headers", [5]),
        ("attachments", 5),
        ("attachments", b"octets"),
        ("attachments", Attachment("a", b"x")),
    ],
)
def test_what_is_no_list_is_named(field, value):
    error = refused(lambda **given: mail_arguments(given), **{field: value})
    assert error.field == field
    assert "give " in error.problem


@pytest.mark.parametrize("value", [5, b"b@example.org", object()])
async def test_recipients_that_are_no_texts_are_named(autojump_clock, value):
    async with open_test_engine() as engine:
        with pytest.raises(SubmissionError) as caught:
            await engine.send_mail(**{**FIELDS, "to": value})
    assert caught.value.field.partition("[")[0] == "to"


@pytest.mark.parametrize("field", ["send_at", "expires_at"])
@pytest.mark.parametrize("moment", [3, 0, -1, 946_684_799.9, datetime(1999, 12, 31, 23, 59, tzinfo=UTC)])
def test_a_moment_before_2000_was_meant_otherwise(field, moment):
    error = refused(options, **{field: moment})
    assert error.field == field
    for word in ("Unix seconds", "aware datetime", "2000"):
        assert word in error.problem


def test_the_first_of_january_2000_is_a_moment():
    assert options(send_at=datetime(2000, 1, 1, tzinfo=UTC)).send_at == 946_684_800.0


def test_one_tag_may_stand_for_a_list_of_one():
    assert options(tags="news").tags == ("news",)
