"""docs/api.md names everything that an application may call, give and be told; its examples work."""

from __future__ import annotations

import inspect
import re
import typing
from pathlib import Path

import msgspec
import pytest

from postroad import (
    Attachment,
    DsnOptions,
    Engine,
    Filter,
    Outcome,
    Receipt,
    RecipientOutcome,
    Submission,
    errors,
    events,
)
from postroad.receipt import FINAL_NAMES
from postroad.status import Status
from postroad.store.states import State
from postroad.testing.engine import test_config

PAGE = (Path(__file__).resolve().parent.parent / "docs" / "api.md").read_text(encoding="utf-8")
PROSE = re.sub(r"^```.*?^```", "", PAGE, flags=re.MULTILINE | re.DOTALL)
NAMED = set(re.findall(r"`([\w.]+)", PROSE))
EVENTS = typing.get_args(events.Event)
OF_ALL = {"at"}
OF_RECIPIENTS = {"id", "recipient", "lane", "status", "reply", "remote", "attempts", "tls", "in_doubt"}


def public(thing: type) -> set[str]:
    """What an application may use: the engine's own parts use some methods, and their docstrings say so."""
    return {
        name
        for name, member in vars(thing).items()
        if not name.startswith("_") and not (inspect.getdoc(member) or "").startswith("For ")
    }


def section(title: str) -> str:
    found = re.search(rf"^##+ {re.escape(title)}.*?\n(.*?)(?=^##)", PAGE, re.MULTILINE | re.DOTALL)
    assert found, title
    return found[1]


def names_in_table(title: str) -> set[str]:
    """What stands in the first column."""
    heads = re.findall(r"^\| ([^|]*) \|", section(title), re.MULTILINE)
    return {name for head in heads for name in re.findall(r"`([\w.]+)", head)}


def test_every_method_of_the_engine_is_there():
    assert {"send_mail", "receive_bounce", "drain"} <= public(Engine)
    assert {f"Engine.{name}" for name in public(Engine)} <= NAMED


def test_every_argument_of_send_mail_is_there_and_no_other():
    assert names_in_table("`Engine.send_mail") == set(inspect.signature(Engine.send_mail).parameters) - {"self"}


@pytest.mark.parametrize(
    ("title", "kind"), [("`Attachment(", Attachment), ("`DsnOptions(", DsnOptions), ("Looking and operating", Filter)]
)
def test_every_field_is_there(title, kind):
    fields = set(kind.__struct_fields__)
    assert {name for name in names_in_table(title) if "." not in name} == fields


def test_every_field_of_a_submission_is_there():
    assert set(Submission.__struct_fields__) <= set(re.findall(r"`(\w+)`", section("`Engine.submit(")))


def test_receipts_and_outcomes_are_there():
    assert {"Receipt.id"} | {f"Receipt.{name}" for name in public(Receipt)} <= NAMED
    told = set(re.findall(r"`(\w+)`", section("`Outcome`")))
    for kind in (Outcome, RecipientOutcome):
        assert {*kind.__struct_fields__, "is_settled"} <= told
    assert set(Status.__struct_fields__) <= NAMED
    states = set(re.findall(r'^\| "(\w+)" \|', PAGE, re.MULTILINE))
    assert states == {FINAL_NAMES.get(state, state.name.lower()) for state in State}


@pytest.mark.parametrize("kind", EVENTS, ids=lambda kind: kind.__name__)
def test_every_event_is_there_with_its_fields(kind: type[msgspec.Struct]):
    row = re.search(rf"^\| `{kind.__name__}` \|[^|]*\|([^|]*)\|$", PAGE, re.MULTILINE)
    assert row
    fields = set(kind.__struct_fields__) - OF_ALL
    own = fields - OF_RECIPIENTS if fields >= OF_RECIPIENTS else fields
    assert set(re.findall(r"`(\w+)`", row[1])) == own


def test_every_error_is_there():
    assert set(errors.__all__) <= NAMED


async def test_a_plugin_of_the_application_works_as_on_the_page():
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    (block,) = [block for block in blocks if "class Quiet" in block]
    page: dict[str, typing.Any] = {}
    exec(compile(block, "docs/api.md", "exec"), page)
    assert await page["main"](test_config(routes=[], transports={})) == "tags"
