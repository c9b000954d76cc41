"""The scenarios: what is asked for, of whom, and how much of it.

The first peer is the subject: the others are compared with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from load import Load

__all__ = ["BESIDE", "COLD", "PARTS", "SCENARIOS", "Scenario", "choose"]

_QUEUES = ("postfix", "opensmtpd", "exim", "slimta", "haraka", "celery")
_MX = "each system looks up each domain's own mail host, which has an address of its own; 10 KiB"
_BY_MX = ("postroad", "postfix", "opensmtpd", "exim")

# The slow ones send less, so that a round does not last for ever: the part of a scenario's messages.
PARTS = {"exim": 0.1, "slimta": 0.4, "haraka": 0.4, "celery": 0.4, "smtplib-usual": 0.4}

# What is measured besides throughput, and of whom.
BESIDE = {"pairs": ("postroad",), "backlog": ("postroad", "postfix", "opensmtpd", "exim", "slimta", "haraka")}

# Not warmed up: after a pause OpenSMTPD waits for some seconds before it connects again.
COLD = ("opensmtpd",)


@dataclass(frozen=True)
class Scenario:
    """messages: in a run of a full benchmark; `small`: in a short one.

    suits_any: it says nothing about the way out, so that it can be run over a stranger's transport.  counts_syncs: also under
    strace, in runs of their own.  foreign_sink: into Postfix's smtp-sink.
    """

    name: str
    about: str
    peers: Sequence[str]
    load: Load
    messages: int
    small: int
    suits_any: bool = False
    counts_syncs: bool = False
    foreign_sink: bool = False


SCENARIOS = (
    Scenario(
        "api",
        "submitted in-process, or injected by SMTP; out by SMTP; 10 KiB",
        ("postroad", "postroad-2", *_QUEUES, "smtplib", "smtplib-usual", "aiosmtplib"),
        Load(),
        5000,
        200,
        suits_any=True,
        counts_syncs=True,
    ),
    Scenario(
        "api-2k", "as api, 2 KiB", ("postroad", "postfix", "smtplib"), Load(octets=2048), 5000, 200, suits_any=True
    ),
    Scenario(
        "api-100k",
        "as api, 100 KiB",
        ("postroad", "postfix", "smtplib"),
        Load(octets=102_400),
        1500,
        50,
        suits_any=True,
    ),
    Scenario(
        "api-10m", "as api, 10 MiB", ("postroad", "postfix", "smtplib"), Load(octets=10_485_760), 40, 3, suits_any=True
    ),
    Scenario(
        "door",
        "submitted by 8 processes, or injected by 8 connections; out by SMTP; 10 KiB",
        ("postroad-door", "postfix-8"),
        Load(),
        5000,
        200,
        counts_syncs=True,
    ),
    Scenario(
        "file",
        "out into files, synced (Maildir); 10 KiB",
        ("postroad", "postfix"),
        Load(out="file"),
        3000,
        200,
        counts_syncs=True,
    ),
    Scenario(
        "http",
        "out by HTTP, as to a provider; 10 KiB",
        ("postroad", "requests", "httpx2", "http-client"),
        Load(out="http"),
        3000,
        100,
    ),
    Scenario(
        "single",
        "out by SMTP, a connection for each message; 10 KiB",
        ("postroad", "postfix", "smtplib", "smtplib-usual", "aiosmtplib"),
        Load(kept=False),
        2000,
        100,
    ),
    Scenario(
        "starttls",
        "out by SMTP over STARTTLS, connections kept; 10 KiB",
        ("postroad", "postfix", "smtplib", "aiosmtplib"),
        Load(tls=True),
        3000,
        100,
    ),
    Scenario(
        "recipients-10",
        "10 recipients each; 10 KiB",
        ("postroad", "postfix", "smtplib"),
        Load(recipients=10),
        2000,
        50,
        suits_any=True,
    ),
    Scenario(
        "recipients-100",
        "100 recipients each; 10 KiB",
        ("postroad", "postfix", "smtplib"),
        Load(recipients=100),
        500,
        10,
        suits_any=True,
    ),
    Scenario("destinations-1", f"one domain; {_MX}", _BY_MX, Load(by_mx=True), 3000, 100),
    Scenario(
        "destinations-100",
        f"100 domains; {_MX}",
        _BY_MX,
        Load(by_mx=True, destinations=100),
        3000,
        100,
    ),
    Scenario(
        "destinations-10000",
        f"10,000 domains; {_MX}",
        _BY_MX,
        Load(by_mx=True, destinations=10_000),
        10_000,
        100,
    ),
    Scenario(
        "deferred",
        "a fifth of the messages is put off once after its content, and tried again after two seconds or so; 10 KiB",
        ("postroad", "postfix"),
        Load(deferred=0.2),
        10_000,
        100,
        suits_any=True,
    ),
    Scenario(
        "signing",
        "800 us of CPU for each message before it is stored, as an RSA signature costs; 10 KiB",
        ("postroad", "postroad-2", "smtplib"),
        Load(burn_us=800),
        2000,
        100,
        suits_any=True,
    ),
    Scenario(
        "floor",
        "smtp-source straight into smtp-sink, both in C: no queue, 20 connections; 10 KiB",
        ("smtp-source",),
        Load(),
        10_000,
        500,
        foreign_sink=True,
    ),
)


def choose(names: Sequence[str] | None = None, *, any_transport: bool = False, sink: str = "smtp") -> list[Scenario]:
    """The scenarios of these names; None: all.  Raises LookupError for one that cannot be played.

    any_transport: over a stranger's, which speaks to that sink; only the one for SMTP puts mail off.
    """
    able = [
        one for one in SCENARIOS if not any_transport or (one.suits_any and not (one.load.deferred and sink != "smtp"))
    ]
    if names is None:
        return able
    by_name = {one.name: one for one in able}
    if unknown := [name for name in names if name not in by_name]:
        raise LookupError(f"unknown scenarios {', '.join(unknown)}; known here: {', '.join(by_name)}")
    return [by_name[name] for name in names]
