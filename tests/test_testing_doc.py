"""docs/testing.md: its examples are tests, and pass; what it says of the clock is so."""

from __future__ import annotations

import re
import time
from inspect import iscoroutinefunction
from pathlib import Path
from typing import Any

import pytest
import trio

from postroad.testing import make_request
from postroad.testing.engine import open_test_engine
from postroad.testing.fakes import ScriptedTransport
from postroad.testing.smtp_peer import SmtpPeer
from postroad_smtp import smtp_transport

DOCS = Path(__file__).resolve().parent.parent / "docs"
PAGE = (DOCS / "testing.md").read_text(encoding="utf-8")
EXAMPLES: dict[str, Any] = {}
exec("\n".join(re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)), EXAMPLES)
TESTS = [name for name, value in EXAMPLES.items() if name.startswith("test_") and iscoroutinefunction(value)]
ALONE = [name for name in EXAMPLES if name.startswith("test_") and name not in TESTS]


def test_the_page_has_examples():
    assert len(TESTS) >= 2
    assert ALONE


@pytest.mark.parametrize("name", TESTS)
async def test_an_example_passes(autojump_clock, name):
    await EXAMPLES[name](autojump_clock)


@pytest.mark.parametrize("name", ALONE)
def test_an_example_that_runs_trio_itself_passes(name):
    EXAMPLES[name]()


async def test_a_minute_from_the_present_is_a_virtual_minute(autojump_clock):
    transport = ScriptedTransport()
    async with open_test_engine(transport=transport) as engine:
        begun = trio.current_time()
        receipt = await engine.send_mail(sender="a@example.com", to="b@example.org", send_at=time.time() + 60)
        await receipt.settled()
    assert transport.calls[0].began - begun == pytest.approx(60, abs=10)


async def test_the_dialogue_on_the_page_of_smtp_leaves_no_fault(autojump_clock):
    (text,) = re.findall(r'SmtpPeer\(dialogue="""\n(.*?)"""', (DOCS / "smtp.md").read_text(encoding="utf-8"), re.DOTALL)
    peer = SmtpPeer(dialogue=text)
    async with peer.listening() as (host, port), smtp_transport({"smarthost": f"{host}:{port}"}) as transport:
        (verdict,) = await transport.deliver(make_request(("b@example.org",)))
    assert verdict.status == "4.3.0"
    assert peer.faults == []


async def test_outcomes_are_under_a_labels_as_the_page_of_the_api_says(autojump_clock):
    given, key = re.findall(r"`(b@[^`]*)` is under `([^`]*)`", (DOCS / "api.md").read_text(encoding="utf-8"))[0]
    async with open_test_engine(transport=ScriptedTransport()) as engine:
        receipt = await engine.send_mail(sender="a@example.com", to=given, subject="Hello", body="Hello.")
        assert list((await receipt.settled()).recipients) == [key]
