"""kill -9 at any moment, start again: every accepted message is delivered or bounced once, and duplicates were announced.

The other side is aiosmtpd, not our own code.  It writes down every acceptance before it answers 250.
"""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections import Counter, defaultdict
from email import message_from_bytes
from email.message import Message
from pathlib import Path

from aiosmtpd.controller import Controller

KILLS = int(os.environ.get("POSTROAD_KILLS", "50"))
HERE = Path(__file__).parent


class RecordingHandler:
    """Accepts, refuses and defers by the recipient's name.

    accepted: the ledger of the other side, (message id, recipient) of mail and reports alike.
    reports: by (message id, recipient) that failed, the ids of the reports on it.
    """

    def __init__(self) -> None:
        self.accepted: list[tuple[str, str]] = []
        self.reports: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
        self.torn: list[str] = []
        self.large = 0

    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("no"):
            return "550 5.1.1 no such user"
        if address.startswith("later") and random.random() < 0.5:
            return "451 4.7.1 later"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 ok"

    async def handle_DATA(self, server, session, envelope):
        message = message_from_bytes(envelope.content)
        id = id_in(message["Message-ID"])
        self.accepted += [(id, address) for address in envelope.rcpt_tos]
        if envelope.mail_from in ("", "<>", None):
            self._take_report(id, message)
        else:
            octets = len(envelope.content.partition(b"\r\n\r\n")[2])
            self.large += octets > 262_144
            if octets != int(message["X-Body-Octets"]):
                self.torn.append(id)
        return "250 2.0.0 taken"

    def _take_report(self, report_id: str, message: Message) -> None:
        """Whose failure it tells: the message it answers, and the recipients of its second part (RFC 3464 section 2.3)."""
        for part in message.walk():
            if "Final-Recipient" in part:
                address = part["Final-Recipient"].partition(";")[2].strip()
                self.reports[id_in(message["In-Reply-To"]), address].add(report_id)


def id_in(message_id: str) -> str:
    return message_id.strip("<>").partition("@")[0]


def write_config(folder: Path, port: int) -> Path:
    config = folder / "postroad.toml"
    config.write_text(
        f"""
[spool]
url = "sqlite:spool/postroad.db"
[senders]
authorized = ["sender@example.com"]
[reports]
hostname = "engine.test"
[[routes]]
transport = "outbound"
[transports.outbound]
plugin = "smtp"
smarthost = "127.0.0.1:{port}"
[retry]
first_seconds = 0.05
max_seconds = 0.5
[windows]
hold_seconds = 0.1
hold_max_seconds = 0.5
"""
    )
    return config


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def start(config: Path, ledger: Path, mode: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, str(HERE / "engine_under_fire.py"), str(config), str(ledger), mode])


def wait_for_growth(ledger: Path, process: subprocess.Popen[bytes], size: int) -> None:
    deadline = time.monotonic() + 30
    while ledger.stat().st_size <= size:
        assert process.poll() is None, f"the engine ended by itself with {process.returncode}"
        assert time.monotonic() < deadline, "nothing was accepted within 30 s of a start"
        time.sleep(0.005)


def test_fifty_kills_lose_nothing_and_announce_every_duplicate(tmp_path: Path) -> None:
    handler = RecordingHandler()
    port = free_port()
    controller = Controller(handler, hostname="127.0.0.1", port=port, enable_SMTPUTF8=True)
    controller.start()
    try:
        config, ledger = write_config(tmp_path, port), tmp_path / "ledger"
        ledger.touch()
        draw = random.Random(1)
        for _ in range(KILLS):
            process = start(config, ledger, "submit")
            try:
                wait_for_growth(ledger, process, ledger.stat().st_size)
                time.sleep(draw.random() * 0.2)
            finally:
                os.kill(process.pid, signal.SIGKILL)
                process.wait()
        finisher = start(config, ledger, "finish")
        assert finisher.wait(timeout=120 + KILLS) == 0
    finally:
        controller.stop()
    check(ledger, handler)


def check(ledger: Path, handler: RecordingHandler) -> None:
    acknowledged = {}
    for line in ledger.read_text().splitlines():
        id, _, recipients = line.partition(" ")
        acknowledged[id] = recipients.split(",")
    log = [json.loads(line) for line in (ledger.parent / "ledger.log").read_text().splitlines() if line.endswith("}")]
    announced = {(line["id"], line["recipient"]) for line in log if line["event"] == "maybe_duplicate"}
    times = Counter(handler.accepted)
    assert len(acknowledged) > KILLS
    lost = [
        (id, recipient)
        for id, recipients in acknowledged.items()
        for recipient in recipients
        if not recipient.startswith("no") and not times[id, recipient]
    ]
    assert not lost, f"{len(lost)} accepted recipients were never delivered"
    doubled = {place for place, count in times.items() if count > 1}
    assert doubled <= announced, "a duplicate that was not announced"
    refused = {
        (id, recipient)
        for id, recipients in acknowledged.items()
        for recipient in recipients
        if recipient.startswith("no")
    }
    assert refused, "nothing was refused"
    assert not refused - handler.reports.keys(), "a failure without a report"
    assert not [place for place, ids in handler.reports.items() if len(ids) > 1], "a failure with two reports"
    assert handler.large >= KILLS // 5, "hardly any content lay in a file of its own"
    assert not handler.torn, "content that did not come whole"
