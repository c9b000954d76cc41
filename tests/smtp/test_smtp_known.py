"""What is learnt about hosts: when something is done without, for how long, and what never is."""

from __future__ import annotations

import ssl
from collections.abc import Callable

from smtp_plan import Plan, send
from trio.testing import MockClock

from postroad.testing.smtp_peer import Behaviour, Raw, SmtpPeer
from postroad.verdict import Disposition

ACCEPTED, DEFERRED, REFUSED = Disposition.ACCEPTED, Disposition.DEFERRED, Disposition.REFUSED
MakeContext = Callable[..., ssl.SSLContext]
BROKEN = Raw(b"220 go\r\n", then_cut=True)  # to STARTTLS: the handshake then fails
FIRST, SECOND = "8.8.8.1", "8.8.8.2"


# --- TLS ---


async def test_broken_tls_behind_an_unwilling_first_server_is_noted_too(
    server_context: MakeContext, autojump_clock: MockClock
) -> None:
    """Two sessions an attempt: the third, in plain text, belongs to the next attempt."""
    unwilling = SmtpPeer(Behaviour({"CONNECT": "421 4.3.2 Busy"}))
    broken = SmtpPeer(Behaviour({"STARTTLS": BROKEN}), tls=server_context())
    plan = Plan({"mx1.example.org": [FIRST], "mx2.example.org": [SECOND]}, {FIRST: 0.0, SECOND: 0.0})
    async with plan.running({FIRST: unwilling, SECOND: broken}) as transport:
        assert (await send(transport)).disposition is DEFERRED
        verdict = await send(transport)
        assert (verdict.disposition, verdict.tls) == (ACCEPTED, "none")
        assert verdict.remote.startswith("mx2.example.org ")
