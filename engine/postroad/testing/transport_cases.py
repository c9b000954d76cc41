"""The cases of `check_transport`: one small function each, with what it expects and the duty behind it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

import trio

from ..errors import ConfigError, StoreError
from ..message import DsnOptions, Kind, Message
from ..store.contract import LeasedRecipient
from ..transport import Transport
from ..verdict import Disposition, Verdict
from .transport_bench import Bench, Mail, Unmet, require

__all__ = ["CASES", "Case"]

ONE_EACH = "one verdict per recipient, in order"
AS_IT_IS = "the content is carried as it is: canonical at the door, never changed after"
VERDICTS = "trouble of the network or the peer is a verdict, not an exception"
TEMPORARY = "unknown trouble is temporary: only a reply that proves a permanent failure refuses"
COMMIT = "committing() is called before any byte after which the peer might take responsibility"
CANCEL = "honour cancellation at every await; after committing(), within 20 s"
AT_ONCE = "many calls run at once"
CAPABLE = "capabilities are what routing and admission rely on"
BY_REFERENCE = "content over 256 KiB is read in chunks, never as a whole"
CLOSED = "a transport lives inside its factory's context and leaves nothing behind"
SETTINGS = "the factory refuses settings it does not know with a ConfigError"

_LARGE_BYTES = 3_000_000
_SHIELD_SECONDS = 21.0  # the contract's 20 s, and a little
_MOST_CANCELLATIONS = 100


@dataclass(frozen=True, slots=True)
class Case:
    """needs: names of what the author must have given."""

    name: str
    expected: str
    duty: str
    run: Callable[[Bench], Awaitable[None]]
    needs: tuple[str, ...] = ()


CASES: list[Case] = []


def _case(
    expected: str, duty: str, *needs: str
) -> Callable[[Callable[[Bench], Awaitable[None]]], Callable[[Bench], Awaitable[None]]]:
    def enlist(run: Callable[[Bench], Awaitable[None]]) -> Callable[[Bench], Awaitable[None]]:
        CASES.append(Case(run.__name__, expected, duty, run, needs))
        return run

    return enlist


async def _accept(bench: Bench, mail: Mail) -> list[Verdict]:
    async with bench.open() as transport:
        return await bench.deliver_accepted(transport, mail)


async def _accept_or_refuse(bench: Bench, mail: Mail, *statuses: str) -> None:
    async with bench.open() as transport:
        verdicts = await bench.deliver(transport, mail)
    for verdict in verdicts:
        refused = verdict.disposition is Disposition.REFUSED and verdict.status in statuses
        require(refused or verdict.disposition is Disposition.ACCEPTED, f"{verdict.disposition.value} {verdict.status}")
    if any(verdict.disposition is Disposition.ACCEPTED for verdict in verdicts):
        bench.require_unharmed(mail)


# --- Recipients and verdicts ---


@_case("one accepted recipient gives one verdict", ONE_EACH)
async def one_recipient(bench: Bench) -> None:
    await _accept(bench, bench.mail())


@_case("as many recipients as it declares give as many verdicts", ONE_EACH)
async def most_recipients(bench: Bench) -> None:
    async with bench.open() as transport:
        number = transport.capabilities.recipients_per_call
        await bench.deliver_accepted(transport, bench.mail(*bench.addresses(number)))


@_case("the refused recipient's verdict, and no other, is refused", ONE_EACH, "refused_recipient")
async def one_refused_among_many(bench: Bench) -> None:
    async with bench.open() as transport:
        number = min(5, transport.capabilities.recipients_per_call)
        for place in range(number):
            to = bench.addresses(number)
            to[place] = bench.refused_recipient or ""
            verdicts = await bench.deliver(transport, bench.mail(*to))
            refused = [at for at, verdict in enumerate(verdicts) if verdict.disposition is Disposition.REFUSED]
            require(refused == [place], f"recipient {place} was refused, the verdicts say {refused}")


@_case("recipients that are a later part of their message are carried", ONE_EACH)
async def later_recipients_of_a_message(bench: Bench) -> None:
    await _accept(bench, bench.mail(LeasedRecipient(200, f"box@{bench.domain}")))


@_case("recipients that may have it already are tried again", ONE_EACH)
async def recipients_in_doubt(bench: Bench) -> None:
    await _accept(bench, bench.mail(LeasedRecipient(0, f"box@{bench.domain}", attempts=3, in_doubt=True)))


@_case("the longest and oddest addresses are carried or refused with 5.1.x", VERDICTS)
async def odd_addresses(bench: Bench) -> None:
    await trio.lowlevel.checkpoint()
    for local in ("x" * 64, '"a b"', '"a\\"b"', "!#$%&'*+-/=?^_`{|}~", "-f", '"../../etc"', "a.b"):
        await _accept_or_refuse(bench, bench.mail(f"{local}@{bench.domain}"), "5.1.1", "5.1.2", "5.1.3")


# --- Senders and envelopes ---


@_case("mail with the null sender is carried", AS_IT_IS)
async def null_sender(bench: Bench) -> None:
    await _accept(bench, bench.mail(sender=""))


@_case("a report of the engine is carried", AS_IT_IS)
async def report(bench: Bench) -> None:
    mail = bench.mail()
    mail.request.message = Message(
        id=mail.request.message.id, sender="", accepted_at=0.0, size=mail.content.size, kind=Kind.REPORT
    )
    await _accept(bench, mail)


@_case("DSN options neither harm nor are required", AS_IT_IS)
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
    await _accept(bench, mail)


# --- Content ---


@_case("an empty body is carried", AS_IT_IS)
async def empty_body(bench: Bench) -> None:
    await _accept(bench, bench.mail(body=b""))


@_case("lines of dots arrive as they were", AS_IT_IS)
async def lone_dots(bench: Bench) -> None:
    await _accept(bench, bench.mail(body=b".\r\n..\r\n...\r\n.x\r\n\r\n.\r\n"))


@_case("lines of 998 octets arrive in one piece", AS_IT_IS)
async def long_lines(bench: Bench) -> None:
    await _accept(bench, bench.mail(body=(b"x" * 998 + b"\r\n") * 10))


@_case("empty lines at the end and lines like mbox's or SMTP's arrive as they were", AS_IT_IS)
async def lines_that_look_like_commands(bench: Bench) -> None:
    await _accept(bench, bench.mail(body=b"From x\r\nQUIT\r\nDATA\r\n--\r\n>From\r\nBDAT 1 LAST\r\n"))


@_case("content with octets over 127 is carried, or refused with 5.6.3", AS_IT_IS)
async def eight_bit(bench: Bench) -> None:
    await _accept_or_refuse(bench, bench.mail(body=bytes(range(128, 256)) + b"\r\n"), "5.6.1", "5.6.3")


@_case("UTF-8 addresses and headers are carried, or refused with 5.6.7", AS_IT_IS)
async def smtputf8(bench: Bench) -> None:
    mail = bench.mail(f"jürgen@{bench.domain}", header="X-Name: Jürgen\r\n".encode(), sender="böb@example.com")
    await _accept_or_refuse(bench, mail, "5.6.7", "5.6.3")


@_case("content that is not in memory is read", AS_IT_IS)
async def content_not_at_hand(bench: Bench) -> None:
    await _accept(bench, bench.mail(at_hand=False))


@_case("a large content is streamed, and arrives whole", BY_REFERENCE)
async def large_content(bench: Bench) -> None:
    lines = b"".join(b"%070d\r\n" % number for number in range(_LARGE_BYTES // 72))
    mail = bench.mail(*bench.addresses(1), body=lines, at_hand=False)
    await _accept(bench, mail)
    require(not mail.content.was_read_whole, f"{mail.content.size} octets were read at once")


@_case("content that cannot be read is not accepted, and harms no later mail", VERDICTS)
async def unreadable_content(bench: Bench) -> None:
    await trio.lowlevel.checkpoint()
    async with bench.open() as transport:
        for body in (b"", b"x\r\n" * 200_000):
            mail = bench.mail(body=body, fails=StoreError("the content cannot be read"))
            await _expect_no_end(bench, transport, mail)
        await bench.deliver_accepted(transport, bench.mail())


async def _expect_no_end(bench: Bench, transport: Transport, mail: Mail) -> None:
    """Neither accepted nor refused; an exception is as good as a deferral here."""
    await trio.lowlevel.checkpoint()
    try:
        verdicts = await bench.deliver(transport, mail)
    except Unmet:
        raise
    except Exception:
        verdicts = []
    for verdict in verdicts:
        require(not _is_end(verdict), f"{verdict.disposition.value} without content")
    require(bench.copies(mail) == 0, "the peer got a mail without its content")


def _is_end(verdict: Verdict) -> bool:
    return verdict.disposition in (Disposition.ACCEPTED, Disposition.REFUSED)


# --- The moment of handing over ---


@_case("committing() is called before the peer has the mail", COMMIT, "handed_over")
async def committing_comes_first(bench: Bench) -> None:
    for number in (1, 2):
        mail = bench.mail(*bench.addresses(number))
        await _accept(bench, mail)
        require(not mail.came_before_commit, "the peer had the mail when committing() was called")


@_case("every recipient gets one copy, or the message one for all", COMMIT, "handed_over")
async def no_copy_too_many(bench: Bench) -> None:
    async with bench.open() as transport:
        number = min(3, transport.capabilities.recipients_per_call)
        mail = bench.mail(*bench.addresses(number))
        await bench.deliver_accepted(transport, mail)
    require(1 <= bench.copies(mail) <= number, f"{bench.copies(mail)} copies for {number} recipients")


# --- Many at once, and one after the other ---


@_case("ten calls at once are all answered, none with another's content", AT_ONCE)
async def ten_at_once(bench: Bench) -> None:
    async with bench.open() as transport:
        await _all_at_once(bench, transport, [bench.mail(body=b"%d\r\n" % n * 50) for n in range(10)])


@_case("ten calls one after the other are answered alike", AT_ONCE)
async def ten_in_a_row(bench: Bench) -> None:
    async with bench.open() as transport:
        for _ in range(10):
            await bench.deliver_accepted(transport, bench.mail())


@_case("calls that are cancelled do not harm those beside them", AT_ONCE)
async def neighbours_of_the_cancelled(bench: Bench) -> None:
    async with bench.open() as transport, trio.open_nursery() as nursery:
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as doomed:
                for _ in range(5):
                    doomed.start_soon(bench.deliver, transport, bench.mail())
                    nursery.start_soon(bench.deliver_accepted, transport, bench.mail())
                await trio.lowlevel.checkpoint()
                scope.cancel()


@_case("two transports of one kind live side by side", CLOSED)
async def two_transports(bench: Bench) -> None:
    async with bench.open() as one, bench.open() as other:
        await bench.deliver_accepted(one, bench.mail())
        await bench.deliver_accepted(other, bench.mail())
        await bench.deliver_accepted(one, bench.mail())


async def _all_at_once(bench: Bench, transport: Transport, mails: list[Mail]) -> None:
    async with trio.open_nursery() as nursery:
        for mail in mails:
            nursery.start_soon(bench.deliver_accepted, transport, mail)


# --- Cancellation ---


@_case("cancelled at any of its steps it ends at once, and what was not announced was not handed over", CANCEL)
async def cancelled_at_every_step(bench: Bench) -> None:
    async with bench.open() as transport:
        for step in range(_MOST_CANCELLATIONS):
            mail = bench.mail(at_hand=step % 2 == 0)
            if not await _cancel_at(step, partial(bench.deliver, transport, mail)):
                break
            require(mail.content.opened == 0, f"cancelled at step {step}, it left the content open")
            unannounced = bench.copies(mail) > 0 and mail.commits == 0
            require(not unannounced, f"cancelled at step {step}, the peer has the mail without committing()")
        await bench.deliver_accepted(transport, bench.mail())


async def _cancel_at(step: int, work: Callable[[], Awaitable[object]]) -> bool:
    """Cancel the work at its step of that number; whether it had one.  Raises Unmet where it does not end soon."""
    scope = trio.CancelScope()
    counter = _StepCounter(trio.lowlevel.current_task(), scope, step)
    trio.lowlevel.add_instrument(counter)
    try:
        with scope:
            await work()
    finally:
        trio.lowlevel.remove_instrument(counter)
    late = trio.current_time() - counter.cancelled_at > _SHIELD_SECONDS if scope.cancel_called else False
    require(not late, f"cancelled at step {step}, it went on for over 20 s")
    return scope.cancel_called


class _StepCounter(trio.abc.Instrument):
    def __init__(self, task: trio.lowlevel.Task, scope: trio.CancelScope, step: int) -> None:
        self._task = task
        self._scope = scope
        self._left = step
        self.cancelled_at = 0.0

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        """The task waits now: cancelled here, it is cancelled in the midst of that wait."""
        if task is self._task:
            self._left -= 1
            if self._left < 0 and not self._scope.cancel_called:
                self.cancelled_at = trio.current_time()
                self._scope.cancel()


@_case("a call that is cancelled from the start hands nothing over", CANCEL)
async def cancelled_before_it_began(bench: Bench) -> None:
    await trio.lowlevel.checkpoint()
    mail = bench.mail()
    async with bench.open() as transport:
        with trio.CancelScope() as scope:
            scope.cancel()
            await bench.deliver(transport, mail)
        await bench.deliver_accepted(transport, bench.mail())
    require(mail.commits > 0 or bench.copies(mail) == 0, "the peer has the mail without committing()")


@_case("with a peer that never answers it ends at the deadline, and accepts nothing", CANCEL, "silent")
async def silent_peer(bench: Bench) -> None:
    async with bench.open(bench.silent) as transport:
        deadline = trio.current_time() + 1.0
        verdicts: list[Verdict] = []
        with trio.CancelScope(deadline=deadline):
            verdicts = await bench.deliver(transport, bench.mail(deadline=deadline))
        require(trio.current_time() - deadline < _SHIELD_SECONDS, "it went on for over 20 s after its deadline")
        for verdict in verdicts:
            require(not _is_end(verdict), f"{verdict.disposition.value} by a peer that said nothing")


@_case("cancelled as a whole, its context ends", CLOSED)
async def cancelled_with_its_context(bench: Bench) -> None:
    with trio.CancelScope() as scope:
        async with bench.open() as transport, trio.open_nursery() as nursery:
            nursery.start_soon(bench.deliver, transport, bench.mail())
            await trio.lowlevel.checkpoint()
            scope.cancel()


# --- Trouble ---


@_case("where nothing can be reached every verdict is deferred or postponed", TEMPORARY, "broken")
async def broken_peer(bench: Bench) -> None:
    async with bench.open(bench.broken) as transport:
        number = min(2, transport.capabilities.recipients_per_call)
        verdicts = await bench.deliver(transport, bench.mail(*bench.addresses(number)))
    for verdict in verdicts:
        temporary = verdict.disposition in (Disposition.DEFERRED, Disposition.POSTPONED)
        require(temporary, f"{verdict.disposition.value} where nothing can be reached")


# --- The factory ---


@_case("recipients_per_call is 1 to 100, message_bytes None or positive, and they stay the same", CAPABLE)
async def sound_capabilities(bench: Bench) -> None:
    async with bench.open() as transport:
        able = transport.capabilities
        require(1 <= able.recipients_per_call <= 100, f"recipients_per_call is {able.recipients_per_call}")
        require(able.message_bytes is None or able.message_bytes > 0, f"message_bytes is {able.message_bytes}")
        await bench.deliver(transport, bench.mail())
        require(transport.capabilities == able, "they changed after a delivery")


@_case("opened and closed without a delivery it does nothing", CLOSED)
async def opened_for_nothing(bench: Bench) -> None:
    before = len(bench.handed_over()) if bench.handed_over else 0
    async with bench.open():
        await trio.lowlevel.checkpoint()
    require(before == (len(bench.handed_over()) if bench.handed_over else 0), "the peer got something")


@_case("a misspelt setting is refused by its name", SETTINGS)
async def unknown_setting(bench: Bench) -> None:
    await trio.lowlevel.checkpoint()
    try:
        async with bench.open({**bench.settings, "no_such_setting": 1}):
            await trio.lowlevel.checkpoint()
    except ConfigError as error:
        require("no_such_setting" in str(error), f"the error does not name it: {error}")
    else:
        raise Unmet("it was taken")
