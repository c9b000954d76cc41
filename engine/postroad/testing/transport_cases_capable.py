"""Cases of `check_transport` about what a transport declares beside sizes and octets: several messages in a call, objections."""

from __future__ import annotations

from typing import Any

import msgspec
import trio

from ..decide.admission import Refusal
from ..transport import Objecting, Transport
from ..verdict import Disposition, Verdict
from .transport_bench import Bench, Mail, NotTried, require
from .transport_cases import enlist_case

__all__: list[str] = []

AT_ONCE, CAPABLE = "T10", "T12"
_AT_ONCE = 20
_AHEAD_SECONDS = 864_000.0


@enlist_case(
    "declared with messages_per_call, mail that is sent at once takes fewer calls than messages", CAPABLE, "calls"
)
async def messages_share_calls(bench: Bench) -> None:
    assert bench.calls is not None
    async with bench.open() as transport:
        if transport.capabilities.messages_per_call <= 1:
            raise NotTried("it declares one message a call")
        before = bench.calls()
        async with trio.open_nursery() as nursery:
            for number in range(_AT_ONCE):
                nursery.start_soon(bench.deliver_accepted, transport, bench.mail(body=b"%d\r\n" % number))
        made = bench.calls() - before
        require(made < _AT_ONCE, f"{made} calls for {_AT_ONCE} messages")


@enlist_case("where one mail of ten at once has a refused recipient, no other is refused", AT_ONCE, "refused_recipient")
async def one_refused_at_once(bench: Bench) -> None:
    found: dict[int, Disposition] = {}
    async with bench.open() as transport:

        async def deliver(number: int, mail: Mail) -> None:
            (verdict,) = await bench.deliver(transport, mail)
            found[number] = verdict.disposition

        async with trio.open_nursery() as nursery:
            for number in range(10):
                to = (bench.refused_recipient or "") if number == 4 else bench.addresses(1)[0]
                nursery.start_soon(deliver, number, bench.mail(to))
    refused = sorted(number for number, disposition in found.items() if disposition is Disposition.REFUSED)
    require(refused == [4], f"mail 4 has the refused recipient, refused were {refused}")


@enlist_case("a mail whose send_at lies ahead goes when the engine calls, and not later", CAPABLE)
async def engine_keeps_send_at(bench: Bench) -> None:
    mail = bench.mail()
    moment = mail.request.message.accepted_at + _AHEAD_SECONDS
    mail.request.message = msgspec.structs.replace(mail.request.message, send_at=moment)
    async with bench.open() as transport:
        await bench.deliver_accepted(transport, mail)


@enlist_case("what its objection is raised against is refused, and it has none against what is accepted", CAPABLE)
async def objection_holds(bench: Bench) -> None:
    async with bench.open() as transport:
        if not isinstance(transport, Objecting):
            raise NotTried("it has no objection")
        for mail in _mails_to_object_to(bench, transport):
            said: Any = transport.objection(
                mail.request.message, [each.address for each in mail.request.recipients], mail.data
            )
            require(said is None or isinstance(said, Refusal), f"{type(said).__name__} instead of a Refusal or None")
            verdicts = await bench.deliver(transport, mail)
            require(_agree(said, verdicts), f"{said and said.problem!r}, and then {verdicts[0].reply!r}")


def _mails_to_object_to(bench: Bench, transport: Transport) -> list[Mail]:
    mails = [
        bench.mail(),
        bench.mail(body="Grüße\r\n".encode()),
        bench.mail(f"jürgen@{bench.domain}"),
        bench.mail(header="X-Name: Jürgen\r\n".encode()),
        bench.mail(header=b"X-Twice: 1\r\nX-Twice: 2\r\n"),
        bench.mail(header=b"Content-Type: image/png\r\n"),
        bench.mail(body=b"Dear {{ name }}\r\n"),
    ]
    limit = transport.capabilities.message_bytes
    return [*mails, bench.mail(body=b"x\r\n" * limit)] if limit is not None and limit < 1_000_000 else mails


def _agree(said: Refusal | None, verdicts: list[Verdict]) -> bool:
    """Without an objection it may still be refused: its peer may know more."""
    return said is None or all(verdict.disposition is Disposition.REFUSED for verdict in verdicts)
