"""Logins at Postfix, whose passwords Dovecot knows."""

from __future__ import annotations

from pathlib import Path

import pytest
from letters import new_mark
from real_dovecot import PASSWORD
from real_postfix import RealPostfix
from roads import open_road

from postroad.verdict import Disposition, Scope

USER = "known"


def login(monkeypatch: pytest.MonkeyPatch, password: str = PASSWORD) -> dict[str, object]:
    monkeypatch.setenv("POSTROAD_TEST_PASSWORD", password)
    return {"username": USER, "password_env": "POSTROAD_TEST_PASSWORD", "login_without_tls": True}


async def test_the_server_knows_who_sent_it(postfix_with_login: RealPostfix, monkeypatch: pytest.MonkeyPatch) -> None:
    mark = new_mark()
    async with open_road(postfix_with_login, **login(monkeypatch)) as road:
        verdict = await road.send_one(mark)
    assert verdict.disposition is Disposition.ACCEPTED
    (stored,) = await postfix_with_login.boxes.wait_stored("known", mark)
    assert b"(Authenticated sender: known)" in stored


@pytest.mark.parametrize("tls", ["none", "verified"])
@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-256"])
async def test_every_mechanism_is_understood(
    postfix_with_login: RealPostfix, monkeypatch: pytest.MonkeyPatch, ca_file: Path, mechanism: str, tls: str
) -> None:
    mark, before = new_mark(), len(postfix_with_login.logged())
    settings = {**login(monkeypatch), "mechanisms": [mechanism], "tls": tls} | (
        {"ca_file": str(ca_file)} if tls == "verified" else {}
    )
    async with open_road(postfix_with_login, **settings) as road:
        verdict = await road.send_one(mark)
    assert verdict.disposition is Disposition.ACCEPTED, verdict
    (stored,) = await postfix_with_login.boxes.wait_stored("known", mark)
    assert b"(Authenticated sender: known)" in stored
    assert f"sasl_method={mechanism}, sasl_username=known" in postfix_with_login.logged()[before:]


async def test_a_wrong_password_bounces_nothing(
    postfix_with_login: RealPostfix, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = new_mark()
    async with open_road(postfix_with_login, **login(monkeypatch, "wrong")) as road:
        verdict = await road.send_one(mark)
    assert verdict.disposition is Disposition.DEFERRED
    assert verdict.scope is Scope.TRANSPORT
    assert postfix_with_login.boxes.stored("known", mark) == []
