"""Against a server that others wrote (aiosmtpd, in a thread of its own), and against the public kit for transports."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session
from smtp_road import CONTENT

from postroad.testing import check_transport, make_request
from postroad.testing.smtp_peer import SmtpPeer
from postroad.verdict import Disposition
from postroad_smtp import smtp_transport


class Keeper:
    """Keeps what arrives; refuses what begins with "no", defers what begins with "later"."""

    def __init__(self) -> None:
        self.kept: list[tuple[str | None, list[str], bytes]] = []

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address.startswith("no"):
            return "550 5.1.1 No such user"
        if address.startswith("later"):
            return "450 4.2.1 Busy"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 Ok"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        content: Any = envelope.original_content
        self.kept.append((envelope.mail_from, list(envelope.rcpt_tos), content))
        return "250 2.0.0 Kept"


@pytest.fixture
def keeper() -> Iterator[tuple[Keeper, int]]:
    keeper = Keeper()
    controller = Controller(keeper, hostname="127.0.0.1", port=0, enable_SMTPUTF8=True)
    controller.port = _free_port()
    controller.start()
    yield keeper, controller.port
    controller.stop()


def _free_port() -> int:
    import socket

    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


async def test_aiosmtpd_takes_our_mail_unchanged(keeper: tuple[Keeper, int]) -> None:
    kept, port = keeper
    async with smtp_transport({"smarthost": f"127.0.0.1:{port}"}) as transport:
        verdicts = await transport.deliver(
            make_request(["b@example.org", "no@example.org", "later@example.org"], content=CONTENT)
        )
        dispositions = [verdict.disposition for verdict in verdicts]
        assert dispositions == [Disposition.ACCEPTED, Disposition.REFUSED, Disposition.DEFERRED]
        for number in range(3):
            (verdict,) = await transport.deliver(make_request([f"r{number}@example.org"], content=CONTENT))
            assert verdict.disposition is Disposition.ACCEPTED
        (verdict,) = await transport.deliver(make_request(["no@example.org"], content=CONTENT))
        assert verdict.disposition is Disposition.REFUSED
        (verdict,) = await transport.deliver(make_request(["last@example.org"], content=CONTENT))
        assert verdict.disposition is Disposition.ACCEPTED
    assert [recipients for _, recipients, _ in kept.kept] == [
        ["b@example.org"],
        *[[f"r{number}@example.org"] for number in range(3)],
        ["last@example.org"],
    ]
    assert {content for _, _, content in kept.kept} == {CONTENT}


async def test_the_transport_does_its_duties() -> None:
    peer = SmtpPeer()
    async with peer.listening() as (host, port):
        report = await check_transport(
            smtp_transport,
            {"smarthost": f"{host}:{port}"},
            handed_over=lambda: [received.content for received in peer.transactions],
        )
    assert not [str(result) for result in report.results if result.problem]
    assert peer.faults == []
