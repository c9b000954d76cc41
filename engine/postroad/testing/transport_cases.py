"""The cases of `check_transport`: one small function each, with what it expects and the duty behind it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import trio

from ..message import DsnOptions, Kind, Message
from ..store.contract import LeasedRecipient
from ..transport import Transport
from ..verdict import Disposition, Verdict
from .transport_bench import Bench, Mail, require

__all__ = ["CASES", "Case", "accept", "accept_or_refuse", "enlist_case"]

ONE_EACH, VERDICTS, COMMIT, AS_IT_IS, BY_REFERENCE, AT_ONCE, ONCE, CLOSED = (
    "T1",
    "T3",
    "T5",
    "T7",
    "T8",
    "T10",
    "T11",
    "T16",
)

_LARGE_BYTES = 3_000_000


@dataclass(frozen=True, slots=True)
class Case:
    """duty: its number among those of `postroad.transport.Transport`.  needs: names of what the author must have given."""

    name: str
    expected: str
    duty: str
    run: Callable[[Bench], Awaitable[None]]
    needs: tuple[str, ...] = ()


CASES: list[Case] = []


def enlist_case(
    expected: str, duty: str, *needs: str
) -> Callable[[Callable[[Bench], Awaitable[None]]], Callable[[Bench], Awaitable[None]]]:
    def enlist(run: Callable[[Bench], Awaitable[None]]) -> Callable[[Bench], Awaitable[None]]:
        CASES.append(Case(run.__name__, expected, duty, run, needs))
        return run

    return enlist


async def accept(bench: Bench, mail: Mail) -> list[Verdict]:
    async with bench.open() as transport:
        return await bench.deliver_accepted(transport, mail)


async def accept_or_refuse(bench: Bench, mail: Mail, *statuses: str) -> None:
    async with bench.open() as transport:
        verdicts = await bench.deliver(transport, mail)
    for verdict in verdicts:
        refused = verdict.disposition is Disposition.REFUSED and verdict.status in statuses
        require(refused or verdict.disposition is Disposition.ACCEPTED, f"{verdict.disposition.value} {verdict.status}")
    if any(verdict.disposition is Disposition.ACCEPTED for verdict in verdicts):
        bench.require_unharmed(mail)


# --- Recipients and verdicts ---


@enlist_case("one accepted recipient gives one verdict", ONE_EACH)
async def one_recipient(bench: Bench) -> None:
    await accept(bench, bench.mail())


@enlist_case("as many recipients as it declares give as many verdicts", ONE_EACH)
async def most_recipients(bench: Bench) -> None:
    async with bench.open() as transport:
        number = transport.capabilities.recipients_per_call
        await bench.deliver_accepted(transport, bench.mail(*bench.addresses(number)))


@enlist_case("the refused recipient's verdict, and no other, is refused", ONE_EACH, "refused_recipient")
async def one_refused_among_many(bench: Bench) -> None:
    async with bench.open() as transport:
        number = min(5, transport.capabilities.recipients_per_call)
        for place in range(number):
            to = bench.addresses(number)
            to[place] = bench.refused_recipient or ""
            verdicts = await bench.deliver(transport, bench.mail(*to))
            refused = [at for at, verdict in enumerate(verdicts) if verdict.disposition is Disposition.REFUSED]
            require(refused == [place], f"recipient {place} was refused, the verdicts say {refused}")


@enlist_case("recipients that are a later part of their message are carried", ONE_EACH)
async def later_recipients_of_a_message(bench: Bench) -> None:
    await accept(bench, bench.mail(LeasedRecipient(200, f"box@{bench.domain}")))


@enlist_case("recipients that may have it already are tried again", ONE_EACH)
async def recipients_in_doubt(bench: Bench) -> None:
    await accept(bench, bench.mail(LeasedRecipient(0, f"box@{bench.domain}", attempts=3, in_doubt=True)))


@enlist_case("the longest and oddest addresses are carried or refused with 5.1.x", VERDICTS)
async def odd_addresses(bench: Bench) -> None:
    await trio.lowlevel.checkpoint()
    for local in ("x" * 64, '"a b"', '"a\\"b"', "!#$%&'*+-/=?^_`{|}~", "-f", '"../../etc"', "a.b"):
        await accept_or_refuse(bench, bench.mail(f"{local}@{bench.domain}"), "5.1.1", "5.1.2", "5.1.3")


# --- Senders and envelopes ---


@enlist_case("mail with the null sender is carried", AS_IT_IS)
async def null_sender(bench: Bench) -> None:
    await accept(bench, bench.mail(sender=""))


@enlist_case("a report of the engine is carried", AS_IT_IS)
async def report(bench: Bench) -> None:
    mail = bench.mail()
    mail.request.message = Message(
        id=mail.request.message.id, sender="", accepted_at=0.0, size=mail.content.size, kind=Kind.REPORT
    )
    await accept(bench, mail)


@enlist_case("DSN options neither harm nor are required", AS_IT_IS)
async def dsn_options(bench: Bench) -> None:
    to = LeasedRecipient(0, f"box@{bench.domain}", notify=("failure", "delay"), orcpt=f"rfc822;box@{bench.domain}")
    mail = bench.mail(to)
    mail.request.message = Message(
        id=mail.request.message.id,
        sender="a@example.com",
        accepted_at=0.0,
        size=mail.content.size,
        dsn=DsnOptions(notify=("failure", "delay"), ret="headers", envid="order+41"),
        tags=("a", "b"),
    )
    await accept(bench, mail)


# --- Content ---


@enlist_case("an empty body is carried", AS_IT_IS)
async def empty_body(bench: Bench) -> None:
    await accept(bench, bench.mail(body=b""))


@enlist_case("lines of dots arrive as they were", AS_IT_IS)
async def lone_dots(bench: Bench) -> None:
    await accept(bench, bench.mail(body=b".\r\n..\r\n...\r\n.x\r\n\r\n.\r\n"))


@enlist_case("lines of 998 octets arrive in one piece", AS_IT_IS)
async def long_lines(bench: Bench) -> None:
    await bench.require_room(10_500)
    await accept(bench, bench.mail(body=(b"x" * 998 + b"\r\n") * 10))


@enlist_case("empty lines at the end and lines like mbox's or SMTP's arrive as they were", AS_IT_IS)
async def lines_that_look_like_commands(bench: Bench) -> None:
    await accept(bench, bench.mail(body=b"From x\r\nQUIT\r\nDATA\r\n--\r\n>From\r\nBDAT 1 LAST\r\n"))


@enlist_case("content with octets over 127 is carried, or refused with 5.6.3", AS_IT_IS)
async def eight_bit(bench: Bench) -> None:
    await accept_or_refuse(bench, bench.mail(body=bytes(range(128, 256)) + b"\r\n"), "5.6.1", "5.6.3")


@enlist_case("UTF-8 addresses and headers are carried, or refused with 5.6.7", AS_IT_IS)
async def smtputf8(bench: Bench) -> None:
    mail = bench.mail(f"jürgen@{bench.domain}", header="X-Name: Jürgen\r\n".encode(), sender="böb@example.com")
    await accept_or_refuse(bench, mail, "5.6.7", "5.6.3")


@enlist_case("content that is not in memory is read", AS_IT_IS)
async def content_not_at_hand(bench: Bench) -> None:
    await accept(bench, bench.mail(content={"at_hand": False}))


@enlist_case("a large content is streamed, and arrives whole", BY_REFERENCE)
async def large_content(bench: Bench) -> None:
    await bench.require_room(_LARGE_BYTES)
    lines = b"".join(b"%070d\r\n" % number for number in range(_LARGE_BYTES // 72))
    mail = bench.mail(*bench.addresses(1), body=lines, content={"at_hand": False})
    await accept(bench, mail)
    require(not mail.content.was_read_whole, f"{mail.content.size} octets were read at once")


# --- The moment of handing over ---


@enlist_case("committing() is called before the peer has the mail", COMMIT, "handed_over")
async def committing_comes_first(bench: Bench) -> None:
    async with bench.open() as transport:
        most = transport.capabilities.recipients_per_call
    for number in range(1, min(2, most) + 1):
        mail = bench.mail(*bench.addresses(number))
        await accept(bench, mail)
        require(not mail.came_before_commit, "the peer had the mail when committing() was called")


@enlist_case("every recipient gets one copy, or the message one for all", ONCE, "handed_over")
async def no_copy_too_many(bench: Bench) -> None:
    async with bench.open() as transport:
        number = min(3, transport.capabilities.recipients_per_call)
        mail = bench.mail(*bench.addresses(number))
        await bench.deliver_accepted(transport, mail)
    require(1 <= bench.copies(mail) <= number, f"{bench.copies(mail)} copies for {number} recipients")


# --- Many at once, and one after the other ---


@enlist_case("ten calls at once are all answered, none with another's content", AT_ONCE)
async def ten_at_once(bench: Bench) -> None:
    async with bench.open() as transport:
        await _all_at_once(bench, transport, [bench.mail(body=b"%d\r\n" % n * 50) for n in range(10)])


@enlist_case("ten calls one after the other are answered alike", AT_ONCE)
async def ten_in_a_row(bench: Bench) -> None:
    async with bench.open() as transport:
        for _ in range(10):
            await bench.deliver_accepted(transport, bench.mail())


@enlist_case("calls that are cancelled do not harm those beside them", AT_ONCE)
async def neighbours_of_the_cancelled(bench: Bench) -> None:
    async with bench.open() as transport, trio.open_nursery() as nursery:
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as doomed:
                for _ in range(5):
                    doomed.start_soon(bench.deliver, transport, bench.mail())
                    nursery.start_soon(bench.deliver_accepted, transport, bench.mail())
                await trio.lowlevel.checkpoint()
                scope.cancel()


@enlist_case("two transports of one kind live side by side", CLOSED)
async def two_transports(bench: Bench) -> None:
    async with bench.open() as one, bench.open() as other:
        await bench.deliver_accepted(one, bench.mail())
        await bench.deliver_accepted(other, bench.mail())
        await bench.deliver_accepted(one, bench.mail())


async def _all_at_once(bench: Bench, transport: Transport, mails: list[Mail]) -> None:
    async with trio.open_nursery() as nursery:
        for mail in mails:
            nursery.start_soon(bench.deliver_accepted, transport, mail)
