"""The two samples of App Engine's guide, with the import changed, against an engine and a mail server on loopback."""

from __future__ import annotations

from email import message_from_bytes, policy
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import pytest
import trio

import postroad
from postroad.appengine import mail
from postroad.testing.smtp_peer import Behaviour, SmtpPeer

pytestmark = pytest.mark.usefixtures("nothing_said")

SAMPLES = Path(__file__).with_name("guide_samples")
ORIGINAL = "from google.appengine.api import mail\n"
OURS = "from postroad.appengine import mail\n"
SENDER = "Example.com Support <support@example.com>"
BODY = (
    "Dear Albert:\n\nYour example.com account has been approved.  You can now visit\nhttp://www.example.com/ and sign in using "
    "your Google Account to\naccess new features.\n\nPlease let us know if you have any questions.\n\nThe example.com Team\n"
)


def sample(name: str) -> Any:
    text = (SAMPLES / f"{name}.txt").read_text(encoding="utf-8")
    assert text.count(ORIGINAL) == 1
    names: dict[str, Any] = {}
    exec(compile(text.replace(ORIGINAL, OURS), name, "exec"), names)
    return names["send_approved_mail"]


def config(folder: Path, port: int) -> dict[str, Any]:
    return {
        "spool": {"url": f"sqlite:{folder}/spool.db"},
        "senders": {"authorized": ["support@example.com"]},
        "retry": {"first_seconds": 0.05, "max_seconds": 0.05, "jitter": 0.0},
        "transports": {"out": {"plugin": "smtp", "smarthost": f"127.0.0.1:{port}", "tls": "none"}},
        "routes": [{"transport": "out"}],
    }


def sent_by(send_approved_mail: Any) -> str:
    """What the sample sent, by its id."""
    assert send_approved_mail(SENDER) is None
    id = mail.last_receipt()
    assert id is not None
    return id


@pytest.mark.parametrize("name", ["send_mail", "send_message"])
async def test_what_the_guide_sends_arrives_although_the_server_is_busy_at_first(name: str, tmp_path: Path) -> None:
    peer = SmtpPeer(Behaviour({"MAIL": ["451 4.3.2 try again later", "250 2.1.0 Ok"]}))
    async with peer.listening() as (_, port):
        settings = config(tmp_path, port)
        mail.configure(settings)
        async with postroad.open_engine(settings) as engine:
            id = await trio.to_thread.run_sync(sent_by, sample(name))
            with trio.fail_after(60):
                await peer.wait_received()
                outcome = await (await engine.receipt(id)).settled()
    assert outcome.is_delivered
    (received,) = peer.transactions
    assert (received.sender, received.recipients) == ("support@example.com", ("Albert.Johnson@example.com",))
    message = message_from_bytes(received.content, policy=policy.default)
    assert message["From"].addresses[0].display_name == "Example.com Support"
    assert message["To"].addresses[0].display_name == "Albert Johnson"
    assert message["Subject"] == "Your account has been approved"
    assert message.get_content().replace("\r\n", "\n") == BODY
    assert message["Message-ID"]
    assert parsedate_to_datetime(message["Date"])
    assert peer.faults == []


@pytest.mark.parametrize("name", ["send_mail", "send_message"])
def test_a_sender_that_is_not_registered_is_refused_as_the_guide_says(name: str, tmp_path: Path) -> None:
    mail.configure(config(tmp_path, 9))
    with pytest.raises(mail.InvalidSenderError, match="Unauthorized sender"):
        sample(name)("example@elsewhere.example")
