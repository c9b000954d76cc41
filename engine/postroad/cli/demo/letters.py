"""What the demo sends, and the configuration that it sends it with: an ordinary one, with a shorter retry schedule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["ALBERT", "LETTERS", "MARIA", "NOBODY", "SENDER", "configuration", "mailbox_of"]

SENDER = "support@example.com"
ALBERT = "Albert.Johnson@example.com"
MARIA = "maria.chen@example.org"
NOBODY = "nobody@example.net"

# The first is the approval mail of App Engine's guide to its Mail API.
LETTERS: Mapping[str, Mapping[str, Any]] = {
    ALBERT: {
        "sender": f"Example.com Support <{SENDER}>",
        "to": f"Albert Johnson <{ALBERT}>",
        "subject": "Your account has been approved",
        "body": "Dear Albert:\n\nYour example.com account has been approved.  You can now visit\n"
        "http://www.example.com/ and sign in using your Google Account to\naccess new features.\n\n"
        "Please let us know if you have any questions.\n\nThe example.com Team\n",
    },
    MARIA: {
        "sender": f"Example.com Support <{SENDER}>",
        "to": f"María Chen <{MARIA}>",
        "subject": "Ihre Bestellung ist unterwegs, ¡gracias!",
        "body": "Dear María:\n\nYour order left our house today.\n.\nThe line above is a single dot, and it must arrive.\n",
        "html": "<p>Dear María:</p><p>Your order left our house today.</p>",
        "attachments": [("packing list.txt", "eine Lampe für María\n"), ("label.bin", bytes(range(256)))],
    },
    NOBODY: {
        "sender": f"Example.com Support <{SENDER}>",
        "to": NOBODY,
        "subject": "Is anybody there?",
        "body": "This will come back.\n",
    },
}


def mailbox_of(folder: Path) -> Path:
    """The sender's Maildir, where reports arrive."""
    return folder / "mail" / SENDER


def configuration(ports: Sequence[int]) -> str:
    """The demo's postroad.toml; the ports are those of the servers of example.com, example.org and example.net."""
    first, second, third = ports
    return f"""\
# The demo's configuration.  Only [retry] is unusual: days of patience, shortened to seconds.

[spool]
url = "sqlite:spool/postroad.db"

[senders]
authorized = ["{SENDER}"]

[retry]
first_seconds = 1                   # 300 by default
max_seconds = 2                     # 4000
give_up_seconds = 60                # five days

[in_flight]
drain_seconds = 2

[reports]
hostname = "mail.example.com"

[[routes]]
name = "reports"
senders = "<>"                      # reports have the null sender
transport = "mailboxes"

[[routes]]
recipients = "*@example.com"
transport = "first"

[[routes]]
recipients = "*@example.org"
transport = "second"

[[routes]]
recipients = "*@example.net"
transport = "third"

[transports.mailboxes]
plugin = "file"
format = "maildir"
layout = "by_recipient"
folder = "mail"

[transports.first]
plugin = "smtp"
smarthost = "127.0.0.1:{first}"

[transports.second]
plugin = "smtp"
smarthost = "127.0.0.1:{second}"

[transports.third]
plugin = "smtp"
smarthost = "127.0.0.1:{third}"
"""
