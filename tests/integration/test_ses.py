"""Amazon SES as moto reads its API: the signature holds, and a message arrives as it was sent."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from real_moto import RealMoto

import postroad
from postroad.testing import make_request
from postroad.verdict import Disposition, Scope, Verdict
from postroad_http import http_transport

HEAD = b"From: Shop <a@example.com>\r\nTo: visible@example.org\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n"
BODIES = {
    "plain": b"\r\nHello.\r\n",
    "dots": b"\r\n.\r\n..\r\n.x\r\n",
    "long": b"\r\n" + b"x" * 998 + b"\r\n",
    "blanks": b"\r\n a \t \r\n\r\n\r\n",
    "utf-8": b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
    + "Grüße\r\n".encode(),
}


async def deliver(moto: RealMoto, content: bytes, *recipients: str, **more: Any) -> list[Verdict]:
    table = await trio.to_thread.run_sync(lambda: moto.settings(**more))
    async with http_transport(table) as transport:
        return list(await transport.deliver(make_request(recipients, content=content)))


async def mails(moto: RealMoto) -> list[dict[str, Any]]:
    return await trio.to_thread.run_sync(moto.mails)


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
async def test_a_message_arrives_as_it_was_sent_and_with_its_envelope_alone(moto: RealMoto, body: bytes) -> None:
    before = len(await mails(moto))
    (one, two) = await deliver(moto, HEAD + body, "b@example.org", "blind@example.net")
    assert one == two
    assert one.disposition is Disposition.ACCEPTED
    (mail,) = (await mails(moto))[before:]
    assert mail["raw_data"].encode() == HEAD + body
    assert set(mail["destinations"]) >= {"b@example.org", "blind@example.net"}
    assert mail["id"] in one.reply


@pytest.mark.parametrize(
    "wrong", [{"api_key": "another-secret-0123456789"}, {"access_key_id": "AKIANOBODY0123456789"}], ids=["secret", "id"]
)
async def test_a_signature_that_does_not_hold_holds_the_transport(moto: RealMoto, wrong: dict[str, str]) -> None:
    before = len(await mails(moto))
    (verdict,) = await deliver(moto, HEAD + BODIES["plain"], "b@example.org", **wrong)
    assert (verdict.disposition, verdict.scope) == (Disposition.DEFERRED, Scope.TRANSPORT)
    assert verdict.reply.startswith("403")
    assert len(await mails(moto)) == before


async def test_from_an_application_to_amazon(moto: RealMoto) -> None:
    before = len(await mails(moto))
    table = await trio.to_thread.run_sync(moto.settings)
    config = {
        "spool": {"url": "memory:"},
        "senders": {"authorized": ["*"]},
        "transports": {"ses": {"plugin": "http", **table}},
        "routes": [{"transport": "ses"}],
    }
    async with postroad.open_engine(config) as engine:
        receipt = await engine.send_mail(
            sender="a@example.com",
            to="b@example.org",
            bcc="blind@example.net",
            subject="Grüße",
            body="Hello",
            html="<p>Hello",
        )
        with trio.fail_after(30):
            outcome = await receipt.settled()
    assert {recipient.state for recipient in outcome.recipients.values()} == {"accepted"}
    (mail,) = (await mails(moto))[before:]
    assert set(mail["destinations"]) == {"b@example.org", "blind@example.net"}
    assert "blind" not in mail["raw_data"]
